#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

use super::*;
use crate::chain::test_store::CommitLog;
use crate::clock::Clock;
use crate::config::{Origin, PluginRuntime};
use crate::network::http_client::HttpClient;
use crate::telemetry::metric::Metrics;

fn services(metrics: Metrics) -> Arc<Services> {
    let mut runtime = PluginRuntime::default();
    (runtime.calls.kv_calls, runtime.calls.http_calls, runtime.calls.http_size) = (3, 2, crate::config::unit::ByteSize(100));
    Arc::new(Services::new(Some(Arc::new(CommitLog::default())), HttpClient::new(None), &Clock::system(), metrics, &runtime))
}

fn desk(services: &Arc<Services>, effects: Effects) -> Desk {
    let mut grants = Grants::of_rehearsal();
    // Nobody listens there.
    grants.http = vec![Origin::parse("http://127.0.0.1:1/hook").unwrap()];
    let login: Arc<str> = "a".into();
    Desk {
        plugin: "p".into(),
        share: services.shares().of(&login),
        login,
        grants: Arc::new(grants),
        services: Arc::clone(services),
        effects,
        asked_tables: 0,
        asked_http: 0,
        waited: Duration::ZERO,
        waits_since: Duration::ZERO,
    }
}

fn request(url: &str, body: usize) -> RequestTo {
    RequestTo { method: "POST".to_owned(), url: url.to_owned(), headers: Vec::new(), body: vec![0; body], time: None }
}

#[tokio::test]
async fn a_call_that_is_repeated_asks_for_nothing_that_may_differ() {
    let metrics = Metrics::new();
    let mut desk = desk(&services(metrics.clone()), Effects::Repeatable);
    assert!(matches!(desk.get("k").await, Err(DeskError::Denied(_))));
    assert!(matches!(desk.set("k", Vec::new(), None).await, Err(DeskError::Denied(_))));
    assert!(matches!(desk.delete("k").await, Err(DeskError::Denied(_))));
    assert!(matches!(desk.increment("k", 1, None).await, Err(DeskError::Denied(_))));
    assert!(matches!(desk.ask(request("http://127.0.0.1:1/hook", 0)).await, Err(AskError::Denied(_))));
    assert!(desk.template("x").is_none());
    desk.count("n", 1);
    assert!(!metrics.encode().contains("name=\"n\""), "a repeated call would count twice");
}

#[tokio::test]
async fn a_rehearsal_sees_what_it_wrote_and_nobody_else_does() {
    let services = services(Metrics::new());
    let effects = Effects::rehearsal();
    let mut first = desk(&services, effects.clone());
    assert_eq!(first.increment("n", 5, None).await, Ok(5));
    first.set("k", b"v".to_vec(), None).await.unwrap();
    let mut second = desk(&services, effects);
    assert_eq!(second.increment("n", 1, None).await, Ok(6));
    assert_eq!(second.get("k").await.unwrap().as_deref(), Some(&b"v"[..]));
    second.delete("k").await.unwrap();
    assert!(matches!(second.get("k").await, Err(DeskError::Denied(_))), "a call has its number of uses");
    assert_eq!(desk(&services, Effects::rehearsal()).get("n").await, Ok(None));
    assert!(matches!(first.ask(request("http://127.0.0.1:1/hook", 0)).await, Err(AskError::Denied(_))));
}

#[tokio::test]
async fn requests_go_where_it_is_granted_as_often_as_allowed() {
    let mut desk = desk(&services(Metrics::new()), Effects::Live);
    for elsewhere in ["http://127.0.0.1:2/hook", "https://127.0.0.1:1/hook", "http://127.0.0.1:1/hooks", "http://127.0.0.1:1/hook/../x"] {
        assert!(matches!(desk.ask(request(elsewhere, 0)).await, Err(AskError::Denied(_))), "{elsewhere}");
    }
    assert!(matches!(desk.ask(request("no url", 0)).await, Err(AskError::Http(HttpError::Invalid(_)))));
    assert_eq!(desk.ask(request("http://127.0.0.1:1/hook/a", 100)).await, Err(AskError::Http(HttpError::TooLarge(100))));
    assert!(matches!(desk.ask(request("http://127.0.0.1:1/hook/a", 0)).await, Err(AskError::Http(HttpError::Unreachable(_)))));
    let Err(AskError::Denied(reason)) = desk.ask(request("http://127.0.0.1:1/hook", 0)).await else { unreachable!("it asked twice") };
    assert_eq!(reason, "more than 2 requests in one call");
}

#[tokio::test]
async fn requests_of_one_login_wait_for_each_other() {
    let mut runtime = PluginRuntime::default();
    runtime.logins.http_at_once = 2;
    let services = Services::new(None, HttpClient::new(None), &Clock::system(), Metrics::new(), &runtime);
    let (busy, other) = (services.shares().of(&"busy".into()), services.shares().of(&"other".into()));
    let held = [busy.request().await, busy.request().await];
    assert!(tokio::time::timeout(Duration::ZERO, services.shares().of(&"busy".into()).request()).await.is_err());
    assert!(tokio::time::timeout(Duration::ZERO, other.request()).await.is_ok());
    drop(held);
    assert!(tokio::time::timeout(Duration::ZERO, busy.request()).await.is_ok());
}

#[test]
fn names_of_metrics_are_small() {
    for (name, valid) in [("a", true), ("a_1", true), ("1a", false), ("A", false), ("", false), ("a-b", false), ("é", false)] {
        assert_eq!(metric_name(name).is_some(), valid, "{name}");
    }
    assert!(metric_name(&"a".repeat(METRIC_NAME)).is_some() && metric_name(&"a".repeat(METRIC_NAME + 1)).is_none());
}
