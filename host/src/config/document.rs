//! The file as tables and values that know where they stand, and the errors found on the way.
//!
//! A section is read by asking for its keys. Whatever was not asked for does not exist: it is reported, with the key that was
//! probably meant, and so there is no second list of keys that could disagree with the first. Reading goes on after an error, so that
//! one run of `check` shows them all.

use std::cell::{Cell, RefCell};
use std::fmt::Display;
use std::fs::File;
use std::ops::{Range, RangeInclusive};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::error::{ConfigError, ConfigErrors};
use super::secret::{self, Environment};
use super::suggestion::did_you_mean;
use super::unit::{ByteSize, Secret, TimeSpan};

/// Errors of syntax that are reported; those after them are mostly echoes of the first.
const SYNTAX_ERRORS: usize = 20;

/// What is wrong with a value, as a phrase: `must be …`.
pub(super) type Fault = String;

/// One configuration file while it is read.
pub(super) struct Reader<'a> {
    text: &'a str,
    /// The octets at which lines begin.
    lines: Vec<usize>,
    file_name: &'a str,
    base: &'a Path,
    environment: Environment<'a>,
    /// With the octet at which each stands.
    errors: RefCell<Vec<(usize, ConfigError)>>,
    warnings: RefCell<Vec<(usize, ConfigError)>>,
}

impl<'a> Reader<'a> {
    pub(super) fn new(text: &'a str, file_name: &'a str, base: &'a Path, environment: Environment<'a>) -> Self {
        let lines = std::iter::once(0).chain(text.match_indices('\n').map(|(at, _)| at + 1)).collect();
        Self { text, lines, file_name, base, environment, errors: RefCell::default(), warnings: RefCell::default() }
    }

    /// Parses the file and has `read` make something of its outermost table.
    ///
    /// `read` returns `None` only after it has reported why.
    pub(super) fn read<T>(self, read: impl FnOnce(&Section<'_>) -> Option<T>) -> Result<T, ConfigErrors> {
        let (document, syntax) = DeTable::parse_recoverable(self.text);
        for error in syntax.iter().take(SYNTAX_ERRORS) {
            self.report(error.span().map_or(0, |span| span.start), error.message().to_owned());
        }
        // What the parser made up to go on would only give errors that are not there.
        let result = if syntax.is_empty() { Section::open(&self, String::new(), 0, Some(document.get_ref()), read) } else { None };
        let mut errors = self.errors.into_inner();
        match result {
            Some(result) if errors.is_empty() => Ok(result),
            _ => {
                errors.sort_by_key(|(at, _)| *at);
                Err(ConfigErrors::new(errors.into_iter().map(|(_, error)| error).collect()))
            }
        }
    }

    fn report(&self, at: usize, message: String) {
        self.errors.borrow_mut().push((at, self.at(at, message)));
    }

    fn at(&self, at: usize, message: String) -> ConfigError {
        ConfigError { file: self.file_name.to_owned(), place: Some(self.line_and_column(at)), message }
    }

    fn line_and_column(&self, at: usize) -> (usize, usize) {
        let line = self.lines.partition_point(|start| *start <= at);
        let start = line.checked_sub(1).and_then(|index| self.lines.get(index)).copied().unwrap_or_default();
        let before = self.text.get(start..at).unwrap_or_default();
        (line, before.chars().count() + 1)
    }
}

/// A table of the file, or one that is not there and has no keys.
pub(super) struct Section<'a> {
    reader: &'a Reader<'a>,
    /// How errors call it: `login "newsletter"`. Empty for the file itself.
    name: RefCell<String>,
    /// Put before keys: `limits.` in a table inside a section.
    prefix: String,
    start: usize,
    table: Option<&'a DeTable<'a>>,
    known: RefCell<Vec<&'static str>>,
    open: Cell<bool>,
}

impl<'a> Section<'a> {
    /// Has `read` ask for the keys of a table, then reports those that it did not ask for.
    fn open<T>(
        reader: &'a Reader<'a>,
        name: String,
        start: usize,
        table: Option<&'a DeTable<'a>>,
        read: impl FnOnce(&Section<'_>) -> T,
    ) -> T {
        Self { reader, name: RefCell::new(name), prefix: String::new(), start, table, known: RefCell::default(), open: Cell::new(false) }
            .close_after(read)
    }

    fn close_after<T>(self, read: impl FnOnce(&Section<'_>) -> T) -> T {
        let result = read(&self);
        if !self.open.get() {
            self.report_unknown_keys();
        }
        result
    }

    /// Gives the section another name in errors: that of its `name` key.
    pub(super) fn rename(&self, name: String) {
        *self.name.borrow_mut() = name;
    }

    /// Does not report unknown keys: which there are depends on a key that is wrong.
    pub(super) fn leave_open(&self) {
        self.open.set(true);
    }

    /// Whether a key is there, with anything in it.
    pub(super) fn has(&self, key: &str) -> bool {
        let value = self.table.and_then(|table| table.get(key));
        value.is_some_and(|value| value.get_ref().as_array().is_none_or(|array| !array.is_empty()))
    }

    /// Whether the section stands in the file.
    pub(super) fn is_present(&self) -> bool {
        self.table.is_some()
    }

    /// Reports something that is wrong with the section as a whole.
    pub(super) fn report(&self, fault: &str) {
        self.report_at(self.start, "", fault);
    }

    /// Returns what is allowed and does not do what one might think, in the order of the file.
    pub(super) fn take_warnings(&self) -> Vec<ConfigError> {
        let mut warnings = self.reader.warnings.take();
        warnings.sort_by_key(|(at, _)| *at);
        warnings.into_iter().map(|(_, warning)| warning).collect()
    }

    fn report_at(&self, at: usize, key: &str, fault: &str) {
        self.reader.report(at, self.told(key, fault));
    }

    fn told(&self, key: &str, fault: &str) -> String {
        let name = self.name.borrow();
        let mut message = String::new();
        for part in [name.as_str(), &format!("{}{key}", if key.is_empty() { "" } else { &self.prefix })] {
            if !part.is_empty() {
                message.push_str(part);
                message.push_str(": ");
            }
        }
        message + fault
    }

    fn report_unknown_keys(&self) {
        let known = self.known.borrow();
        for key in self.table.iter().flat_map(|table| table.keys()) {
            let name: &str = key.get_ref();
            if known.contains(&name) {
                continue;
            }
            let mut hint = did_you_mean(name, known.iter().copied());
            if hint.is_empty() {
                hint = format!("; known are {}", known.join(", "));
            }
            self.report_at(key.span().start, "", &format!("unknown key \"{}{name}\"{hint}", self.prefix));
        }
    }

    /// Returns the value of a key.
    pub(super) fn value(&self, key: &'static str) -> Option<Value<'_>> {
        self.known.borrow_mut().push(key);
        let node = self.table?.get(key)?;
        Some(Value { section: self, key, node })
    }

    /// Reads a key that may be missing. A value that is wrong is reported, then as good as missing.
    pub(super) fn optional<'s, T>(&'s self, key: &'static str, read: impl FnOnce(&Value<'s>) -> Result<T, Fault>) -> Option<T> {
        let value = self.value(key)?;
        read(&value).map_err(|fault| value.report(&fault)).ok()
    }

    /// Reads a key that must be there; that it is not is reported.
    pub(super) fn required<'s, T>(&'s self, key: &'static str, read: impl FnOnce(&Value<'s>) -> Result<T, Fault>) -> Option<T> {
        if self.table.is_none_or(|table| !table.contains_key(key)) {
            self.report(&format!("\"{}{key}\" is missing", self.prefix));
        }
        self.optional(key, read)
    }

    /// Reads a key that has a default.
    pub(super) fn or<'s, T>(&'s self, key: &'static str, default: T, read: impl FnOnce(&Value<'s>) -> Result<T, Fault>) -> T {
        self.optional(key, read).unwrap_or(default)
    }

    /// Reads a list; a key that is missing is an empty one. Each element that is wrong is reported in its place.
    pub(super) fn list<'s, T>(&'s self, key: &'static str, read: impl Fn(&Value<'s>) -> Result<T, Fault>) -> Vec<T> {
        let elements = self.optional(key, Value::elements);
        elements.into_iter().flatten().filter_map(|element| read(&element).map_err(|fault| element.report(&fault)).ok()).collect()
    }

    /// Reads a table inside this one, which may be missing; errors go on to name this one.
    pub(super) fn table<T>(&self, key: &'static str, read: impl FnOnce(&Section<'_>) -> T) -> T {
        let value = self.value(key);
        let start = value.as_ref().map_or(self.start, Value::start);
        let table = value.and_then(|value| value.table().map_err(|fault| value.report(&fault)).ok());
        let name = RefCell::new(self.name.borrow().clone());
        Section {
            reader: self.reader,
            name,
            prefix: format!("{}{key}.", self.prefix),
            start,
            table,
            known: RefCell::default(),
            open: Cell::new(false),
        }
        .close_after(read)
    }

    /// Reads the section `[key]` of the file, which may be missing.
    pub(super) fn section<T>(&self, key: &'static str, read: impl FnOnce(&Section<'_>) -> T) -> T {
        let value = self.value(key);
        let start = value.as_ref().map_or(self.start, Value::start);
        let table = value.and_then(|value| value.table().map_err(|fault| value.report(&fault)).ok());
        Section::open(self.reader, key.to_owned(), start, table, read)
    }

    /// Reads the sections `[[key]]` of the file, in order. `read` is told the number of each, from 1.
    pub(super) fn sections<T>(&self, key: &'static str, mut read: impl FnMut(&Section<'_>, usize) -> Option<T>) -> Vec<T> {
        let elements = self.optional(key, Value::elements).into_iter().flatten();
        elements
            .zip(1..)
            .filter_map(|(element, number)| {
                let table = element.table().map_err(|fault| element.report(&fault)).ok()?;
                Section::open(self.reader, format!("{key} {number}"), element.start(), Some(table), |section| read(section, number))
            })
            .collect()
    }

    /// Reads the entries of `[key]`, whose keys are names that the operator chose; `singular` is what one is called in errors.
    pub(super) fn named<T>(
        &self,
        key: &'static str,
        singular: &str,
        read: impl Fn(&str, &Value<'_>) -> Option<T>,
    ) -> impl Iterator<Item = (String, T)> {
        let value = self.value(key);
        let table = value.and_then(|value| value.table().map_err(|fault| value.report(&fault)).ok());
        let entries = table.into_iter().flatten().filter_map(|(name, value)| {
            let section = Section {
                reader: self.reader,
                name: RefCell::new(format!("{singular} \"{}\"", name.get_ref())),
                prefix: String::new(),
                start: name.span().start,
                table: None,
                known: RefCell::default(),
                open: Cell::new(false),
            };
            if !is_name(name.get_ref()) {
                section.report("a name has 1 to 64 letters, digits, \"-\", \"_\" and \".\"");
            }
            let value = Value { section: &section, key: "", node: value };
            Some((name.get_ref().to_string(), read(name.get_ref(), &value)?))
        });
        entries.collect::<Vec<_>>().into_iter()
    }

    /// Returns the keys of the table in the file that `key` names: those that can be referred to, be they right or wrong.
    pub(super) fn names(&self, key: &str) -> Vec<&'a str> {
        let table = self.table.and_then(|table| table.get(key)).and_then(|value| value.get_ref().as_table());
        table.into_iter().flat_map(|table| table.keys()).map(|key| &**key.get_ref()).collect()
    }
}

/// Whether a text can be the name of a chain, a plugin or a route: they stand in metrics, file names and command lines.
pub(super) fn is_name(text: &str) -> bool {
    (1..=64).contains(&text.len()) && text.bytes().all(|c| c.is_ascii_alphanumeric() || b"-_.".contains(&c))
}

/// A value in the file.
#[derive(Clone)]
pub(super) struct Value<'a> {
    section: &'a Section<'a>,
    key: &'static str,
    node: &'a Spanned<DeValue<'a>>,
}

impl<'a> Value<'a> {
    /// Reports what is wrong with the value.
    pub(super) fn report(&self, fault: &str) {
        self.section.report_at(self.start(), self.key, fault);
    }

    /// Notes that the value is allowed, and what it does not do.
    pub(super) fn warn(&self, what: &str) {
        let warning = self.section.reader.at(self.start(), self.section.told(self.key, what));
        self.section.reader.warnings.borrow_mut().push((self.start(), warning));
    }

    /// Reports something in the place of the value that is not about its key: `chain "marketing": no plugin "templat"`.
    pub(super) fn report_section(&self, fault: &str) {
        self.section.report_at(self.start(), "", fault);
    }

    /// Returns where it stands, as `file:line:column`.
    pub(super) fn place(&self) -> String {
        let (line, column) = self.section.reader.line_and_column(self.start());
        format!("{}:{line}:{column}", self.section.reader.file_name)
    }

    fn start(&self) -> usize {
        let Range { start, .. } = self.node.span();
        start
    }

    /// Returns the value as TOML has it.
    pub(super) fn raw(&self) -> &'a DeValue<'a> {
        self.node.get_ref()
    }

    pub(super) fn text(&self) -> Result<&'a str, Fault> {
        self.raw().as_str().ok_or_else(|| self.wrong_type("a text in quotes"))
    }

    pub(super) fn boolean(&self) -> Result<bool, Fault> {
        self.raw().as_bool().ok_or_else(|| self.wrong_type("true or false"))
    }

    fn table(&self) -> Result<&'a DeTable<'a>, Fault> {
        self.raw().as_table().ok_or_else(|| self.wrong_type("a table"))
    }

    /// Reads a table that stands in the place of a value, and names it as its section is named.
    pub(super) fn section<T>(&self, read: impl FnOnce(&Section<'_>) -> T) -> Option<T> {
        let table = self.table().map_err(|fault| self.report(&fault)).ok()?;
        let name = self.section.name.borrow().clone();
        Some(Section::open(self.section.reader, name, self.start(), Some(table), read))
    }

    /// Returns the elements of a list, each with its own place.
    pub(super) fn elements(&self) -> Result<Vec<Value<'a>>, Fault> {
        let array = self.raw().as_array().ok_or_else(|| self.wrong_type("a list"))?;
        Ok(array.iter().map(|node| Value { section: self.section, key: self.key, node }).collect())
    }

    fn wrong_type(&self, expected: &str) -> Fault {
        let found = match self.raw() {
            DeValue::String(_) => "a text",
            DeValue::Integer(_) => "a number",
            DeValue::Float(_) => "a fraction",
            DeValue::Boolean(_) => "true or false",
            DeValue::Datetime(_) => "a date",
            DeValue::Array(_) => "a list",
            DeValue::Table(_) => "a table",
        };
        format!("must be {expected}, not {found}")
    }

    fn integer(&self) -> Option<i128> {
        let integer = self.raw().as_integer()?;
        i128::from_str_radix(integer.as_str(), integer.radix()).ok()
    }

    /// Reads a whole number in a range.
    pub(super) fn number<N>(&self, range: RangeInclusive<N>) -> Result<N, Fault>
    where
        N: TryFrom<i128> + PartialOrd + Display,
    {
        if !matches!(self.raw(), DeValue::Integer(_)) {
            return Err(self.wrong_type("a whole number"));
        }
        let number = self.integer().and_then(|number| N::try_from(number).ok()).filter(|number| range.contains(number));
        number.ok_or_else(|| format!("must be a number from {} to {}", range.start(), range.end()))
    }

    /// Reads a limit on a number of things: at least one.
    pub(super) fn count(&self) -> Result<u32, Fault> {
        self.number(1..=u32::MAX)
    }

    /// Reads a text that some type parses.
    pub(super) fn parsed<T>(&self) -> Result<T, Fault>
    where
        T: FromStr<Err: Display>,
    {
        self.text()?.parse().map_err(|error| format!("{error}"))
    }

    /// Reads a duration of at least a millisecond.
    pub(super) fn duration(&self) -> Result<Duration, Fault> {
        let TimeSpan(duration) = self.duration_or_zero()?;
        if duration.is_zero() { Err("must be longer than nothing".to_owned()) } else { Ok(duration) }
    }

    fn duration_or_zero(&self) -> Result<TimeSpan, Fault> {
        if self.integer().is_some() {
            return Err("a duration has a unit, such as \"50ms\", \"30s\", \"5m\" or \"1h30m\"".to_owned());
        }
        self.parsed()
    }

    /// Reads a duration, nothing included.
    pub(super) fn duration_from_zero(&self) -> Result<Duration, Fault> {
        self.duration_or_zero().map(|span| span.0)
    }

    /// Reads a size of at least one octet.
    pub(super) fn size(&self) -> Result<ByteSize, Fault> {
        let size = match self.raw() {
            DeValue::Integer(_) => ByteSize(self.number(0..=u64::MAX)?),
            DeValue::String(_) => self.parsed()?,
            DeValue::Float(_) | DeValue::Boolean(_) | DeValue::Datetime(_) | DeValue::Array(_) | DeValue::Table(_) => {
                return Err(self.wrong_type("a size in quotes, such as \"10MiB\""));
            }
        };
        if size.0 == 0 { Err("must be more than nothing".to_owned()) } else { Ok(size) }
    }

    /// Reads a size within a range.
    pub(super) fn size_within(&self, range: &RangeInclusive<ByteSize>) -> Result<ByteSize, Fault> {
        let size = self.size()?;
        if range.contains(&size) { Ok(size) } else { Err(format!("must be from {} to {}", range.start(), range.end())) }
    }

    /// Reads one of a few words.
    pub(super) fn choice<T: Clone>(&self, words: &[(&str, T)]) -> Result<T, Fault> {
        let text = self.text()?;
        if let Some((_, value)) = words.iter().find(|(word, _)| *word == text) {
            return Ok(value.clone());
        }
        let list: Vec<String> = words.iter().map(|(word, _)| format!("\"{word}\"")).collect();
        let hint = did_you_mean(text, words.iter().map(|(word, _)| *word));
        Err(format!("must be one of {}, not \"{text}\"{hint}", list.join(", ")))
    }

    /// Reads a text, a secret, from where it is kept.
    pub(super) fn secret(&self) -> Result<Secret, Fault> {
        secret::resolve(self.text()?, self.section.reader.base, self.section.reader.environment)
    }

    /// Reads a secret that is the hash of a password.
    pub(super) fn password_hash(&self) -> Result<Secret, Fault> {
        secret::password_hash(self.secret()?)
    }

    /// Reads a path; relative ones start at the folder of the configuration.
    pub(super) fn path(&self) -> Result<PathBuf, Fault> {
        let path = secret::expand(self.text()?, self.section.reader.environment)?;
        if path.is_empty() {
            return Err("is empty".to_owned());
        }
        Ok(self.section.reader.base.join(path))
    }

    /// Reads the path of a file that exists and can be read.
    pub(super) fn readable_file(&self) -> Result<PathBuf, Fault> {
        let path = self.path()?;
        let fault = |error: &dyn Display| format!("cannot read {}: {error}", path.display());
        let metadata = File::open(&path).and_then(|file| file.metadata()).map_err(|error| fault(&error))?;
        if metadata.is_file() { Ok(path) } else { Err(fault(&"not a file")) }
    }
}
