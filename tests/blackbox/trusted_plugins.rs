//! Plugins that are pinned by their digest, or must be signed.

use std::process::Command;

use anyhow::Result;
use tubepost_tests::certificate::Certificate;
use tubepost_tests::host::{Host, binary};
use tubepost_tests::plugins::plugin;
use tubepost_tests::setup::config;
use tubepost_tests::versioned;
use tubepost_tests::wait::wait_for;

#[test]
fn a_pinned_plugin_is_no_other_one() -> Result<()> {
    let (one, other) = (versioned::version(1)?, versioned::version(2)?);
    let pin = versioned::digest(&one);
    let more = format!("[plugins.mine]\nsource = \"mine.wasm\"\nsha256 = \"{pin}\"\n[plugin_runtime]\nwatch_interval = \"20ms\"\n");
    let mut host = Host::start(&config("127.0.0.1:9".parse()?, &more), &[("mine.wasm", &one)])?;
    host.expected_errors.push("not reloaded");
    assert!(host.say(&["check"])?.contains("is good"));
    std::fs::write(host.folder().join("mine.wasm"), &other)?;
    // It may have been seen half written before.
    host.wait_for_log(&versioned::digest(&other))?;
    let output = host.command(&["check"])?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(output.status.code(), Some(1));
    for text in [host.log(), said] {
        assert!(text.contains(&pin) && text.contains(&versioned::digest(&other)), "both digests: {text}");
    }
    // What was wrong with it is over when the right one is back.
    std::fs::write(host.folder().join("mine.wasm"), &one)?;
    wait_for("the right one", || host.log().contains("plugin reloaded").then_some(()))
}

#[test]
fn a_plugin_must_be_signed_by_somebody_we_trust() -> Result<()> {
    let folder = tempfile::TempDir::new()?;
    std::fs::write(folder.path().join("mine.wasm"), versioned::version(1)?)?;
    std::fs::write(folder.path().join("other.wasm"), versioned::version(2)?)?;
    let printed = plugin(folder.path(), &["keygen", "ann.key", "--name", "ann"])?;
    let key = printed.lines().find(|line| line.starts_with("keys = ")).unwrap_or_default().to_owned();
    plugin(folder.path(), &["keygen", "stranger.key"])?;
    let again = Command::new(binary()).args(["plugin", "keygen", "ann.key"]).current_dir(folder.path()).output()?;
    assert!(!again.status.success(), "a key is never written over");

    let more = format!("[plugin_trust]\n{key}\nrequire_signed = true\n[plugins.mine]\nsource = \"mine.wasm\"\n");
    let text = config("127.0.0.1:9".parse()?, &more).replace("[chains]\n", "[chains]\nmine = [ \"mine\" ]\n");
    Certificate::new()?.write(folder.path())?;
    std::fs::write(folder.path().join("tubepost.toml"), text)?;
    let check = || -> Result<(bool, String)> {
        let output = Command::new(binary()).args(["check"]).current_dir(folder.path()).output()?;
        Ok((output.status.success(), String::from_utf8_lossy(&output.stdout).into_owned()))
    };
    let (good, said) = check()?;
    assert!(!good && said.contains("plugin \"mine\": it is not signed"), "{said}");
    plugin(folder.path(), &["sign", "mine.wasm", "--key", "stranger.key"])?;
    let (good, said) = check()?;
    assert!(!good && said.contains("signed by a key that is not among the keys"), "{said}");
    plugin(folder.path(), &["sign", "mine.wasm", "--key", "ann.key"])?;
    let (good, said) = check()?;
    assert!(good && said.contains("signed by ann"), "{said}");
    std::fs::copy(folder.path().join("other.wasm"), folder.path().join("mine.wasm"))?;
    let (good, said) = check()?;
    assert!(!good && said.contains("the signature of ann is not for this component"), "{said}");
    Ok(())
}
