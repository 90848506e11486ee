//! Mail that comes back: reports of all kinds, replies of servers, return paths.

use std::time::Duration;

use bytes::Bytes;
use tubepost::bounce::aggregate::{Aggregate, Limits};
use tubepost::bounce::{self, Arrival, Attachment, BounceClass, RECIPIENTS, Report, TEXT};
use tubepost::clock::Timestamp;
use tubepost::mail::address::EmailAddress;
use tubepost::mail::domain::Domain;
use tubepost::mail::envelope::{Notify, ReversePath};
use tubepost::mail::message_id::{CopyId, MessageId};
use tubepost::verp::Verp;

const NOW: Timestamp = Timestamp::from_millis(1_790_000_000_000);

/// A message at a return path: it is understood within limits, or not.
pub fn bounce(octets: &[u8]) {
    let content = Bytes::copy_from_slice(octets);
    let recipient = EmailAddress::parse("bounces+x@b.example").expect("an address");
    for reverse_path in [ReversePath::Null, ReversePath::Mailbox(recipient.clone())] {
        let report = bounce::read(&content, &Arrival { recipient: &recipient, reverse_path: &reverse_path, at: NOW });
        if let Report::Delivery(report) = report {
            assert!(report.recipients.len() <= RECIPIENTS);
            for recipient in &report.recipients {
                assert!(recipient.diagnostic.len() <= TEXT && !recipient.diagnostic.contains(['\r', '\n']));
            }
        }
    }
    let line = String::from_utf8_lossy(octets);
    let class = BounceClass::of_line(&line);
    assert!(!(class.is_hard() && line.starts_with('4') && BounceClass::of(Some(450), None, &line).is_hard()), "what may pass is not hard");
}

/// A report of DMARC: within its limits, or refused.
pub fn aggregate(octets: &[u8]) {
    let limits = Limits { size: 1 << 20, records: 10 };
    let file = Attachment { filename: String::new(), content: Bytes::copy_from_slice(octets) };
    if let Ok(report) = Aggregate::read(&file, limits) {
        assert!(report.records.len() <= limits.records);
        assert!(report.failed <= report.messages && report.failed_spf <= report.messages && report.failed_dkim <= report.messages);
        assert!(!report.domain.is_empty() && !report.domain.chars().any(char::is_control));
    }
}

/// A local part: nobody makes up one of ours, and ours are read.
pub fn verp(octets: &[u8]) {
    let verp = Verp::new([7; 32], Duration::from_hours(24 * 30));
    if let Ok(text) = str::from_utf8(octets) {
        assert_eq!(verp.read(text, NOW), None, "without the key nothing is signed");
    }
    let mut id = [0; 16];
    id.iter_mut().zip(octets).for_each(|(kept, octet)| *kept = *octet);
    let copy = CopyId { message: MessageId::from_bytes(id), recipient: octets.len().try_into().unwrap_or(u32::MAX) };
    let host = Domain::parse("b.example").expect("a domain");
    let address = verp.address(copy, Notify::default(), "news", &host, NOW);
    assert!(address.local_part().len() <= 64);
    assert_eq!(verp.read(address.local_part(), NOW).map(|returned| returned.copy), Some(copy));
}
