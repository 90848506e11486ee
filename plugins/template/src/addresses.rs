//! Address lists (RFC 5322 §3.4) that are templates: a value gives a name or an address, and cannot give more than that.
//!
//! The template is rendered with a [mark](Marks) for each output. What it gives is taken apart into names and addresses as its author wrote
//! them; then the values take the places of their marks, each in its own name or address, and the list is put together again.

use crate::limits::Error;

/// Fields that are lists of addresses.
const LISTS: [&str; 7] = ["From", "Sender", "Reply-To", "To", "Cc", "Bcc", "Disposition-Notification-To"];

/// Around the number of a mark: for private use, so that they stand in no name, and letters of a word to the grammar.
const MARK: (char, char) = ('\u{e000}', '\u{e001}');

/// What ends or begins something in a list.
const SPECIALS: &str = "<>(),;:\"\\";

/// Whether a field is a list of addresses.
pub(crate) fn is_list(name: &str) -> bool {
    LISTS.iter().any(|list| list.eq_ignore_ascii_case(name))
}

/// What outputs gave, with a mark for each.
#[derive(Debug)]
pub(crate) struct Marks {
    values: Vec<String>,
    octets: usize,
    limit: usize,
}

impl Marks {
    /// Takes values of `limit` octets together.
    pub(crate) fn new(limit: usize) -> Self {
        Self { values: Vec::new(), octets: 0, limit }
    }

    /// Keeps a value and returns its mark. Marks in the value, which a template has captured, are what they stand for.
    pub(crate) fn put(&mut self, value: &str) -> Result<String, Error> {
        let value = self.filled(value, &|value| value.to_owned());
        self.octets = self.octets.saturating_add(value.len());
        if self.octets > self.limit {
            return Err(Error::Limit(format!("the text has more than {} octets", self.limit)));
        }
        let mark = format!("{}{}{}", MARK.0, self.values.len(), MARK.1);
        self.values.push(value);
        Ok(mark)
    }

    /// Puts the values in the place of their marks.
    fn filled(&self, text: &str, form: &dyn Fn(&str) -> String) -> String {
        let mut filled = String::with_capacity(text.len());
        let mut rest = text;
        while let Some((before, behind)) = rest.split_once(MARK.0) {
            filled.push_str(before);
            let known = behind.split_once(MARK.1).and_then(|(number, tail)| Some((self.values.get(number.parse::<usize>().ok()?)?, tail)));
            rest = match known {
                Some((value, tail)) => {
                    filled.push_str(&form(value));
                    tail
                }
                None => behind,
            };
        }
        filled.push_str(rest);
        filled
    }

    /// The text with its values on one line.
    fn plain(&self, text: &str) -> String {
        self.filled(text, &crate::one_line).trim().to_owned()
    }
}

/// Fills a rendered list.
///
/// # Errors
/// A value that stands for an address is not one.
pub(crate) fn fill(text: &str, marks: &Marks) -> Result<String, Error> {
    let Some(items) = parse(text) else {
        // Nobody knows what is a name here: nothing of a value may mean anything.
        return Ok(marks.filled(text, &|value| crate::one_line(value).replace(|letter| SPECIALS.contains(letter), "")));
    };
    let mut filled = Vec::with_capacity(items.len());
    for item in items {
        filled.push(match item {
            Item::Group(name) => Item::Group(marks.plain(&name)),
            Item::End => Item::End,
            Item::Mailbox { name: None, address } => match mailbox(&marks.plain(&address))? {
                Some(mailbox) => mailbox,
                None => continue,
            },
            Item::Mailbox { name: Some(name), address } => {
                let name = Some(marks.plain(&name)).filter(|name| !name.is_empty());
                match mailbox(&marks.plain(&address))? {
                    Some(Item::Mailbox { name: None, address }) => Item::Mailbox { name, address },
                    Some(_) => return Err(no_address(&marks.plain(&address))),
                    // An address that is missing leaves the name alone, as it always did.
                    None => Item::Mailbox { name, address: String::new() },
                }
            }
        });
    }
    let text = write(&filled);
    // Two words without an address are no list any more, and who knows what others read in it.
    if parse(&text).is_none() {
        return Err(no_address(&text));
    }
    Ok(text)
}

/// What a filled address is: one mailbox, or nothing where it is empty.
fn mailbox(text: &str) -> Result<Option<Item>, Error> {
    if text.is_empty() {
        return Ok(None);
    }
    if !text.contains(|letter| SPECIALS.contains(letter)) {
        return Ok(Some(Item::Mailbox { name: None, address: text.to_owned() }));
    }
    let mut items = parse(text).ok_or_else(|| no_address(text))?.into_iter();
    match (items.next(), items.next()) {
        (Some(Item::Mailbox { name, address }), None) if is_bare(&address) => Ok(Some(Item::Mailbox { name, address })),
        _ => Err(no_address(text)),
    }
}

/// Whether an address stays what it is without angle brackets around it.
fn is_bare(address: &str) -> bool {
    !address.contains(|letter| SPECIALS.contains(letter))
        || matches!(parse(address).as_deref(), Some([Item::Mailbox { name: None, address: same }]) if same == address)
}

fn no_address(text: &str) -> Error {
    let shown: String = text.chars().take(100).collect();
    Error::Syntax { line: 1, reason: format!("one address is expected, and not {shown:?}") }
}

/// An element of a list.
#[derive(Debug)]
enum Item {
    /// `name:`
    Group(String),
    /// `;`
    End,
    Mailbox {
        name: Option<String>,
        address: String,
    },
}

/// Takes a list apart; `None` if it is none.
fn parse(text: &str) -> Option<Vec<Item>> {
    let mut items = Vec::new();
    let mut in_group = false;
    let mut rest = text;
    loop {
        let (element, end, tail) = Element::read(rest)?;
        rest = tail;
        if end == Some(':') {
            if in_group || !element.is_phrase() {
                return None;
            }
            in_group = true;
            items.push(Item::Group(element.phrase));
            continue;
        }
        items.extend(element.into_mailbox()?);
        match end {
            Some(';') if in_group => {
                items.push(Item::End);
                in_group = false;
            }
            Some(';') => return None,
            Some(_) => {}
            None => {
                if in_group {
                    items.push(Item::End);
                }
                return Some(items);
            }
        }
    }
}

/// What stands between two commas.
#[derive(Default)]
struct Element {
    /// The words as a name: unquoted, with a blank where blanks stood.
    phrase: String,
    /// The words as an address: as they stand.
    address: String,
    /// Blanks stand between words, where an address has none.
    is_parted: bool,
    angle: Option<String>,
    comment: Option<String>,
    has_address: bool,
}

impl Element {
    /// Reads up to a comma, a semicolon, a colon or the end; returns which it was, and what is behind it.
    fn read(text: &str) -> Option<(Self, Option<char>, &str)> {
        let mut element = Self::default();
        let mut is_joined = true;
        let mut rest = text;
        loop {
            let Some(first) = rest.chars().next() else { return Some((element, None, "")) };
            let tail = rest.get(first.len_utf8()..)?;
            match first {
                ',' | ';' | ':' => return Some((element, Some(first), tail)),
                ' ' | '\t' => {
                    is_joined = false;
                    rest = tail;
                }
                '(' => {
                    let (comment, tail) = enclosed(tail, Some('('), ')')?;
                    element.comment = Some(comment);
                    is_joined = false;
                    rest = tail;
                }
                '<' if element.angle.is_none() => {
                    let (inside, tail) = tail.split_once('>')?;
                    element.angle = Some(inside.trim().to_owned());
                    rest = tail;
                }
                '<' | '>' | ')' => return None,
                '"' => {
                    let (quoted, tail) = enclosed(tail, None, '"')?;
                    let raw = rest.get(..rest.len() - tail.len())?;
                    element.word(&quoted, raw, is_joined);
                    is_joined = true;
                    rest = tail;
                }
                _ => {
                    let (atom, tail) = rest.split_at(atom_length(rest));
                    element.has_address |= atom.contains('@');
                    element.word(atom, atom, is_joined);
                    is_joined = true;
                    rest = tail;
                }
            }
        }
    }

    fn word(&mut self, text: &str, raw: &str, is_joined: bool) {
        if !self.phrase.is_empty() && !is_joined {
            self.phrase.push(' ');
        }
        self.is_parted |= !is_joined && !self.address.is_empty();
        self.phrase.push_str(text);
        self.address.push_str(raw);
    }

    fn is_phrase(&self) -> bool {
        self.angle.is_none() && !self.has_address && !self.address.is_empty()
    }

    /// `None` outside: not an address; inside: nothing there.
    #[expect(clippy::option_option, reason = "private, and both are said above")]
    fn into_mailbox(self) -> Option<Option<Item>> {
        if let Some(address) = self.angle {
            return Some(Some(Item::Mailbox { name: Some(self.phrase).filter(|name| !name.is_empty()), address }));
        }
        if self.is_parted {
            return None;
        }
        // The oldest way to write a name: `user@example.com (Name)`.
        Some((!self.address.is_empty()).then_some(Item::Mailbox { name: self.comment, address: self.address }))
    }
}

/// Length of what stands before the next blank or special character; a domain literal is one word.
fn atom_length(text: &str) -> usize {
    let mut in_literal = false;
    for (place, letter) in text.char_indices() {
        match letter {
            '[' => in_literal = true,
            ']' => in_literal = false,
            ':' if in_literal => {}
            ' ' | '\t' | '"' | '(' | ')' | '<' | '>' | ',' | ';' | ':' => return place,
            _ => {}
        }
    }
    text.len()
}

/// Reads up to `close`; what is escaped counts for nothing, and a comment may hold comments.
fn enclosed(text: &str, open: Option<char>, close: char) -> Option<(String, &str)> {
    let mut content = String::new();
    let mut depth = 1_u32;
    let mut letters = text.char_indices();
    while let Some((place, letter)) = letters.next() {
        if letter == '\\' {
            content.push(letters.next()?.1);
            continue;
        }
        if letter == close {
            depth -= 1;
            if depth == 0 {
                return Some((content, text.get(place + close.len_utf8()..)?));
            }
        } else if Some(letter) == open {
            depth += 1;
        }
        content.push(letter);
    }
    None
}

fn write(items: &[Item]) -> String {
    let mut text = String::new();
    let mut separator = "";
    for item in items {
        match item {
            Item::Group(name) => {
                text.extend([separator, &quote(name), ":"]);
                separator = " ";
                continue;
            }
            Item::End => text.push(';'),
            Item::Mailbox { name: Some(name), address } => text.extend([separator, &quote(name), " <", address, ">"]),
            Item::Mailbox { name: None, address } => text.extend([separator, address]),
        }
        separator = ", ";
    }
    text
}

/// A name as it stands in a list: in quotes unless it is atoms and single blanks.
fn quote(name: &str) -> String {
    let is_atext = |letter: char| {
        (!letter.is_ascii() && !letter.is_whitespace()) || letter.is_ascii_alphanumeric() || "!#$%&'*+-/=?^_`{|}~".contains(letter)
    };
    if !name.is_empty() && name.split(' ').all(|word| !word.is_empty() && word.chars().all(is_atext)) {
        return name.to_owned();
    }
    format!("\"{}\"", name.replace('\\', "\\\\").replace('"', "\\\""))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]
    use proptest::prelude::*;

    use super::*;

    /// Fills a list in which `%` stands for the values, one after the other.
    fn filled(template: &str, values: &[&str]) -> Result<String, String> {
        let mut marks = Marks::new(10_000);
        let mut text = template.to_owned();
        for value in values {
            text = text.replacen('%', &marks.put(value).unwrap(), 1);
        }
        fill(&text, &marks).map_err(|error| error.to_string())
    }

    #[test]
    fn values_are_names_and_addresses() {
        for (template, values, expected) in [
            ("% <a@x>", &["Ann"][..], "Ann <a@x>"),
            ("% <a@x>", &["Ann \"Jo\" B"], "\"Ann \\\"Jo\\\" B\" <a@x>"),
            ("\"%\" <a@x>", &["Ann \"Jo\" B"], "\"Ann \\\"Jo\\\" B\" <a@x>"),
            ("% % <a@x>", &["Ann", "B, C"], "\"Ann B, C\" <a@x>"),
            ("% <a@x>", &["CEO <ceo@y>,"], "\"CEO <ceo@y>,\" <a@x>"),
            ("\"%\" <a@x>", &["\" <ceo@y>, \""], "\"\\\" <ceo@y>, \\\"\" <a@x>"),
            ("% <a@x>", &[""], "a@x"),
            ("% <%>, b@x", &["Ann\r\nBcc: c@x", "a@x"], "\"Ann  Bcc: c@x\" <a@x>, b@x"),
            ("%", &["a@x"], "a@x"),
            ("%", &["Ann \"Jo\" <a@x>"], "Ann Jo <a@x>"),
            ("%", &["\"john doe\"@x"], "\"john doe\"@x"),
            ("<%>", &["\"john doe\"@x"], "\"john doe\"@x"),
            ("%, b@x", &[""], "b@x"),
            ("%@x", &["a"], "a@x"),
            ("a@% (%)", &["x", "Ann, B"], "\"Ann, B\" <a@x>"),
            ("%: a@x, %;", &["G:", "b@x"], "\"G:\": a@x, b@x;"),
            ("Ann <%>", &[""], "Ann <>"),
            ("%", &["a@[IPv6:::1]"], "a@[IPv6:::1]"),
            // Not a list: what could make it one goes.
            ("% % a@x", &["<b@y>,", "c"], "b@y c a@x"),
        ] {
            assert_eq!(filled(template, values).as_deref(), Ok(expected), "{template} {values:?}");
        }
        for (template, value) in
            [("%", "a@x, b@x"), ("<%>", "a@x>, <b@x"), ("Ann <%>", "B <b@x>"), ("%", "a@x: b@x;"), ("%", "<:>"), ("%, a@x", "a a")]
        {
            assert!(filled(template, &[value]).is_err_and(|reason| reason.contains("one address is expected")), "{template} {value}");
        }
    }

    #[test]
    fn marks_have_a_limit_and_stand_for_themselves_in_values() {
        let mut marks = Marks::new(10);
        let first = marks.put("12345").unwrap();
        let second = marks.put(&first).unwrap();
        assert_eq!(marks.plain(&format!("{second}{}", MARK.0)), "12345");
        assert!(marks.put("x").is_err());
    }

    proptest! {
        #[test]
        fn a_value_adds_no_address(value in "[a@x<>()\",:; \\\\é]{0,20}") {
            for template in ["% <a@x>, b@x", "\"%\" <a@x>, b@x", "%, a@x", "<%>, a@x"] {
                if let Ok(text) = filled(template, &[&value]) {
                    let items = parse(&text);
                    prop_assert!(items.is_some_and(|items| items.len() <= 2), "{}", text);
                }
            }
        }
    }
}
