//! Tubepost's chores, in Rust: `cargo xtask help` lists them.

mod bench;
mod clients;
mod debian;
mod examples;
mod reference;
mod run;
#[path = "../../host/src/plugin/author/toolchain.rs"]
#[allow(dead_code, unreachable_pub, reason = "shared with the program, which uses all of it")]
mod toolchain;
mod wasm_target;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};
use run::{cargo, cargo_tool_is_there};

#[derive(Parser)]
#[command(name = "cargo xtask", about = "Tubepost's chores")]
struct Arguments {
    #[command(subcommand)]
    chore: Chore,
}

#[derive(Subcommand)]
enum Chore {
    /// Builds everything and starts the demonstration on loopback.
    Demo {
        /// Stops after the mails are through.
        #[arg(long)]
        once: bool,
    },
    /// Checks format, lints and runs every test: what continuous integration runs.
    #[command(visible_alias = "ci")]
    Test,
    /// Measures accepted and delivered messages per second.
    Bench(bench::Options),
    /// Builds the first-party plugins into target/components.
    Plugins,
    /// Makes docs/plugins/reference.md of the contract in wit/.
    Reference,
    /// Builds the example plugins in four languages into target/examples.
    Examples,
    /// Mail programs and servers of others on both sides, printed as three tables.
    Interop {
        /// Only these rows: `smtplib`, `nodemailer`, `swaks`, `msmtp`, `curl`, `Postfix`, `Exim`, `OpenSMTPD`.
        rows: Vec<String>,
    },
    /// Formats all code.
    Fmt,
    /// Checks format, lints and dependencies.
    Lint,
}

fn main() -> ExitCode {
    match chore(Arguments::parse().chore) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            run::complain(&format!("{error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn chore(chore: Chore) -> Result<()> {
    match chore {
        Chore::Demo { once } => {
            wasm_target::ensure()?;
            cargo(&root(), &["build", "--workspace", "--bin", "tubepost"])?;
            let mut arguments = vec!["demo"];
            if once {
                arguments.push("--once");
            }
            run::command(&target().join("debug/tubepost"), &root(), &arguments)
        }
        Chore::Test => {
            lint()?;
            test()
        }
        Chore::Bench(options) => {
            wasm_target::ensure()?;
            cargo(&root(), &["build", "--release", "--workspace", "--bin", "tubepost"])?;
            bench::run(&target().join("release/tubepost"), &options)
        }
        Chore::Plugins => {
            wasm_target::ensure()?;
            cargo(&root(), &["build", "--workspace", "--bin", "tubepost"])?;
            let folder = target().join("components");
            std::fs::create_dir_all(&folder)?;
            run::command(&target().join("debug/tubepost"), &root(), &["plugin", "export", &folder.to_string_lossy()])
        }
        Chore::Reference => {
            std::fs::write(root().join("docs/plugins/reference.md"), reference::page(&root().join("wit/0.1.0"))?)?;
            Ok(())
        }
        Chore::Examples => {
            wasm_target::ensure()?;
            cargo(&root(), &["build", "--workspace", "--bins"])?;
            run::say(&format!("the components are in {}", examples()?.display()));
            Ok(())
        }
        Chore::Interop { rows } => interop(&rows),
        Chore::Fmt => {
            cargo(&root(), &["fmt", "--all"])?;
            cargo(&root().join("plugins"), &["fmt", "--all"])?;
            // Not --all: that would go on into the host and the plugin that the targets use.
            cargo(&root().join("fuzz"), &["fmt"])
        }
        Chore::Lint => lint(),
    }
}

fn lint() -> Result<()> {
    wasm_target::ensure()?;
    cargo(&root(), &["fmt", "--all", "--check"])?;
    cargo(&root().join("plugins"), &["fmt", "--all", "--check"])?;
    cargo(&root().join("fuzz"), &["fmt", "--check"])?;
    cargo(&root(), &["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"])?;
    cargo(&root().join("plugins"), &["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"])?;
    sdk(&["clippy", "--all-targets", "--", "-D", "warnings"])?;
    cargo(&root().join("fuzz"), &["clippy", "--target-dir", &target().to_string_lossy(), "--all-targets", "--", "-D", "warnings"])?;
    if cargo_tool_is_there("deny") {
        cargo(&root(), &["deny", "--all-features", "check", "licenses", "bans", "sources"])?;
    } else {
        run::say("cargo-deny is not installed: licences and duplicates are not checked (cargo install cargo-deny)");
    }
    Ok(())
}

fn test() -> Result<()> {
    wasm_target::ensure()?;
    // The black-box tests start the binary: it must be there, and new. With the tests' own features, or all dependencies would be built twice.
    cargo(&root(), &["build", "--workspace", "--bins", "--tests"])?;
    let clients = clients::ensure(&root().join("tests/clients/package.json"), &target().join("clients"))?;
    let examples = examples()?.to_string_lossy().into_owned();
    let dkimpy = clients::dkimpy(&root().join("tests/clients/requirements.txt"), &target().join("dkimpy"))?;
    let known = [
        ("TUBEPOST_CLIENTS", clients.names.as_str()),
        ("NODE_PATH", &clients.node_path),
        ("TUBEPOST_EXAMPLES", &examples),
        ("TUBEPOST_PEBBLE", clients::pebble()?),
        ("TUBEPOST_DKIMPY", &dkimpy),
    ];
    run::cargo_with(&root(), &["test", "--workspace"], &known)?;
    cargo(&root().join("plugins"), &["test", "--workspace"])?;
    sdk(&["test"])?;
    // The inputs that fuzzing has found, and mutations of them; in our folder, where the dependencies are built already.
    cargo(&root().join("fuzz"), &["test", "--target-dir", &target().to_string_lossy(), "--lib"])
}

/// Runs a cargo command on the SDK with all its features, in a folder of its own: what it needs with them is needed by no other crate here, and
/// would change what those are built with.
fn sdk(arguments: &[&str]) -> Result<()> {
    let (command, rest) = arguments.split_first().unwrap_or((&"check", &[]));
    let folder = target().join("sdk");
    let all = ["--package", "tubepost-plugin-sdk", "--all-features", "--target-dir", &folder.to_string_lossy()].map(str::to_owned);
    let words: Vec<&str> = std::iter::once(*command).chain(all.iter().map(String::as_str)).chain(rest.iter().copied()).collect();
    cargo(&root(), &words)
}

/// Runs the matrix of interoperability. Each server of others is installed into a system of its own below the target folder, not into this one.
fn interop(rows: &[String]) -> Result<()> {
    wasm_target::ensure()?;
    cargo(&root(), &["build", "--workspace", "--bins", "--tests"])?;
    let clients = clients::ensure(&root().join("tests/clients/package.json"), &target().join("clients"))?;
    let store = target().join("interop").to_string_lossy().into_owned();
    let known = [("TUBEPOST_INTEROP", store.as_str()), ("TUBEPOST_CLIENTS", &clients.names), ("NODE_PATH", &clients.node_path)];
    let mut arguments = vec!["test", "--workspace", "--test", "interop", "--"];
    arguments.extend(rows.iter().map(String::as_str));
    run::cargo_with(&root(), &arguments, &known)
}

/// Builds the example plugins; the program must be there.
fn examples() -> Result<PathBuf> {
    examples::Workshop { root: &root(), target: &target(), tubepost: &target().join("debug/tubepost") }.examples()
}

/// The repository's folder.
fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().map(Path::to_path_buf).unwrap_or_default()
}

/// The folder that cargo builds into.
fn target() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), |folder| root().join(folder))
}
