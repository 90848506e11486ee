//! `plugin check`: what a component is, what it asks for, and whether a configuration gives it that.

use std::path::Path;
use std::sync::Arc;

use serde::Serialize;
use serde_json::Value;
use wasmtime::component::types::ComponentItem;
use wasmtime::component::{Component, InstancePre};

use super::running::{LIMITS, TrialError, Workbench};
use crate::clock::Clock;
use crate::config::{Config, Grants, PluginSource};
use crate::plugin::binding::PACKAGE;
use crate::plugin::manifest::schema::Schema;
use crate::plugin::verdict::printable;
use crate::plugin::{Plugin, Stage};

/// Characters of an import's name that are shown.
const NAME: usize = 200;

/// What a component is.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Inspection {
    /// Its own name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// One line.
    pub summary: String,
    /// Octets of the file.
    pub size: u64,
    /// Of the file, in hexadecimal digits.
    pub sha256: String,
    /// Stages that it takes part in, in the order of a message's way.
    pub stages: Vec<&'static str>,
    /// What it asks the host for.
    pub capabilities: Vec<Capability>,
    /// Its options.
    pub options: Vec<InspectedOption>,
    /// Header fields of a message that set options: field and option.
    pub header_options: Vec<(String, String)>,
}

/// Something that a component asks for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Capability {
    /// As it stands in the component.
    pub import: String,
    /// What it is good for; "" where this version does not know it.
    pub meaning: &'static str,
    /// What grants it in `[plugins.NAME] allow`; `None` where every plugin has it.
    pub grant: Option<&'static str>,
}

/// One option of a plugin.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct InspectedOption {
    /// Its name.
    pub name: String,
    /// What it must be.
    pub kind: String,
    /// Whether it must be given.
    pub required: bool,
    /// What it is without.
    pub default: Option<Value>,
    /// What it is for.
    pub description: Option<String>,
}

/// How a configuration uses the plugin.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Usage {
    /// `[plugins.NAME]`; `None` where there is no such entry.
    pub entry: Option<String>,
    /// Grants that are missing, as they would be written.
    pub missing: Vec<&'static str>,
    /// Places in chains.
    pub places: Vec<Place>,
}

/// A step of a chain.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Place {
    /// Which chain.
    pub chain: String,
    /// `file:line:column`.
    pub place: String,
    /// What is wrong with its options.
    pub problem: Option<String>,
}

/// A component that is no plugin for this version.
#[derive(Debug, thiserror::Error)]
#[error("{error}")]
pub struct Unusable {
    /// Why.
    #[source]
    pub error: TrialError,
    /// What it asks for, where it can be read that far.
    pub capabilities: Vec<Capability>,
}

/// Looks at a component.
///
/// # Errors
/// It cannot be loaded, whatever would be granted.
pub async fn inspect(file: &Path, clock: &Clock) -> Result<(Inspection, Workbench), Unusable> {
    match Workbench::open(&PluginSource::File(file.to_owned()), LIMITS, clock).await {
        Ok(bench) => {
            let size = std::fs::metadata(file).map(|metadata| metadata.len()).unwrap_or_default();
            let inspection = Inspection::of(bench.plugin(), size);
            Ok((inspection, bench))
        }
        Err(error) => Err(Unusable { error, capabilities: imports_of_file(file) }),
    }
}

/// What can be told of a component that does not load.
fn imports_of_file(file: &Path) -> Vec<Capability> {
    let component = std::fs::read(file).ok().and_then(|octets| Component::from_binary(&wasmtime::Engine::default(), &octets).ok());
    component.map(|component| capabilities(&component)).unwrap_or_default()
}

impl Inspection {
    fn of(plugin: &Plugin, size: u64) -> Self {
        let manifest = plugin.manifest();
        let stages = [Stage::Rcpt, Stage::Submit, Stage::Recipient, Stage::Event];
        let options = manifest.options.iter().flat_map(|schema| {
            schema.properties().map(|(name, description, default)| InspectedOption {
                name: name.to_owned(),
                kind: schema.property(name).map(Schema::phrase).unwrap_or_default(),
                required: schema.requires(name),
                default: default.cloned(),
                description: description.map(str::to_owned),
            })
        });
        Self {
            name: manifest.name.clone(),
            version: manifest.version.clone(),
            summary: manifest.summary.clone(),
            size,
            sha256: plugin.digest().to_string(),
            stages: stages.into_iter().filter(|stage| plugin.has(*stage)).map(Stage::word).collect(),
            capabilities: capabilities(InstancePre::component(&plugin.instance)),
            options: options.collect(),
            header_options: manifest.header_options.iter().map(|option| (option.field.clone(), option.option.clone())).collect(),
        }
    }

    /// Returns how a configuration uses this plugin: by the entry `name`, or, without one, by that whose file has the same name as `file`, or which is
    /// called as the plugin calls itself.
    pub fn usage(&self, plugin: &Plugin, config: &Config, name: Option<&str>, file: &Path) -> Usage {
        let by_file = || {
            let same = |source: &PluginSource| match source {
                PluginSource::File(path) => path.file_name() == file.file_name(),
                PluginSource::BuiltIn(_) => false,
            };
            config.plugins.iter().find(|(_, entry)| same(&entry.source)).map(|(name, _)| name)
        };
        let called = |name: &str| config.plugins.get_key_value(name).map(|(name, _)| name);
        let entry: Option<&Arc<str>> = match name {
            Some(name) => called(name),
            None => by_file().or_else(|| called(&self.name)),
        };
        let nothing = Grants::default();
        let allow = entry.and_then(|name| config.plugins.get(name)).map_or(&nothing, |entry| &entry.allow);
        let missing = self.capabilities.iter().filter_map(|capability| Some((capability, capability.grant?)));
        let missing = missing.filter(|(capability, _)| !is_granted(allow, &capability.import)).map(|(_, grant)| grant);
        let mut places = Vec::new();
        for (chain, steps) in &config.chains {
            for step in steps.steps.iter().filter(|step| entry.is_some_and(|name| step.plugin == *name)) {
                let problem = plugin.manifest().check(&step.options, true).err().map(|error| error.to_string());
                places.push(Place { chain: chain.to_string(), place: step.place.clone(), problem });
            }
        }
        Usage { entry: entry.map(ToString::to_string), missing: missing.collect(), places }
    }
}

impl Usage {
    /// Whether the plugin would run as the configuration wants it.
    pub fn is_good(&self) -> bool {
        self.entry.is_some() && self.missing.is_empty() && self.places.iter().all(|place| place.problem.is_none())
    }
}

fn is_granted(allow: &Grants, import: &str) -> bool {
    match interface(import) {
        Some("message.own-link") => allow.links,
        Some("message.set-route") => !allow.routes.is_empty(),
        Some(interface) => allow.interface(interface) != Some(false),
        None => false,
    }
}

/// Returns the name within our package, without a version.
fn interface(import: &str) -> Option<&str> {
    let name = import.split_once('@').map_or(import, |(name, _)| name);
    name.strip_prefix(PACKAGE)?.strip_prefix('/')
}

/// Lists what a component imports, and the functions of the message that take a grant of their own.
fn capabilities(component: &Component) -> Vec<Capability> {
    let component_type = component.component_type();
    let engine = component.engine();
    let mut capabilities = Vec::new();
    for (name, item) in component_type.imports(engine) {
        if interface(name) == Some("types") {
            continue;
        }
        capabilities.push(Capability::of(name));
        if interface(name) == Some("message")
            && let ComponentItem::ComponentInstance(instance) = &item.ty
        {
            let functions = instance.exports(engine).map(|(function, _)| function);
            let granted = functions.filter_map(|function| function.strip_prefix("[method]message.").filter(|name| GRANTED.contains(name)));
            capabilities.extend(granted.map(|function| Capability::of(&format!("{PACKAGE}/message.{function}"))));
        }
    }
    capabilities
}

/// Functions of the message that take a grant.
const GRANTED: [&str; 2] = ["own-link", "set-route"];

impl Capability {
    fn of(import: &str) -> Self {
        let (meaning, grant) = match interface(import) {
            Some("message") => ("looks at and edits the message", None),
            Some("log") => ("writes lines to the message's trace", None),
            Some("random") => ("octets that look random and are the same for the same message", None),
            Some("clock") => ("the time of the message", None),
            Some("metrics") => ("counts in metrics of its own", Some("metrics = true")),
            Some("kv") => ("keeps values in a table of its own", Some("kv = true")),
            Some("http-client") => ("asks other servers over HTTP", Some("http = [\"https://…\"]")),
            Some("secrets") => ("reads secrets", Some("secrets = { NAME = … }")),
            Some("templates") => ("fills in templates", Some("templates = [\"NAME\"]")),
            Some("message.own-link") => ("makes signed links that come back to it", Some("links = true")),
            Some("message.set-route") => ("chooses the route of a message", Some("routes = [\"NAME\"]")),
            _ if import.starts_with("wasi:") => ("a system that has no files, no network and nothing else", None),
            _ => ("", None),
        };
        Self { import: printable(import, NAME), meaning, grant }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests fail by panicking")]
    use super::*;
    use crate::plugin::test_guest::Guest;

    const SCHEMA: &str = r#"{"type":"object","required":["word"],"properties":{"word":{"type":"string","minLength":1,"description":"What to say"},
        "times":{"type":"integer","minimum":1,"default":2}}}"#;

    async fn inspected(octets: &[u8]) -> Result<(Inspection, Workbench), Unusable> {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("greet.wasm");
        std::fs::write(&file, octets).unwrap();
        inspect(&file, &Clock::system()).await
    }

    #[tokio::test]
    async fn all_that_matters_is_shown() {
        let component = Guest::adding("greet", "X-Greeting", "hello").schema(SCHEMA).header_option("X-Word", "word").component();
        let (inspection, _) = inspected(&component).await.unwrap();
        assert_eq!(
            (inspection.name.as_str(), inspection.version.as_str(), inspection.stages.as_slice()),
            ("greet", "1.2.3", &["submit"][..])
        );
        assert_eq!(inspection.size, u64::try_from(component.len()).unwrap());
        assert_eq!(inspection.header_options, [("x-word".to_owned(), "word".to_owned())]);
        let options: Vec<_> =
            inspection.options.iter().map(|option| (option.name.as_str(), option.kind.as_str(), option.required)).collect();
        assert_eq!(options, [("times", "a whole number, at least 1", false), ("word", "a text, at least 1 characters", true)]);
        let message = inspection.capabilities.iter().find(|capability| capability.import.contains("/message@")).unwrap();
        assert_eq!((message.meaning, message.grant), ("looks at and edits the message", None));
    }

    #[tokio::test]
    async fn what_does_not_load_says_why() {
        let error = inspected(b"\0asm\x0d\0\x01\0").await.unwrap_err();
        assert!(error.to_string().contains("does not export"), "{error}");
        let foreign = wat::parse_str(r#"(component (import "other:thing/api@1.0.0" (instance (export "f" (func)))))"#).unwrap();
        let error = inspected(&foreign).await.unwrap_err();
        assert_eq!((error.capabilities.len(), error.capabilities[0].import.as_str()), (1, "other:thing/api@1.0.0"));
    }

    #[test]
    fn grants_are_those_of_the_configuration() {
        let grants = [("kv", false), ("clock", true), ("message.own-link", false)];
        for (name, granted) in grants {
            assert_eq!(is_granted(&Grants::default(), &format!("tubepost:mail/{name}@0.1.0")), granted, "{name}");
        }
        assert!(is_granted(&Grants::of_rehearsal(), "tubepost:mail/message.own-link"));
    }
}
