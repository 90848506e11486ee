//! A zone for tests: answers that the test says.

use std::collections::BTreeMap;
use std::net::IpAddr;

use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, ready};

use super::{Dns, DnsError, Mx};

/// Names and what DNS says of them. What is not here does not exist.
#[derive(Clone, Debug, Default)]
pub(crate) struct Zone {
    names: BTreeMap<String, Result<Records, DnsError>>,
}

#[derive(Clone, Debug, Default)]
struct Records {
    mx: Vec<Mx>,
    addresses: Vec<IpAddr>,
}

impl Zone {
    /// Adds an MX record.
    pub(crate) fn mx(mut self, name: &str, preference: u16, host: &str) -> Self {
        self.records(name).mx.push(Mx { preference, host: host.to_owned() });
        self
    }

    /// Adds an address.
    pub(crate) fn address(mut self, name: &str, address: &str) -> Self {
        self.records(name).addresses.push(address.parse().expect("an IP address"));
        self
    }

    /// Questions for this name fail.
    pub(crate) fn broken(mut self, name: &str) -> Self {
        self.names.insert(name.to_owned(), Err(DnsError::Unavailable("SERVFAIL".to_owned())));
        self
    }

    fn records(&mut self, name: &str) -> &mut Records {
        let entry = self.names.entry(name.to_owned()).or_insert_with(|| Ok(Records::default()));
        entry.as_mut().expect("a name is broken or has records")
    }

    fn answer<T>(&self, name: &str, pick: impl Fn(&Records) -> Vec<T>) -> Result<Vec<T>, DnsError> {
        let records = self.names.get(name).ok_or(DnsError::NoSuchName)?.as_ref().map_err(Clone::clone)?;
        let picked = pick(records);
        if picked.is_empty() { Err(DnsError::NoRecords) } else { Ok(picked) }
    }
}

impl Dns for Zone {
    fn mx<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<Vec<Mx>, DnsError>> {
        ready(self.answer(name, |records| records.mx.clone())).boxed()
    }

    fn addresses<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<Vec<IpAddr>, DnsError>> {
        ready(self.answer(name, |records| records.addresses.clone())).boxed()
    }
}
