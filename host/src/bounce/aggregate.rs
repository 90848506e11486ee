//! Aggregate reports of DMARC (RFC 7489 §7.2 and appendix C): what a receiver saw of the mail of a domain in a day.
//!
//! XML, plain, in gzip or in a zip archive with one file. Everybody may send one, so everything has a limit: octets when expanded, their ratio to those
//! that came, the depth of elements, records, octets of a value. What declares a document type is refused, so that there are no entities but those of
//! XML itself.

mod archive;

use std::net::IpAddr;

use quick_xml::events::Event;
use quick_xml::reader::Reader;
use serde::{Deserialize, Serialize};

use super::{Attachment, Letter};
use crate::clock::Timestamp;

/// Elements inside each other; a report has five.
const DEPTH: usize = 12;
/// Octets of one value that are kept.
const VALUE: usize = 255;
/// Octets of an archive that are looked at.
const ARCHIVE: u32 = 10 * 1024 * 1024;

/// How much a report may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Octets of the XML.
    pub size: usize,
    /// Records; further ones are counted and not kept.
    pub records: usize,
}

impl Default for Limits {
    /// 10 MiB and 1,000 records.
    fn default() -> Self {
        Self { size: 10 * 1024 * 1024, records: 1_000 }
    }
}

/// Why a report cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AggregateError {
    /// More octets than allowed, when expanded.
    #[error("the report has more than {0} octets")]
    TooLarge(usize),
    /// It expands as no report does.
    #[error("the archive expands to more than {0} times its size")]
    Bomb(usize),
    /// The archive is none, or has nothing in it.
    #[error("the archive is broken")]
    Archive,
    /// A document type, and with it entities.
    #[error("the report declares a document type or an entity")]
    DocumentType,
    /// Not XML, or not UTF-8.
    #[error("the report is not well-formed XML")]
    Xml,
    /// Too deep.
    #[error("the report has more than {DEPTH} elements inside each other")]
    Depth,
    /// XML, and no report.
    #[error("the report lacks its {0}")]
    Missing(&'static str),
}

/// A report.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Aggregate {
    /// `org_name`: who reports.
    pub organisation: String,
    /// `email` of the one who reports.
    pub email: String,
    /// `report_id`.
    pub id: String,
    /// Beginning of the time that it is about.
    pub begin: Timestamp,
    /// Its end.
    pub end: Timestamp,
    /// The domain whose policy was applied.
    pub domain: String,
    /// `p`: the policy that was found.
    pub policy: String,
    /// Messages in all.
    pub messages: u64,
    /// Messages of which DMARC says that SPF failed.
    pub failed_spf: u64,
    /// Messages of which DMARC says that DKIM failed.
    pub failed_dkim: u64,
    /// Messages that failed both: DMARC failed.
    pub failed: u64,
    /// Records in all.
    pub record_count: u64,
    /// The first of them.
    pub records: Vec<Record>,
}

/// Mail from one address with one result.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// Who sent it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<IpAddr>,
    /// How many messages.
    pub count: u64,
    /// What was done with them: `none`, `quarantine`, `reject`.
    pub disposition: String,
    /// DKIM, aligned.
    pub dkim: bool,
    /// SPF, aligned.
    pub spf: bool,
    /// The domain in From.
    pub header_from: String,
    /// The domain of the reverse-path.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub envelope_from: String,
}

/// Finds the file of a message that is a report, by its type and name or by the subject of the message.
pub(super) fn find(letter: &mut Letter) -> Option<Attachment> {
    let subject = letter.subject().to_ascii_lowercase();
    let is_report = subject.contains("report domain:") || subject.contains("dmarc aggregate report");
    let part = letter.parts.iter().find(|part| {
        let name = part.filename.as_deref().unwrap_or_default().to_ascii_lowercase();
        let is_named = [".xml.gz", ".zip", ".xml", ".gz"].iter().any(|end| name.ends_with(end));
        let is_typed = matches!(
            part.content_type.as_str(),
            "application/zip" | "application/x-zip-compressed" | "application/gzip" | "application/x-gzip" | "text/xml" | "application/xml"
        );
        // `receiver!domain!begin!end.xml.gz` (RFC 7489 §7.2.1.1).
        (is_named || is_typed) && (is_report || (is_named && name.matches('!').count() >= 3))
    })?;
    let (id, filename) = (part.id, part.filename.clone().unwrap_or_default());
    let content = letter.draft.read_part(id, 0, ARCHIVE).ok()?;
    Some(Attachment { filename, content })
}

/// Expands a file: gzip and zip are known by their first octets, everything else is taken as it is.
///
/// # Errors
/// If it is broken, or has too much in it.
pub fn expand(file: &Attachment, limits: Limits) -> Result<String, AggregateError> {
    let octets = archive::expand(&file.content, limits.size)?;
    let octets = octets.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&octets);
    String::from_utf8(octets.to_vec()).map_err(|_| AggregateError::Xml)
}

impl Aggregate {
    /// Reads a report out of a file.
    ///
    /// # Errors
    /// If it is none, or too much.
    pub fn read(file: &Attachment, limits: Limits) -> Result<Self, AggregateError> {
        Self::parse(&expand(file, limits)?, limits)
    }

    /// Reads a report.
    ///
    /// # Errors
    /// If it is none, or too much.
    pub fn parse(xml: &str, limits: Limits) -> Result<Self, AggregateError> {
        let mut reader = Reader::from_str(xml);
        let (mut path, mut value) = (Vec::<String>::new(), String::new());
        let mut reading = Reading { limits, ..Reading::default() };
        loop {
            match reader.read_event().map_err(|_| AggregateError::Xml)? {
                Event::Start(start) => {
                    if path.len() >= DEPTH {
                        return Err(AggregateError::Depth);
                    }
                    path.push(start.local_name().into_inner().to_ascii_lowercase());
                    value.clear();
                }
                Event::End(_) => {
                    reading.end(&path, value.trim());
                    value.clear();
                    path.pop();
                }
                Event::Text(text) => push(&mut value, &text),
                Event::CData(text) => push(&mut value, &text),
                Event::GeneralRef(reference) => {
                    let known = [("amp", "&"), ("lt", "<"), ("gt", ">"), ("quot", "\""), ("apos", "'")];
                    match known.iter().find(|(name, _)| *name == &*reference) {
                        Some((_, text)) => push(&mut value, text),
                        None => match reference.resolve_char_ref() {
                            Ok(Some(c)) => push(&mut value, c.encode_utf8(&mut [0; 4])),
                            Ok(None) => return Err(AggregateError::DocumentType),
                            Err(_) => return Err(AggregateError::Xml),
                        },
                    }
                }
                Event::DocType(_) => return Err(AggregateError::DocumentType),
                Event::Empty(_) | Event::Comment(_) | Event::Decl(_) | Event::PI(_) => {}
                Event::Eof => break,
            }
        }
        if path.is_empty() { reading.finish() } else { Err(AggregateError::Xml) }
    }
}

fn push(value: &mut String, text: &str) {
    let room = VALUE.saturating_sub(value.len());
    value.push_str(text.get(..text.floor_char_boundary(room)).unwrap_or_default());
}

#[derive(Default)]
struct Reading {
    limits: Limits,
    report: Aggregate,
    record: Record,
    is_report: bool,
}

impl Reading {
    /// An element has ended.
    fn end(&mut self, path: &[String], value: &str) {
        let mut names = path.iter().map(String::as_str);
        if names.next() != Some("feedback") {
            return;
        }
        self.is_report = true;
        let (report, record) = (&mut self.report, &mut self.record);
        let text = || value.chars().filter(|c| !c.is_control()).collect::<String>();
        match (names.next(), names.next(), names.next(), names.next()) {
            (Some("report_metadata"), Some("org_name"), None, None) => report.organisation = text(),
            (Some("report_metadata"), Some("email"), None, None) => report.email = text(),
            (Some("report_metadata"), Some("report_id"), None, None) => report.id = text(),
            (Some("report_metadata"), Some("date_range"), Some("begin"), None) => report.begin = time(value),
            (Some("report_metadata"), Some("date_range"), Some("end"), None) => report.end = time(value),
            (Some("policy_published"), Some("domain"), None, None) => report.domain = text().to_ascii_lowercase(),
            (Some("policy_published"), Some("p"), None, None) => report.policy = text(),
            (Some("record"), Some("row"), Some("source_ip"), None) => record.source = value.parse().ok(),
            (Some("record"), Some("row"), Some("count"), None) => record.count = value.parse().unwrap_or_default(),
            (Some("record"), Some("row"), Some("policy_evaluated"), Some("disposition")) => record.disposition = text(),
            (Some("record"), Some("row"), Some("policy_evaluated"), Some("dkim")) => record.dkim = value.eq_ignore_ascii_case("pass"),
            (Some("record"), Some("row"), Some("policy_evaluated"), Some("spf")) => record.spf = value.eq_ignore_ascii_case("pass"),
            (Some("record"), Some("identifiers"), Some("header_from"), None) => record.header_from = text().to_ascii_lowercase(),
            (Some("record"), Some("identifiers"), Some("envelope_from"), None) => record.envelope_from = text().to_ascii_lowercase(),
            (Some("record"), None, ..) => self.end_record(),
            _ => {}
        }
    }

    fn end_record(&mut self) {
        let record = std::mem::take(&mut self.record);
        let report = &mut self.report;
        report.record_count += 1;
        let add = |sum: &mut u64, is_counted: bool| *sum = sum.saturating_add(if is_counted { record.count } else { 0 });
        add(&mut report.messages, true);
        add(&mut report.failed_spf, !record.spf);
        add(&mut report.failed_dkim, !record.dkim);
        add(&mut report.failed, !record.spf && !record.dkim);
        if report.records.len() < self.limits.records {
            report.records.push(record);
        }
    }

    fn finish(self) -> Result<Aggregate, AggregateError> {
        let missing = |what| Err(AggregateError::Missing(what));
        match self.report {
            _ if !self.is_report => missing("element feedback"),
            Aggregate { ref organisation, .. } if organisation.is_empty() => missing("org_name"),
            Aggregate { ref domain, .. } if domain.is_empty() => missing("domain"),
            report => Ok(report),
        }
    }
}

/// Seconds since 1970; some write milliseconds, or a fraction.
fn time(value: &str) -> Timestamp {
    let seconds: u64 = value.split('.').next().unwrap_or_default().parse().unwrap_or_default();
    Timestamp::from_millis(if seconds > 100_000_000_000 { seconds } else { seconds.saturating_mul(1000) })
}

#[cfg(test)]
mod tests;
