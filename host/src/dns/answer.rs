//! What stands in an answer of a name server: records as mail reads them.

use hickory_resolver::proto::rr::{Name, RData, Record, RecordType};

use super::{Mx, RecordKind};

/// Returns the mail exchangers of an answer, in its order.
pub fn mail_exchangers(answer: &[Record]) -> Vec<Mx> {
    let records = answer.iter().filter_map(|record| {
        let RData::MX(mx) = &record.data else { return None };
        Some(Mx { preference: mx.preference, host: text_of_name(&mx.exchange) })
    });
    records.collect()
}

/// Returns the records of one kind as [`Dns::records`](super::Dns::records) tells them, in the order of the answer.
pub fn records(answer: &[Record], kind: RecordKind) -> Vec<String> {
    fitting(answer, kind).map(|record| text_of(&record.data)).collect()
}

/// Returns the name that has the records of one kind, behind all aliases: without the final dot, in lower case.
pub fn owner(answer: &[Record], kind: RecordKind) -> Option<String> {
    fitting(answer, kind).next().map(|record| text_of_name(&record.name))
}

/// Records of one kind. Those without any data stand in changes of zones (RFC 2136 §2.4.1), and say nothing in an answer.
fn fitting(answer: &[Record], kind: RecordKind) -> impl Iterator<Item = &Record> {
    let wanted = record_type(kind);
    answer.iter().filter(move |record| record.record_type() == wanted && !matches!(record.data, RData::Update0(_)))
}

pub(super) fn record_type(kind: RecordKind) -> RecordType {
    match kind {
        RecordKind::Txt => RecordType::TXT,
        RecordKind::Cname => RecordType::CNAME,
        RecordKind::Mx => RecordType::MX,
        RecordKind::A => RecordType::A,
        RecordKind::Aaaa => RecordType::AAAA,
        RecordKind::Caa => RecordType::CAA,
        RecordKind::Tlsa => RecordType::TLSA,
    }
}

fn text_of_name(name: &Name) -> String {
    name.to_ascii().trim_end_matches('.').to_ascii_lowercase()
}

/// A record as mail reads it.
fn text_of(data: &RData) -> String {
    if let RData::TXT(txt) = data {
        let octets: Vec<u8> = txt.txt_data.iter().flat_map(|part| part.iter().copied()).collect();
        return String::from_utf8_lossy(&octets).into_owned();
    }
    if let RData::CAA(caa) = data {
        return format!(
            "{} {} \"{}\"",
            u8::from(caa.issuer_critical) << 7,
            caa.tag.to_ascii_lowercase(),
            String::from_utf8_lossy(&caa.value)
        );
    }
    data.to_string().trim_end_matches('.').to_ascii_lowercase()
}
