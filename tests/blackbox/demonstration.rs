//! `tubepost demo` ends in good order as soon as it has said how.

use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, ensure};
use tubepost_tests::host::binary;
use tubepost_tests::wait::wait_for;

#[test]
fn ctrl_c_ends_it_and_nothing_stays_behind() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let mut child = Command::new(binary())
        .arg("demo")
        .env("TMPDIR", folder.path())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .context("the binary cannot be started")?;
    let mut lines = BufReader::new(child.stdout.take().context("standard output is piped")?).lines();
    ensure!(lines.by_ref().map_while(Result::ok).any(|line| line.contains("Ctrl-C ends it")), "it ended by itself");
    ensure!(Command::new("kill").arg("-INT").arg(child.id().to_string()).status()?.success());
    let status = wait_for("the end after Ctrl-C", || child.try_wait().ok().flatten())?;
    assert_eq!(status.code(), Some(0));
    assert_eq!(std::fs::read_dir(folder.path())?.count(), 0);
    Ok(())
}
