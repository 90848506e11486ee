//! Enhanced status codes (RFC 3463).

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// `class.subject.detail`, such as 5.7.1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct EnhancedStatus {
    /// 2 success, 4 persistent transient failure, 5 permanent failure.
    pub class: u8,
    /// At most 999.
    pub subject: u16,
    /// At most 999.
    pub detail: u16,
}

/// The text is no enhanced status code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not an enhanced status code such as 5.7.1")]
pub struct EnhancedStatusError;

impl EnhancedStatus {
    /// A code from its parts.
    pub const fn new(class: u8, subject: u16, detail: u16) -> Self {
        Self { class, subject, detail }
    }
}

impl fmt::Display for EnhancedStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.class, self.subject, self.detail)
    }
}

impl FromStr for EnhancedStatus {
    type Err = EnhancedStatusError;
    fn from_str(text: &str) -> Result<Self, EnhancedStatusError> {
        let number = |part: Option<&str>| -> Result<u16, EnhancedStatusError> {
            let part = part.filter(|p| (1..=3).contains(&p.len()) && p.bytes().all(|b| b.is_ascii_digit()));
            part.and_then(|p| p.parse().ok()).ok_or(EnhancedStatusError)
        };
        let mut parts = text.split('.');
        let class = match parts.next() {
            Some("2") => 2,
            Some("4") => 4,
            Some("5") => 5,
            _ => return Err(EnhancedStatusError),
        };
        let status = Self { class, subject: number(parts.next())?, detail: number(parts.next())? };
        if parts.next().is_some() { Err(EnhancedStatusError) } else { Ok(status) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_becomes_a_code() {
        assert_eq!("5.7.1".parse(), Ok(EnhancedStatus::new(5, 7, 1)));
        assert_eq!("4.10.999".parse(), Ok(EnhancedStatus::new(4, 10, 999)));
        for bad in ["", "5", "5.7", "3.1.1", "5.7.1.0", "5..1", "5.1000.1", "5.+7.1", "5.7.1 "] {
            assert_eq!(bad.parse::<EnhancedStatus>(), Err(EnhancedStatusError), "{bad:?}");
        }
    }
}
