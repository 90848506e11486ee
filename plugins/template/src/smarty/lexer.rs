//! Cuts a template into text and tags, and a tag into tokens.

use super::ast::Operator;
use crate::limits::Error;

/// Words that start a tag.
pub(super) const KEYWORDS: [&str; 16] = [
    "if",
    "elseif",
    "else",
    "endif",
    "foreach",
    "foreachelse",
    "endforeach",
    "assign",
    "literal",
    "ldelim",
    "rdelim",
    "escape",
    "mode",
    "hash",
    "true",
    "false",
];

/// What a tag consists of.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Token<'t> {
    /// `$name`
    Variable(&'t str),
    /// A keyword, a function's or a modifier's name, or a member behind a dot.
    Word(&'t str),
    /// A quoted text.
    Text(String),
    Integer(i64),
    Decimal(f64),
    Operator(Operator),
    Not,
    /// `=`
    Assign,
    /// `=>`
    Arrow,
    Pipe,
    Colon,
    Comma,
    Dot,
    Slash,
    Minus,
    Open,
    Close,
    OpenBracket,
    CloseBracket,
    /// `}`
    End,
}

/// What comes next outside of tags.
#[derive(Debug, PartialEq)]
pub(super) enum Piece<'t> {
    Text(&'t str),
    /// `{`: tokens follow.
    Tag,
    /// The template is over.
    Nothing,
}

/// Reads a template from start to end.
#[derive(Debug, Clone)]
pub(super) struct Lexer<'t> {
    source: &'t str,
    position: usize,
    /// Whether style and script elements are known, where braces are not the template's unless they clearly are.
    html: bool,
    /// The end tag of the style or script element that is being read.
    raw_until: Option<&'static str>,
}

impl<'t> Lexer<'t> {
    pub(super) fn new(source: &'t str, html: bool) -> Self {
        Self { source, position: 0, html, raw_until: None }
    }

    pub(super) fn position(&self) -> usize {
        self.position
    }

    /// The line of a place, from 1.
    pub(super) fn line_at(&self, position: usize) -> usize {
        self.source.bytes().take(position).filter(|octet| *octet == b'\n').count() + 1
    }

    pub(super) fn error(&self, reason: impl Into<String>) -> Error {
        Error::Syntax { line: self.line_at(self.position), reason: reason.into() }
    }

    fn rest(&self) -> &'t str {
        self.source.get(self.position..).unwrap_or_default()
    }

    /// Reads text up to the next tag.
    pub(super) fn piece(&mut self) -> Result<Piece<'t>, Error> {
        let mut start = self.position;
        while let Some(offset) = self.rest().find(['{', '[', '<']) {
            self.position += offset;
            let rest = self.rest();
            let text = self.source.get(start..self.position).unwrap_or_default();
            if let Some(brace) = bracket_word(rest) {
                if !text.is_empty() {
                    return Ok(Piece::Text(text));
                }
                self.position += brace.1;
                return Ok(Piece::Text(brace.0));
            }
            if self.html && rest.starts_with('<') {
                self.enter_or_leave_raw(rest);
            }
            if rest.starts_with("{*") && self.raw_until.is_none() {
                if !text.is_empty() {
                    return Ok(Piece::Text(text));
                }
                let Some(end) = rest.find("*}") else {
                    return Err(self.error("a comment has no end"));
                };
                self.position += end + 2;
                start = self.position;
                continue;
            }
            if opens_tag(rest, self.raw_until.is_some()) {
                if !text.is_empty() {
                    return Ok(Piece::Text(text));
                }
                self.position += 1;
                return Ok(Piece::Tag);
            }
            self.position += 1;
        }
        self.position = self.source.len();
        let text = self.source.get(start..).unwrap_or_default();
        Ok(if text.is_empty() { Piece::Nothing } else { Piece::Text(text) })
    }

    fn enter_or_leave_raw(&mut self, rest: &str) {
        let starts_with = |name: &str| rest.get(..name.len()).is_some_and(|start| start.eq_ignore_ascii_case(name));
        match self.raw_until {
            Some(end) if starts_with(end) => self.raw_until = None,
            None if starts_with("<style") => self.raw_until = Some("</style"),
            None if starts_with("<script") => self.raw_until = Some("</script"),
            Some(_) | None => {}
        }
    }

    /// Reads `{literal}`'s content and its end tag.
    pub(super) fn literal(&mut self) -> Result<&'t str, Error> {
        let rest = self.rest();
        let mut from = 0;
        while let Some(brace) = rest.get(from..).and_then(|rest| rest.find("{/")) {
            let start = from + brace;
            let inside = rest.get(start + 2..).unwrap_or_default();
            if let Some(end) = inside.find('}')
                && inside.get(..end).is_some_and(|word| word.trim().eq_ignore_ascii_case("literal"))
            {
                self.position += start + 2 + end + 1;
                return Ok(rest.get(..start).unwrap_or_default());
            }
            from = start + 2;
        }
        Err(self.error("{literal} without {/literal}"))
    }

    /// Looks at the next token without reading it.
    pub(super) fn peek(&self) -> Result<Token<'t>, Error> {
        self.clone().token()
    }

    /// Reads the next token of a tag.
    pub(super) fn token(&mut self) -> Result<Token<'t>, Error> {
        self.skip_blanks();
        let rest = self.rest();
        let Some(first) = rest.chars().next() else {
            return Err(self.error("a tag has no end"));
        };
        if first == '$' {
            return self.variable();
        }
        if first == '"' || first == '\'' {
            return self.quoted(first);
        }
        if first.is_ascii_digit() {
            return Ok(self.number());
        }
        if first.is_alphabetic() || first == '_' {
            let length = rest.find(|character: char| !character.is_alphanumeric() && character != '_').unwrap_or(rest.len());
            return Ok(Token::Word(self.take(length)));
        }
        for (spelling, token) in SYMBOLS {
            if rest.starts_with(spelling) {
                self.position += spelling.len();
                return Ok(token);
            }
        }
        Err(self.error(format!("{first:?} does not belong in a tag")))
    }

    fn take(&mut self, length: usize) -> &'t str {
        let taken = self.rest().get(..length).unwrap_or_default();
        self.position += taken.len();
        taken
    }

    /// Skips white space, also the one that an HTML editor wrote as `&nbsp;`.
    fn skip_blanks(&mut self) {
        loop {
            let rest = self.rest();
            let trimmed = rest.trim_start();
            self.position += rest.len() - trimmed.len();
            match trimmed.strip_prefix("&nbsp;") {
                Some(_) => self.position += "&nbsp;".len(),
                None => return,
            }
        }
    }

    fn variable(&mut self) -> Result<Token<'t>, Error> {
        let name = self.rest().get(1..).unwrap_or_default();
        let length = name_length(name);
        if length == 0 {
            return Err(self.error("`$` without a name"));
        }
        self.position += 1;
        Ok(Token::Variable(self.take(length)))
    }

    /// A quoted text; a backslash takes the next character as it is, or as a line end, tab or carriage return.
    fn quoted(&mut self, quote: char) -> Result<Token<'t>, Error> {
        let rest = self.rest();
        let mut text = String::new();
        let mut characters = rest.char_indices().skip(1);
        while let Some((index, character)) = characters.next() {
            if character == quote {
                self.position += index + 1;
                return Ok(Token::Text(text));
            }
            if character != '\\' {
                text.push(character);
                continue;
            }
            match characters.next() {
                Some((_, 'n')) => text.push('\n'),
                Some((_, 't')) => text.push('\t'),
                Some((_, 'r')) => text.push('\r'),
                Some((_, escaped)) if escaped == quote || escaped == '\\' => text.push(escaped),
                // A regular expression may be written without doubling each backslash.
                Some((_, other)) => text.extend(['\\', other]),
                None => break,
            }
        }
        Err(self.error("a quoted text has no end"))
    }

    fn number(&mut self) -> Token<'t> {
        let rest = self.rest();
        let digits = |text: &str| text.bytes().take_while(u8::is_ascii_digit).count();
        let whole = digits(rest);
        let fraction = rest.get(whole..).and_then(|rest| rest.strip_prefix('.')).map_or(0, digits);
        let spelling = self.take(if fraction > 0 { whole + 1 + fraction } else { whole });
        match spelling.parse() {
            Ok(number) => Token::Integer(number),
            Err(_) => Token::Decimal(spelling.parse().unwrap_or(0.0)),
        }
    }

    /// Reads a member's name behind a dot, where a dash belongs to the name and digits are one.
    pub(super) fn member(&mut self) -> Result<&'t str, Error> {
        let rest = self.rest();
        let length = match name_length(rest) {
            0 => rest.bytes().take_while(u8::is_ascii_digit).count(),
            length => length,
        };
        if length == 0 {
            return Err(self.error("`.` without a name"));
        }
        Ok(self.take(length))
    }
}

/// Symbols, longest spelling first. Editors write some of them as character references.
const SYMBOLS: [(&str, Token<'static>); 34] = [
    ("&amp;&amp;", Token::Operator(Operator::And)),
    ("&gt;=", Token::Operator(Operator::GreaterOrEqual)),
    ("&lt;=", Token::Operator(Operator::LessOrEqual)),
    ("&lt;&gt;", Token::Operator(Operator::NotEqual)),
    ("&gt;", Token::Operator(Operator::Greater)),
    ("&lt;", Token::Operator(Operator::Less)),
    ("=&gt;", Token::Arrow),
    ("==", Token::Operator(Operator::Equal)),
    ("!=", Token::Operator(Operator::NotEqual)),
    ("<>", Token::Operator(Operator::NotEqual)),
    (">=", Token::Operator(Operator::GreaterOrEqual)),
    ("<=", Token::Operator(Operator::LessOrEqual)),
    ("=~", Token::Operator(Operator::Matches)),
    ("=>", Token::Arrow),
    ("&&", Token::Operator(Operator::And)),
    ("||", Token::Operator(Operator::Or)),
    (">", Token::Operator(Operator::Greater)),
    ("<", Token::Operator(Operator::Less)),
    ("=", Token::Assign),
    ("!", Token::Not),
    ("+", Token::Operator(Operator::Add)),
    ("-", Token::Minus),
    ("*", Token::Operator(Operator::Multiply)),
    ("/", Token::Slash),
    ("%", Token::Operator(Operator::Remainder)),
    ("|", Token::Pipe),
    (":", Token::Colon),
    (",", Token::Comma),
    (".", Token::Dot),
    ("(", Token::Open),
    (")", Token::Close),
    ("[", Token::OpenBracket),
    ("]", Token::CloseBracket),
    ("}", Token::End),
];

/// How many octets of a name there are: letters, digits, underscores, and dashes that a letter or digit follows.
fn name_length(text: &str) -> usize {
    let mut length = 0;
    let mut characters = text.char_indices().peekable();
    while let Some((index, character)) = characters.next() {
        let dash = character == '-' && characters.peek().is_some_and(|(_, next)| next.is_alphanumeric() || *next == '_' || *next == '-');
        let belongs = if index == 0 {
            character.is_alphabetic() || character == '_'
        } else {
            character.is_alphanumeric() || character == '_' || dash
        };
        if !belongs {
            break;
        }
        length = index + character.len_utf8();
    }
    length
}

/// `[ldelim]` and `[rdelim]`, which stand for braces everywhere, with their length.
fn bracket_word(rest: &str) -> Option<(&'static str, usize)> {
    let word = rest.get(.."[ldelim]".len())?;
    if word.eq_ignore_ascii_case("[ldelim]") {
        Some(("{", word.len()))
    } else if word.eq_ignore_ascii_case("[rdelim]") {
        Some(("}", word.len()))
    } else {
        None
    }
}

/// Whether a text holds `[ldelim]` or `[rdelim]`.
pub(super) fn has_bracket_word(text: &str) -> bool {
    text.match_indices('[').filter_map(|(index, _)| text.get(index..)).any(|rest| bracket_word(rest).is_some())
}

/// Whether a brace is the template's. Behind it there is neither a blank nor the end; in style and script elements there is a
/// variable, an end tag or a known word.
fn opens_tag(rest: &str, raw: bool) -> bool {
    let Some(inside) = rest.strip_prefix('{') else {
        return false;
    };
    let Some(first) = inside.chars().next() else {
        return false;
    };
    if first.is_whitespace() || first == '}' {
        return false;
    }
    !raw || certain_tag(inside)
}

/// Whether what stands behind a brace can hardly be anything but a tag: a variable, an end tag or a known word.
pub(super) fn certain_tag(inside: &str) -> bool {
    let (closing, word) = inside.strip_prefix('/').map_or((false, inside), |word| (true, word));
    let length = word.bytes().take_while(u8::is_ascii_alphabetic).count();
    let (name, after) = word.split_at(length);
    let known = KEYWORDS.iter().any(|keyword| keyword.eq_ignore_ascii_case(name));
    let ends = after.chars().next().is_some_and(|next| next.is_whitespace() || matches!(next, '}' | '(' | '=' | '|' | '&' | '!' | '$'));
    let variable = !closing && inside.strip_prefix('$').is_some_and(|name| name_length(name) > 0);
    variable || (known && ends)
}

/// A tag that has an end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Block {
    If,
    Foreach,
    Literal,
}

/// How sure it is that a brace begins a tag, in a text that may be none of ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Certainty {
    /// It can hardly be anything else.
    Tag,
    /// It begins a block, if that ends behind it.
    Begins(Block),
    /// It ends a block, if that begins before it.
    Ends(Block),
    /// It may be anything.
    None,
}

/// Looks at what stands behind a brace.
pub(super) fn certainty(inside: &str) -> Certainty {
    const WORDS: [(&str, Certainty); 13] = [
        ("if", Certainty::Begins(Block::If)),
        ("/if", Certainty::Ends(Block::If)),
        ("endif", Certainty::Ends(Block::If)),
        ("foreach", Certainty::Begins(Block::Foreach)),
        ("/foreach", Certainty::Ends(Block::Foreach)),
        ("endforeach", Certainty::Ends(Block::Foreach)),
        ("literal", Certainty::Begins(Block::Literal)),
        ("/literal", Certainty::Ends(Block::Literal)),
        ("elseif", Certainty::None),
        ("else", Certainty::None),
        ("foreachelse", Certainty::None),
        ("true", Certainty::None),
        ("false", Certainty::None),
    ];
    if let Some((_, certainty)) = WORDS.iter().find(|(word, _)| is_word(inside, word)) {
        return *certainty;
    }
    if !inside.starts_with('/') && certain_tag(inside) { Certainty::Tag } else { Certainty::None }
}

/// Whether a text begins with this word.
fn is_word(text: &str, word: &str) -> bool {
    text.get(..word.len()).is_some_and(|start| start.eq_ignore_ascii_case(word))
        && text.get(word.len()..).and_then(|rest| rest.chars().next()).is_none_or(|next| !next.is_alphanumeric() && next != '_')
}
