//! Answers about our zone, without sockets: octets in, octets out (RFC 1035, RFC 2308, RFC 6891, RFC 8482).
//!
//! Only questions about our own names get an answer; all others are refused in as many octets as they had. Nothing is looked up for anybody. Over UDP
//! an answer that does not fit is cut to nothing, and asked for again over TCP.

use hickory_resolver::proto::op::{Edns, Message, MessageType, OpCode, Query, ResponseCode};
use hickory_resolver::proto::rr::rdata::{HINFO, NS, SOA, TXT};
use hickory_resolver::proto::rr::{DNSClass, Name, RData, Record, RecordType};

use super::zone::{STRING, Zone};
use crate::dns::RecordKind;

/// Octets of an answer over UDP to whoever does not say more (RFC 1035 §2.3.4).
const SMALLEST: u16 = 512;
/// Octets of an answer over UDP at most, so that no packet is taken apart (RFC 9715 §3.1).
const LARGEST: u16 = 1232;
/// Octets of an answer over TCP.
const LARGEST_TCP: usize = 65_535;
/// How long it is remembered that there is nothing, in seconds.
const NEGATIVE_TTL: u32 = 300;
/// How a question begins at the least.
const HEADER: usize = 12;

/// How a question came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// In a packet, from an address that anybody could have written on it.
    Udp,
    /// The same, from where too much was asked: the answer is to come over TCP.
    UdpCut,
    /// Over a connection.
    Tcp,
}

/// Returns the answer to a question; `None` to what is none, or is itself an answer.
pub fn answer(zone: Option<&Zone>, question: &[u8], transport: Transport) -> Option<Vec<u8>> {
    // An answer to an answer could go on for ever.
    if question.len() < HEADER || question.get(2)? & 0x80 != 0 {
        return None;
    }
    let Ok(request) = Message::from_vec(question) else {
        let id = u16::from_be_bytes([*question.first()?, *question.get(1)?]);
        return Message::error_msg(id, OpCode::Query, ResponseCode::FormErr).to_vec().ok();
    };
    if request.metadata.message_type != MessageType::Query {
        return None;
    }
    let limit = match transport {
        Transport::Udp | Transport::UdpCut => {
            usize::from(request.edns.as_ref().map_or(SMALLEST, |edns| edns.max_payload().clamp(SMALLEST, LARGEST)))
        }
        Transport::Tcp => LARGEST_TCP,
    };
    let response = respond(zone, &request);
    if transport != Transport::UdpCut {
        let octets = response.to_vec().ok()?;
        if octets.len() <= limit {
            return Some(octets);
        }
    }
    response.truncate().to_vec().ok().filter(|octets| octets.len() <= limit)
}

fn respond(zone: Option<&Zone>, request: &Message) -> Message {
    let mut response = Message::response(request.metadata.id, request.metadata.op_code);
    response.metadata.recursion_desired = request.metadata.recursion_desired;
    if let Some(edns) = &request.edns {
        let mut own = Edns::new();
        own.set_max_payload(LARGEST);
        response.set_edns(own);
        if edns.version() != 0 {
            response.metadata.response_code = ResponseCode::BADVERS;
            return response;
        }
    }
    let [query] = request.queries.as_slice() else {
        response.metadata.response_code = ResponseCode::FormErr;
        return response;
    };
    response.add_query(query.clone());
    if request.metadata.op_code != OpCode::Query {
        response.metadata.response_code = ResponseCode::NotImp;
        return response;
    }
    let zone = zone.filter(|_| query.query_class() == DNSClass::IN);
    match zone.and_then(|zone| Some((zone, Name::from_ascii(format!("{}.", zone.name)).ok()?))) {
        Some((zone, apex)) if apex.zone_of(query.name()) => fill(&mut response, zone, &apex, query),
        Some(_) | None => response.metadata.response_code = ResponseCode::Refused,
    }
    response
}

/// Answers a question about a name in the zone.
fn fill(response: &mut Message, zone: &Zone, apex: &Name, query: &Query) {
    response.metadata.authoritative = true;
    let name = query.name().to_ascii().trim_end_matches('.').to_ascii_lowercase();
    let ttl = u32::try_from(zone.ttl.as_secs()).unwrap_or(u32::MAX);
    let kind = query.query_type();
    let record = |data| Record::from_rdata(query.name().clone(), ttl, data);
    if name == zone.name {
        if kind == RecordType::SOA {
            response.answers.extend(soa(zone).map(record));
        } else if kind == RecordType::NS {
            response.answers.extend(host(&zone.server).map(|name| record(RData::NS(NS(name)))));
        }
    } else if let Some(records) = zone.records.get(&name) {
        if kind == RecordType::ANY {
            // One small record, as the whole could be used against others (RFC 8482 §4.2).
            response.add_answer(record(RData::HINFO(HINFO::new("RFC8482".to_owned(), String::new()))));
        }
        let texts = records.iter().filter(|known| known.kind == RecordKind::Txt && kind == RecordType::TXT);
        response.answers.extend(texts.map(|known| {
            let strings: Vec<&[u8]> = known.value.as_bytes().chunks(STRING).collect();
            record(RData::TXT(TXT::from_bytes(strings)))
        }));
    } else if !zone.between.contains(&name) {
        response.metadata.response_code = ResponseCode::NXDomain;
    }
    if response.answers.is_empty() {
        let soa = soa(zone).map(|soa| Record::from_rdata(apex.clone(), NEGATIVE_TTL, soa));
        response.authorities.extend(soa);
    }
}

fn soa(zone: &Zone) -> Option<RData> {
    let (server, mailbox) = (host(&zone.server)?, host(&format!("hostmaster.{}", zone.server))?);
    Some(RData::SOA(SOA::new(server, mailbox, zone.serial, 3600, 600, 1_209_600, NEGATIVE_TTL)))
}

fn host(name: &str) -> Option<Name> {
    Name::from_ascii(format!("{name}.")).ok()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests fail by panicking")]
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;
    use crate::sending_domain::publication;

    fn zone() -> Zone {
        let long = format!("v=DKIM1; k=rsa; p={}", "A".repeat(900));
        let texts =
            [("zero._domainkey.a.example.dns.mail.example", long.as_str()), ("_dmarc.a.example.dns.mail.example", "v=DMARC1; p=none")];
        let records = texts.map(|(name, value)| {
            (name.to_owned(), vec![publication::Record { name: name.to_owned(), kind: RecordKind::Txt, value: value.to_owned() }])
        });
        Zone::new("dns.mail.example".to_owned(), "mail.example".to_owned(), 7, Duration::from_mins(5), records.into())
    }

    fn ask(name: &str, kind: RecordType, payload: Option<u16>, transport: Transport) -> Message {
        let mut question = Message::new(77, MessageType::Query, OpCode::Query);
        question.add_query(Query::query(Name::from_ascii(name).unwrap(), kind));
        if let Some(payload) = payload {
            let mut edns = Edns::new();
            edns.set_max_payload(payload);
            question.set_edns(edns);
        }
        let octets = answer(Some(&zone()), &question.to_vec().unwrap(), transport).unwrap();
        let limit = payload.unwrap_or(512).clamp(512, 1232);
        assert!(transport == Transport::Tcp || octets.len() <= usize::from(limit));
        let response = Message::from_vec(&octets).unwrap();
        assert_eq!((response.metadata.id, response.metadata.recursion_available), (77, false));
        response
    }

    #[test]
    fn our_names_are_answered_and_no_others() {
        for (name, kind, code, answers) in [
            ("_dmarc.a.example.dns.mail.example.", RecordType::TXT, ResponseCode::NoError, 1),
            ("_DMARC.A.example.DNS.mail.example.", RecordType::TXT, ResponseCode::NoError, 1),
            ("_dmarc.a.example.dns.mail.example.", RecordType::A, ResponseCode::NoError, 0),
            ("_dmarc.a.example.dns.mail.example.", RecordType::ANY, ResponseCode::NoError, 1),
            ("_domainkey.a.example.dns.mail.example.", RecordType::TXT, ResponseCode::NoError, 0),
            ("other.dns.mail.example.", RecordType::TXT, ResponseCode::NXDomain, 0),
            ("dns.mail.example.", RecordType::SOA, ResponseCode::NoError, 1),
            ("dns.mail.example.", RecordType::NS, ResponseCode::NoError, 1),
            ("dns.mail.example.", RecordType::AXFR, ResponseCode::NoError, 0),
            ("example.", RecordType::TXT, ResponseCode::Refused, 0),
            ("xdns.mail.example.", RecordType::TXT, ResponseCode::Refused, 0),
        ] {
            let response = ask(name, kind, Some(1232), Transport::Udp);
            assert_eq!((response.metadata.response_code, response.answers.len()), (code, answers), "{name} {kind}");
            // That there is nothing is said with the SOA record, which says for how long.
            let ours = code != ResponseCode::Refused;
            assert_eq!(response.authorities.len(), usize::from(ours && answers == 0), "{name} {kind}");
        }
    }

    #[test]
    fn what_does_not_fit_is_asked_for_again() {
        let name = "zero._domainkey.a.example.dns.mail.example.";
        for (payload, transport, is_cut) in [
            (None, Transport::Udp, true),
            (Some(100), Transport::Udp, true),
            (Some(1232), Transport::Udp, false),
            (Some(1232), Transport::UdpCut, true),
            (None, Transport::Tcp, false),
        ] {
            let response = ask(name, RecordType::TXT, payload, transport);
            assert_eq!((response.metadata.truncation, response.answers.is_empty()), (is_cut, is_cut), "{payload:?} {transport:?}");
        }
    }

    #[test]
    fn answers_are_not_answered() {
        let mut message = Message::response(1, OpCode::Query);
        message.add_query(Query::query(Name::root(), RecordType::TXT));
        assert_eq!(answer(Some(&zone()), &message.to_vec().unwrap(), Transport::Udp), None);
        assert_eq!(answer(Some(&zone()), b"", Transport::Udp), None);
    }

    proptest! {
        /// Whatever comes: no panic, and no answer about names of others is much larger than its question.
        #[test]
        fn strangers_are_no_lever(octets in prop::collection::vec(any::<u8>(), 0..200)) {
            for transport in [Transport::Udp, Transport::UdpCut, Transport::Tcp] {
                if let Some(answer) = answer(Some(&zone()), &octets, transport) {
                    prop_assert!(answer.len() <= octets.len() + 11, "{} of {}", answer.len(), octets.len());
                }
            }
        }
    }
}
