//! Who a plugin says it is: asked once, when it is loaded, and checked then.

pub mod schema;

use serde_json::{Map, Value};

use crate::mail::header::is_field_name;
use crate::plugin::binding::WitDescription;
use crate::plugin::verdict::printable;
use schema::{Invalid, Schema};

/// The option that every plugin has: whether it runs.
pub const ENABLED: &str = "enabled";

/// Octets of a name, a version or a summary.
const LINE: usize = 200;
/// Octets of a schema.
const SCHEMA: usize = 64 * 1024;
/// Header options of one plugin.
const HEADER_OPTIONS: usize = 64;

/// What a plugin tells about itself.
#[derive(Clone, Debug, PartialEq)]
pub struct Manifest {
    /// The plugin's own name; the configuration may call it otherwise.
    pub name: String,
    /// Its version.
    pub version: String,
    /// One line for people.
    pub summary: String,
    /// Its options; `None` takes none.
    pub options: Option<Schema>,
    /// Header fields that set options.
    pub header_options: Vec<HeaderOption>,
}

/// A header field with which a message's sender sets an option.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeaderOption {
    /// Field name, in lower case.
    pub field: String,
    /// Name of the option.
    pub option: String,
}

impl Manifest {
    /// Checks a description. The error is what is wrong with it.
    pub(super) fn new(description: WitDescription) -> Result<Self, String> {
        if description.config_schema.len() > SCHEMA {
            return Err(format!("config-schema is longer than {SCHEMA} octets"));
        }
        if description.header_options.len() > HEADER_OPTIONS {
            return Err(format!("there are more than {HEADER_OPTIONS} header options"));
        }
        let options = match description.config_schema.trim() {
            "" => None,
            text => Some(Schema::parse(text).map_err(|reason| format!("config-schema: {reason}"))?),
        };
        let header_options = description
            .header_options
            .into_iter()
            .map(|option| {
                let known = option.option == ENABLED || options.as_ref().is_some_and(|schema| schema.property(&option.option).is_some());
                if !known {
                    return Err(format!("header option {}: there is no option {:?}", option.header, option.option));
                }
                if !is_field_name(&option.header) {
                    return Err(format!("header option {:?} is no header field name", option.header));
                }
                Ok(HeaderOption { field: option.header.to_ascii_lowercase(), option: option.option })
            })
            .collect::<Result<_, _>>()?;
        let [name, version, summary] = [description.name, description.version, description.summary].map(|text| printable(&text, LINE));
        if name.is_empty() {
            return Err("it has no name".to_owned());
        }
        Ok(Self { name, version, summary, options, header_options })
    }

    /// Checks options, [`ENABLED`] among them. With `complete`, required ones must be there.
    pub fn check(&self, options: &Map<String, Value>, complete: bool) -> Result<(), Invalid> {
        for (name, value) in options {
            self.check_one(name, value)?;
        }
        match &self.options {
            Some(schema) if complete => schema.check_required(options),
            _ => Ok(()),
        }
    }

    fn check_one(&self, name: &str, value: &Value) -> Result<(), Invalid> {
        if name == ENABLED {
            return if value.is_boolean() { Ok(()) } else { Err(Invalid::new(name, "must be true or false")) };
        }
        match &self.options {
            Some(schema) => schema.check_property(name, value),
            None => Err(Invalid::new(name, "no such option; this plugin takes none")),
        }
    }

    /// Reads the value of a header field as that of `option`.
    pub fn option_from_header(&self, option: &str, text: &str) -> Result<Value, Invalid> {
        let text = text.trim();
        let value = if option == ENABLED {
            schema::boolean_from_text(text)
        } else {
            self.options.as_ref().and_then(|schema| schema.property(option)).and_then(|schema| schema.value_from_text(text))
        };
        let value = value.ok_or_else(|| Invalid::new(option, &format!("cannot be {:?}", printable(text, LINE))))?;
        self.check_one(option, &value)?;
        Ok(value)
    }
}

#[cfg(test)]
mod tests;
