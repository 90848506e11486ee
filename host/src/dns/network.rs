//! DNS over the network: a stub resolver with a bounded cache that keeps answers as long as their time to live says.
//!
//! Whether records are signed, name servers say that we trust (RFC 4035 §4.9.3): those of the machine itself, or those that the configuration says are
//! reached over a way that nobody else can write to. They are asked for that past the cache, as it does not keep their word; they have caches of their own.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use hickory_resolver::config::{ConnectionConfig, NameServerConfig, ProtocolConfig, ResolverConfig, ResolverOpts};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::net::xfer::{DnsHandle as _, FirstAnswer as _, RetryDnsHandle};
use hickory_resolver::net::{DnsError as ResponseError, NetError};
use hickory_resolver::proto::op::{DnsRequest, DnsRequestOptions, Edns, Message, Query};
use hickory_resolver::proto::rr::Name;
use hickory_resolver::{NameServerPool, PoolContext, TlsConfig, TokioResolver, system_conf};

use super::{Dns, DnsError, Mx, RecordKind, Validated, answer};
use crate::config;

/// Docker's name server, on loopback of each container: it hands on what others say, over whatever way.
const DOCKER: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 11));

/// Asks name servers.
#[derive(Clone)]
pub struct NetworkDns {
    resolver: TokioResolver,
    /// Name servers whose word on signatures is taken.
    trusted: Option<RetryDnsHandle<NameServerPool<TokioRuntimeProvider>>>,
}

impl NetworkDns {
    /// Asks `servers`, or those of the system where none are given. Must be called inside a tokio runtime.
    ///
    /// # Errors
    /// The system does not say which name servers to ask.
    pub fn new(servers: &[SocketAddr], limits: &config::Dns) -> Result<Self, NetError> {
        let (config, mut options) = if servers.is_empty() {
            system_conf::read_system_conf()?
        } else {
            let servers = servers.iter().map(|server| {
                let connection = |protocol: ProtocolConfig| {
                    let mut connection = ConnectionConfig::new(protocol);
                    connection.port = server.port();
                    connection
                };
                NameServerConfig::new(server.ip(), true, vec![connection(ProtocolConfig::Udp), connection(ProtocolConfig::Tcp)])
            });
            (ResolverConfig::from_name_servers(servers.collect()), ResolverOpts::default())
        };
        set_options(&mut options, limits);
        let provider = TokioRuntimeProvider::default();
        let is_own = |server: &NameServerConfig| server.ip.is_loopback() && server.ip != DOCKER;
        let is_trusted = limits.trust_ad.unwrap_or_else(|| !config.name_servers.is_empty() && config.name_servers.iter().all(is_own));
        let trusted = is_trusted.then(|| {
            let context = PoolContext::new(options.clone(), TlsConfig::new()?);
            let pool = NameServerPool::from_config(config.name_servers.clone(), Arc::new(context), provider.clone());
            Ok::<_, NetError>(RetryDnsHandle::new(pool, options.attempts))
        });
        let trusted = trusted.transpose()?;
        let resolver = TokioResolver::builder_with_config(config, provider).with_options(options).build()?;
        Ok(Self { resolver, trusted })
    }

    /// Returns what asks, for libraries that ask by themselves.
    pub fn resolver(&self) -> &TokioResolver {
        &self.resolver
    }
}

fn set_options(options: &mut ResolverOpts, limits: &config::Dns) {
    options.cache_size = limits.cache.into();
    options.timeout = limits.time;
    options.attempts = usize::try_from(limits.tries).unwrap_or(usize::MAX);
    // Answers that there is nothing are believed no longer than this, whatever they say: a domain that was set up just now shall get its mail.
    options.negative_max_ttl = Some(limits.negative_time);
}

/// A final dot: the search list of the system is for people, not for mail.
fn absolute(name: &str) -> String {
    format!("{name}.")
}

fn error(error: &NetError) -> DnsError {
    if error.is_nx_domain() {
        DnsError::NoSuchName
    } else if error.is_no_records_found() {
        DnsError::NoRecords
    } else {
        DnsError::Unavailable(error.to_string())
    }
}

impl Dns for NetworkDns {
    fn mx<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<Vec<Mx>, DnsError>> {
        async move {
            let lookup = self.resolver.mx_lookup(absolute(name)).await.map_err(|failure| error(&failure))?;
            let records = answer::mail_exchangers(lookup.answers());
            if records.is_empty() { Err(DnsError::NoRecords) } else { Ok(records) }
        }
        .boxed()
    }

    fn addresses<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<Vec<IpAddr>, DnsError>> {
        async move {
            let (v4, v6) = tokio::join!(self.resolver.ipv4_lookup(absolute(name)), self.resolver.ipv6_lookup(absolute(name)));
            let (mut addresses, mut failure) = (Vec::new(), DnsError::NoRecords);
            for lookup in [v4, v6] {
                match lookup {
                    Ok(lookup) => addresses.extend(lookup.answers().iter().filter_map(|record| record.data.ip_addr())),
                    // One family that is not answered for now outweighs another that is not there: the host may have an address.
                    Err(other) => {
                        let other = error(&other);
                        if !matches!(failure, DnsError::Unavailable(_)) {
                            failure = other;
                        }
                    }
                }
            }
            if addresses.is_empty() { Err(failure) } else { Ok(addresses) }
        }
        .boxed()
    }

    fn records<'a>(&'a self, name: &'a str, kind: RecordKind) -> BoxFuture<'a, Result<Vec<String>, DnsError>> {
        async move {
            let lookup = self.resolver.lookup(absolute(name), answer::record_type(kind)).await.map_err(|failure| error(&failure))?;
            let records = answer::records(lookup.answers(), kind);
            if records.is_empty() { Err(DnsError::NoRecords) } else { Ok(records) }
        }
        .boxed()
    }

    fn validates(&self) -> bool {
        self.trusted.is_some()
    }

    fn validated<'a>(&'a self, name: &'a str, kind: RecordKind) -> BoxFuture<'a, Result<Validated, DnsError>> {
        async move {
            let Some(trusted) = &self.trusted else {
                return Ok(Validated { secure: false, owner: name.to_ascii_lowercase(), records: self.records(name, kind).await? });
            };
            let name = Name::from_ascii(absolute(name)).map_err(|error| DnsError::Unavailable(error.to_string()))?;
            let mut question = Message::query();
            question.metadata.recursion_desired = true;
            // "Say whether it is signed" (RFC 6840 §5.7), for those that understand it, and "I understand DNSSEC" (RFC 3225) for all.
            question.metadata.authentic_data = true;
            let mut edns = Edns::new();
            let options = DnsRequestOptions::default();
            edns.set_max_payload(options.edns_payload_len).set_dnssec_ok(true);
            question.set_edns(edns);
            question.add_query(Query::query(name, answer::record_type(kind)));
            let received = trusted.send(DnsRequest::new(question, options)).first_answer().await.map_err(|failure| error(&failure))?;
            let received = ResponseError::from_response(received).map_err(|failure| error(&NetError::from(failure)))?;
            let owner = answer::owner(&received.answers, kind).ok_or(DnsError::NoRecords)?;
            let records = answer::records(&received.answers, kind);
            Ok(Validated { secure: received.metadata.authentic_data, owner, records })
        }
        .boxed()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]
    use hickory_resolver::proto::op::{Message, ResponseCode};
    use hickory_resolver::proto::rr::rdata::{A, CNAME, MX, TXT};
    use hickory_resolver::proto::rr::{Name, RData, Record, RecordType};
    use tokio::net::UdpSocket;

    use std::time::Duration;

    use super::*;

    /// A name server on loopback: what it says of a name, and how often it was asked.
    async fn server() -> SocketAddr {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let address = socket.local_addr().unwrap();
        tokio::spawn(async move {
            let mut buffer = [0; 4096];
            while let Ok((length, client)) = socket.recv_from(&mut buffer).await {
                let question = Message::from_vec(buffer.get(..length).unwrap()).unwrap();
                let mut answer = Message::response(question.metadata.id, question.metadata.op_code);
                answer.metadata.recursion_available = true;
                answer.metadata.authentic_data = question.metadata.authentic_data;
                let query = question.queries.first().unwrap().clone();
                let name = query.name().to_ascii();
                let record = |data| Record::from_rdata(Name::from_ascii(&name).unwrap(), 60, data);
                match (name.as_str(), query.query_type()) {
                    ("a.example.", RecordType::MX) => {
                        for (preference, host) in [(10, "MX.a.example."), (20, "backup.a.example.")] {
                            answer.add_answer(record(RData::MX(MX::new(preference, Name::from_ascii(host).unwrap()))));
                        }
                    }
                    ("null.example.", RecordType::MX) => {
                        answer.add_answer(record(RData::MX(MX::new(0, Name::root()))));
                    }
                    ("texts.example.", RecordType::TXT) => {
                        answer.add_answer(record(RData::TXT(TXT::new(vec!["v=spf1 ip4:".to_owned(), "192.0.2.1 -all".to_owned()]))));
                    }
                    ("alias.example.", RecordType::TXT) => {
                        answer.add_answer(record(RData::CNAME(CNAME(Name::from_ascii("Texts.example.").unwrap()))));
                        let name = Name::from_ascii("texts.example.").unwrap();
                        answer.add_answer(Record::from_rdata(name, 60, RData::TXT(TXT::new(vec!["Behind".to_owned()]))));
                    }
                    ("alias.example.", RecordType::CNAME) => {
                        answer.add_answer(record(RData::CNAME(CNAME(Name::from_ascii("Texts.example.").unwrap()))));
                    }
                    ("mx.a.example.", RecordType::A) => {
                        answer.add_answer(record(RData::A(A::new(192, 0, 2, 1))));
                    }
                    ("mx.a.example." | "bare.example.", _) | ("half.example.", RecordType::AAAA) => {}
                    ("broken.example." | "half.example.", _) => answer.metadata.response_code = ResponseCode::ServFail,
                    _ => answer.metadata.response_code = ResponseCode::NXDomain,
                }
                answer.add_query(query);
                socket.send_to(&answer.to_vec().unwrap(), client).await.unwrap();
            }
        });
        address
    }

    const LIMITS: config::Dns =
        config::Dns { cache: 100, time: Duration::from_secs(5), tries: 3, negative_time: Duration::from_mins(5), trust_ad: None };

    #[tokio::test]
    async fn answers_of_a_name_server_are_told_apart() {
        let dns = NetworkDns::new(&[server().await], &LIMITS).unwrap();
        let mut records = dns.mx("a.example").await.unwrap();
        records.sort();
        let expected = [(10, "mx.a.example"), (20, "backup.a.example")];
        assert_eq!(records, expected.map(|(preference, host)| Mx { preference, host: host.to_owned() }));
        assert_eq!(dns.mx("null.example").await.unwrap(), [Mx { preference: 0, host: String::new() }]);
        assert_eq!(dns.addresses("mx.a.example").await.unwrap(), ["192.0.2.1".parse::<IpAddr>().unwrap()]);
        assert_eq!(dns.mx("bare.example").await.unwrap_err(), DnsError::NoRecords);
        assert_eq!(dns.addresses("bare.example").await.unwrap_err(), DnsError::NoRecords);
        assert_eq!(dns.addresses("nowhere.example").await.unwrap_err(), DnsError::NoSuchName);
        // There is no AAAA, and of A nobody knows: that is no bounce.
        assert!(matches!(dns.addresses("half.example").await.unwrap_err(), DnsError::Unavailable(_)));
        assert_eq!(dns.mx("nowhere.example").await.unwrap_err(), DnsError::NoSuchName);
        assert!(matches!(dns.mx("broken.example").await.unwrap_err(), DnsError::Unavailable(_)));
    }

    #[tokio::test]
    async fn the_word_on_signatures_is_taken_from_those_that_are_trusted() {
        let server = server().await;
        for (trust_ad, expected) in [(None, true), (Some(true), true), (Some(false), false)] {
            let dns = NetworkDns::new(&[server], &config::Dns { trust_ad, ..LIMITS }).unwrap();
            assert_eq!(dns.validates(), expected);
            let found = dns.validated("alias.example", RecordKind::Txt).await.unwrap();
            assert_eq!((found.secure, found.records.as_slice()), (expected, &["Behind".to_owned()][..]));
            if expected {
                assert_eq!(found.owner, "texts.example");
            }
            assert_eq!(dns.validated("nowhere.example", RecordKind::Tlsa).await, Err(DnsError::NoSuchName));
            assert_eq!(dns.validated("bare.example", RecordKind::Tlsa).await, Err(DnsError::NoRecords));
            assert!(matches!(dns.validated("broken.example", RecordKind::Mx).await, Err(DnsError::Unavailable(_))));
        }
        let elsewhere = |address: &str| NetworkDns::new(&[server, address.parse().unwrap()], &LIMITS).unwrap().validates();
        assert!(!elsewhere("192.0.2.1:53") && !elsewhere("127.0.0.11:53") && elsewhere("[::1]:53"));
    }

    #[tokio::test]
    async fn records_are_read_by_their_kind() {
        let dns = NetworkDns::new(&[server().await], &LIMITS).unwrap();
        for (name, kind, expected) in [
            ("texts.example", RecordKind::Txt, "v=spf1 ip4:192.0.2.1 -all"),
            ("alias.example", RecordKind::Txt, "Behind"),
            ("alias.example", RecordKind::Cname, "texts.example"),
            ("mx.a.example", RecordKind::A, "192.0.2.1"),
            ("null.example", RecordKind::Mx, "0 "),
        ] {
            assert_eq!(dns.records(name, kind).await.unwrap(), [expected], "{name}");
        }
        let exchangers = dns.records("a.example", RecordKind::Mx).await.unwrap();
        assert!(exchangers.contains(&"10 mx.a.example".to_owned()), "{exchangers:?}");
        assert_eq!(dns.records("nowhere.example", RecordKind::Txt).await.unwrap_err(), DnsError::NoSuchName);
        assert_eq!(dns.records("bare.example", RecordKind::Caa).await.unwrap_err(), DnsError::NoRecords);
        assert!(matches!(dns.records("broken.example", RecordKind::Txt).await.unwrap_err(), DnsError::Unavailable(_)));
    }
}
