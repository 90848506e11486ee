//! Builds the plugins of the repository and embeds them as components, with the SDK that `tubepost plugin new` hands out.
//!
//! `plugins/` is a workspace of its own, for another target; it is built by a cargo inside of this one, in a target folder of its own, so that a
//! change in one plugin costs seconds. `TUBEPOST_PREBUILT_PLUGINS=folder` takes finished files instead, `TUBEPOST_SKIP_PLUGINS=1` embeds none,
//! for jobs that only look at the source.

#[path = "src/plugin/author/toolchain.rs"]
#[allow(dead_code, unreachable_pub, reason = "shared with the program, which uses all of it")]
mod toolchain;

use std::error::Error;
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::{env, fs};

use toolchain::Toolchain;

/// Plugins that come with the binary.
const PLUGINS: [&str; 5] = ["inline-css", "list-unsubscribe", "tags", "template", "tracking"];

const PREBUILT: &str = "TUBEPOST_PREBUILT_PLUGINS";
const SKIP: &str = "TUBEPOST_SKIP_PLUGINS";

type Result<T> = std::result::Result<T, Box<dyn Error>>;

fn main() -> Result<()> {
    let root = PathBuf::from(env::var("CARGO_MANIFEST_DIR")?).join("..").canonicalize()?;
    let out = PathBuf::from(env::var("OUT_DIR")?);
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=src/plugin/author/toolchain.rs");
    for name in [PREBUILT, SKIP, toolchain::CARGO, toolchain::RUSTC] {
        println!("cargo::rerun-if-env-changed={name}");
    }
    let modules = if env::var_os(SKIP).is_some_and(|value| value != "0" && !value.is_empty()) {
        Vec::new()
    } else if let Some(folder) = env::var_os(PREBUILT) {
        prebuilt(Path::new(&folder))?
    } else {
        build(&root, &out)?
    };
    embed_components(&modules, &out)?;
    embed_sdk(&root, &out)
}

/// Takes finished files, modules or components.
fn prebuilt(folder: &Path) -> Result<Vec<(&'static str, PathBuf)>> {
    let files = PLUGINS.map(|name| (name, folder.join(format!("{name}.wasm"))));
    for (name, file) in &files {
        println!("cargo::rerun-if-changed={}", file.display());
        if !file.is_file() {
            return Err(format!("{PREBUILT} is set, but there is no {} for the plugin {name}", file.display()).into());
        }
    }
    Ok(files.into())
}

/// Builds the plugins' workspace.
fn build(root: &Path, out: &Path) -> Result<Vec<(&'static str, PathBuf)>> {
    let workspace = root.join("plugins");
    for file in ["Cargo.toml", "Cargo.lock", ".cargo"] {
        rerun_if_changed(&workspace.join(file));
    }
    for entry in fs::read_dir(&workspace)?.flatten() {
        if entry.path().join("Cargo.toml").is_file() {
            rerun_if_changed(&entry.path().join("Cargo.toml"));
            rerun_if_changed(&entry.path().join("src"));
        }
    }
    // OUT_DIR is target/PROFILE/build/CRATE-HASH/out: the plugins' own folder is shared by all profiles.
    let target = out.ancestors().nth(4).ok_or("OUT_DIR has no target folder above it")?.join("plugins");
    let toolchain = Toolchain::find()?;
    let status = toolchain.build(&workspace, &target).args(["--locked", "--lib"]).status()?;
    if !status.success() {
        return Err(format!("the plugins in {} do not build ({status})", workspace.display()).into());
    }
    Ok(PLUGINS.map(|name| (name, Toolchain::artifact(&target, &format!("tubepost-plugin-{name}")))).into())
}

/// Makes components of modules, and a table of them.
fn embed_components(modules: &[(&str, PathBuf)], out: &Path) -> Result<()> {
    let mut table = String::from("pub(super) static COMPONENTS: &[(&str, &[u8])] = &[\n");
    for (name, file) in modules {
        let octets = fs::read(file).map_err(|error| format!("{}: {error}", file.display()))?;
        let component = if octets.starts_with(b"\0asm\x01\0\0\0") { componentize(name, &octets)? } else { octets };
        let path = out.join(format!("{name}.wasm"));
        write_if_changed(&path, &component)?;
        writeln!(table, "    ({name:?}, include_bytes!({:?})),", path.display().to_string())?;
    }
    table.push_str("];\n");
    write_if_changed(&out.join("built_in.rs"), table.as_bytes())
}

fn componentize(name: &str, module: &[u8]) -> Result<Vec<u8>> {
    let encoded = wit_component::ComponentEncoder::default().validate(true).module(module).and_then(|mut encoder| encoder.encode());
    encoded.map_err(|error| format!("the plugin {name} does not become a component: {error:#}").into())
}

/// Makes a table of the files that a plugin's author needs: the SDK and the contract.
fn embed_sdk(root: &Path, out: &Path) -> Result<()> {
    let mut files = Vec::new();
    for part in ["plugin-sdk", "wit"] {
        rerun_if_changed(&root.join(part));
        collect(&root.join(part), &mut files)?;
    }
    files.sort();
    let mut table = String::from("pub(super) static FILES: &[(&str, &str)] = &[\n");
    for file in files {
        let name = file.strip_prefix(root)?.to_string_lossy().replace('\\', "/");
        writeln!(table, "    ({name:?}, include_str!({:?})),", file.display().to_string())?;
    }
    table.push_str("];\n");
    write_if_changed(&out.join("sdk_files.rs"), table.as_bytes())
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if path.is_dir() {
            if name != "target" {
                collect(&path, files)?;
            }
        } else if ["rs", "toml", "wit", "md"].iter().any(|extension| path.extension().is_some_and(|known| known == *extension)) {
            files.push(path);
        }
    }
    Ok(())
}

fn rerun_if_changed(path: &Path) {
    if path.exists() {
        println!("cargo::rerun-if-changed={}", path.display());
    }
}

/// Leaves a file alone that is as it should be, so that nothing is compiled again for it.
fn write_if_changed(path: &Path, octets: &[u8]) -> Result<()> {
    if fs::read(path).is_ok_and(|there| there == octets) {
        return Ok(());
    }
    fs::write(path, octets).map_err(|error| format!("{}: {error}", path.display()).into())
}
