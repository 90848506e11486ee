//! What is asked of DNS: mail exchangers, addresses, and the records that senders publish.

pub mod answer;
pub mod network;
#[cfg(test)]
pub(crate) mod zone;

use std::net::IpAddr;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use serde::{Serialize, Serializer};

/// One MX record (RFC 1035 §3.3.9).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Mx {
    /// Lower ones come first.
    pub preference: u16,
    /// Name of the host without the final dot; empty for the null MX (RFC 7505).
    pub host: String,
}

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DnsError {
    /// There is no such name.
    #[error("the domain does not exist")]
    NoSuchName,
    /// There is such a name, without records of this kind.
    #[error("the domain has no such records")]
    NoRecords,
    /// No answer now: SERVFAIL, silence, a broken answer. Later it may work.
    #[error("DNS does not answer: {0}")]
    Unavailable(String),
}

/// Kinds of records that are asked for by kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RecordKind {
    /// Texts (RFC 1035 §3.3.14).
    Txt,
    /// Another name (RFC 1035 §3.3.1).
    Cname,
    /// Mail exchangers (RFC 1035 §3.3.9).
    Mx,
    /// IPv4 addresses (RFC 1035 §3.4.1).
    A,
    /// IPv6 addresses (RFC 3596).
    Aaaa,
    /// Who may issue certificates (RFC 8659).
    Caa,
    /// Which certificates a service has (RFC 6698).
    Tlsa,
}

impl RecordKind {
    /// Returns the mnemonic, as in zone files.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Txt => "TXT",
            Self::Cname => "CNAME",
            Self::Mx => "MX",
            Self::A => "A",
            Self::Aaaa => "AAAA",
            Self::Caa => "CAA",
            Self::Tlsa => "TLSA",
        }
    }
}

impl Serialize for RecordKind {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

/// Records, and whether they can be believed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Validated {
    /// A name server that we trust has found them signed, all the way from the root (DNSSEC; the bit AD of RFC 4035 §3.2.3).
    pub secure: bool,
    /// The name that has them, behind all aliases; without the final dot and in lower case.
    pub owner: String,
    /// As [`Dns::records`] returns them; at least one.
    pub records: Vec<String>,
}

/// Answers of DNS, from the network or, in tests, from a zone.
pub trait Dns: Send + Sync + 'static {
    /// Returns the MX records of `name`, in no order; at least one.
    fn mx<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<Vec<Mx>, DnsError>>;

    /// Returns addresses of `name` from A and AAAA records; at least one.
    fn addresses<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<Vec<IpAddr>, DnsError>>;

    /// Returns the records of one kind that `name` has, aliases followed, in no order; at least one. In the form of zone files, names without the final
    /// dot and in lower case; the strings of a TXT record are put together, without quotes, as mail reads them (RFC 7208 §3.3, RFC 6376 §3.6.2.2).
    fn records<'a>(&'a self, name: &'a str, kind: RecordKind) -> BoxFuture<'a, Result<Vec<String>, DnsError>>;

    /// Whether [`Dns::validated`] ever finds anything secure: there is a name server whose word on that is taken.
    fn validates(&self) -> bool {
        false
    }

    /// Returns records as [`Dns::records`] does, and whether they can be believed. What was tampered with is [`DnsError::Unavailable`].
    fn validated<'a>(&'a self, name: &'a str, kind: RecordKind) -> BoxFuture<'a, Result<Validated, DnsError>> {
        async move { Ok(Validated { secure: false, owner: name.to_ascii_lowercase(), records: self.records(name, kind).await? }) }.boxed()
    }
}
