//! Delivery status notifications in the standard form (RFC 3464), also internationalised ones (RFC 6533).
//!
//! Groups of fields, with empty lines between them: one for the message, then one for each recipient. Servers are not strict about empty lines,
//! types in front of values and comments behind them; neither are we.

use std::str::FromStr;

use super::class::{self, BounceClass};
use super::trail::Trail;
use super::{Action, DeliveryReport, Letter, RECIPIENTS, RecipientReport, one_line};
use crate::mail::enhanced_status::EnhancedStatus;

/// Lines of a report that are read.
const LINES: usize = 10_000;

/// Reads a message that has a delivery status; `None` for others.
pub(super) fn read(letter: &mut Letter) -> Option<DeliveryReport> {
    let statuses = letter.contents(&["message/delivery-status", "message/global-delivery-status"]);
    if statuses.is_empty() {
        return None;
    }
    let mut report = DeliveryReport { is_standard: true, ..DeliveryReport::default() };
    for octets in statuses {
        read_status(&String::from_utf8_lossy(&octets), &mut report);
    }
    let returned = ["message/rfc822", "text/rfc822-headers", "message/rfc822-headers", "message/global", "message/global-headers"];
    for content in letter.contents(&returned) {
        report.trail.append(&Trail::of_message(&content));
    }
    // A report without a recipient says nothing, unless the address that it came to does.
    Some(report)
}

#[derive(Default)]
struct Group {
    address: Option<String>,
    original: Option<String>,
    action: Option<Action>,
    status: Option<EnhancedStatus>,
    diagnostic: String,
    remote_mta: Option<String>,
}

impl Group {
    fn finish(self) -> Option<RecipientReport> {
        if self.address.is_none() && self.original.is_none() && self.action.is_none() && self.status.is_none() {
            return None;
        }
        let action = self.action.unwrap_or(match self.status.map(|status| status.class) {
            Some(2) => Action::Delivered,
            Some(4) => Action::Delayed,
            _ => Action::Failed,
        });
        // 5.0.0 says less than what the server said.
        let said = class::find_status(&self.diagnostic);
        let status = match self.status {
            Some(EnhancedStatus { subject: 0, .. }) | None => said.or(self.status),
            given => given,
        };
        let class = match action {
            Action::Delivered | Action::Relayed | Action::Expanded => BounceClass::Undetermined,
            Action::Failed | Action::Delayed => of_status(status, &self.diagnostic),
        };
        Some(RecipientReport {
            address: self.address,
            original: self.original,
            action,
            status,
            diagnostic: self.diagnostic,
            remote_mta: self.remote_mta,
            class,
        })
    }
}

/// What a status and a diagnostic mean. A status of class 4 in a report of failure means that it was tried until it expired: the reason stays.
fn of_status(status: Option<EnhancedStatus>, diagnostic: &str) -> BounceClass {
    let line = diagnostic.trim_start();
    BounceClass::of(class::read_code(line), status, line)
}

fn read_status(text: &str, report: &mut DeliveryReport) {
    let mut group = Group::default();
    for (name, value) in unfolded(text) {
        match name.to_ascii_lowercase().as_str() {
            "original-envelope-id" => report.envelope_id = Some(one_line(&value)),
            "reporting-mta" => report.reporting_mta = Some(without_type(&value)),
            // A new recipient begins with one of these, whether there is an empty line or not.
            "final-recipient" | "original-recipient" | "x-actual-recipient" => {
                let is_final = name.eq_ignore_ascii_case("final-recipient");
                let is_taken = if is_final { group.address.is_some() } else { group.original.is_some() };
                if is_taken || (!is_final && group.action.is_some()) {
                    push(report, std::mem::take(&mut group));
                }
                let address = Some(address(&value)).filter(|address| !address.is_empty());
                if is_final {
                    group.address = address;
                } else if group.original.is_none() {
                    group.original = address;
                }
            }
            "action" => group.action = read_action(&value),
            "status" => group.status = value.split_whitespace().next().and_then(|word| EnhancedStatus::from_str(word).ok()),
            "diagnostic-code" => group.diagnostic = without_type(&value),
            "remote-mta" => group.remote_mta = Some(without_type(&value)).filter(|name| !name.is_empty()),
            // An empty line.
            "" if group.address.is_some() && group.action.is_some() => push(report, std::mem::take(&mut group)),
            _ => {}
        }
    }
    push(report, group);
}

fn push(report: &mut DeliveryReport, group: Group) {
    if report.recipients.len() < RECIPIENTS {
        report.recipients.extend(group.finish());
    }
}

/// Returns fields, unfolded; an empty line is a field without a name.
fn unfolded(text: &str) -> Vec<(&str, String)> {
    let mut fields: Vec<(&str, String)> = Vec::new();
    for line in text.lines().take(LINES) {
        if line.starts_with([' ', '\t']) {
            if let Some((_, value)) = fields.last_mut().filter(|(_, value)| value.len() < 4_096) {
                value.push(' ');
                value.push_str(line.trim());
            }
            continue;
        }
        match line.split_once(':') {
            Some((name, value)) => fields.push((name.trim(), value.trim().to_owned())),
            None => fields.push(("", String::new())),
        }
    }
    fields
}

fn read_action(value: &str) -> Option<Action> {
    let word = value.split(|c: char| !c.is_ascii_alphabetic()).find(|word| !word.is_empty())?.to_ascii_lowercase();
    let known = [Action::Failed, Action::Delayed, Action::Delivered, Action::Relayed, Action::Expanded];
    known.into_iter().find(|action| action.name() == word).or_else(|| (word == "failure").then_some(Action::Failed))
}

/// Takes `rfc822;`, `dns;` or `smtp;` off a value.
fn without_type(value: &str) -> String {
    let value = match value.split_once(';') {
        Some((kind, rest)) if kind.trim().len() <= 20 && !kind.trim().contains(' ') => rest,
        _ => value,
    };
    one_line(value)
}

/// Reads a typed address; `utf-8-addr-xtext` and `utf-8-addr-unitext` (RFC 6533 §3) are decoded.
fn address(value: &str) -> String {
    let text = without_type(value);
    let text = text.trim().trim_start_matches('<').trim_end_matches('>');
    let mut address = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, behind)) = rest.split_once("\\x{") {
        address.push_str(before);
        match behind.split_once('}').and_then(|(digits, behind)| Some((char::from_u32(u32::from_str_radix(digits, 16).ok()?)?, behind))) {
            Some((c, behind)) if !c.is_control() => {
                address.push(c);
                rest = behind;
            }
            _ => {
                address.push_str("\\x{");
                rest = behind;
            }
        }
    }
    address.push_str(rest);
    address
}
