//! Finds a Rust that compiles for wasm32, and runs it.
//!
//! Shared with `build.rs`, which builds the plugins of the repository: only the standard library is used here.

use std::env;
use std::fmt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// What plugins are compiled for.
pub const TARGET: &str = "wasm32-unknown-unknown";

/// Names another cargo for plugins, and [`RUSTC`] its rustc.
pub const CARGO: &str = "TUBEPOST_PLUGIN_CARGO";
/// Names another rustc for plugins, and [`CARGO`] its cargo.
pub const RUSTC: &str = "TUBEPOST_PLUGIN_RUSTC";

/// Names a folder for what is compiled, in the place of the crate's own `target`: crates that share one compile what they have in common once.
pub const TARGET_FOLDER: &str = "TUBEPOST_PLUGIN_TARGET";

/// Returns where a crate in `folder` is compiled to.
pub fn target_folder(folder: &Path) -> PathBuf {
    env::var_os(TARGET_FOLDER).map_or_else(|| folder.join("target"), PathBuf::from)
}

/// A compiler for plugins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Toolchain {
    cargo: PathBuf,
    rustc: PathBuf,
    /// There is no compiled standard library for the target, but its source.
    build_std: bool,
    /// Where the toolchain brings none of its own.
    linker: Option<PathBuf>,
}

/// No Rust on this machine compiles for wasm32.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Missing;

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "no Rust compiler here can build for {TARGET}. Install the target with `rustup target add {TARGET}`; where rustup cannot fetch \
             it, Debian's own Rust will do: `apt-get install rustc-web cargo-web rust-web-src`. {CARGO} and {RUSTC} name others."
        )
    }
}

impl std::error::Error for Missing {}

impl Toolchain {
    /// Looks for a toolchain: the one that is named, the current one, the system's.
    ///
    /// # Errors
    /// None of them has the target. What to install stands in the error.
    pub fn find() -> Result<Self, Missing> {
        let named = env::var_os(CARGO).zip(env::var_os(RUSTC)).map(|(cargo, rustc)| (cargo.into(), rustc.into()));
        let current =
            (env::var_os("CARGO").unwrap_or_else(|| "cargo".into()).into(), env::var_os("RUSTC").unwrap_or_else(|| "rustc".into()).into());
        let system = (PathBuf::from("/usr/bin/cargo"), PathBuf::from("/usr/bin/rustc"));
        let candidates: Vec<(PathBuf, PathBuf)> = named.into_iter().chain([current, system]).collect();
        candidates.iter().find_map(|(cargo, rustc)| Self::probe(cargo, rustc)).ok_or(Missing)
    }

    fn probe(cargo: &Path, rustc: &Path) -> Option<Self> {
        let libraries = print(rustc, &["--print", "target-libdir", "--target", TARGET])?;
        let compiled = std::fs::read_dir(libraries)
            .is_ok_and(|entries| entries.flatten().any(|entry| entry.file_name().to_string_lossy().starts_with("libstd-")));
        let sysroot = PathBuf::from(print(rustc, &["--print", "sysroot"])?);
        let source = sysroot.join("lib/rustlib/src/rust/library/Cargo.lock").is_file();
        if !compiled && !source {
            return None;
        }
        print(cargo, &["--version"])?;
        Some(Self { cargo: cargo.into(), rustc: rustc.into(), build_std: !compiled, linker: linker(rustc, &sysroot) })
    }

    /// Returns a `cargo build` of the crate or workspace in `folder`, to which the caller may add arguments.
    ///
    /// The environment is cleaned of what an outer cargo leaves in it: its wrappers and flags are meant for another target. `target_folder` must
    /// not be that of an outer cargo, which holds its lock while it waits for us.
    pub fn build(&self, folder: &Path, target_folder: &Path) -> Command {
        let mut command = Command::new(&self.cargo);
        for (name, _) in env::vars_os() {
            if name.to_str().is_some_and(is_foreign) {
                command.env_remove(name);
            }
        }
        command
            .current_dir(folder)
            .env("RUSTC", &self.rustc)
            .arg("build")
            .arg("--release")
            .args(["--target", TARGET])
            .arg("--target-dir")
            .arg(target_folder)
            .stdin(Stdio::null());
        if let Some(linker) = &self.linker {
            command.env("CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_LINKER", linker);
        }
        if self.build_std {
            // A released compiler builds its own standard library only if it is told that we know what we do.
            command.env("RUSTC_BOOTSTRAP", "1").arg("-Zbuild-std=std,panic_abort");
        }
        command
    }

    /// Returns where [`Toolchain::build`] puts the core module of a crate.
    pub fn artifact(target_folder: &Path, library: &str) -> PathBuf {
        target_folder.join(TARGET).join("release").join(format!("{}.wasm", library.replace('-', "_")))
    }
}

/// Returns `rust-lld` of another toolchain, where that of `rustc` does not bring its own.
fn linker(rustc: &Path, sysroot: &Path) -> Option<PathBuf> {
    let inside = |sysroot: &Path, host: &str| {
        let lld = sysroot.join("lib/rustlib").join(host).join("bin/rust-lld");
        lld.is_file().then_some(lld)
    };
    let host = host(rustc)?;
    if inside(sysroot, &host).is_some() {
        return None;
    }
    let other = Path::new("rustc");
    let others = print(other, &["--print", "sysroot"])?;
    inside(Path::new(&others), &self::host(other)?)
}

fn host(rustc: &Path) -> Option<String> {
    let version = print(rustc, &["-vV"])?;
    version.lines().find_map(|line| line.strip_prefix("host: ")).map(str::to_owned)
}

fn print(program: &Path, arguments: &[&str]) -> Option<String> {
    let output = Command::new(program).args(arguments).stdin(Stdio::null()).stderr(Stdio::null()).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| text.trim().to_owned())
}

/// Whether a variable is an outer cargo's business and not ours. Where registries are, and how to reach them, stays.
fn is_foreign(name: &str) -> bool {
    const KEPT: [&str; 3] = ["CARGO_HOME", "CARGO_MAKEFLAGS", "RUSTUP_HOME"];
    const KEPT_PREFIXES: [&str; 4] = ["CARGO_NET_", "CARGO_HTTP_", "CARGO_REGISTRIES_", "CARGO_TERM_"];
    const FOREIGN: [&str; 9] =
        ["RUSTUP_TOOLCHAIN", "TARGET", "HOST", "PROFILE", "OUT_DIR", "OPT_LEVEL", "DEBUG", "NUM_JOBS", "LD_LIBRARY_PATH"];
    if KEPT.contains(&name) || KEPT_PREFIXES.iter().any(|prefix| name.starts_with(prefix)) {
        return false;
    }
    FOREIGN.contains(&name) || ["CARGO", "RUSTC", "RUSTDOC", "RUSTFLAGS"].iter().any(|prefix| name.starts_with(prefix))
}
