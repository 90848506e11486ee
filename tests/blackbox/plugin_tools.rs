//! The tools for plugin authors, as they are typed.

use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use tempfile::TempDir;
use tubepost_tests::certificate::Certificate;
use tubepost_tests::plugins::{output, plugin, said, target};
use tubepost_tests::setup::config;

/// Runs a command that must fail, and say why.
fn refused(folder: &Path, arguments: &[&str]) -> Result<String> {
    let output = output(folder, arguments)?;
    ensure!(output.status.code() == Some(1), "tubepost plugin {arguments:?}: {:?} {}", output.status, said(&output));
    Ok(said(&output))
}

/// How long a call may take on a machine that does other things too, in a build that is not optimised.
const PATIENT: [&str; 2] = ["--time", "20s"];

#[test]
fn every_template_is_built_passes_its_tests_and_says_what_it_is() -> Result<()> {
    let folder = TempDir::new()?;
    let stages =
        [("header", "submit"), ("html", "submit"), ("policy", "submit"), ("per-recipient", "recipient"), ("webhook-on-event", "event")];
    for (template, stage) in stages {
        let name = format!("a-{template}");
        plugin(folder.path(), &["new", &name, "--template", template])?;
        let tested = plugin(folder.path(), &[&["test", name.as_str(), "--json"], &PATIENT[..]].concat())?;
        let tested: Value = serde_json::from_str(&tested)?;
        assert_eq!(tested["ok"], true, "{template}: {tested}");
        let played = tested["golden"].as_array().map_or(0, Vec::len);
        assert_eq!(played > 0, stage != "event", "{template}: {tested}");
        assert!(tested["corpus"]["messages"].as_u64() >= Some(300), "{template}: {tested}");
        let built = target().join("tried").join(format!("{name}.wasm"));
        let checked: Value = serde_json::from_str(&plugin(folder.path(), &["check", &built.display().to_string(), "--json"])?)?;
        assert_eq!(checked["plugin"]["name"], name.as_str());
        assert_eq!(checked["plugin"]["stages"], serde_json::json!([stage]), "{template}");
        assert!(checked["plugin"]["options"].as_array().is_some_and(|options| !options.is_empty()), "{template}");
    }
    Ok(())
}

/// The unit tests of all templates, in one crate's target folder, on the machine itself.
#[test]
fn the_unit_tests_of_every_template_pass() -> Result<()> {
    let folder = TempDir::new()?;
    for template in ["header", "html", "policy", "per-recipient", "webhook-on-event"] {
        let name = format!("b-{template}");
        plugin(folder.path(), &["new", &name, "--template", template])?;
        let output = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
            .args(["test", "--quiet", "--lib", "--target-dir"])
            .arg(target().join("native"))
            .current_dir(folder.path().join(&name))
            .output()?;
        ensure!(output.status.success(), "{template}: {}", said(&output));
    }
    Ok(())
}

#[test]
fn a_trap_names_the_line_and_its_messages_can_be_saved() -> Result<()> {
    let folder = TempDir::new()?;
    plugin(folder.path(), &["new", "fragile"])?;
    let source = folder.path().join("fragile/src/lib.rs");
    let text = std::fs::read_to_string(&source)?;
    // The crate's own tests are for another target, which has no such instruction.
    let (text, _) = text.split_once("#[cfg(test)]").context("the tests stand last")?;
    let call = "        if message.header(\"Subject\").is_none() {\n            trap();\n        }\n        message.set_header(";
    let text =
        text.replace("        message.set_header(", call) + "#[inline(never)]\nfn trap() {\n    core::arch::wasm32::unreachable()\n}\n";
    std::fs::write(&source, &text)?;
    let line = 1 + text.lines().position(|line| line.contains("unreachable()")).context("the line is there")?;
    let tested = refused(folder.path(), &[&["test", "fragile", "--save", "wrong"], &PATIENT[..]].concat())?;
    assert!(tested.contains("submit: trapped"), "{tested}");
    assert!(tested.contains(&format!("src/lib.rs:{line} ")), "line {line}: {tested}");
    assert!(tested.contains("  on header/no-subject\n"), "{tested}");
    let run = refused(folder.path(), &["run", "fragile", "--exact", "--message", "wrong/header-no-subject.eml"])?;
    assert!(run.contains(&format!("src/lib.rs:{line} ")), "line {line}: {run}");
    assert!(!folder.path().join("wrong/mime-newsletter.eml").exists(), "it stood that one");
    Ok(())
}

#[test]
fn a_golden_difference_is_shown_and_taken_over() -> Result<()> {
    let folder = TempDir::new()?;
    plugin(folder.path(), &["new", "golden-greet"])?;
    let test = ["test", "golden-greet", "--skip-corpus"];
    plugin(folder.path(), &test)?;
    let source = folder.path().join("golden-greet/src/lib.rs");
    std::fs::write(&source, std::fs::read_to_string(&source)?.replace("hello", "good day"))?;
    let differs = refused(folder.path(), &test)?;
    assert!(differs.contains("-X-Greeting: hello") && differs.contains("+X-Greeting: good day"), "{differs}");
    plugin(folder.path(), &["test", "golden-greet", "--skip-corpus", "--update"])?;
    plugin(folder.path(), &test)?;
    Ok(())
}

#[test]
fn a_run_shows_every_recipient_and_what_it_costs() -> Result<()> {
    let folder = TempDir::new()?;
    plugin(folder.path(), &["new", "orders", "--template", "per-recipient"])?;
    plugin(folder.path(), &["build", "orders", "--debug"])?;
    std::fs::write(folder.path().join("data.json"), r#"{"ann@example.net": {"orders": [{"name": "Tea", "count": 2}]}}"#)?;
    let run = [
        "run",
        "orders.wasm",
        "--message",
        "orders/tests/golden/orders.eml",
        "--to",
        "ann@example.net",
        "--to",
        "bob@example.org",
        "--recipient-data",
        "data.json",
    ];
    let shown = plugin(folder.path(), &run)?;
    for part in
        ["recipient: wanted", " fuel)", "for ann@example.net", "+- 2 times Tea", "for bob@example.org", "+<p>On their way:</p><ul></ul>"]
    {
        assert!(shown.contains(part), "{part}:\n{shown}");
    }
    let json =
        |arguments: &[&str]| -> Result<Value> { Ok(serde_json::from_str(&plugin(folder.path(), &[arguments, &["--json"]].concat())?)?) };
    let (first, second) = (json(&run)?, json(&run)?);
    let fuel = &first["copies"][0]["calls"][0]["fuel"];
    assert!(fuel.as_u64() > Some(0) && *fuel == second["copies"][0]["calls"][0]["fuel"], "{first}");
    std::fs::write(folder.path().join("data.json"), r#"{"eve@example.net": {}}"#)?;
    let stranger = refused(folder.path(), &run)?;
    assert!(stranger.contains("add --to eve@example.net"), "{stranger}");
    Ok(())
}

#[test]
fn a_configuration_is_checked_for_grants_and_options() -> Result<()> {
    let folder = TempDir::new()?;
    plugin(folder.path(), &["new", "checked-greet"])?;
    plugin(folder.path(), &["build", "checked-greet", "--output", "greet.wasm", "--debug"])?;
    Certificate::new()?.write(folder.path())?;
    let write = |step: &str| {
        let more = "[plugins.greet]\nsource = \"greet.wasm\"\n";
        let text = config("127.0.0.1:1".parse()?, more).replace("[chains]\n", &format!("[chains]\nexample = [ {step} ]\n"));
        Ok::<_, anyhow::Error>(std::fs::write(folder.path().join("tubepost.toml"), text)?)
    };
    write("{ use = \"greet\", greeting = \"good day\" }")?;
    let checked = plugin(folder.path(), &["check", "greet.wasm", "--config", "tubepost.toml"])?;
    for part in ["stages    submit", "tubepost:mail/message@0.1.0", "greeting", "its options are valid"] {
        assert!(checked.contains(part), "{part}:\n{checked}");
    }
    write("{ use = \"greet\", greeting = 3 }")?;
    let wrong = refused(folder.path(), &["check", "greet.wasm", "--config", "tubepost.toml", "--name", "greet"])?;
    assert!(wrong.contains("greeting: must be a text"), "{wrong}");
    std::fs::write(folder.path().join("no.wasm"), "no")?;
    assert!(refused(folder.path(), &["check", "no.wasm"])?.contains("cannot be loaded"));
    Ok(())
}

#[test]
fn what_a_plugin_costs_is_measured_beside_one_that_does_nothing() -> Result<()> {
    let folder = TempDir::new()?;
    plugin(folder.path(), &["export", "."])?;
    let measured = plugin(folder.path(), &["bench", "tags.wasm", "--seconds", "1", "--json"])?;
    let measured: Value = serde_json::from_str(&measured)?;
    assert_eq!(measured["name"], "tags");
    for number in
        [&measured["plugin"]["message"], &measured["no_op"]["message"], &measured["five_header_only"], &measured["sizes"][2]["plugin"]]
    {
        assert!(number.as_f64() > Some(0.0), "{measured}");
    }
    let shown = plugin(folder.path(), &["bench", "tags.wasm", "--seconds", "1"])?;
    assert!(shown.contains("a no-op") && shown.contains("20 MiB"), "{shown}");
    Ok(())
}

#[test]
fn the_corpus_can_be_looked_at() -> Result<()> {
    let folder = TempDir::new()?;
    plugin(folder.path(), &["corpus", "messages"])?;
    let files = std::fs::read_dir(folder.path().join("messages"))?.count();
    assert!(files >= 300, "{files}");
    Ok(())
}
