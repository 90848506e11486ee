//! Tags: words that a sender puts on a message to find it again.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// Trimmed text of 1 to 128 characters without comma, semicolon or control characters. Blanks inside are allowed.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Tag(Arc<str>);

/// The text is no tag.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a tag has 1 to 128 characters, none of them a comma, a semicolon or a control character")]
pub struct TagError;

impl Tag {
    /// Makes a tag of text; blanks around it are dropped.
    pub fn parse(text: &str) -> Result<Self, TagError> {
        let text = text.trim();
        let valid = !text.is_empty() && text.chars().count() <= 128 && !text.chars().any(|c| c == ',' || c == ';' || c.is_control());
        if valid { Ok(Self(text.into())) } else { Err(TagError) }
    }

    /// Returns the text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for Tag {
    type Err = TagError;
    fn from_str(text: &str) -> Result<Self, TagError> {
        Self::parse(text)
    }
}

impl TryFrom<String> for Tag {
    type Error = TagError;
    fn try_from(text: String) -> Result<Self, TagError> {
        Self::parse(&text)
    }
}

impl From<Tag> for String {
    fn from(tag: Tag) -> Self {
        tag.0.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blanks_are_allowed_inside_only() {
        assert_eq!(Tag::parse("  spring sale ").map(String::from), Ok("spring sale".to_owned()));
        for bad in ["", "  ", "a,b", "a;b", "a\nb"] {
            assert_eq!(Tag::parse(bad), Err(TagError), "{bad:?}");
        }
        assert_eq!(Tag::parse(&"é".repeat(129)), Err(TagError));
    }
}
