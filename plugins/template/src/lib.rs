//! Fills a message with the data of each recipient.
//!
//! Subject, From, To, Reply-To and every other header field, the text and the HTML are templates, in one of two languages:
//! [Smarty](smarty), the default, and [Jinja](jinja). Each recipient's own data lies over the message's; `recipient` and `envelope`,
//! the two addresses, are there without being given. In a list of addresses, a value is a name, an address or part of one, and cannot add
//! an address. A template that is not well formed is refused with the part and the line.
//!
//! A message takes part where it was given data and has anything to fill, or where its text is a template beyond doubt: a
//! mail without data that happens to hold a brace, or something that is nearly a template, goes on untouched. So do, with data
//! or without, fields that are not written by people, such as `Message-ID`, and those that begin with `X-`. `{$webversion}` is empty: there is no web version yet.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tubepost_plugin_sdk::{Failure, Message, Plugin, Position, Verdict, register};

mod addresses;
pub mod jinja;
pub mod limits;
pub mod smarty;

use limits::{Error, Limits};

/// Fields that programs write: how the message came here, what it is called, when it was written; what looks like a template in them is none.
const PROGRAMS_FIELDS: [&str; 10] = [
    "Received",
    "Return-Path",
    "DKIM-Signature",
    "ARC-Seal",
    "ARC-Message-Signature",
    "Message-ID",
    "References",
    "In-Reply-To",
    "Date",
    "MIME-Version",
];

/// Begins fields that describe the body.
const CONTENT_FIELDS: &str = "Content-";

/// Begins fields that may hold anything.
const PRIVATE_FIELDS: &str = "X-";

/// What is known of a submission of which any recipient has data of its own.
const RECIPIENT_DATA: (&str, &str) = ("recipient-data", "true");

/// The plugin.
#[derive(Debug)]
pub struct Template;

/// The language of a template.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Engine {
    /// The personalization language, see [`smarty`].
    #[default]
    Smarty,
    /// Jinja by `minijinja`, see [`jinja`].
    Jinja,
}

/// The options of the plugin.
#[derive(Debug, Deserialize, Serialize, JsonSchema)]
#[serde(default)]
pub struct Options {
    /// The language that templates are written in.
    pub engine: Engine,
    /// The most octets of one part, filled in.
    #[schemars(range(min = 1))]
    pub max_output: usize,
    /// The most turns of all loops of one part.
    #[schemars(range(min = 1))]
    pub max_loops: u64,
}

impl Default for Options {
    fn default() -> Self {
        let Limits { output, loops, .. } = Limits::default();
        Self { engine: Engine::default(), max_output: output, max_loops: loops }
    }
}

impl Options {
    fn limits(&self) -> Limits {
        Limits { output: self.max_output, loops: self.max_loops, ..Limits::default() }
    }
}

impl Engine {
    /// Whether a text has anything to fill. Without data it has to be a template beyond doubt.
    fn concerns(self, text: &str, html: bool, has_data: bool) -> bool {
        match self {
            Self::Smarty if has_data => smarty::has_tags(text, html),
            Self::Smarty => smarty::has_certain_tags(text),
            Self::Jinja => jinja::has_tags(text),
        }
    }
}

impl Plugin for Template {
    type Config = Options;

    fn wanted(message: &Message, options: &Options) -> Result<bool, Failure> {
        let has_data = has_data(message);
        let concerns = |text: &str, html| options.engine.concerns(text, html, has_data);
        // What costs least comes first: each part is read only if it may decide.
        let fields = message.headers();
        let mut fields = fields.iter().filter(|(name, _)| !is_of_programs(name));
        Ok(fields.any(|(name, value)| options.engine.concerns(value, false, has_data && !is_private(name)))
            || message.text().is_some_and(|text| concerns(&text, false))
            || message.html().is_some_and(|html| concerns(&html, true)))
    }

    fn recipient(message: &mut Message, options: &Options) -> Result<Verdict, Failure> {
        let filler = Filler::new(message, options)?;
        match filler.fill(message) {
            Ok(()) => Ok(Verdict::Next),
            Err(Refusal::Template { part, error }) => {
                Ok(Verdict::reject_content(format!("the template of the {part} is not valid: {error}")))
            }
            Err(Refusal::Failure(failure)) => Err(failure),
        }
    }
}

/// Whether any data was given, for all or for any one: then a brace is a template's.
fn has_data(message: &Message) -> bool {
    let variables = message.variables_json();
    let given = !matches!(variables.trim(), "" | "{}");
    given || message.context().iter().any(|(name, value)| (name.as_str(), value.as_str()) == RECIPIENT_DATA)
}

fn starts_with(name: &str, start: &str) -> bool {
    name.get(..start.len()).is_some_and(|found| found.eq_ignore_ascii_case(start))
}

fn is_of_programs(name: &str) -> bool {
    starts_with(name, CONTENT_FIELDS) || PROGRAMS_FIELDS.iter().any(|field| field.eq_ignore_ascii_case(name))
}

fn is_private(name: &str) -> bool {
    starts_with(name, PRIVATE_FIELDS)
}

/// Why a message is not filled.
enum Refusal {
    Template { part: String, error: Error },
    Failure(Failure),
}

impl<E: Into<Failure>> From<E> for Refusal {
    fn from(error: E) -> Self {
        Self::Failure(error.into())
    }
}

/// What templates are filled with.
struct Filler {
    engine: Engine,
    limits: Limits,
    /// Whether the message brought any data.
    has_data: bool,
    variables: serde_json::Map<String, serde_json::Value>,
    /// The same for [`smarty`].
    data: smarty::Data,
}

impl Filler {
    fn new(message: &Message, options: &Options) -> Result<Self, Failure> {
        let mut variables: serde_json::Map<String, serde_json::Value> = message.variables()?;
        let has_data = has_data(message);
        let recipient = message.recipients(0, 1).into_iter().next().map_or_else(String::new, |recipient| recipient.address);
        variables.entry("recipient").or_insert_with(|| recipient.into());
        variables.entry("envelope").or_insert_with(|| message.reverse_path().into());
        let now = i64::try_from(message.now_ms() / 1000).unwrap_or(i64::MAX);
        Ok(Self { engine: options.engine, limits: options.limits(), has_data, data: smarty::Data::new(&variables, now), variables })
    }

    /// The filled text, or nothing where there is nothing to fill. Where it is not known to be a template, what is not well formed is none.
    fn render(&self, part: &str, source: &str, html: bool, is_template: bool) -> Result<Option<String>, Refusal> {
        if !self.engine.concerns(source, html, is_template) {
            return Ok(None);
        }
        let rendered = match self.engine {
            Engine::Smarty => smarty::render(source, html, &self.data, self.limits),
            Engine::Jinja => jinja::render(source, html, &self.variables, self.limits),
        };
        match rendered {
            // What comes out as it went in is not edited, and keeps its encoding.
            Ok(filled) => Ok((filled != source).then_some(filled)),
            Err(Error::Syntax { .. }) if !is_template => Ok(None),
            Err(error) => Err(Refusal::Template { part: part.to_owned(), error }),
        }
    }

    /// As [`Filler::render`], for the value of a header field. In a list of addresses, values become names and addresses, and no more than that.
    fn render_field(&self, name: &str, source: &str, is_template: bool) -> Result<Option<String>, Refusal> {
        if !addresses::is_list(name) || !self.engine.concerns(source, false, is_template) {
            return self.render(name, source, false, is_template);
        }
        let marked = match self.engine {
            Engine::Smarty => smarty::render_marked(source, &self.data, self.limits),
            Engine::Jinja => jinja::render_marked(source, &self.variables, self.limits),
        };
        let filled = marked.and_then(|(text, marks)| addresses::fill(&text, &marks));
        match filled {
            Ok(filled) => Ok((filled != source).then_some(filled)),
            Err(Error::Syntax { .. }) if !is_template => Ok(None),
            Err(error) => Err(Refusal::Template { part: name.to_owned(), error }),
        }
    }

    fn fill(&self, message: &mut Message) -> Result<(), Refusal> {
        self.fill_header(message)?;
        if let Some(text) = message.text()
            && let Some(filled) = self.render("text", &text, false, self.has_data)?
        {
            message.set_text(&filled)?;
        }
        if let Some(html) = message.html()
            && let Some(filled) = self.render("HTML", &html, true, self.has_data)?
        {
            message.set_html(&filled)?;
        }
        Ok(())
    }

    fn fill_header(&self, message: &mut Message) -> Result<(), Refusal> {
        let fields = message.headers();
        let mut done: Vec<&str> = Vec::new();
        for (name, value) in &fields {
            let seen = done.iter().any(|known| known.eq_ignore_ascii_case(name));
            let is_template = self.has_data && !is_private(name);
            if seen || is_of_programs(name) || !self.engine.concerns(value, false, is_template) {
                continue;
            }
            done.push(name);
            let values: Vec<&str> =
                fields.iter().filter(|(other, _)| other.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str()).collect();
            let mut filled = Vec::with_capacity(values.len());
            for value in values {
                filled.push(one_line(&self.render_field(name, value, is_template)?.unwrap_or_else(|| value.to_owned())));
            }
            // The first stands where the first stood; fields of the same name follow in their order.
            let mut filled = filled.iter();
            if let Some(first) = filled.next() {
                message.set_header(name, first)?;
            }
            for value in filled {
                message.add_header(name, value, Position::Last)?;
            }
        }
        Ok(())
    }
}

/// What data brings along must not end a header field, let alone begin another.
fn one_line(value: &str) -> String {
    value.chars().map(|character| if character.is_control() { ' ' } else { character }).collect()
}

register!(Template: recipient);

#[cfg(test)]
mod tests;
