#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

use std::fmt::Write as _;
use std::path::Path;

use proptest::prelude::*;

use super::*;

fn read_as(content: &str, reverse_path: &str) -> Report {
    let content = Bytes::from(content.replace('\n', "\r\n"));
    let recipient = EmailAddress::parse("bounces+x@b.example").unwrap();
    let reverse_path = ReversePath::parse(reverse_path).unwrap();
    read(&content, &Arrival { recipient: &recipient, reverse_path: &reverse_path, at: Timestamp::from_millis(0) })
}

/// What a report says, a line for each fact.
fn told(report: &Report) -> String {
    let mut text = String::new();
    match report {
        Report::Delivery(report) => {
            let DeliveryReport { is_standard, envelope_id, reporting_mta, recipients, trail } = report;
            let _ = writeln!(text, "{} {envelope_id:?} {reporting_mta:?}", if *is_standard { "standard" } else { "free text" });
            for RecipientReport { address, original, action, status, diagnostic, remote_mta, class } in recipients {
                let status = status.map(|status| status.to_string()).unwrap_or_default();
                let address = address.as_deref().unwrap_or("?");
                let _ = writeln!(text, "  {} <{address}> {original:?} {status} {class} {remote_mta:?}", action.name());
                let _ = writeln!(text, "    {diagnostic}");
            }
            let _ = writeln!(text, "  {:?} {:?} {:?}", trail.addresses, trail.links, trail.message_ids);
        }
        Report::Complaint(complaint) => {
            let _ = writeln!(text, "{complaint:?}");
        }
        Report::Response(kind) => {
            let _ = writeln!(text, "{kind:?}");
        }
        Report::Aggregate(file) => {
            let _ = writeln!(text, "aggregate {}", file.filename);
        }
        Report::Unrecognised => text.push_str("unrecognised\n"),
    }
    text
}

/// One golden message of each kind, in the form of the software that writes it.
#[test]
fn f6_f7_f9_mail_that_comes_back_is_understood() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/bounce/tests");
    let mut files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    let mut text = String::new();
    for path in files.iter().filter(|path| path.extension().is_some_and(|extension| extension == "eml")) {
        let name = path.file_stem().unwrap().to_str().unwrap();
        let reverse_path = if (name.starts_with("auto") && name != "auto_null") || name == "human" { "anna@receiver.example" } else { "" };
        let content = std::fs::read_to_string(path).unwrap();
        let _ = write!(text, "== {name}\n{}", told(&read_as(&content, reverse_path)));
    }
    insta::assert_snapshot!(text);
}

#[test]
fn a_report_of_dmarc_is_known_by_its_name_or_its_subject() {
    let message = |subject: &str, name: &str, kind: &str| {
        format!("Subject: {subject}\nContent-Type: {kind}; name=\"{name}\"\nContent-Transfer-Encoding: base64\n\naGVsbG8=\n")
    };
    let is_one = |message: String| matches!(read_as(&message, "dmarc@r.example"), Report::Aggregate(file) if &*file.content == b"hello");
    assert!(is_one(message("Report Domain: example.com Submitter: r.example Report-ID: 1", "x.zip", "application/zip")));
    assert!(is_one(message("hi", "r.example!example.com!1764028800!1764115199.xml.gz", "application/octet-stream")));
    assert!(!is_one(message("hi", "holiday.zip", "application/zip")));
}

#[test]
fn what_a_report_holds_has_limits() {
    let mut content =
        "Content-Type: multipart/report; boundary=b\n\n--b\nContent-Type: message/delivery-status\n\nReporting-MTA: dns; x\n".to_owned();
    for number in 0..5_000 {
        let _ =
            write!(content, "\nFinal-Recipient: rfc822; a{number}@x.example\nAction: failed\nDiagnostic-Code: smtp; {}\n", "x".repeat(900));
    }
    content.push_str("--b--\n");
    let Report::Delivery(report) = read_as(&content, "") else { panic!("no report") };
    assert_eq!(report.recipients.len(), RECIPIENTS);
    assert!(report.recipients.iter().all(|recipient| recipient.diagnostic.len() <= TEXT));

    let named: Vec<String> = (0..50_000).map(|number| format!("a{number}@x.example")).collect();
    let content = format!("X-Failed-Recipients: {}\nSubject: failure notice\n\nIt failed: 550 5.1.1 no such user\n", named.join(",\n "));
    let Report::Delivery(report) = read_as(&content, "") else { panic!("no report") };
    assert_eq!(report.recipients.len(), RECIPIENTS);
    assert!(report.recipients.iter().all(|recipient| recipient.class == BounceClass::UnknownUser));
}

proptest! {
    #[test]
    fn nothing_panics(kind in 0_usize..4, head in "[ -~\n]{0,200}", body in ".{0,400}") {
        let types = ["text/plain", "multipart/report; boundary=b", "message/delivery-status", "message/feedback-report"];
        let kind = types.get(kind).copied().unwrap_or_default();
        read_as(&format!("Content-Type: {kind}\n{head}\n\n{body}\n--b\nContent-Type: message/delivery-status\n\n{body}\n--b--"), "");
    }

    #[test]
    fn broken_bounces_do_no_harm(place in 0_usize..1_000, other in ".{0,20}") {
        let mut text = include_str!("tests/qmail.eml").to_owned();
        let place = text.floor_char_boundary(place);
        text.insert_str(place, &other);
        read_as(&text, "");
    }
}
