//! What an author is shown is what happens on a server.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests fail by panicking")]

use super::*;
use crate::plugin::author::showing::diff;
use crate::plugin::test_guest::{Guest, LIMITS};

fn trial(recipients: &[&str]) -> Trial {
    let recipient = |address: &&str| TrialRecipient { address: EmailAddress::parse(address).unwrap(), variables: Map::new() };
    Trial {
        content: with_crlf(b"Subject: x\n\nbody\n".to_vec()),
        options: Map::new(),
        variables: Map::new(),
        reverse_path: ReversePath::Null,
        recipients: recipients.iter().map(recipient).collect(),
    }
}

async fn bench(guest: Guest) -> Workbench {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("greet.wasm");
    std::fs::write(&file, guest.component()).unwrap();
    Workbench::open_counting(&PluginSource::File(file), LIMITS, &Clock::system()).await.unwrap()
}

#[tokio::test]
async fn the_change_is_shown() {
    let report = bench(Guest::adding("greet", "X-Greeting", "hello")).await.run(&trial(&["b@example.com"])).await.unwrap();
    assert_eq!(report.before, "Subject: x\r\n\r\nbody\r\n");
    let after = report.copies[0].after.clone().unwrap();
    assert!(diff(&report.before, &after).contains("\n+X-Greeting: hello\n"), "{}", diff(&report.before, &after));
    assert_eq!((report.calls.len(), report.calls[0].run.headers_changed.as_slice()), (1, ["X-Greeting".to_owned()].as_slice()));
    let report = bench(Guest::new("still")).await.run(&trial(&["b@example.com"])).await.unwrap();
    assert_eq!(Some(report.before), report.copies[0].after);
}

#[tokio::test]
async fn instructions_are_counted_and_are_the_same_every_time() {
    let bench = bench(Guest::adding("greet", "X-Greeting", "hello")).await;
    let first = bench.run(&trial(&["b@example.com"])).await.unwrap();
    let second = bench.run(&trial(&["b@example.com"])).await.unwrap();
    assert!(first.calls[0].fuel.unwrap() > 0);
    assert_eq!(first.calls[0].fuel, second.calls[0].fuel);
    assert_eq!(first, second);
}

#[tokio::test]
async fn each_recipient_has_his_own_copy() {
    let mut guest = Guest::new("copies");
    let (field, value) = (guest.text("X-Copy"), guest.text("own"));
    let guest = guest.recipient(
        "(call $answer (i32.const 1))",
        format!("(drop (call $add_header (local.get $message) {field} {value})) (call $verdict (i32.const 0))"),
    );
    let report = bench(guest).await.run(&trial(&["a@example.com", "b@example.com"])).await.unwrap();
    assert_eq!(report.calls[0].run.outcome, "wanted");
    let copies: Vec<_> = report.copies.iter().map(|copy| (copy.address.as_str(), copy.calls.len())).collect();
    assert_eq!(copies, [("a@example.com", 1), ("b@example.com", 1)]);
    assert!(report.copies.iter().all(|copy| copy.after.as_ref().unwrap().starts_with(b"X-Copy: own")));
}

#[tokio::test]
async fn what_is_refused_has_no_copies() {
    let mut guest = Guest::new("refuse");
    let text = guest.text("no");
    let guest = guest.submit(format!("(call $saying (i32.const 4) {text})"));
    let report = bench(guest).await.run(&trial(&["a@example.com"])).await.unwrap();
    assert_eq!((report.calls[0].run.outcome.as_str(), report.copies.len()), ("discard", 0));
}

#[tokio::test]
async fn wrong_options_are_told() {
    let mut trial = trial(&[]);
    trial.options.insert("loud".to_owned(), true.into());
    let error = bench(Guest::adding("greet", "X-Greeting", "hello")).await.run(&trial).await.unwrap_err();
    assert_eq!(error.to_string(), "the plugin's options: loud: no such option; this plugin takes none");
}

#[test]
fn line_ends_of_files_become_those_of_mail() {
    assert_eq!(with_crlf(b"a\n\nb\n".to_vec()), "a\r\n\r\nb\r\n");
    assert_eq!(with_crlf(b"a\r\nb\nc\r".to_vec()), "a\r\nb\nc\r");
}
