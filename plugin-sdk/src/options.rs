//! The schema of a plugin's options, where their type says it.

use std::marker::PhantomData;

use schemars::{JsonSchema, generate::SchemaSettings};

use crate::Description;

/// The schema of a type, whole in one place, for JSON that is read.
pub(crate) fn schema<T: JsonSchema>() -> serde_json::Value {
    let settings = SchemaSettings::draft2020_12().with(|settings| settings.inline_subschemas = true);
    let mut schema = settings.into_generator().into_root_schema_for::<T>();
    // The name of the struct says nothing to an operator.
    schema.remove("title");
    schema.to_value()
}

/// Asks a type of options, at compile time, whether it has a schema: [`OptionsAreDescribed`] is found without a reference, and so before
/// [`OptionsAreNotDescribed`].
#[derive(Debug)]
pub struct Options<T>(PhantomData<T>);

impl<T> Options<T> {
    /// For `register!`.
    #[allow(clippy::new_without_default, reason = "one macro makes it")]
    pub fn new() -> Self {
        Self(PhantomData)
    }
}

/// The type has a schema.
pub trait OptionsAreDescribed {
    /// Adds it.
    fn described(&self, description: Description) -> Description;
}

/// The type has none.
pub trait OptionsAreNotDescribed {
    /// Adds nothing.
    fn described(&self, description: Description) -> Description;
}

impl<T: JsonSchema> OptionsAreDescribed for Options<T> {
    fn described(&self, description: Description) -> Description {
        // `()` takes no options.
        if size_of::<T>() == 0 && T::schema_name() == "null" { description } else { description.schema_of::<T>() }
    }
}

impl<T> OptionsAreNotDescribed for &Options<T> {
    fn described(&self, description: Description) -> Description {
        description
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::indexing_slicing, clippy::needless_borrow, reason = "tests fail by panicking; the macro borrows too")]

    use serde::{Deserialize, Serialize};
    use serde_json::json;

    use crate::{JsonSchema, Plugin, testing::schema};

    /// Comments of the struct are for readers of the source.
    #[derive(Deserialize, Serialize, JsonSchema)]
    #[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
    struct Options {
        /// Where it goes
        where_to: Place,
        /// Words
        words: Vec<String>,
        /// Who says so
        by: Option<String>,
        #[serde(rename = "n")]
        #[schemars(range(min = 1, max = 9))]
        number: u8,
        limits: Limits,
    }

    #[derive(Deserialize, Serialize, JsonSchema)]
    #[serde(rename_all = "lowercase")]
    enum Place {
        Top,
        Bottom,
    }

    #[derive(Default, Deserialize, Serialize, JsonSchema)]
    #[serde(default)]
    struct Limits {
        /// How many
        most: u32,
    }

    impl Default for Options {
        fn default() -> Self {
            Self { where_to: Place::Bottom, words: Vec::new(), by: None, number: 3, limits: Limits { most: 7 } }
        }
    }

    struct Here;
    impl Plugin for Here {
        type Config = Options;
    }
    struct Bare;
    impl Plugin for Bare {
        type Config = ();
    }

    #[test]
    fn one_struct_says_all() {
        let schema = schema::<Here>();
        assert_eq!(schema["additionalProperties"], json!(false));
        let properties = &schema["properties"];
        let names: Vec<_> = properties.as_object().into_iter().flat_map(|object| object.keys()).collect();
        assert_eq!(names, ["where-to", "words", "by", "n", "limits"]);
        assert_eq!(
            (&properties["where-to"]["default"], &properties["where-to"]["description"]),
            (&json!("bottom"), &json!("Where it goes"))
        );
        assert_eq!(properties["where-to"]["enum"], json!(["top", "bottom"]));
        assert_eq!(properties["by"]["type"], json!(["string", "null"]));
        assert_eq!((&properties["n"]["minimum"], &properties["n"]["maximum"]), (&json!(1), &json!(9)));
        assert_eq!(
            (&properties["limits"]["default"], &properties["limits"]["properties"]["most"]["default"]),
            (&json!({"most": 7}), &json!(0))
        );
        assert!(schema.get("required").is_none() && schema.get("$defs").is_none());
    }

    #[test]
    fn no_options_have_no_schema() {
        use super::{Options as Probe, OptionsAreDescribed as _, OptionsAreNotDescribed as _};
        struct Silent;
        let empty = || crate::Description::new("x", "1.0.0", "");
        assert_eq!((&Probe::<<Bare as Plugin>::Config>::new()).described(empty()).config_schema(), "");
        assert_eq!((&Probe::<Silent>::new()).described(empty()).config_schema(), "");
        assert!((&Probe::<Options>::new()).described(empty()).config_schema().contains("where-to"));
    }
}
