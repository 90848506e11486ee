//! How well connections to others are protected.

use super::document::{Fault, Value};

/// How well a connection is protected, from bad to good.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum TlsLevel {
    /// `none`: not at all.
    None,
    /// `opportunistic`: where it is offered, whatever the certificate says (RFC 7435).
    Opportunistic,
    /// `encrypted`: always, whatever the certificate says.
    Encrypted,
    /// `required`: with a certificate that is valid for the host.
    Required,
    /// `dane`: with a certificate that signed TLSA records vouch for.
    Dane,
}

impl TlsLevel {
    /// Returns the word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Opportunistic => "opportunistic",
            Self::Encrypted => "encrypted",
            Self::Required => "required",
            Self::Dane => "dane",
        }
    }
}

/// All, in the order of [`TlsLevel`].
const LEVELS: [TlsLevel; 5] = [TlsLevel::None, TlsLevel::Opportunistic, TlsLevel::Encrypted, TlsLevel::Required, TlsLevel::Dane];

/// Reads one by its word.
pub(super) fn read(value: &Value<'_>) -> Result<TlsLevel, Fault> {
    value.choice(&LEVELS.map(|level| (level.as_str(), level)))
}
