//! Why a copy did not get to a server's last word, in the same terms as a server's reply.

use std::fmt;

use crate::mail::enhanced_status::EnhancedStatus;

/// The longest text of a reply or a failure that is kept in events and DSNs, in octets.
pub const TEXT_LENGTH: usize = 512;

/// Something went wrong before a server had its say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// Class 4: later it may work; class 5: never.
    pub status: EnhancedStatus,
    /// The next hop, where it is known; else "".
    pub host: String,
    /// What went wrong, one printable line.
    pub text: String,
    /// The text is what a server said.
    pub is_reply: bool,
}

impl Failure {
    /// It may work later. `detail` is subject and detail of the enhanced status code.
    pub fn transient((subject, detail): (u16, u16), text: impl Into<String>) -> Self {
        Self { status: EnhancedStatus::new(4, subject, detail), host: String::new(), text: text.into(), is_reply: false }
    }

    /// It will never work.
    pub fn permanent((subject, detail): (u16, u16), text: impl Into<String>) -> Self {
        Self { status: EnhancedStatus::new(5, subject, detail), host: String::new(), text: text.into(), is_reply: false }
    }

    /// Names the next hop.
    #[must_use]
    pub fn at(mut self, host: &str) -> Self {
        host.clone_into(&mut self.host);
        self
    }

    /// The same failure, but such that it may work later: not the recipient's domain is to blame.
    #[must_use]
    pub fn softened(mut self) -> Self {
        self.status.class = 4;
        self
    }

    /// Whether it will never work.
    pub fn is_permanent(&self) -> bool {
        self.status.class == 5
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.status, self.text)
    }
}
