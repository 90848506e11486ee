//! The other language: Jinja, by `minijinja`.

use std::io;
use std::sync::{Arc, Mutex};

use minijinja::{AutoEscape, Environment, ErrorKind, UndefinedBehavior, Value, syntax::SyntaxConfig, value::Serde};

use crate::addresses::Marks;
use crate::limits::{Error, Limits};

/// The name of the template while it is rendered.
const NAME: &str = "mail";
/// The deepest nesting of includes, macros and blocks.
const DEEPEST: usize = 50;

/// Renders a template; outputs are escaped where it is HTML.
///
/// # Errors
/// [`Error::Syntax`] where the template is not well formed or asks for something that does not exist, [`Error::Limit`] where it wants
/// more than it may have.
pub fn render(source: &str, html: bool, variables: &serde_json::Map<String, serde_json::Value>, limits: Limits) -> Result<String, Error> {
    run(source, html, variables, limits, None)
}

/// As [`render`] of text, with marks in the place of all that outputs give.
pub(crate) fn render_marked(
    source: &str,
    variables: &serde_json::Map<String, serde_json::Value>,
    limits: Limits,
) -> Result<(String, Marks), Error> {
    let marks = Arc::new(Mutex::new(Marks::new(limits.output)));
    let output = run(source, false, variables, limits, Some(Arc::clone(&marks)))?;
    let taken = marks.lock().map(|mut marks| std::mem::replace(&mut *marks, Marks::new(0)));
    Ok((output, taken.unwrap_or_else(|_| Marks::new(0))))
}

fn run(
    source: &str,
    html: bool,
    variables: &serde_json::Map<String, serde_json::Value>,
    limits: Limits,
    marks: Option<Arc<Mutex<Marks>>>,
) -> Result<String, Error> {
    let mut environment = Environment::new();
    if let Some(marks) = marks {
        environment.set_formatter(move |output, _, value| {
            let mark = marks.lock().ok().and_then(|mut marks| marks.put(&value.to_string()).ok());
            mark.map_or_else(|| Err(ErrorKind::WriteFailure.into()), |mark| output.write_str(&mark).map_err(Into::into))
        });
    }
    environment.set_undefined_behavior(UndefinedBehavior::Chainable);
    environment.set_recursion_limit(DEEPEST);
    environment.set_fuel(Some(limits.work));
    let syntax = SyntaxConfig::builder().keep_trailing_newline(true).build().map_err(|error| describe(&error, limits))?;
    environment.set_syntax(syntax);
    environment.set_auto_escape_callback(move |_| if html { AutoEscape::Html } else { AutoEscape::None });
    environment.add_template(NAME, source).map_err(|error| describe(&error, limits))?;
    let template = environment.get_template(NAME).map_err(|error| describe(&error, limits))?;
    let mut output = Bounded { octets: Vec::with_capacity(source.len()), limit: limits.output };
    template.render_captured_to(Value::from(Serde(variables)), &mut output).map_err(|error| describe(&error, limits))?;
    String::from_utf8(output.octets).map_err(|_| Error::Limit("the text is not UTF-8".to_owned()))
}

/// Whether a text has anything that [`render`] would look at.
pub fn has_tags(text: &str) -> bool {
    ["{{", "{%", "{#"].iter().any(|tag| text.contains(tag))
}

fn describe(error: &minijinja::Error, limits: Limits) -> Error {
    let kind = error.kind();
    if kind == ErrorKind::OutOfFuel {
        return Error::Limit("the template takes too much work".to_owned());
    }
    if kind == ErrorKind::WriteFailure {
        return Error::Limit(format!("the text has more than {} octets", limits.output));
    }
    let reason = error.detail().map_or_else(|| kind.to_string(), |detail| format!("{kind}: {detail}"));
    Error::Syntax { line: error.line().unwrap_or(1), reason }
}

/// Takes octets up to a limit.
struct Bounded {
    octets: Vec<u8>,
    limit: usize,
}

impl io::Write for Bounded {
    fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
        if self.octets.len() + octets.len() > self.limit {
            return Err(io::Error::from(io::ErrorKind::StorageFull));
        }
        self.octets.extend_from_slice(octets);
        Ok(octets.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
