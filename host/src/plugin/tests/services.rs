//! Grants, and shares of the machine, as plugins meet them.

use std::sync::Arc;
use std::time::Duration;

use super::super::test_guest::{Guest, LIMITS, engine, try_load, try_load_granted};
use super::{copy_lease, lease};
use crate::chain::test_store::CommitLog;
use crate::clock::{Clock, Timestamp};
use crate::config::{Grants, OnError, PluginLimits, PluginRuntime};
use crate::event::{Event, EventKind};
use crate::mail::message_id::MessageId;
use crate::plugin::engine::{Engine, EngineOptions};
use crate::plugin::lease::Lease;
use crate::plugin::observation::Observed;
use crate::plugin::service::desk::Effects;
use crate::plugin::{Plugin, Stage};
use crate::telemetry::metric::Metrics;

fn with(change: impl FnOnce(&mut PluginRuntime)) -> Arc<Engine> {
    let mut runtime = PluginRuntime { instances: 4, ..PluginRuntime::default() };
    change(&mut runtime);
    let store = Arc::new(CommitLog::default());
    Arc::new(Engine::new(EngineOptions { runtime, store: Some(store), ..EngineOptions::new(Clock::system(), Metrics::new()) }).unwrap())
}

/// Increments a number in both stages; traps where that is denied.
fn counting() -> Guest {
    let mut guest = Guest::new("count").granted("kv");
    let key = guest.text("n");
    let body = format!("(drop (call $increment {key})) (call $verdict (i32.const 0))");
    guest.submit(body.clone()).recipient("(call $answer (i32.const 1))", body)
}

fn of(login: &str) -> Lease {
    let mut lease = lease();
    let circumstances = Arc::get_mut(&mut lease.circumstances).unwrap();
    circumstances.login = login.into();
    lease
}

#[tokio::test]
async fn what_is_not_granted_is_not_loaded_and_what_must_be_repeatable_is_denied() {
    let error = try_load(&engine(), "count", &counting().component()).await.unwrap_err().to_string();
    assert!(error.contains("kv") && error.contains("allow"), "{error}");
    let mut allow = Grants::default();
    allow.kv = true;
    let plugin = try_load_granted(&with(|_| {}), "count", &counting().component(), LIMITS, OnError::Defer, allow).await.unwrap();
    assert!(plugin.process(Stage::Submit, lease(), "{}").await.result.is_ok());
    let call = plugin.process(Stage::Recipient, copy_lease("b@example.com"), "{}").await;
    assert!(call.result.is_err(), "{:?}", call.result);
}

#[tokio::test]
async fn lines_beyond_the_logins_share_are_counted() {
    let engine = with(|runtime| runtime.logins.log_lines = 2);
    let mut guest = Guest::new("talk");
    let text = guest.text("hello");
    let plugin = guest.submit(format!("(call $log (i32.const 1) {text}) (call $verdict (i32.const 0))")).load(&engine).await;
    let logged = async |login: &str| plugin.process(Stage::Submit, of(login), "{}").await.run.log;
    for _ in 0..2 {
        assert_eq!(logged("busy").await, ["info: hello"]);
    }
    assert_eq!(logged("busy").await, ["1 more lines were dropped"]);
    assert_eq!(logged("other").await, ["info: hello"]);
}

#[tokio::test]
async fn a_login_with_all_its_instances_at_work_leaves_the_others_theirs() {
    let engine = with(|runtime| runtime.logins.instances = 2);
    let limits = PluginLimits { time: Duration::from_millis(300), ..LIMITS };
    let endless = Guest::new("loop").submit("(loop $again (br $again)) (unreachable)");
    let endless = Arc::new(endless.load_with(&engine, limits, OnError::Defer).await);
    let honest = Guest::adding("one", "X-One", "1").load(&engine).await;
    let busy: Vec<_> = (0..6)
        .map(|_| {
            let endless: Arc<Plugin> = Arc::clone(&endless);
            tokio::spawn(async move { endless.process(Stage::Submit, of("busy"), "{}").await.result.is_err() })
        })
        .collect();
    // Six loops in two places: one after the other. The other login has places of its own all the while.
    let mut passed = 0;
    while busy.iter().any(|call| !call.is_finished()) {
        assert!(honest.process(Stage::Submit, of("honest"), "{}").await.result.is_ok());
        passed += 1;
        tokio::task::yield_now().await;
    }
    assert!(passed > 6, "only {passed} passed beside the loops");
    for call in busy {
        assert!(call.await.unwrap());
    }
}

#[tokio::test]
async fn events_that_are_not_for_a_plugin_are_left_out() {
    let plugin = Guest::noting("note").load(&engine()).await;
    let event = |kind| Event {
        at: Timestamp::from_millis(5),
        message: MessageId::from_bytes([1; 16]),
        login: "a".into(),
        recipient: None,
        address: None,
        tags: Vec::new(),
        kind,
    };
    let followed = |owner: &str| {
        event(EventKind::Followed { plugin: owner.into(), claims: String::new(), url: None, visitor: crate::event::Visitor::default() })
    };
    let events = [event(EventKind::Cancelled), followed("other"), followed("test"), event(EventKind::Observed { plugins: Vec::new() })];
    let observed: Vec<_> = (10..).zip(&events).map(|(position, event)| Observed { position, event }).collect();
    let handled = plugin.handle(&"a".into(), &observed, "{}", Effects::Live).await;
    assert_eq!(handled.result, Ok(()));
    let id = MessageId::from_bytes([1; 16]);
    assert_eq!(handled.run.log, [format!("info: {id}-10"), format!("info: {id}-12")]);
    assert_eq!((handled.run.stage.as_str(), handled.run.outcome.as_str()), ("event", "handled"));
}
