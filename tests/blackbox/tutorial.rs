//! docs/plugins/tutorial.md, word for word: its files are written, its commands are typed, and what it shows is what comes.

use std::path::Path;
use std::process::{Child, Command, Stdio};

use anyhow::{Context as _, Result, ensure};
use tubepost_tests::host::binary;
use tubepost_tests::plugins::target;
use tubepost_tests::wait::wait_for;

const PAGE: &str = include_str!("../../docs/plugins/tutorial.md");

/// A block of the page.
enum Block<'a> {
    /// A file to write.
    File { path: &'a str, content: &'a str },
    /// Commands, each with what it prints.
    Console(Vec<(&'a str, Vec<&'a str>)>),
}

fn blocks(page: &str) -> Vec<Block<'_>> {
    let mut blocks = Vec::new();
    for block in page.split("\n```").skip(1).step_by(2) {
        let (head, content) = block.split_once('\n').unwrap();
        if let Some((_, path)) = head.split_once(" file=") {
            blocks.push(Block::File { path, content });
        } else if head == "console" {
            let mut commands: Vec<(&str, Vec<&str>)> = Vec::new();
            for line in content.lines() {
                match (line.strip_prefix("$ "), commands.last_mut()) {
                    (Some(command), _) => commands.push((command, Vec::new())),
                    (None, Some((_, shown))) => shown.push(line),
                    (None, None) => panic!("output without a command: {line}"),
                }
            }
            blocks.push(Block::Console(commands));
        }
    }
    blocks
}

/// Whether lines that are shown come in this order; "…" stands for lines, or for the rest of one.
fn comes(said: &str, shown: &[&str]) -> bool {
    let mut lines = said.lines();
    shown.iter().filter(|line| **line != "…").all(|shown| {
        let begin = shown.split('…').next().unwrap_or_default();
        lines.any(|line| if shown.ends_with('…') { line.starts_with(begin) } else { line == *shown })
    })
}

struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Runs a command as a shell would, with the binary in the path; a server goes on until the test is over.
fn type_in(folder: &Path, command: &str, server: &mut Option<Server>) -> Result<String> {
    let serves = command.starts_with("tubepost serve");
    let script = if serves { format!("exec {command}") } else { format!("exec 2>&1; {command}") };
    let path = format!("{}:{}", binary().parent().context("the binary is in a folder")?.display(), std::env::var("PATH")?);
    let mut shell = Command::new("sh");
    shell.args(["-c", &script]).current_dir(folder).env("PATH", path).env("TUBEPOST_PLUGIN_TARGET", target()).stdin(Stdio::null());
    if !serves {
        let output = shell.output()?;
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        ensure!(output.status.success(), "{command}\n{said}");
        return Ok(said);
    }
    let log = folder.join("serve.log");
    *server = Some(Server(shell.stdout(std::fs::File::create(&log)?).stderr(Stdio::null()).spawn()?));
    wait_for("the server", || std::fs::read_to_string(&log).ok().filter(|said| said.lines().any(|line| line == "ready")))
}

#[test]
fn the_tutorial_is_true() -> Result<()> {
    let folder = tempfile::TempDir::new()?;
    let mut server = None;
    for block in blocks(PAGE) {
        match block {
            Block::File { path, content } => {
                let path = folder.path().join(path);
                std::fs::create_dir_all(path.parent().context("a file is in a folder")?)?;
                std::fs::write(&path, content)?;
            }
            Block::Console(commands) => {
                for (command, shown) in commands {
                    let said = if command.contains("message search") {
                        // The index follows the mail by a moment.
                        wait_for("the index", || type_in(folder.path(), command, &mut server).ok().filter(|said| comes(said, &shown)))?
                    } else {
                        type_in(folder.path(), command, &mut server)?
                    };
                    assert!(comes(&said, &shown), "$ {command}\n{said}\nis not\n{}", shown.join("\n"));
                }
            }
        }
    }
    // The new version is taken while the server runs.
    let log = folder.path().join("trace.log");
    wait_for("the new version", || {
        let said =
            type_in(folder.path(), "tubepost send --config tubepost.toml --dry-run clip/tests/golden/report.eml", &mut server).ok()?;
        std::fs::write(&log, &said).ok()?;
        said.contains("+Subject: The report [with file]").then_some(())
    })
}
