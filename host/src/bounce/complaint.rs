//! Complaints: reports of feedback loops in the Abuse Reporting Format (RFC 5965, RFC 6650), with what providers leave out or hide.

use serde::{Deserialize, Serialize};

use super::trail::Trail;
use super::{Letter, one_line};

/// Addresses of recipients that are kept.
const RECIPIENTS: usize = 16;

/// What a recipient complains of.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Complaint {
    /// What it is about.
    pub kind: ComplaintKind,
    /// `Original-Rcpt-To`, where the provider does not hide them; at most 16.
    pub recipients: Vec<String>,
    /// `User-Agent` of the loop.
    pub user_agent: String,
    /// `Source-IP`.
    pub source_ip: Option<String>,
    /// `Reported-Domain`.
    pub domain: Option<String>,
    /// What leads to the message.
    pub trail: Trail,
}

/// `Feedback-Type` (RFC 5965 §7.3 and its registry).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ComplaintKind {
    /// Spam, or what the recipient calls so.
    #[default]
    Abuse,
    /// Phishing and the like.
    Fraud,
    /// A virus.
    Virus,
    /// The recipient wants no more.
    OptOut,
    /// It is not spam, after all.
    NotSpam,
    /// Authentication failed (RFC 6591): nobody complains.
    AuthenticationFailure,
    /// Anything else.
    Other,
}

/// Reads a report in ARF; `None` for other messages.
pub(super) fn read(letter: &mut Letter) -> Option<Complaint> {
    let reports = letter.contents(&["message/feedback-report"]);
    let report = reports.first()?;
    let mut complaint = Complaint { kind: ComplaintKind::Other, ..Complaint::default() };
    for line in String::from_utf8_lossy(report).lines().take(1_000) {
        let Some((name, value)) = line.split_once(':') else { continue };
        let value = one_line(value);
        match name.trim().to_ascii_lowercase().as_str() {
            "feedback-type" => complaint.kind = kind(&value),
            "user-agent" => complaint.user_agent = value,
            "source-ip" => complaint.source_ip = Some(value),
            "reported-domain" => complaint.domain = Some(value),
            "original-mail-from" => complaint.trail.add_addresses(&value),
            "original-rcpt-to" | "removal-recipient" => {
                let address = value.trim_start_matches('<').trim_end_matches('>').to_owned();
                if address.contains('@') && complaint.recipients.len() < RECIPIENTS && !complaint.recipients.contains(&address) {
                    complaint.recipients.push(address);
                }
            }
            _ => {}
        }
    }
    for content in letter.contents(&["message/rfc822", "text/rfc822-headers", "message/rfc822-headers", "message/global"]) {
        complaint.trail.append(&Trail::of_message(&content));
    }
    Some(complaint)
}

fn kind(value: &str) -> ComplaintKind {
    match value.to_ascii_lowercase().as_str() {
        "abuse" => ComplaintKind::Abuse,
        "fraud" => ComplaintKind::Fraud,
        "virus" => ComplaintKind::Virus,
        "opt-out" | "opt-out-list" => ComplaintKind::OptOut,
        "not-spam" => ComplaintKind::NotSpam,
        "auth-failure" => ComplaintKind::AuthenticationFailure,
        _ => ComplaintKind::Other,
    }
}
