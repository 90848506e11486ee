//! Questions to our name server, and what senders write into SPF.

use std::time::Duration;

use tubepost::dns::RecordKind;
use tubepost::sending_domain::answer::{Transport, answer};
use tubepost::sending_domain::publication::Record;
use tubepost::sending_domain::spf::Mechanism;
use tubepost::sending_domain::zone::Zone;

/// Octets that an answer about nothing of ours has more than its question: a record of EDNS.
const MORE: usize = 11;
/// Octets of the largest answer in a packet.
const PACKET: usize = 1232;

/// No question makes us panic, or send more than a packet to whoever is written on it; what is read as an SPF mechanism is one term.
pub fn dns_question(octets: &[u8]) {
    let name = "_dmarc.a.example.dns.example";
    let record = Record { name: name.to_owned(), kind: RecordKind::Txt, value: "v=DMARC1; p=none".to_owned() };
    let records = [(name.to_owned(), vec![record])].into();
    let zone = Zone::new("dns.example".to_owned(), "mail.example".to_owned(), 1, Duration::from_mins(1), records);
    for transport in [Transport::Udp, Transport::UdpCut, Transport::Tcp] {
        if let Some(strangers) = answer(None, octets, transport) {
            assert!(strangers.len() <= octets.len() + MORE, "{strangers:?}");
        }
        let ours = answer(Some(&zone), octets, transport);
        assert!(transport == Transport::Tcp || ours.is_none_or(|answer| answer.len() <= PACKET));
    }
    if let Ok(text) = str::from_utf8(octets)
        && let Ok(mechanism) = text.parse::<Mechanism>()
    {
        let shown = mechanism.to_string();
        assert!(!shown.contains([' ', '"', '%']), "{shown}");
        assert_eq!(shown.parse(), Ok(mechanism));
    }
}
