//! A zone for tests: answers that the test says.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, ready};

use super::{Dns, DnsError, Mx, RecordKind, Validated};

/// Names and what DNS says of them. What is not here does not exist.
#[derive(Clone, Debug, Default)]
pub(crate) struct Zone {
    names: BTreeMap<String, Result<Records, DnsError>>,
    /// Names whose records are signed.
    signed: BTreeSet<String>,
}

#[derive(Clone, Debug, Default)]
struct Records {
    mx: Vec<Mx>,
    addresses: Vec<IpAddr>,
    others: Vec<(RecordKind, String)>,
}

impl Zone {
    /// Adds an MX record.
    pub(crate) fn mx(mut self, name: &str, preference: u16, host: &str) -> Self {
        self.entry(name).mx.push(Mx { preference, host: host.to_owned() });
        self
    }

    /// Adds an address.
    pub(crate) fn address(mut self, name: &str, address: &str) -> Self {
        self.entry(name).addresses.push(address.parse().expect("an IP address"));
        self
    }

    /// Adds a text.
    pub(crate) fn txt(self, name: &str, text: &str) -> Self {
        self.record(name, RecordKind::Txt, text)
    }

    /// Makes `name` another name of `target`.
    pub(crate) fn cname(self, name: &str, target: &str) -> Self {
        self.record(name, RecordKind::Cname, target)
    }

    /// Adds a record that is neither an MX record nor an address.
    pub(crate) fn record(mut self, name: &str, kind: RecordKind, value: &str) -> Self {
        self.entry(name).others.push((kind, value.to_owned()));
        self
    }

    /// The records of a name are signed, and the name server says so.
    pub(crate) fn signed(mut self, name: &str) -> Self {
        self.signed.insert(name.to_owned());
        self
    }

    /// Takes away everything of a name.
    pub(crate) fn without(mut self, name: &str) -> Self {
        self.names.remove(name);
        self
    }

    /// Questions for this name fail.
    pub(crate) fn broken(mut self, name: &str) -> Self {
        self.names.insert(name.to_owned(), Err(DnsError::Unavailable("SERVFAIL".to_owned())));
        self
    }

    fn entry(&mut self, name: &str) -> &mut Records {
        let entry = self.names.entry(name.to_owned()).or_insert_with(|| Ok(Records::default()));
        entry.as_mut().expect("a name is broken or has records")
    }

    /// The name, and those that it stands for.
    fn aliases<'a>(&'a self, name: &'a str, kind: RecordKind) -> Vec<&'a str> {
        let mut names = vec![name];
        let mut name = name;
        // As many as a resolver follows.
        for _ in 0..8 {
            let Some(Ok(records)) = self.names.get(name) else { break };
            let alias = records.others.iter().find(|(other, _)| *other == RecordKind::Cname);
            match alias {
                Some((_, target)) if kind != RecordKind::Cname => {
                    name = target;
                    names.push(name);
                }
                Some(_) | None => break,
            }
        }
        names
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

    fn validates(&self) -> bool {
        !self.signed.is_empty()
    }

    fn validated<'a>(&'a self, name: &'a str, kind: RecordKind) -> BoxFuture<'a, Result<Validated, DnsError>> {
        async move {
            let records = self.records(name, kind).await?;
            let names = self.aliases(name, kind);
            let owner = names.last().copied().unwrap_or(name).to_owned();
            Ok(Validated { secure: names.iter().all(|name| self.signed.contains(*name)), owner, records })
        }
        .boxed()
    }

    fn records<'a>(&'a self, name: &'a str, kind: RecordKind) -> BoxFuture<'a, Result<Vec<String>, DnsError>> {
        let name = self.aliases(name, kind).last().copied().unwrap_or(name);
        let picked = self.answer(name, |records| {
            let of_kind = records.others.iter().filter(|(other, _)| *other == kind).map(|(_, value)| value.clone());
            let exchangers = records.mx.iter().filter(|_| kind == RecordKind::Mx).map(|mx| format!("{} {}", mx.preference, mx.host));
            let addresses = records
                .addresses
                .iter()
                .filter(|address| (kind == RecordKind::A && address.is_ipv4()) || (kind == RecordKind::Aaaa && address.is_ipv6()));
            of_kind.chain(exchangers).chain(addresses.map(ToString::to_string)).collect()
        });
        ready(picked).boxed()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]
    use super::*;

    #[tokio::test]
    async fn aliases_are_followed() {
        let zone = Zone::default().txt("text.example", "hello").cname("alias.example", "text.example").mx("text.example", 10, "mx.example");
        assert_eq!(zone.records("alias.example", RecordKind::Txt).await.unwrap(), ["hello"]);
        assert_eq!(zone.records("alias.example", RecordKind::Mx).await.unwrap(), ["10 mx.example"]);
        assert_eq!(zone.records("alias.example", RecordKind::Cname).await.unwrap(), ["text.example"]);
        assert_eq!(zone.without("text.example").records("alias.example", RecordKind::Txt).await, Err(DnsError::NoSuchName));
    }
}
