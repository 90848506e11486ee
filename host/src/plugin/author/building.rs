//! `plugin build`: cargo for wasm32, then a component.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};

use serde::Deserialize;
use wasi_preview1_component_adapter_provider::{WASI_SNAPSHOT_PREVIEW1_ADAPTER_NAME, WASI_SNAPSHOT_PREVIEW1_REACTOR_ADAPTER};

use super::toolchain::{self, Missing, Toolchain};

/// What a component begins with: the magic number, version 13, layer 1.
const MODULE: &[u8] = b"\0asm\x01\0\0\0";

/// What a component keeps of its source.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Symbols {
    /// What its own profile says: mostly nothing. For a server.
    #[default]
    AsConfigured,
    /// Names of functions, and which instruction is of which line, so that a trap names the author's own. For trying it out.
    Lines,
}

/// A component, written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Built {
    /// Where it is.
    pub path: PathBuf,
    /// Octets in it.
    pub size: u64,
}

/// Why there is no component.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// Nothing here compiles for wasm32.
    #[error(transparent)]
    Toolchain(#[from] Missing),
    /// The folder holds no crate.
    #[error("{} holds no crate: there is no Cargo.toml in it", .0.display())]
    NoCrate(PathBuf),
    /// Cargo does not understand the crate.
    #[error("cargo cannot read the crate: {0}")]
    Metadata(String),
    /// The crate makes no module.
    #[error("the crate {0} makes no WebAssembly module: `crate-type = [\"cdylib\", \"rlib\"]` is missing below [lib] in its Cargo.toml")]
    NoLibrary(String),
    /// Cargo says what is wrong on standard error.
    #[error("the crate does not build ({0})")]
    Failed(ExitStatus),
    /// The module is no plugin.
    #[error("the module does not become a component: {0}")]
    Component(String),
    /// A file cannot be read or written, or a program not be started.
    #[error("{}: {error}", path.display())]
    Io {
        /// Which.
        path: PathBuf,
        /// Why.
        error: std::io::Error,
    },
}

/// Builds the crate in `folder` and writes the component to `output`, or to `NAME.wasm` in the current folder. Cargo's own words go to
/// standard error.
///
/// # Errors
/// See [`BuildError`]; a component that was there before is left as it was.
pub fn build(folder: &Path, output: Option<&Path>, symbols: Symbols) -> Result<Built, BuildError> {
    let library = Library::of(&absolute(folder)?)?;
    let path = output.map_or_else(|| PathBuf::from(format!("{}.wasm", library.plugin)), Path::to_owned);
    compile(folder, &library, path, symbols)
}

/// Returns the component that `path` names: a file, or the crate in a folder, which is built for it, below its target folder.
///
/// # Errors
/// See [`BuildError`].
pub fn component(path: &Path, symbols: Symbols) -> Result<PathBuf, BuildError> {
    if !path.is_dir() {
        return Ok(path.to_owned());
    }
    let folder = absolute(path)?;
    let library = Library::of(&folder)?;
    let below = toolchain::target_folder(&folder).join("tried");
    fs::create_dir_all(&below).map_err(|error| BuildError::Io { path: below.clone(), error })?;
    let output = below.join(format!("{}.wasm", library.plugin));
    Ok(compile(&folder, &library, output, symbols)?.path)
}

fn absolute(folder: &Path) -> Result<PathBuf, BuildError> {
    folder.canonicalize().map_err(|error| BuildError::Io { path: folder.to_owned(), error })
}

fn compile(folder: &Path, library: &Library, path: PathBuf, symbols: Symbols) -> Result<Built, BuildError> {
    let toolchain = Toolchain::find()?;
    let folder = absolute(folder)?;
    let target = toolchain::target_folder(&folder);
    let mut command = toolchain.build(&folder, &target);
    if symbols == Symbols::Lines {
        command.env("CARGO_PROFILE_RELEASE_DEBUG", "line-tables-only").env("CARGO_PROFILE_RELEASE_STRIP", "none");
    }
    let status = command.arg("--lib").stdout(Stdio::null()).status();
    let status = status.map_err(|error| BuildError::Io { path: command.get_program().into(), error })?;
    if !status.success() {
        return Err(BuildError::Failed(status));
    }
    let module = Toolchain::artifact(&target, &library.target);
    let octets = fs::read(&module).map_err(|error| BuildError::Io { path: module, error })?;
    written(path, &componentize(octets)?)
}

/// Makes a component of a module that another compiler made, and writes it to `output`. There must be the types of the contract in it, as the
/// bindings of wit-bindgen put them there.
///
/// # Errors
/// See [`BuildError`]; what was there before is left as it was.
pub fn convert(module: &Path, output: &Path) -> Result<Built, BuildError> {
    let octets = fs::read(module).map_err(|error| BuildError::Io { path: module.to_owned(), error })?;
    written(output.to_owned(), &componentize(octets)?)
}

fn written(path: PathBuf, component: &[u8]) -> Result<Built, BuildError> {
    write(&path, component).map_err(|error| BuildError::Io { path: path.clone(), error })?;
    Ok(Built { path, size: u64::try_from(component.len()).unwrap_or(u64::MAX) })
}

/// Makes a component of a module that carries its interface; what is one already stays as it is. What a module imports of the old WASI
/// (`wasi_snapshot_preview1`) becomes WASI 0.2.
pub fn componentize(octets: Vec<u8>) -> Result<Vec<u8>, BuildError> {
    if !octets.starts_with(MODULE) {
        return Ok(octets);
    }
    let encoder = wit_component::ComponentEncoder::default().validate(true).module(&octets);
    let old_wasi = memchr::memmem::find(&octets, WASI_SNAPSHOT_PREVIEW1_ADAPTER_NAME.as_bytes()).is_some();
    let encoder = encoder.and_then(|encoder| {
        if old_wasi { encoder.adapter(WASI_SNAPSHOT_PREVIEW1_ADAPTER_NAME, WASI_SNAPSHOT_PREVIEW1_REACTOR_ADAPTER) } else { Ok(encoder) }
    });
    encoder.and_then(|mut encoder| encoder.encode()).map_err(|error| BuildError::Component(format!("{error:#}")))
}

/// A plugin that is being used is replaced whole or not at all.
fn write(path: &Path, component: &[u8]) -> std::io::Result<()> {
    let temporary = path.with_extension("wasm.tmp");
    fs::write(&temporary, component)?;
    fs::rename(&temporary, path)
}

/// What of a crate becomes the plugin.
#[derive(Debug, PartialEq, Eq)]
struct Library {
    /// Name of the library, which cargo names the module after.
    target: String,
    /// Name of the plugin: that of the package, without the prefix that ours have.
    plugin: String,
}

#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
}

#[derive(Deserialize)]
struct Package {
    name: String,
    manifest_path: PathBuf,
    targets: Vec<Target>,
}

#[derive(Deserialize)]
struct Target {
    name: String,
    crate_types: Vec<String>,
}

impl Library {
    fn of(folder: &Path) -> Result<Self, BuildError> {
        let manifest = folder.join("Cargo.toml");
        if !manifest.is_file() {
            return Err(BuildError::NoCrate(folder.to_owned()));
        }
        let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        command.args(["metadata", "--no-deps", "--format-version", "1"]).current_dir(folder).stdin(Stdio::null());
        let output = command.output().map_err(|error| BuildError::Io { path: command.get_program().into(), error })?;
        if !output.status.success() {
            return Err(BuildError::Metadata(String::from_utf8_lossy(&output.stderr).trim().to_owned()));
        }
        Self::from_metadata(&output.stdout, &manifest)
    }

    fn from_metadata(json: &[u8], manifest: &Path) -> Result<Self, BuildError> {
        let metadata: Metadata = serde_json::from_slice(json).map_err(|error| BuildError::Metadata(error.to_string()))?;
        let package = metadata.packages.into_iter().find(|package| package.manifest_path == manifest);
        let package = package.ok_or_else(|| BuildError::Metadata("the folder is a workspace: name one of its crates".to_owned()))?;
        let is_module = |target: &Target| target.crate_types.iter().any(|kind| kind == "cdylib");
        let Some(target) = package.targets.into_iter().find(is_module) else { return Err(BuildError::NoLibrary(package.name)) };
        let plugin = package.name.strip_prefix("tubepost-plugin-").unwrap_or(&package.name).to_owned();
        Ok(Self { target: target.name, plugin })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]
    use super::*;

    #[test]
    fn the_library_is_found() {
        let json = |kinds: &str| {
            format!(
                r#"{{"packages":[{{"name":"tubepost-plugin-greet","manifest_path":"/x/Cargo.toml","targets":[{{"name":"greet_me","crate_types":[{kinds}]}}]}}]}}"#
            )
        };
        let library = Library::from_metadata(json(r#""cdylib","rlib""#).as_bytes(), Path::new("/x/Cargo.toml")).unwrap();
        assert_eq!(library, Library { target: "greet_me".to_owned(), plugin: "greet".to_owned() });
        let error = Library::from_metadata(json(r#""lib""#).as_bytes(), Path::new("/x/Cargo.toml")).unwrap_err();
        assert!(error.to_string().contains("crate-type"));
        assert!(Library::from_metadata(json("").as_bytes(), Path::new("/y/Cargo.toml")).is_err());
    }

    #[test]
    fn what_is_no_module_of_a_plugin_is_refused() {
        let module = wat::parse_str("(module (import \"env\" \"f\" (func)))").unwrap();
        assert!(matches!(componentize(module), Err(BuildError::Component(_))));
        let component = crate::plugin::test_guest::Guest::new("x").component();
        assert_eq!(componentize(component.clone()).unwrap(), component);
    }
}
