#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests fail by panicking")]

use serde_json::json;

use super::*;
use crate::config::OnError;
use crate::intake::composing::Composed;
use crate::intake::dry_run::{Content, DryResult};
use crate::intake::tests::{MESSAGE, intake, submission};
use crate::plugin::test_guest::Guest;
use crate::spool::NewEntry;

/// Puts `address` in the place of what begins with the letter `first`.
fn moving(name: &'static str, first: char, address: &str) -> (&'static str, Guest, OnError) {
    let mut guest = Guest::new(name);
    let address = guest.text(address);
    let body = format!(
        "(if (result i32) (i32.eq (i32.load8_u (local.get $path)) (i32.const {}))
          (then (call $saying (i32.const 3) {address})) (else (call $verdict (i32.const 0))))",
        u32::from(first)
    );
    (name, guest.rcpt(body), OnError::Defer)
}

/// Refuses what begins with the letter `first`, and says the address.
fn refusing(name: &'static str, first: char) -> (&'static str, Guest, OnError) {
    let body = format!(
        "(if (result i32) (i32.eq (i32.load8_u (local.get $path)) (i32.const {}))
          (then (call $reply (i32.const 1) (i32.const 553) (i32.const 0) (i32.const 0) (local.get $path) (local.get $path_length)))
          (else (call $verdict (i32.const 0))))",
        u32::from(first)
    );
    (name, Guest::new(name).rcpt(body), OnError::Defer)
}

async fn checked(intake: &Intake, submission: &Submission) -> (Result<Submission, Refusal>, Trace) {
    let mut trace = Trace::default();
    let checked = intake.0.with_checked_paths(submission, Effects::Live, &mut trace).await.map(Cow::into_owned);
    (checked, trace)
}

async fn entry(intake: &Intake, submission: &Submission, mut trace: Trace) -> NewEntry {
    let settings = intake.0.settings();
    let facts = settings.facts(submission);
    match intake.0.compose(submission, &facts, &settings, &mut trace).await.unwrap() {
        Composed::Kept(entry) => *entry,
        Composed::Discarded { plugin, reason } => panic!("discarded by {plugin}: {reason}"),
    }
}

#[tokio::test]
async fn who_stands_behind_sees_the_new_address() {
    let intake = intake(vec![moving("move", 'o', "new@example.net"), refusing("list", 'n')]).await;
    let (answer, trace) = checked(&intake, &submission(MESSAGE, &["old@example.com"], Some("c"))).await;
    let Err(Refusal::Plugin { plugin, code: 553, text, .. }) = answer else { panic!("{answer:?}") };
    assert_eq!((plugin.as_str(), text.as_str()), ("list", "new@example.net"));
    let outcomes: Vec<_> = trace.paths.into_runs().into_iter().map(|run| (run.stage, run.outcome, run.text)).collect();
    let run = |outcome: &str| ("rcpt".to_owned(), outcome.to_owned(), "new@example.net".to_owned());
    assert_eq!(outcomes, [run("rewrite"), run("reject")]);
    assert!(intake.0.metrics.encode().contains("tubepost_recipients_refused_total{reason=\"plugin\"} 1"));
    // With several, the caller is told which one it is; none is taken.
    let (answer, _) = checked(&intake, &submission(MESSAGE, &["fine@example.com", "old@example.com"], Some("c"))).await;
    assert_eq!(answer.unwrap_err().to_string(), "old@example.com: new@example.net");
}

#[tokio::test]
async fn the_new_address_is_in_the_envelope_and_the_old_one_stays_known() {
    let intake = intake(vec![moving("move", 'o', "new@example.net")]).await;
    let mut submission = submission(MESSAGE, &["old@example.com", "odd@example.com", "fine@example.com"], Some("c"));
    submission.options.recipient_variables.insert(2, json!({ "name": "Fine" }).as_object().unwrap().clone());
    let (answer, trace) = checked(&intake, &submission).await;
    let changed = answer.unwrap();
    let paths: Vec<_> = changed.envelope.forward_paths.iter().map(|path| (path.address.to_string(), path.original.clone())).collect();
    assert_eq!(
        paths,
        [("new@example.net".to_owned(), Some("rfc822;old@example.com".to_owned())), ("fine@example.com".to_owned(), None)],
        "two that lead to the same place are one"
    );
    assert_eq!(changed.options.recipient_variables[&1]["name"], "Fine", "data goes with its recipient");
    let entry = entry(&intake, &changed, trace).await;
    let EventKind::Accepted { plugins, recipients, .. } = &entry.events[0].kind else { panic!() };
    assert_eq!(recipients, &["new@example.net", "fine@example.com"]);
    let runs: Vec<_> = plugins.iter().map(|run| (run.stage.as_str(), run.outcome.as_str(), run.text.as_str())).collect();
    assert_eq!(runs, [("rcpt", "rewrite", "new@example.net"), ("rcpt", "rewrite", "new@example.net"), ("rcpt", "checked", "1 accepted")]);
}

#[tokio::test]
async fn a_failure_meets_on_error_and_is_told_once() {
    for (on_error, permanent) in [(OnError::Skip, None), (OnError::Defer, Some(false)), (OnError::Reject, Some(true))] {
        let intake = intake(vec![("trap", Guest::new("trap").rcpt("(unreachable)"), on_error)]).await;
        let submission = submission(MESSAGE, &["a@example.com", "b@example.com"], Some("c"));
        let (answer, trace) = checked(&intake, &submission).await;
        match (answer, permanent) {
            (Ok(checked), None) => assert_eq!(checked.envelope, submission.envelope),
            (Err(Refusal::PluginFailed { plugin, permanent: is }), Some(expected)) => assert_eq!((plugin.as_str(), is), ("trap", expected)),
            (other, _) => panic!("{other:?}"),
        }
        let failures = trace.failure_texts();
        assert_eq!(failures.len(), 1, "{failures:?}");
    }
}

#[tokio::test]
async fn an_address_that_is_none_is_a_failure() {
    let intake = intake(vec![moving("move", 'o', "nonsense")]).await;
    let (answer, trace) = checked(&intake, &submission(MESSAGE, &["old@example.com"], Some("c"))).await;
    assert_eq!(answer.unwrap_err(), Refusal::PluginFailed { plugin: "move".to_owned(), permanent: false });
    assert!(trace.failure_texts()[0].1.contains("an address that is none"), "{:?}", trace.failure_texts());
}

#[tokio::test]
async fn what_was_asked_is_not_asked_again() {
    let intake = intake(vec![refusing("list", 'a')]).await;
    let asked = Submission { checked: Some(CheckedPaths::default()), ..submission(MESSAGE, &["a@example.com"], Some("c")) };
    assert!(checked(&intake, &asked).await.0.is_ok());
    let login = &asked.login;
    assert!(intake.asks_about_paths(login));
    assert!(!intake.asks_about_paths(&submission(MESSAGE, &["a@example.com"], None).login));
    let mut inquiry = Inquiry {
        id: asked.id,
        login: Arc::clone(login),
        received: asked.received.clone(),
        reverse_path: ReversePath::Null,
        checked: CheckedPaths::default(),
        refusal: None,
    };
    let mut check = async |address: &str| intake.check_path(&mut inquiry, &EmailAddress::parse(address).unwrap(), 0).await;
    assert!(check("b@example.com").await.is_ok());
    assert!(check("a@example.com").await.is_err());
    assert!(inquiry.refusal.is_some());
}

#[tokio::test]
async fn a_rehearsal_asks_and_counts_nothing() {
    let intake = intake(vec![refusing("list", 'a')]).await;
    let run = intake.dry_run(submission(MESSAGE, &["a@example.com"], Some("c")), Content::Submitted).await;
    assert!(matches!(run.result, DryResult::Refused(Refusal::Plugin { code: 553, .. })), "{:?}", run.result);
    assert_eq!((run.steps[0].run.stage.as_str(), run.steps[0].run.outcome.as_str()), ("rcpt", "reject"));
    assert!(intake.0.metrics.encode().contains("tubepost_recipients_refused_total{reason=\"plugin\"} 0"));
}
