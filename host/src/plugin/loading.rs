//! From a configured source to a plugin that runs: read, compile, link, ask who it is.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use sha2::{Digest, Sha256};
use tokio::sync::OnceCell;
use wasmtime::component::Component;

use crate::config;
use crate::config::{Grants, PluginSource};
use crate::plugin::binding::{COMPATIBLE, Exports, OFFERED, PACKAGE, VERSION};
use crate::plugin::engine::Engine;
use crate::plugin::manifest::Manifest;
use crate::plugin::sandbox::{Answer, Callee, Question, Setting};
use crate::plugin::verdict::{Failure, printable};
use crate::plugin::{Plugin, built_in};

/// Octets of a component that are read.
const COMPONENT_SIZE: u64 = 64 << 20;

/// Why a plugin cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The file cannot be read.
    #[error("{} cannot be read: {error}", path.display())]
    Unreadable {
        /// Which file.
        path: PathBuf,
        /// Why.
        error: std::io::Error,
    },
    /// The file is too large to be a plugin.
    #[error("{} has more than {COMPONENT_SIZE} octets", path.display())]
    TooLarge {
        /// Which file.
        path: PathBuf,
    },
    /// No plugin of this name is in this binary.
    #[error("this binary has no plugin {0:?}")]
    NotBuiltIn(Arc<str>),
    /// A WebAssembly module that was not made a component.
    #[error("it is a WebAssembly module, not a component: `tubepost plugin build` makes one")]
    Module,
    /// Not WebAssembly, or broken.
    #[error("it is no WebAssembly component: {0}")]
    Invalid(String),
    /// It wants something of the host that there is not.
    #[error("it needs {0}, which this version does not offer")]
    MissingImport(String),
    /// It asks for what the configuration does not grant: these interfaces.
    #[error("it asks for what it is not granted: {}", lacking(.0))]
    NotGranted(Vec<String>),
    /// It does not fit the contract.
    #[error("it does not fit {PACKAGE}@{VERSION}: {0}")]
    Contract(String),
    /// It could not say who it is.
    #[error("it cannot describe itself: {0}")]
    Describe(#[source] Failure),
    /// What it says about itself is wrong.
    #[error("what it says about itself is wrong: {0}")]
    Manifest(String),
}

/// Tells of each interface which key grants it.
fn lacking(interfaces: &[String]) -> String {
    let key = |interface: &String| match interface.as_str() {
        "kv" => "a table (`allow.kv = true`)",
        "metrics" => "metrics of its own (`allow.metrics = true`)",
        "http-client" => "requests over HTTP (`allow.http` with the addresses it may ask)",
        "secrets" => "secrets (`allow.secrets` with those it may know)",
        "templates" => "templates (`allow.templates` with those it may use)",
        _ => "an interface",
    };
    interfaces.iter().map(key).collect::<Vec<_>>().join(", ")
}

/// Loaded plugins, by their names in the configuration.
pub type Plugins = BTreeMap<Arc<str>, Arc<Plugin>>;

/// A plugin that is loaded when it is first needed: each one takes some megabytes.
pub struct Spare {
    engine: Arc<Engine>,
    name: Arc<str>,
    configured: config::Plugin,
    loaded: OnceCell<Arc<Plugin>>,
}

/// Plugins that are not loaded yet, by name.
pub type Spares = BTreeMap<Arc<str>, Spare>;

impl std::fmt::Debug for Spare {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Spare").field("name", &self.name).field("loaded", &self.loaded.initialized()).finish_non_exhaustive()
    }
}

impl Spare {
    /// A plugin of this configuration for `engine`.
    pub fn new(engine: &Arc<Engine>, name: &Arc<str>, configured: &config::Plugin) -> Self {
        Self { engine: Arc::clone(engine), name: Arc::clone(name), configured: configured.clone(), loaded: OnceCell::new() }
    }

    /// Returns the plugin; whoever asks first loads it, and others wait for him. `None` where that fails, which is logged: the next one tries again.
    pub async fn get(&self) -> Option<Arc<Plugin>> {
        let load = async || load(&self.engine, &self.name, &self.configured).await.map(Arc::new);
        match self.loaded.get_or_try_init(load).await {
            Ok(plugin) => Some(Arc::clone(plugin)),
            Err(error) => {
                tracing::error!(plugin = %self.name, error = &error as &dyn std::error::Error, "a plugin that queued mail needs cannot be loaded");
                None
            }
        }
    }
}

/// Loads all plugins of a configuration, at the same time, and tidies the cache. All errors are returned.
pub async fn load_all(
    engine: &Arc<Engine>,
    configured: &BTreeMap<Arc<str>, config::Plugin>,
) -> Result<Plugins, Vec<(Arc<str>, LoadError)>> {
    let mut tasks = tokio::task::JoinSet::new();
    for (name, plugin) in configured {
        let (engine, name, plugin) = (Arc::clone(engine), Arc::clone(name), plugin.clone());
        tasks.spawn(async move {
            let loaded = load(&engine, &name, &plugin).await;
            (name, loaded)
        });
    }
    let mut plugins = Plugins::new();
    let mut errors = Vec::new();
    while let Some(joined) = tasks.join_next().await {
        match joined {
            Ok((name, Ok(plugin))) => drop(plugins.insert(name, Arc::new(plugin))),
            Ok((name, Err(error))) => errors.push((name, error)),
            // Loading does not panic and is not cancelled; if it were, this is as broken as a component gets.
            Err(error) => errors.push(("".into(), LoadError::Invalid(error.to_string()))),
        }
    }
    if !errors.is_empty() {
        errors.sort_by(|one, other| one.0.cmp(&other.0));
        return Err(errors);
    }
    let digests: Vec<_> = plugins.values().map(|plugin| plugin.digest()).collect();
    engine.tidy_cache(&digests);
    Ok(plugins)
}

/// Loads one plugin. Compiling takes a while and happens on a thread where that may be.
pub async fn load(engine: &Arc<Engine>, name: &Arc<str>, configured: &config::Plugin) -> Result<Plugin, LoadError> {
    let (for_thread, source) = (Arc::clone(engine), configured.source.clone());
    let (digest, component) = tokio::task::spawn_blocking(move || compile(&for_thread, &source))
        .await
        .map_err(|error| LoadError::Invalid(error.to_string()))??;
    finish(engine, name, configured, (digest, component)).await
}

/// Loads a plugin whose octets are at hand; its configured source does not count.
pub(super) async fn load_octets(
    engine: &Arc<Engine>,
    name: &Arc<str>,
    configured: &config::Plugin,
    octets: &[u8],
) -> Result<Plugin, LoadError> {
    finish(engine, name, configured, compile_octets(engine, octets)?).await
}

async fn finish(
    engine: &Arc<Engine>,
    name: &Arc<str>,
    configured: &config::Plugin,
    (digest, component): (String, Component),
) -> Result<Plugin, LoadError> {
    let grants = Arc::new(configured.allow.clone());
    check_imports(engine, &component, &grants)?;
    let instance = engine.linker().instantiate_pre(&component).map_err(|error| LoadError::Contract(cause(&error)))?;
    let exports = Exports::of(&instance).map_err(LoadError::Contract)?;
    let callee = Callee { engine, instance: &instance, limits: configured.limits, name, grants: &grants };
    let manifest = describe(callee, &exports).await?;
    Ok(Plugin {
        name: Arc::clone(name),
        metrics: engine.metrics().plugin(name),
        digest,
        manifest,
        limits: configured.limits,
        on_error: configured.on_error,
        grants,
        engine: Arc::clone(engine),
        instance,
        submit: exports.submit,
        recipient: exports.recipient,
        rcpt: exports.rcpt,
        event: exports.event,
    })
}

async fn describe(callee: Callee<'_>, exports: &Exports) -> Result<Manifest, LoadError> {
    let outcome = callee.call(Question::Describe(exports), None, Setting::of_description()).await;
    match outcome.answer.map_err(LoadError::Describe)? {
        Answer::Description(description) => Manifest::new(description.map_err(LoadError::Contract)?).map_err(LoadError::Manifest),
        Answer::Verdict(_) | Answer::Wanted(_) | Answer::Rcpt(_) | Answer::Handled(_) => {
            Err(LoadError::Manifest("not a description".to_owned()))
        }
    }
}

fn compile(engine: &Engine, source: &PluginSource) -> Result<(String, Component), LoadError> {
    match source {
        PluginSource::BuiltIn(name) => {
            let octets = built_in::component(name).ok_or_else(|| LoadError::NotBuiltIn(Arc::clone(name)))?;
            compile_octets(engine, octets)
        }
        PluginSource::File(path) => {
            let unreadable = |error| LoadError::Unreadable { path: path.clone(), error };
            if std::fs::metadata(path).map_err(unreadable)?.len() > COMPONENT_SIZE {
                return Err(LoadError::TooLarge { path: path.clone() });
            }
            compile_octets(engine, &std::fs::read(path).map_err(unreadable)?)
        }
    }
}

fn compile_octets(engine: &Engine, octets: &[u8]) -> Result<(String, Component), LoadError> {
    // A core module has version 1 and layer 0 behind the magic number; a component has layer 1.
    if octets.starts_with(b"\0asm\x01\0\0\0") {
        return Err(LoadError::Module);
    }
    if !octets.starts_with(b"\0asm") {
        return Err(LoadError::Invalid("it does not begin as WebAssembly does".to_owned()));
    }
    let mut digest = String::with_capacity(64);
    for octet in Sha256::digest(octets) {
        use std::fmt::Write;
        // Writing to a String cannot fail.
        let _ = write!(digest, "{octet:02x}");
    }
    let component = engine.component(&digest, octets).map_err(|error| LoadError::Invalid(cause(&error)))?;
    Ok((digest, component))
}

/// Names the first import that we do not have: the linker's own words are for people who know the linker.
fn check_imports(engine: &Engine, component: &Component, grants: &Grants) -> Result<(), LoadError> {
    let mut lacking = Vec::new();
    let component_type = component.component_type();
    for (name, _) in component_type.imports(engine.wasm()) {
        let (interface, version) = name.split_once('@').unwrap_or((name, ""));
        let ours = interface.strip_prefix(PACKAGE).and_then(|rest| rest.strip_prefix('/')).is_some_and(|rest| OFFERED.contains(&rest));
        if !ours || !version.starts_with(COMPATIBLE) {
            return Err(LoadError::MissingImport(printable(name, 200)));
        }
        let interface = interface.rsplit('/').next().unwrap_or_default();
        if grants.interface(interface) == Some(false) {
            lacking.push(interface.to_owned());
        }
    }
    if lacking.is_empty() { Ok(()) } else { Err(LoadError::NotGranted(lacking)) }
}

fn cause(error: &wasmtime::Error) -> String {
    printable(&format!("{error:#}"), 1_000)
}
