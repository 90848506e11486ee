//! What is asked of DNS: mail exchangers and addresses.

pub mod network;
#[cfg(test)]
pub(crate) mod zone;

use std::net::IpAddr;

use futures_util::future::BoxFuture;

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

/// Answers of DNS, from the network or, in tests, from a zone.
pub trait Dns: Send + Sync + 'static {
    /// Returns the MX records of `name`, in no order; at least one.
    fn mx<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<Vec<Mx>, DnsError>>;

    /// Returns addresses of `name` from A and AAAA records; at least one.
    fn addresses<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<Vec<IpAddr>, DnsError>>;
}
