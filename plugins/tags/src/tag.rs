//! What a tag is: trimmed text of at most 128 characters without comma, semicolon or control characters.

use std::fmt;

/// The most characters of a tag.
const LONGEST: usize = 128;

/// Why some text is no tag.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum InvalidTag {
    /// Nothing but blanks.
    Empty,
    /// More than [`LONGEST`] characters.
    TooLong,
    /// A character that lists and logs use between tags, or a control character.
    Forbidden(char),
}

impl fmt::Display for InvalidTag {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => formatter.write_str("it is empty"),
            Self::TooLong => write!(formatter, "it has more than {LONGEST} characters"),
            Self::Forbidden(character) => write!(formatter, "it holds {character:?}"),
        }
    }
}

/// Trims and checks one tag.
pub(crate) fn parse(text: &str) -> Result<&str, InvalidTag> {
    let tag = text.trim();
    if tag.is_empty() {
        return Err(InvalidTag::Empty);
    }
    if tag.chars().count() > LONGEST {
        return Err(InvalidTag::TooLong);
    }
    let forbidden = |character: &char| matches!(character, ',' | ';') || character.is_control();
    tag.chars().find(forbidden).map_or(Ok(tag), |character| Err(InvalidTag::Forbidden(character)))
}

/// The tags of a comma list.
pub(crate) fn parse_list(list: &str) -> impl Iterator<Item = Result<&str, InvalidTag>> {
    list.split(',').map(parse)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_are_trimmed_and_checked() {
        assert_eq!(parse("  a b\t"), Ok("a b"));
        assert_eq!(parse(" "), Err(InvalidTag::Empty));
        assert_eq!(parse("a;b"), Err(InvalidTag::Forbidden(';')));
        assert_eq!(parse("a\u{7}"), Err(InvalidTag::Forbidden('\u{7}')));
        assert_eq!(parse(&"é".repeat(128)), Ok("é".repeat(128).as_str()));
        assert_eq!(parse(&"é".repeat(129)), Err(InvalidTag::TooLong));
    }
}
