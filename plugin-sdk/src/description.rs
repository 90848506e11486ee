//! Who a plugin is and which options it takes.

use serde_json::{Map, Value, json};

use crate::bindings::plugin::exports::tubepost::mail::plugin as wire;

/// What the host knows of a plugin before it runs: name, version, summary, options and their header fields.
///
/// [`register!`](crate::register) fills in name, version and summary from the crate's `Cargo.toml`; a plugin adds its options.
///
/// ```
/// # use tubepost_plugin_sdk::{Description, Schema};
/// # fn describe(description: Description) -> Description {
/// description
///     .option("clicks", Schema::boolean().default(true).describe("Makes clicks visible"))
///     .header("X-Track-Clicks", "clicks")
/// # }
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Description {
    name: String,
    version: String,
    summary: String,
    options: Map<String, Value>,
    schema: Option<String>,
    headers: Vec<(String, String)>,
}

impl Description {
    /// Starts a description without options.
    ///
    /// `package` may carry the prefix "tubepost-plugin-", which is no part of the plugin's name.
    pub fn new(package: &str, version: &str, summary: &str) -> Self {
        Self {
            name: package.strip_prefix("tubepost-plugin-").unwrap_or(package).to_owned(),
            version: version.to_owned(),
            summary: summary.to_owned(),
            options: Map::new(),
            schema: None,
            headers: Vec::new(),
        }
    }

    /// Sets the name that the configuration knows the plugin by.
    #[must_use]
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = name.into();
        self
    }

    /// Sets the one line that says what the plugin does.
    #[must_use]
    pub fn summary(mut self, summary: impl Into<String>) -> Self {
        self.summary = summary.into();
        self
    }

    /// Adds an option, a key of the object that the plugin's configuration is.
    #[must_use]
    pub fn option(mut self, name: impl Into<String>, schema: Schema) -> Self {
        self.options.insert(name.into(), Value::Object(schema.0));
        self
    }

    /// Takes the schema of a type; [`register!`](crate::register) does so by itself where [`Plugin::Config`](crate::Plugin::Config) has one.
    #[must_use]
    pub fn schema_of<T: crate::JsonSchema>(self) -> Self {
        self.schema(crate::options::schema::<T>().to_string())
    }

    /// Takes a whole JSON Schema (2020-12, of an object); what [`option`](Self::option) adds is laid over it.
    #[must_use]
    pub fn schema(mut self, schema: impl Into<String>) -> Self {
        self.schema = Some(schema.into());
        self
    }

    /// Lets a header field of a message set an option for that message; the host takes the field out.
    ///
    /// `option` names an option, or is "enabled", which every plugin has: whether it runs at all.
    #[must_use]
    pub fn header(mut self, field: impl Into<String>, option: impl Into<String>) -> Self {
        self.headers.push((field.into(), option.into()));
        self
    }

    /// A whole schema, with the options that were added one by one laid over it.
    fn over(&self, schema: &str) -> String {
        match serde_json::from_str::<Value>(schema) {
            Ok(Value::Object(mut whole)) if !self.options.is_empty() => {
                let properties = whole.entry("properties").or_insert_with(|| json!({}));
                if let Some(properties) = properties.as_object_mut() {
                    properties.extend(self.options.clone());
                }
                Value::Object(whole).to_string()
            }
            Ok(_) | Err(_) => schema.to_owned(),
        }
    }

    /// The JSON Schema of the options; "" where there are none.
    pub fn config_schema(&self) -> String {
        if let Some(schema) = &self.schema {
            return self.over(schema);
        }
        if self.options.is_empty() {
            return String::new();
        }
        json!({
            "$schema": "https://json-schema.org/draft/2020-12/schema",
            "type": "object",
            "properties": self.options,
            "additionalProperties": false,
        })
        .to_string()
    }
}

impl From<Description> for wire::Description {
    fn from(description: Description) -> Self {
        Self {
            config_schema: description.config_schema(),
            name: description.name,
            version: description.version,
            summary: description.summary,
            header_options: description.headers.into_iter().map(|(header, option)| wire::HeaderOption { header, option }).collect(),
        }
    }
}

/// The JSON Schema of one option.
#[derive(Debug, Clone, PartialEq)]
pub struct Schema(Map<String, Value>);

impl Schema {
    fn of(kind: &str) -> Self {
        Self(Map::from_iter([("type".to_owned(), kind.into())]))
    }

    /// `true` or `false`.
    pub fn boolean() -> Self {
        Self::of("boolean")
    }

    /// A whole number.
    pub fn integer() -> Self {
        Self::of("integer")
    }

    /// Text.
    pub fn string() -> Self {
        Self::of("string")
    }

    /// A list of texts.
    pub fn strings() -> Self {
        let mut schema = Self::of("array");
        schema.0.insert("items".to_owned(), json!({ "type": "string" }));
        schema
    }

    /// One of some words.
    pub fn one_of(words: &[&str]) -> Self {
        let mut schema = Self::of("string");
        schema.0.insert("enum".to_owned(), json!(words));
        schema
    }

    /// Sets the least number that is allowed.
    #[must_use]
    pub fn minimum(mut self, minimum: i64) -> Self {
        self.0.insert("minimum".to_owned(), minimum.into());
        self
    }

    /// Sets the greatest number that is allowed.
    #[must_use]
    pub fn maximum(mut self, maximum: i64) -> Self {
        self.0.insert("maximum".to_owned(), maximum.into());
        self
    }

    /// Says what the plugin does without the option. The plugin's own `Default` has to agree.
    #[must_use]
    pub fn default(mut self, value: impl Into<Value>) -> Self {
        self.0.insert("default".to_owned(), value.into());
        self
    }

    /// Says what the option is for.
    #[must_use]
    pub fn describe(mut self, text: impl Into<String>) -> Self {
        self.0.insert("description".to_owned(), Value::String(text.into()));
        self
    }
}
