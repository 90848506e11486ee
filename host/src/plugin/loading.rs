//! From a configured source to a plugin that runs: read, compile, link, ask who it is.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use tokio::sync::OnceCell;
use wasmtime::component::{Component as Compiled, InstancePre};

use crate::config;
use crate::config::{Grants, PluginTrust};
use crate::plugin::binding::{COMPATIBLE, Exports, OFFERED, PACKAGE, VERSION};
use crate::plugin::component::{COMPONENT_SIZE, Component, Distrust};
use crate::plugin::engine::Engine;
use crate::plugin::manifest::Manifest;
use crate::plugin::sandbox::{Answer, Callee, Question, Setting, State};
use crate::plugin::verdict::{Failure, printable};
use crate::plugin::{Plugin, wasi};

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
    /// It is not the one that is wanted, or nobody whom we trust has signed it.
    #[error(transparent)]
    Distrusted(#[from] Distrust),
    /// A WebAssembly module that was not made a component.
    #[error("it is a WebAssembly module, not a component: `tubepost plugin build` or `tubepost plugin componentize` makes one")]
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
    /// It was made for a later version of the contract, and uses what that one added.
    #[error("it was made for {PACKAGE}@{version} and needs what {VERSION}, which this version offers, has not: {missing}")]
    Newer {
        /// Which version.
        version: String,
        /// What is missing.
        missing: String,
    },
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

/// What plugins are loaded for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// Mail: the components are kept, as queued mail may need them.
    Mail,
    /// Nothing but to see what they would do.
    Rehearsal,
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
pub type Spares = BTreeMap<Arc<str>, Arc<Spare>>;

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

/// Loads all plugins of a configuration, at the same time, and tidies the cache. Those of `loaded` whose component is still the same stay as they are;
/// their configuration must be the same too. All errors are returned.
pub async fn load_all(
    engine: &Arc<Engine>,
    configured: &BTreeMap<Arc<str>, config::Plugin>,
    trust: &PluginTrust,
    loaded: &Plugins,
    purpose: Purpose,
) -> Result<Plugins, Vec<(Arc<str>, LoadError)>> {
    let mut tasks = tokio::task::JoinSet::new();
    for (name, plugin) in configured {
        let (engine, name, plugin, trust) = (Arc::clone(engine), Arc::clone(name), plugin.clone(), trust.clone());
        let loaded = loaded.get(&name).cloned();
        tasks.spawn(async move {
            let plugin = load_trusted(&engine, &name, &plugin, &trust, loaded, purpose).await;
            (name, plugin)
        });
    }
    let mut plugins = Plugins::new();
    let mut errors = Vec::new();
    while let Some(joined) = tasks.join_next().await {
        match joined {
            Ok((name, Ok(plugin))) => drop(plugins.insert(name, plugin)),
            Ok((name, Err(error))) => errors.push((name, error)),
            // Loading does not panic and is not cancelled; if it were, this is as broken as a component gets.
            Err(error) => errors.push(("".into(), LoadError::Invalid(error.to_string()))),
        }
    }
    if !errors.is_empty() {
        errors.sort_by(|one, other| one.0.cmp(&other.0));
        return Err(errors);
    }
    let digests: Vec<&str> = plugins.values().map(|plugin| &**plugin.digest()).collect();
    engine.tidy_cache(&digests);
    Ok(plugins)
}

/// Loads one plugin as its configuration says, unless it is the one that is `loaded` already.
pub async fn load_trusted(
    engine: &Arc<Engine>,
    name: &Arc<str>,
    configured: &config::Plugin,
    trust: &PluginTrust,
    loaded: Option<Arc<Plugin>>,
    purpose: Purpose,
) -> Result<Arc<Plugin>, LoadError> {
    if let Some(loaded) = loaded.as_ref().filter(|_| purpose == Purpose::Rehearsal) {
        // Whatever stands in its file by now is not what is tried out.
        return Ok(Arc::clone(loaded));
    }
    let source = configured.source.clone();
    let component = blocking(move || Component::read(&source)).await?;
    let signer = component.trusted(configured.sha256.as_ref(), trust)?;
    match loaded {
        Some(same) if same.digest() == component.digest() && same.signer() == signer.as_ref() => Ok(same),
        _ => {
            let kept = component.clone();
            let plugin = load_component(engine, name, component, signer, configured).await?;
            if purpose == Purpose::Mail {
                keep(engine, kept).await?;
            }
            Ok(Arc::new(plugin))
        }
    }
}

/// Keeps a component, before a message can be taken that needs it.
async fn keep(engine: &Arc<Engine>, component: Component) -> Result<(), LoadError> {
    if engine.shelf().is_none() {
        return Ok(());
    }
    let engine = Arc::clone(engine);
    blocking(move || {
        if let Some(shelf) = engine.shelf() {
            shelf.keep(&component);
        }
        Ok(())
    })
    .await
}

/// Loads one plugin. Compiling takes a while and happens on a thread where that may be.
pub async fn load(engine: &Arc<Engine>, name: &Arc<str>, configured: &config::Plugin) -> Result<Plugin, LoadError> {
    let source = configured.source.clone();
    let component = blocking(move || Component::read(&source)).await?;
    let kept = component.clone();
    let plugin = load_component(engine, name, component, None, configured).await?;
    keep(engine, kept).await?;
    Ok(plugin)
}

/// Loads a plugin whose octets are at hand; its configured source does not count.
pub(super) async fn load_octets(
    engine: &Arc<Engine>,
    name: &Arc<str>,
    configured: &config::Plugin,
    octets: &[u8],
) -> Result<Plugin, LoadError> {
    load_component(engine, name, Component::kept(octets.to_vec()), None, configured).await
}

/// Loads a component that was read.
pub(super) async fn load_component(
    engine: &Arc<Engine>,
    name: &Arc<str>,
    component: Component,
    signer: Option<Arc<str>>,
    configured: &config::Plugin,
) -> Result<Plugin, LoadError> {
    let for_thread = Arc::clone(engine);
    let digest = Arc::clone(component.digest());
    let compiled = blocking(move || compile(&for_thread, &component)).await?;
    let grants = Arc::new(configured.allow.clone());
    check_imports(engine, &compiled, &grants)?;
    let instance = linked(engine, &compiled).map_err(|error| does_not_link(engine, &compiled, &error))?;
    let exports = Exports::of(&instance).map_err(LoadError::Contract)?;
    let callee = Callee { engine, instance: &instance, limits: configured.limits, name, grants: &grants };
    let manifest = describe(callee, &exports).await?;
    Ok(Plugin {
        name: Arc::clone(name),
        metrics: engine.metrics().plugin(name),
        digest,
        signer,
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

/// Does work on a thread that may wait.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T, LoadError> + Send + 'static) -> Result<T, LoadError> {
    tokio::task::spawn_blocking(work).await.map_err(|error| LoadError::Invalid(error.to_string()))?
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

fn compile(engine: &Engine, component: &Component) -> Result<Compiled, LoadError> {
    let octets = component.octets();
    // A core module has version 1 and layer 0 behind the magic number; a component has layer 1.
    if octets.starts_with(b"\0asm\x01\0\0\0") {
        return Err(LoadError::Module);
    }
    if !octets.starts_with(b"\0asm") {
        return Err(LoadError::Invalid("it does not begin as WebAssembly does".to_owned()));
    }
    engine.component(component.digest(), octets).map_err(|error| LoadError::Invalid(cause(&error)))
}

/// Names the first import that we do not have: the linker's own words are for people who know the linker.
fn check_imports(engine: &Engine, component: &Compiled, grants: &Grants) -> Result<(), LoadError> {
    let mut lacking = Vec::new();
    let component_type = component.component_type();
    for (name, _) in component_type.imports(engine.wasm()) {
        let (interface, version) = name.split_once('@').unwrap_or((name, ""));
        let ours = interface.strip_prefix(PACKAGE).and_then(|rest| rest.strip_prefix('/')).is_some_and(|rest| OFFERED.contains(&rest));
        if wasi::offers(name) {
            continue;
        }
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

/// Tells a plugin of a later version from one that does not fit.
fn does_not_link(engine: &Engine, component: &Compiled, error: &wasmtime::Error) -> LoadError {
    let component_type = component.component_type();
    let patch = |version: &str| version.strip_prefix(COMPATIBLE).and_then(|patch| patch.parse::<u32>().ok());
    let imports = component_type.imports(engine.wasm()).filter_map(|(name, _)| Some(name.split_once('@')?.1.to_owned()));
    let latest = imports.filter(|version| patch(version) > patch(VERSION)).max_by_key(|version| patch(version));
    match latest {
        Some(version) => LoadError::Newer { version, missing: cause(error) },
        None => LoadError::Contract(cause(error)),
    }
}

/// Links a component with what we offer, and with an empty WASI where it imports one.
fn linked(engine: &Engine, component: &Compiled) -> wasmtime::Result<InstancePre<State>> {
    if !component.component_type().imports(engine.wasm()).any(|(name, _)| wasi::is_wasi(name)) {
        return engine.linker().instantiate_pre(component);
    }
    let mut linker = engine.linker().clone();
    wasi::add_to_linker(&mut linker, engine.wasm(), component)?;
    linker.instantiate_pre(component)
}

fn cause(error: &wasmtime::Error) -> String {
    printable(&format!("{error:#}"), 1_000)
}
