//! `[chains]`.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Map, Number};
use toml::de::DeValue;

use super::document::{Fault, Section, Value};
use super::suggestion::did_you_mean;

/// An entry of `[chains]`.
#[derive(Clone, Debug)]
pub struct Chain {
    /// In the order in which they run.
    pub steps: Vec<ChainStep>,
}

/// One plugin in a chain.
#[derive(Clone, Debug)]
pub struct ChainStep {
    /// `use`, or the bare name.
    pub plugin: Arc<str>,
    /// `when`.
    pub when: When,
    /// `locked`: the message's own options do not count.
    pub locked: bool,
    /// `percent`: which part of the messages it gets; none given is all.
    pub share: Option<Share>,
    /// `shadow` and `shadow_of`: it runs beside the chain, and its result is only compared.
    pub shadow: Option<Shadow>,
    /// All other keys.
    pub options: Map<String, serde_json::Value>,
    /// `file:line:column`, for errors that are found when the plugin is loaded.
    pub place: String,
}

/// When a step runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum When {
    /// `always`, unless the message switches it off.
    #[default]
    Always,
    /// `requested`: only if the message asks for it.
    Requested,
}

/// Keys of a step that are ours; all others are options of the plugin.
const KEYS: [&str; 6] = ["use", "when", "locked", "percent", "shadow", "shadow_of"];

/// Steps of one chain.
const LARGEST_CHAIN: usize = 100;

/// A part of all messages, in millionths.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Share(pub u32);

/// What a step's result is compared with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Shadow {
    /// `shadow = true`: the message without the plugin.
    Nothing,
    /// `shadow_of`: what this plugin of the chain does.
    Of(Arc<str>),
}

/// Reads all chains. `plugins` are the names that may be used.
pub(super) fn read(file: &Section<'_>, plugins: &[&str]) -> BTreeMap<Arc<str>, Chain> {
    let chains = file.named("chains", "chain", |_, value| {
        let elements = value.elements().map_err(|fault| value.report(&fault)).ok()?;
        if elements.len() > LARGEST_CHAIN {
            value.report(&format!("has more than {LARGEST_CHAIN} plugins"));
            return None;
        }
        // All of them, before the first that is wrong ends it.
        let steps: Vec<Option<ChainStep>> = elements.iter().map(|element| step(element, plugins)).collect();
        Some(Chain { steps: steps.into_iter().collect::<Option<_>>()? })
    });
    chains.map(|(name, chain)| (Arc::from(name), chain)).collect()
}

fn step(value: &Value<'_>, plugins: &[&str]) -> Option<ChainStep> {
    if let DeValue::String(name) = value.raw() {
        let plugin = known(value, name, plugins)?;
        return Some(ChainStep {
            plugin,
            when: When::default(),
            locked: false,
            share: None,
            shadow: None,
            options: Map::new(),
            place: value.place(),
        });
    }
    let DeValue::Table(table) = value.raw() else {
        value.report_section("a step is a plugin's name in quotes, or a table such as { use = \"tracking\", clicks = true }");
        return None;
    };
    value.section(|section| {
        // Keys that are not ours are the plugin's; its schema says which there are.
        section.leave_open();
        let plugin = section.required("use", |name| Ok((name.clone(), name.text()?)));
        let when = section.or("when", When::default(), |word| word.choice(&[("always", When::Always), ("requested", When::Requested)]));
        let locked = section.or("locked", false, Value::boolean);
        let share = section.optional("percent", percent);
        let is_shadow = section.or("shadow", false, Value::boolean);
        let original = section.optional("shadow_of", |name| Ok((name.clone(), name.text()?)));
        let original = original.and_then(|(place, name)| known(&place, name, plugins));
        let shadow = original.map(Shadow::Of).or(is_shadow.then_some(Shadow::Nothing));
        let mut options = Map::new();
        for (key, option) in table.iter().filter(|(key, _)| !KEYS.contains(&&**key.get_ref())) {
            match json(option.get_ref()) {
                Ok(option) => drop(options.insert(key.get_ref().to_string(), option)),
                Err(fault) => value.report_section(&format!("{}: {fault}", key.get_ref())),
            }
        }
        let (place, name) = plugin?;
        Some(ChainStep { plugin: known(&place, name, plugins)?, when, locked, share, shadow, options, place: value.place() })
    })?
}

/// Reads a part of the messages: a number from 0 to 100, with up to four places behind the point.
fn percent(value: &Value<'_>) -> Result<Share, Fault> {
    let wrong = "must be a number from 0 to 100";
    let text = match value.raw() {
        DeValue::Integer(integer) => integer.as_str().to_owned(),
        DeValue::Float(float) => float.as_str().to_owned(),
        DeValue::String(_) | DeValue::Boolean(_) | DeValue::Datetime(_) | DeValue::Array(_) | DeValue::Table(_) => return Err(wrong.into()),
    };
    let number: f64 = text.parse().map_err(|_| wrong)?;
    if !(0.0..=100.0).contains(&number) {
        return Err(wrong.into());
    }
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it is from 0 to 1,000,000")]
    let millionths = (number * 10_000.0).round() as u32;
    Ok(Share(millionths))
}

fn known(value: &Value<'_>, name: &str, plugins: &[&str]) -> Option<Arc<str>> {
    if plugins.contains(&name) {
        return Some(Arc::from(name));
    }
    value.report_section(&format!("no plugin \"{name}\"{}", did_you_mean(name, plugins.iter().copied())));
    None
}

/// Converts an option to the form that plugins get it in. The parser has bounded how deep it is.
fn json(value: &DeValue<'_>) -> Result<serde_json::Value, Fault> {
    Ok(match value {
        DeValue::String(text) => serde_json::Value::String(text.to_string()),
        DeValue::Integer(integer) => {
            let number = i64::from_str_radix(integer.as_str(), integer.radix()).map_err(|_| "the number is too large")?;
            serde_json::Value::from(number)
        }
        DeValue::Float(float) => {
            let number = float.as_str().parse().ok().and_then(Number::from_f64);
            serde_json::Value::Number(number.ok_or("the number is not finite")?)
        }
        DeValue::Boolean(boolean) => serde_json::Value::Bool(*boolean),
        DeValue::Datetime(datetime) => serde_json::Value::String(datetime.to_string()),
        DeValue::Array(array) => serde_json::Value::Array(array.iter().map(|element| json(element.get_ref())).collect::<Result<_, _>>()?),
        DeValue::Table(table) => {
            let entries = table.iter().map(|(key, value)| Ok((key.get_ref().to_string(), json(value.get_ref())?)));
            serde_json::Value::Object(entries.collect::<Result<_, Fault>>()?)
        }
    })
}
