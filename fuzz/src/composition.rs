//! Messages as they are kept, with slots.

use bytes::Bytes;
use tubepost::mail::content::Composition;
use tubepost::mail::slot::{Link, Nonce, Slot};

const NONCE: Nonce = [7; 11];

/// Kept messages: damage is found or does no harm, what is read is written as it was, and filling is the same each time.
pub fn composition(octets: &[u8]) {
    for kept in [octets.to_vec(), [b"\0\x01", octets].concat()] {
        let Some(composition) = Composition::decode(Bytes::from(kept)) else { continue };
        assert_eq!(Composition::decode(composition.encode()), Some(composition.clone()));
        let slots = [Slot::Address, Slot::Variable("name".to_owned()), Slot::Link(Link::Unsubscribe)];
        let value = |slot: &Slot| match slot {
            Slot::Address => "jörg@example.com".to_owned(),
            Slot::Variable(_) => format!("\"Jörg\" <J>, {}\r\nBcc: x@y.example\n\0", "lang ".repeat(20)),
            Slot::Link(_) => format!("https://t.example/u/{}", "x".repeat(100)),
        };
        let filled = composition.fill(&NONCE, &slots, &mut |slot| value(slot));
        assert_eq!(composition.fill(&NONCE, &slots, &mut |slot| value(slot)), filled);
        assert!(composition.has_slots() || filled == composition.fill(&NONCE, &[], &mut |_| String::new()));
    }
}
