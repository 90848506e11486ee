//! Root is given up once low ports are bound and keys are read: nothing of it is left in any thread, and mail flows.

use std::fs;
use std::io::Write as _;
use std::net::TcpListener;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use tempfile::TempDir;
use tubepost_tests::client::Client;
use tubepost_tests::host::Host;
use tubepost_tests::peer::Peer;
use tubepost_tests::setup::{PASSWORD, config, message};

/// A user that every system has.
const USER: &str = "nobody";

/// Says on the terminal, past what captures the output of tests, why a test shows nothing.
fn skipped(why: &str) -> Result<()> {
    Ok(writeln!(std::io::stderr(), "SKIPPED: privileges are given up: {why}")?)
}

/// The user and the group of [`USER`], where this process is root.
fn numbers() -> Option<(u32, u32)> {
    let number = |arguments: &[&str]| -> Option<u32> {
        let output = Command::new("id").args(arguments).output().ok()?;
        String::from_utf8(output.stdout).ok()?.trim().parse().ok()
    };
    if number(&["-u"])? != 0 {
        return None;
    }
    Some((number(&["-u", USER])?, number(&["-g", USER])?))
}

/// A folder that others may go through, and the configuration with its data in there, run as [`USER`].
fn settings(peer: &Peer, folder: &TempDir, smtp: &str) -> Result<String> {
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o711))?;
    let data = format!("data = \"{}\"\nuser = \"{USER}\"", folder.path().join("a/data").display());
    let text = config(peer.address(), "").replacen("data = \"data\"", &data, 1);
    Ok(text.replacen("address = \"127.0.0.1:0\"", &format!("address = \"{smtp}\""), 1))
}

fn values<'a>(status: &'a str, name: &str) -> Vec<&'a str> {
    let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    line.unwrap_or_default().split_whitespace().collect()
}

#[test]
fn root_is_given_up_in_every_thread_and_mail_flows_from_a_low_port() -> Result<()> {
    let Some((uid, gid)) = numbers() else { return skipped("the tests do not run as root") };
    let peer = Peer::start()?;
    let folder = TempDir::new()?;
    // Below 1024: ports that take a right which is given up.
    let low = (600..1024).rev().find_map(|port| TcpListener::bind(("127.0.0.1", port)).ok()?.local_addr().ok());
    let low = low.context("a free port below 1024")?;
    let mut host = Host::start(&settings(&peer, &folder, &low.to_string())?, &[])?;
    host.expected_errors.push("not reloaded");
    ensure!(host.address("smtp none") == low);
    Client::login(low, "plain", PASSWORD)?.deliver("s@example.com", &["r@example.net"], &message("low"))?;
    let mut secure = Client::connect_tls(host.address("smtp implicit"), host.certificate.client()?)?;
    secure.expect(220)?;
    peer.wait(1)?;

    let (uid_text, gid_text) = (uid.to_string(), gid.to_string());
    let process = host.process_id().context("running")?;
    let mut threads = 0;
    for thread in fs::read_dir(format!("/proc/{process}/task"))? {
        let status = fs::read_to_string(thread?.path().join("status"))?;
        ensure!(values(&status, "Uid") == [&*uid_text; 4], "{status}");
        ensure!(values(&status, "Gid") == [&*gid_text; 4], "{status}");
        ensure!(values(&status, "Groups").iter().all(|group| *group != "0"), "{status}");
        for set in ["CapInh", "CapPrm", "CapEff", "CapAmb"] {
            ensure!(values(&status, set) == ["0000000000000000"], "{set}: {status}");
        }
        ensure!(values(&status, "NoNewPrivs") == ["1"], "{status}");
        threads += 1;
    }
    ensure!(threads > 1, "the threads of the runtime are there");
    for made in ["a", "a/data", "a/data/keys"] {
        ensure!(fs::metadata(folder.path().join(made))?.uid() == uid, "{made}");
    }

    // What is root's alone is read at a start, and not again.
    for file in ["key.pem", "tubepost.toml"] {
        fs::set_permissions(host.folder().join(file), fs::Permissions::from_mode(0o600))?;
    }
    host.signal("HUP")?;
    host.wait_for_log("files are read as the user \"nobody\" now")?;
    Client::login(low, "plain", PASSWORD)?.deliver("s@example.com", &["r@example.net"], &message("after"))?;
    peer.wait(2)?;
    ensure!(host.terminate()? == Some(0));
    // And once more on what is there.
    host.launch()?;
    host.wait_for_log("key.pem can be read by root alone")?;
    Client::login(low, "plain", PASSWORD)?.deliver("s@example.com", &["r@example.net"], &message("again"))?;
    peer.wait(3).map(drop)
}

#[test]
fn a_data_folder_of_somebody_else_ends_the_start_with_what_to_do() -> Result<()> {
    if numbers().is_none() {
        return skipped("the tests do not run as root");
    }
    let peer = Peer::start()?;
    let folder = TempDir::new()?;
    fs::create_dir_all(folder.path().join("a/data/keys"))?;
    let text = settings(&peer, &folder, "127.0.0.1:0")?;
    let Err(error) = Host::start(&text, &[]) else { anyhow::bail!("it has started") };
    let said = format!("{error:#}");
    ensure!(said.contains("belongs to user 0") && said.contains("chown -R"), "{said}");
    let Err(error) = Host::start(&text.replace("\"nobody\"", "\"no such user\""), &[]) else { anyhow::bail!("it has started") };
    ensure!(format!("{error:#}").contains("the system knows no user"), "{error:#}");
    Ok(())
}
