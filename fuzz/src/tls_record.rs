//! What domains publish about their certificates, and where they want to hear of TLS.

use tubepost::delivery::dane::{Matching, Selector, Tlsa, strongest};
use tubepost::delivery::tls_report::destination::{DESTINATIONS, destinations};

/// TLSA records and records of TLS reports: what is read is bounded, and a record fits nothing but what it says.
pub fn tls_record(octets: &[u8]) {
    let texts: Vec<String> = String::from_utf8_lossy(octets).lines().map(str::to_owned).collect();
    let records: Vec<Tlsa> = texts.iter().filter_map(|text| Tlsa::parse(text)).collect();
    for record in &records {
        let is_same = record.data == octets;
        if (record.selector, record.matching) == (Selector::Certificate, Matching::Exact) {
            assert_eq!(record.matches(octets), is_same);
        } else {
            let _ = record.matches(octets);
        }
        let _ = record.matches(&record.data);
    }
    let kept = strongest(&records);
    assert!(kept.len() <= records.len() && (kept.is_empty() == records.is_empty()));
    assert!(destinations(&texts).len() <= DESTINATIONS);
}
