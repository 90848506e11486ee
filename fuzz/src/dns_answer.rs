//! What name servers say, from the octets on.

use hickory_resolver::proto::op::Message;
use tubepost::delivery::dane::Tlsa;
use tubepost::delivery::mta_sts::policy_id;
use tubepost::delivery::tls_report::destination::{DESTINATIONS, destinations};
use tubepost::dns::RecordKind;
use tubepost::dns::answer::{mail_exchangers, owner, records};

const KINDS: [RecordKind; 7] =
    [RecordKind::Txt, RecordKind::Cname, RecordKind::Mx, RecordKind::A, RecordKind::Aaaa, RecordKind::Caa, RecordKind::Tlsa];

/// Answers: names and records are text in one line, in lower case, without the final dot; and what mail makes of the
/// texts is bounded.
pub fn dns_answer(octets: &[u8]) {
    let Ok(message) = Message::from_vec(octets) else { return };
    let answer = &message.answers;
    let is_name = |name: &str| {
        name.is_ascii() && !name.ends_with('.') && !name.bytes().any(|c| c.is_ascii_control() || c.is_ascii_uppercase() || c == b' ')
    };
    for mx in mail_exchangers(answer) {
        assert!(is_name(&mx.host), "{:?}", mx.host);
    }
    for kind in KINDS {
        let found = records(answer, kind);
        assert_eq!(owner(answer, kind).is_some(), !found.is_empty());
        assert!(owner(answer, kind).is_none_or(|name| is_name(&name)));
        match kind {
            RecordKind::Txt => {
                assert!(destinations(&found).len() <= DESTINATIONS);
                assert!(policy_id(&found).is_none_or(|id| id.len() <= 32));
            }
            RecordKind::A | RecordKind::Aaaa => assert!(found.iter().all(|text| text.parse::<std::net::IpAddr>().is_ok()), "{found:?}"),
            RecordKind::Cname => assert!(found.iter().all(|text| is_name(text)), "{found:?}"),
            RecordKind::Tlsa => {
                assert!(found.iter().filter_map(|text| Tlsa::parse(text)).all(|record| !record.data.is_empty()), "{found:?}");
            }
            RecordKind::Mx => assert!(found.iter().all(|text| !text.contains(['\r', '\n'])), "{found:?}"),
            // Its value is the publisher's, and nobody but his reader looks into it.
            RecordKind::Caa => {}
        }
    }
}
