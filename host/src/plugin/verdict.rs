//! What a plugin says about a message, and what we say about a plugin that could not say it.

use std::time::Duration;

use crate::mail::enhanced_status::EnhancedStatus;
use crate::telemetry::metric::PluginOutcome;

/// Octets of a reply's text, or of a reason, that are kept.
pub const TEXT_LENGTH: usize = 400;

/// The plugin's word on a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// On to the next plugin.
    Next,
    /// On without the plugins that are left.
    Accept,
    /// Refused for good.
    Reject(Reply),
    /// Refused for now.
    Defer(Reply),
    /// Thrown away without telling the client, for this reason.
    Discard(String),
    /// Kept until an operator says what becomes of it, for this reason.
    Hold(String),
}

impl Verdict {
    /// Whether the edits made in the same call count.
    pub const fn keeps_edits(&self) -> bool {
        match self {
            Self::Next | Self::Accept | Self::Hold(_) => true,
            Self::Reject(_) | Self::Defer(_) | Self::Discard(_) => false,
        }
    }

    /// Returns the word for it in events.
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Next => "next",
            Self::Accept => "accept",
            Self::Reject(_) => "reject",
            Self::Defer(_) => "defer",
            Self::Discard(_) => "discard",
            Self::Hold(_) => "hold",
        }
    }

    /// Returns under what it is counted.
    pub const fn metric(&self) -> PluginOutcome {
        match self {
            Self::Next | Self::Accept => PluginOutcome::Continued,
            Self::Reject(_) => PluginOutcome::Rejected,
            Self::Defer(_) => PluginOutcome::Deferred,
            Self::Discard(_) => PluginOutcome::Discarded,
            Self::Hold(_) => PluginOutcome::Held,
        }
    }

    /// Returns what the plugin said with it.
    pub fn text(&self) -> &str {
        match self {
            Self::Next | Self::Accept => "",
            Self::Reject(reply) | Self::Defer(reply) => &reply.text,
            Self::Discard(reason) | Self::Hold(reason) => reason,
        }
    }
}

/// An SMTP reply that a plugin chose: code and enhanced status are of one class, the text is one printable line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// 4yz or 5yz.
    pub code: u16,
    /// Of the same class.
    pub enhanced: EnhancedStatus,
    /// At most [`TEXT_LENGTH`] octets.
    pub text: String,
}

impl Reply {
    /// A reply of class 5. What is not one becomes 550 5.7.1; the text stays.
    pub fn rejection(code: u16, enhanced: Option<&str>, text: &str) -> Self {
        Self::of_class(5, 550, code, enhanced, text)
    }

    /// A reply of class 4. What is not one becomes 451 4.7.1; the text stays.
    pub fn deferral(code: u16, enhanced: Option<&str>, text: &str) -> Self {
        Self::of_class(4, 451, code, enhanced, text)
    }

    fn of_class(class: u8, fallback: u16, code: u16, enhanced: Option<&str>, text: &str) -> Self {
        let default = EnhancedStatus::new(class, 7, 1);
        // Reply-code = %x32-35 %x30-35 %x30-39 (RFC 5321 §4.2).
        // 421 would tell the client that the session is over (RFC 5321 §3.8).
        let valid = code / 100 == u16::from(class) && code / 10 % 10 <= 5 && code != 421;
        let status = match enhanced {
            None => Some(default),
            Some(text) => text.parse::<EnhancedStatus>().ok().filter(|status| status.class == class),
        };
        let (code, enhanced) = match status {
            Some(status) if valid => (code, status),
            _ => (fallback, default),
        };
        Self { code, enhanced, text: printable(text, TEXT_LENGTH) }
    }
}

/// Why a plugin gave no verdict. The plugin's `on_error` decides what becomes of the message.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// It trapped: a panic, an access outside of its memory, a host function used against its rules.
    #[error("trapped: {0}")]
    Trapped(String),
    /// It was still at work when its time was over.
    #[error("took more than its {} ms", limit.as_millis())]
    OutOfTime {
        /// `limits.time` of the plugin.
        limit: Duration,
    },
    /// It asked for more memory than it may have.
    #[error("wanted more than its {limit} octets of memory")]
    OutOfMemory {
        /// `limits.memory` of the plugin.
        limit: u64,
    },
    /// It made the message larger than it may.
    #[error("made the message larger than {limit} octets")]
    OutputTooLarge {
        /// `limits.output` of the plugin.
        limit: u64,
    },
    /// What it answered breaks the contract.
    #[error("gave a broken answer: {0}")]
    BadAnswer(String),
    /// It says that trying again later may help.
    #[error("failed: {0}")]
    Transient(String),
    /// It says that the message is at fault.
    #[error("failed on this message: {0}")]
    Permanent(String),
    /// It says that its options make no sense.
    #[error("cannot work with its options: {0}")]
    Config(String),
    /// It is not there any more: the configuration has changed since the message was accepted.
    #[error("is not configured any more")]
    Missing,
    /// The version that took the message is not kept any more: that of now ran in its place. The copy is made all the same.
    #[error("is not the version that took the message any more: sha256 {wanted} is not kept, {ran} ran")]
    OtherVersion {
        /// First digits of the digest of the one that took it.
        wanted: String,
        /// Of the one that ran.
        ran: String,
    },
}

impl Failure {
    /// Returns under what it is counted.
    pub const fn metric(&self) -> PluginOutcome {
        match self {
            Self::Trapped(_) => PluginOutcome::Trapped,
            Self::OutOfTime { .. } => PluginOutcome::OutOfTime,
            Self::OutOfMemory { .. } => PluginOutcome::OutOfMemory,
            Self::OutputTooLarge { .. } => PluginOutcome::OutputTooLarge,
            Self::BadAnswer(_) | Self::Missing | Self::OtherVersion { .. } => PluginOutcome::BadAnswer,
            Self::Transient(_) | Self::Permanent(_) | Self::Config(_) => PluginOutcome::Failed,
        }
    }
}

/// Returns `text` as one printable line of at most `limit` octets: whatever is not printable becomes a blank.
pub fn printable(text: &str, limit: usize) -> String {
    let mut line = String::with_capacity(text.len().min(limit));
    for c in text.chars() {
        let c = if c.is_control() || matches!(c, '\u{2028}' | '\u{2029}') { ' ' } else { c };
        if line.len() + c.len_utf8() > limit {
            break;
        }
        line.push(c);
    }
    line.truncate(line.trim_end().len());
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replies_of_the_wrong_class_are_put_right() {
        let check = |reply: Reply| (reply.code, reply.enhanced.to_string());
        assert_eq!(check(Reply::rejection(554, Some("5.6.0"), "")), (554, "5.6.0".to_owned()));
        assert_eq!(check(Reply::rejection(554, None, "")), (554, "5.7.1".to_owned()));
        assert_eq!(check(Reply::deferral(450, Some("4.2.1"), "")), (450, "4.2.1".to_owned()));
        for (code, enhanced) in [(250, None), (451, None), (599, None), (0, None), (554, Some("4.7.1")), (554, Some("junk"))] {
            assert_eq!(check(Reply::rejection(code, enhanced, "")), (550, "5.7.1".to_owned()), "{code} {enhanced:?}");
        }
        assert_eq!(check(Reply::deferral(550, Some("5.7.1"), "")), (451, "4.7.1".to_owned()));
    }

    #[test]
    fn a_text_is_one_printable_line() {
        assert_eq!(Reply::rejection(550, None, "no\r\n250 yes\0").text, "no  250 yes");
        let long = Reply::rejection(550, None, &"é".repeat(300)).text;
        assert_eq!((long.len(), long.chars().count()), (400, 200));
    }
}
