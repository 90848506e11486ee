//! What a step's options are for one message: header over call over chain, as far as the chain lets the message have a say.

use std::borrow::Cow;

use serde_json::{Map, Value};

use super::{Chain, Step};
use crate::config::When;
use crate::mail::content::Draft;
use crate::mail::refusal::Refusal;
use crate::plugin::manifest::ENABLED;
use crate::submission::Options;

/// Prefix of the fields with which SMTPeter's users steer single messages. They are for us: none reaches a recipient.
const SERVICE_PREFIX: &str = "x-smtpeter-";

/// Whether a field steers a service.
pub fn is_service_field(name: &[u8]) -> bool {
    name.get(..SERVICE_PREFIX.len()).is_some_and(|start| start.eq_ignore_ascii_case(SERVICE_PREFIX.as_bytes()))
}

/// Names of the fields in a message, in lower case, so that looking for options does not look through the header for each.
pub(super) struct FieldNames(Vec<String>);

impl FieldNames {
    pub(super) fn of(draft: &Draft) -> Self {
        let mut names = draft.header_names();
        for name in &mut names {
            name.make_ascii_lowercase();
        }
        Self(names)
    }

    fn contains(&self, field: &str) -> bool {
        self.0.iter().any(|name| name == field)
    }
}

impl Step {
    /// Returns the plugin's options for this message as one JSON object, or `None` where it does not run.
    ///
    /// # Errors
    /// An option of the message is not one that the plugin has.
    pub(super) fn resolve(&self, draft: &Draft, names: &FieldNames, message: &Options) -> Result<Option<String>, Refusal> {
        let mut options = Cow::Borrowed(&self.options);
        let mut enabled = self.enabled.unwrap_or(self.when == When::Always);
        if !self.locked {
            let plugin = self.plugin.name();
            if message.requested.contains(&**plugin) {
                enabled = true;
            }
            if let Some(overrides) = message.overrides.get(&**plugin) {
                self.check(overrides)?;
                overlay(&mut options, &mut enabled, overrides);
            }
            let from_header = self.header_options(draft, names)?;
            overlay(&mut options, &mut enabled, &from_header);
        }
        if !enabled {
            return Ok(None);
        }
        Ok(Some(options_text(&options)))
    }

    fn check(&self, overrides: &Map<String, Value>) -> Result<(), Refusal> {
        self.plugin
            .manifest()
            .check(overrides, false)
            .map_err(|error| Refusal::InvalidField { field: format!("{}.{}", self.plugin.name(), error.option), reason: error.reason })
    }

    fn header_options(&self, draft: &Draft, names: &FieldNames) -> Result<Map<String, Value>, Refusal> {
        let manifest = self.plugin.manifest();
        let mut found = Map::new();
        for option in &manifest.header_options {
            if !names.contains(&option.field) {
                continue;
            }
            let text = draft.header(&option.field).unwrap_or_default();
            let value = manifest
                .option_from_header(&option.option, &text)
                .map_err(|error| Refusal::InvalidContent(format!("header field {}: {}", option.field, error.reason)))?;
            found.insert(option.option.clone(), value);
        }
        Ok(found)
    }
}

/// Returns options as one JSON object.
pub(super) fn options_text(options: &Map<String, Value>) -> String {
    // An object of strings and numbers always has a text.
    serde_json::to_string(options).unwrap_or_else(|_| "{}".to_owned())
}

fn overlay(options: &mut Cow<'_, Map<String, Value>>, enabled: &mut bool, over: &Map<String, Value>) {
    for (name, value) in over {
        if name == ENABLED {
            *enabled = value.as_bool().unwrap_or(*enabled);
        } else {
            options.to_mut().insert(name.clone(), value.clone());
        }
    }
}

impl Chain {
    /// Takes the fields that set options out of the message: they are for us and not for the recipient.
    pub(super) fn remove_header_options(&self, draft: &mut Draft, names: &FieldNames) {
        // A shadow changes nothing, and takes nothing out of the message.
        for step in self.steps.iter().filter(|step| step.shadow.is_none()) {
            for option in &step.plugin.manifest().header_options {
                if names.contains(&option.field) {
                    draft.remove_header(&option.field);
                }
            }
        }
    }
}

/// Takes the fields out that steer a service and that no plugin took.
pub(super) fn remove_service_fields(draft: &mut Draft) {
    for name in FieldNames::of(draft).0 {
        if is_service_field(name.as_bytes()) {
            draft.remove_header(&name);
        }
    }
}
