//! `tubepost check` names file, line and reason of every error.

use std::path::Path;
use std::process::Command;

use anyhow::Result;
use tubepost_tests::certificate::Certificate;
use tubepost_tests::compiled;
use tubepost_tests::host::binary;
use tubepost_tests::setup::config;

/// Checks a configuration; returns the exit code and what was said.
fn check(text: &str) -> Result<(Option<i32>, String)> {
    let folder = tempfile::TempDir::new()?;
    compiled::lend(&folder.path().join("data").join("compiled"));
    check_in(folder.path(), text)
}

fn check_in(folder: &Path, text: &str) -> Result<(Option<i32>, String)> {
    Certificate::new()?.write(folder)?;
    let path = folder.join("tubepost.toml");
    std::fs::write(&path, text)?;
    let output = Command::new(binary()).args(["check", "--config"]).arg(&path).output()?;
    let said = [output.stdout, output.stderr].concat();
    Ok((output.status.code(), String::from_utf8_lossy(&said).into_owned()))
}

fn line_of(text: &str, needle: &str) -> usize {
    text.lines().position(|line| line.contains(needle)).unwrap() + 1
}

#[test]
fn a_good_configuration_passes_and_nothing_is_left_behind() -> Result<()> {
    let folder = tempfile::TempDir::new()?;
    let (code, said) = check_in(folder.path(), &config("127.0.0.1:2525".parse()?, ""))?;
    assert_eq!(code, Some(0), "{said}");
    let mut names: Vec<_> = std::fs::read_dir(folder.path())?.flatten().map(|entry| entry.file_name()).collect();
    names.sort();
    assert_eq!(names, ["cert.pem", "key.pem", "tubepost.toml"]);
    Ok(())
}

#[test]
fn every_mistake_has_its_line_and_reason() -> Result<()> {
    let good = config("127.0.0.1:2525".parse()?, "");
    let cases: &[(&str, &str, &[&str])] = &[
        ("hostname =", "hostnme =", &["hostnme", "hostname"]),
        ("certificate = \"cert.pem\"", "certificate = \"nothing.pem\"", &["nothing.pem"]),
        ("\"template\",", "\"templat\",", &["templat", "template"]),
        ("address = \"127.0.0.1:0\"\ntls = \"implicit\"", "address = \"127.0.0.1\"\ntls = \"implicit\"", &["127.0.0.1"]),
        ("clicks = true,", "clikcs = true,", &["tracking", "clikcs", "clicks"]),
        ("clicks = true,", "clicks = \"yes\",", &["tracking", "clicks"]),
        ("chain = \"marketing\"", "chain = \"marketin\"", &["marketin", "marketing"]),
        ("route = \"sandbox\"", "route = \"sandbix\"", &["sandbix", "sandbox"]),
    ];
    for (right, wrong, expected) in cases {
        assert!(good.contains(right), "{right:?}");
        let bad = good.replacen(right, wrong, 1);
        let (code, said) = check(&bad)?;
        assert_eq!(code, Some(1), "{wrong:?}: {said}");
        let first_line = wrong.lines().next().unwrap();
        let line = line_of(&bad, first_line);
        assert!(said.contains("tubepost.toml:"), "{said}");
        let named = (line.saturating_sub(1)..=line + 1).any(|line| said.contains(&format!("tubepost.toml:{line}:")));
        assert!(named, "line {line} is not named for {wrong:?}: {said}");
        for word in *expected {
            assert!(said.contains(word), "{word:?} is missing for {wrong:?}: {said}");
        }
    }
    Ok(())
}

#[test]
fn all_errors_are_told_at_once() -> Result<()> {
    let bad = config("127.0.0.1:2525".parse()?, "")
        .replace("\"template\",", "\"templat\",")
        .replace("route = \"sandbox\"", "route = \"sandbix\"");
    let (code, said) = check(&bad)?;
    assert_eq!(code, Some(1));
    assert!(said.contains("templat") && said.contains("sandbix"), "{said}");
    Ok(())
}
