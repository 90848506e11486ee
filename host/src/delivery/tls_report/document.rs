//! A report as it is written: JSON, packed, and the mail around it (RFC 8460 §4 and §5.3).

use std::fmt::Write as _;
use std::io::Write as _;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::{Value, json};

use super::{FailureTally, PolicyTally, Tally};
use crate::clock::Timestamp;
use crate::mail::address::EmailAddress;
use crate::mail::message_id::MessageId;

/// The media type of a packed report.
pub const MEDIA_TYPE: &str = "application/tlsrpt+gzip";

/// A report on one domain and day.
#[derive(Clone, Copy, Debug)]
pub struct Report<'a> {
    /// Its id, the same however often it is sent.
    pub id: MessageId,
    /// Who reports.
    pub organization: &'a str,
    /// Who can be asked.
    pub contact: &'a EmailAddress,
    /// Our name, in A-labels.
    pub hostname: &'a str,
    /// On whom, in A-labels.
    pub domain: &'a str,
    /// When the day began.
    pub begins: Timestamp,
    /// When it ended.
    pub ends: Timestamp,
    /// What was counted.
    pub tally: &'a Tally,
}

impl Report<'_> {
    /// Returns the report.
    pub fn to_json(&self) -> Value {
        let policies: Vec<Value> = self.tally.policies.iter().map(|policy| self.policy(policy)).collect();
        json!({
            "organization-name": self.organization,
            "date-range": { "start-datetime": self.begins.to_rfc3339(), "end-datetime": self.ends.to_rfc3339() },
            "contact-info": self.contact.to_string(),
            "report-id": format!("{}@{}", self.id, self.hostname),
            "policies": policies,
        })
    }

    fn policy(&self, tally: &PolicyTally) -> Value {
        let policy = object([
            ("policy-type", Some(json!(tally.kind))),
            ("policy-string", Some(json!(tally.strings))),
            ("policy-domain", Some(json!(self.domain))),
            ("mx-host", (!tally.mx.is_empty()).then(|| json!(tally.mx))),
        ]);
        object([
            ("policy", Some(policy)),
            ("summary", Some(json!({ "total-successful-session-count": tally.good, "total-failure-session-count": tally.bad }))),
            ("failure-details", (!tally.failures.is_empty()).then(|| tally.failures.iter().map(failure).collect())),
        ])
    }

    /// Returns the report, packed.
    pub fn packed(&self) -> std::io::Result<Bytes> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(self.to_json().to_string().as_bytes())?;
        encoder.finish().map(Bytes::from)
    }

    /// Returns the subject of its mail.
    pub fn subject(&self) -> String {
        format!("Report Domain: {} Submitter: {} Report-ID: <{}@{}>", self.domain, self.hostname, self.id, self.hostname)
    }

    /// Returns its mail, which has an id of its own, with the report packed in `packed`.
    pub fn mail(&self, message: MessageId, to: &EmailAddress, packed: &[u8], now: Timestamp) -> Bytes {
        let boundary = format!("=_{message}");
        let mut text = String::with_capacity(2048 + packed.len() * 3 / 2);
        let Self { domain, hostname, id, .. } = self;
        let _ = write!(
            text,
            "From: <{contact}>\r\nTo: <{to}>\r\nSubject: Report Domain: {domain}\r\n Submitter: {hostname}\r\n Report-ID: <{id}@{hostname}>\r\n\
             Date: {date}\r\nMessage-ID: <{message}@{hostname}>\r\nAuto-Submitted: auto-generated\r\nTLS-Required: No\r\n\
             TLS-Report-Domain: {domain}\r\nTLS-Report-Submitter: {hostname}\r\nMIME-Version: 1.0\r\n\
             Content-Type: multipart/report; report-type=\"tlsrpt\";\r\n\tboundary=\"{boundary}\"\r\n\r\n\
             --{boundary}\r\nContent-Type: text/plain; charset=us-ascii\r\n\r\n\
             This is an aggregate report on TLS towards {domain}\r\non {day}, from {hostname}.\r\n\r\n\
             --{boundary}\r\nContent-Type: {MEDIA_TYPE}\r\nContent-Transfer-Encoding: base64\r\n\
             Content-Disposition: attachment;\r\n\tfilename=\"{hostname}!{domain}!{begins}!{ends}!001.json.gz\"\r\n\r\n",
            contact = self.contact.to_ascii_domain(),
            to = to.to_ascii_domain(),
            date = now.to_rfc5322(),
            day = self.begins.to_rfc3339().get(..10).unwrap_or_default(),
            begins = self.begins.as_seconds(),
            ends = self.ends.as_seconds(),
        );
        let encoded = BASE64_STANDARD.encode(packed);
        for line in encoded.as_bytes().chunks(76) {
            text.push_str(str::from_utf8(line).unwrap_or_default());
            text.push_str("\r\n");
        }
        let _ = write!(text, "\r\n--{boundary}--\r\n");
        text.into()
    }
}

fn failure(tally: &FailureTally) -> Value {
    object([
        ("result-type", Some(json!(tally.result))),
        ("sending-mta-ip", tally.from.map(|from| json!(from))),
        ("receiving-ip", tally.to.map(|to| json!(to))),
        ("receiving-mx-hostname", Some(json!(tally.host))),
        ("failed-session-count", Some(json!(tally.count))),
        ("failure-reason-code", Some(json!(tally.reason))),
    ])
}

/// What there is of these fields.
fn object<const N: usize>(fields: [(&str, Option<Value>); N]) -> Value {
    fields.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect::<serde_json::Map<_, _>>().into()
}
