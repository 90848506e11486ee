//! What falls short is found, and the plugins that come with the binary do not.
#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

use super::*;
use crate::clock::Clock;
use crate::config::{PluginLimits, PluginSource};
use crate::plugin::author::corpus;
use crate::plugin::built_in;
use crate::plugin::test_guest::{Guest, LIMITS};

async fn examined(guest: Guest, samples: &[Sample]) -> Examination {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("guest.wasm");
    std::fs::write(&file, guest.component()).unwrap();
    let limits = PluginLimits { output: crate::config::unit::ByteSize(50 << 20), ..LIMITS };
    let bench = Workbench::open(&PluginSource::File(file), limits, &Clock::system()).await.unwrap();
    examine(&bench, &Map::new(), samples).await.unwrap()
}

fn two() -> Vec<Sample> {
    let all = corpus::samples();
    ["mime/newsletter", "header/nothing"].map(|name| all.iter().find(|sample| sample.name == name).unwrap().clone()).to_vec()
}

#[tokio::test]
async fn a_good_plugin_passes() {
    let examination = examined(Guest::adding("greet", "X-Greeting", "hello"), &two()).await;
    assert_eq!((examination.messages, examination.findings), (2, Vec::new()));
    assert!(examination.slowest.is_some() && examination.hungriest.is_some());
}

#[tokio::test]
async fn a_trap_is_found() {
    let examination = examined(Guest::new("trap").submit("(unreachable)"), &two()).await;
    let names: Vec<_> = examination.findings.iter().map(|finding| finding.sample.as_str()).collect();
    assert_eq!(names, ["mime/newsletter", "header/nothing"]);
    assert!(examination.findings.iter().all(|finding| finding.problem.contains("unreachable")), "{:?}", examination.findings);
}

#[tokio::test]
async fn a_failure_is_an_answer_to_broken_messages_only() {
    let failing = |kind: u32| {
        let mut guest = Guest::new("fail");
        let text = guest.text("cannot");
        guest.submit(format!("(call $failure (i32.const {kind}) {text})"))
    };
    let permanent = examined(failing(1), &two()).await;
    assert_eq!((permanent.declined, permanent.findings.len()), (1, 1));
    assert!(permanent.findings.iter().all(|finding| finding.problem.contains("but the message is sound")));
    assert_eq!(examined(failing(0), &two()).await.findings.len(), 2);
    assert_eq!(examined(failing(2), &two()).await.findings.len(), 2);
}

#[test]
fn what_is_lost_is_told() {
    let whole: Bytes = "A: b\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\ntext\r\n--b\r\nContent-Type: image/gif\r\n\r\nGIF\r\n--b--\r\n".into();
    let without: Bytes = "A: b\r\n\r\ntext\r\n".into();
    assert_eq!(lost(&whole, &whole, 0), None);
    assert!(lost(&whole, &without, 0).unwrap().contains("1 attachments"));
    assert_eq!(lost(&whole, &without, 1), None);
    assert_eq!(lost(&whole, &"\r\ntext\r\n".into(), 0).unwrap(), "its header is gone");
    assert_eq!(lost(&without, &"A: b\r\n\r\n".into(), 0).unwrap(), "its body is gone");
}

/// The limits of a server that was not told any, but for the time: this build is slow and the machine may be busy.
#[tokio::test(flavor = "multi_thread")]
async fn the_plugins_of_the_binary_stand_every_message() {
    let samples = corpus::samples();
    let limits = PluginLimits { time: LIMITS.time, ..super::super::running::LIMITS };
    for name in built_in::names() {
        let bench = Workbench::open(&PluginSource::BuiltIn(name.into()), limits, &Clock::system()).await.unwrap();
        let examination = examine(&bench, &Map::new(), &samples).await.unwrap();
        assert_eq!(examination.messages, samples.len());
        assert!(examination.findings.is_empty(), "{name}: {:#?}", examination.findings);
    }
}
