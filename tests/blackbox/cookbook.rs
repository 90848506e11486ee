//! The plugins of the cookbook, built for wasm32, handle their golden messages and the corpus of odd ones in the real sandbox.

use std::path::{Path, PathBuf};

use anyhow::Result;
use serde_json::Value;
use tempfile::TempDir;
use tubepost_tests::plugins;

/// The plugins and their stages; those that see no message have no golden ones.
const COOKBOOK: [(&str, &str); 11] = [
    ("allow-list", "rcpt"),
    ("attachment-policy", "submit"),
    ("dark-mode", "submit"),
    ("footer", "submit"),
    ("header-stamp", "submit"),
    ("ics-invitation", "submit"),
    ("slack-on-bounce", "event"),
    ("spam-filter", "submit"),
    ("subject-prefix", "submit"),
    ("unsubscribe-language", "recipient"),
    ("utm-tags", "submit"),
];
/// Options without which these do nothing, laid under those of each golden message.
const OPTIONS: [(&str, &str); 2] = [("footer", r#"{"text":"Example Ltd"}"#), ("subject-prefix", r#"{"prefix":"[Test]"}"#)];

fn plugin(arguments: &[&str]) -> Result<String> {
    plugins::plugin(&folder(), arguments)
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../plugins/cookbook")
}

#[test]
fn every_plugin_of_the_cookbook_runs_in_the_sandbox() -> Result<()> {
    let built = TempDir::new()?;
    for (name, stage) in COOKBOOK {
        let crate_folder = folder().join(name);
        let component = built.path().join(format!("{name}.wasm"));
        let component = component.to_string_lossy();
        plugin(&["build", &crate_folder.to_string_lossy(), "--output", &component])?;
        let checked: Value = serde_json::from_str(&plugin(&["check", &component, "--json"])?)?;
        assert_eq!(checked["plugin"]["stages"], serde_json::json!([stage]), "{name}");
        let golden = crate_folder.join("tests/golden");
        if golden.is_dir() {
            let options = OPTIONS.iter().find(|(known, _)| *known == name).map_or("{}", |(_, options)| options);
            let golden = golden.to_string_lossy();
            plugin(&["test", &component, "--golden", &golden, "--options", options, "--time", "20s"])?;
        }
    }
    Ok(())
}

#[test]
fn the_page_names_every_plugin() -> Result<()> {
    let page = std::fs::read_to_string(folder().join("../../docs/plugins/cookbook.md"))?;
    let mut found: Vec<_> = std::fs::read_dir(folder())?.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    found.sort();
    assert_eq!(found, COOKBOOK.map(|(name, _)| name));
    for name in found {
        assert!(
            page.contains(&format!("\n## {name}\n")) && page.contains(&format!("cookbook/{name}/src/lib.rs")),
            "{name} is not on the page"
        );
    }
    Ok(())
}
