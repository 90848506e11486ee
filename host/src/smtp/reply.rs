//! What a server answers: replies (RFC 5321 §4.2) with enhanced status codes (RFC 2034), and the one table that turns refusals into them.
//!
//! The class of an enhanced status code is never written down: it is the first digit of the reply code, so the two cannot disagree.

use std::borrow::Cow;

use crate::mail::enhanced_status::EnhancedStatus;
use crate::mail::refusal::Refusal;
use crate::smtp::command::SyntaxError;
use crate::smtp::data::ContentFault;
use crate::spool::receipt::Receipt;

/// Octets of a reply line with code and CRLF (RFC 5321 §4.5.3.1.5); longer texts go on in another line.
const LINE_OCTETS: usize = 512;
/// The code of what a client is asked in an exchange of `AUTH`.
pub const PROMPT: u16 = 334;

/// Octets of text that are sent of a single reply; the rest is cut off. Plugins write texts too.
const TEXT_OCTETS: usize = 4096;

/// A reply. Line feeds in its text part it into lines.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    code: u16,
    status: Option<(u16, u16)>,
    text: Cow<'static, str>,
}

impl Reply {
    /// A reply with an enhanced status code: its subject and detail, as the class follows from `code`.
    pub const fn new(code: u16, subject: u16, detail: u16, text: &'static str) -> Self {
        Self { code, status: Some((subject, detail)), text: Cow::Borrowed(text) }
    }

    /// A reply that has no enhanced status code by RFC 2034 §4: the greeting, the answers to HELO and EHLO, everything in class 3.
    pub const fn bare(code: u16, text: Cow<'static, str>) -> Self {
        Self { code, status: None, text }
    }

    /// The answer to a message that is on disk: who has no receipt cannot say so.
    pub fn queued(receipt: &Receipt) -> Self {
        Self::told(250, 0, 0, format!("queued as {}", receipt.message()))
    }

    pub(super) fn told(code: u16, subject: u16, detail: u16, text: String) -> Self {
        Self { code, status: Some((subject, detail)), text: Cow::Owned(text) }
    }

    /// Returns the reply code.
    pub const fn code(&self) -> u16 {
        self.code
    }

    /// Returns the enhanced status code.
    pub fn enhanced(&self) -> Option<EnhancedStatus> {
        let class = u8::try_from(self.code / 100).ok()?;
        self.status.map(|(subject, detail)| EnhancedStatus::new(class, subject, detail))
    }

    /// Appends the reply as it is sent. What is not printable ASCII becomes `?`: RFC 6531 allows no UTF-8 here.
    pub fn write(&self, output: &mut Vec<u8>) {
        let mut prefix = self.code.to_string();
        let status = self.enhanced().map(|status| format!("{status} ")).unwrap_or_default();
        // A challenge is one line, however long (RFC 4954 §4).
        let (room, most) = match self.code {
            PROMPT => (usize::MAX, usize::MAX),
            _ => (LINE_OCTETS - "\r\n".len() - (prefix.len() + 1) - status.len(), TEXT_OCTETS),
        };
        let mut lines = self.lines(room, most).peekable();
        prefix.push('-');
        while let Some(line) = lines.next() {
            if lines.peek().is_none() {
                prefix.pop();
                prefix.push(' ');
            }
            output.extend_from_slice(prefix.as_bytes());
            output.extend_from_slice(status.as_bytes());
            output.extend(line.bytes().map(|octet| if octet == b' ' || octet.is_ascii_graphic() { octet } else { b'?' }));
            output.extend_from_slice(b"\r\n");
        }
    }

    /// The text, as far as `most` octets go, in lines of at most `room` octets; at least one.
    fn lines(&self, room: usize, most: usize) -> impl Iterator<Item = &str> {
        let text = self.text.get(..self.text.floor_char_boundary(most)).unwrap_or_default();
        text.split('\n').flat_map(move |line| {
            let mut rest = Some(line);
            std::iter::from_fn(move || {
                let line = rest.take()?;
                if line.len() <= room {
                    return Some(line);
                }
                let longest = line.floor_char_boundary(room);
                let cut = line.get(..longest).and_then(|start| start.rfind(' ')).filter(|cut| *cut > 0).unwrap_or(longest);
                let (start, end) = line.split_at_checked(cut)?;
                rest = Some(end.trim_start_matches(' '));
                Some(start)
            })
        })
    }
}

/// The table: why a message is not taken → what the client hears behind the end of its content.
impl From<&Refusal> for Reply {
    fn from(refusal: &Refusal) -> Self {
        let (code, subject, detail) = match refusal {
            // Of who is suppressed the address is as it should be, but mail is not wanted there.
            Refusal::SenderNotAllowed { .. } | Refusal::RelayDenied { .. } | Refusal::NotAuthentic { .. } | Refusal::Suppressed { .. } => {
                (550, 7, 1)
            }
            Refusal::UnknownRecipient { .. } => (550, 1, 1),
            Refusal::TooManyRecipients { .. } => (550, 5, 3),
            Refusal::MessageTooLarge { .. } | Refusal::HeaderTooLarge { .. } => (552, 3, 4),
            Refusal::Loop { .. } => (554, 4, 6),
            Refusal::InvalidContent(_) | Refusal::InvalidField { .. } => (550, 6, 0),
            Refusal::RateLimited { retry_after } | Refusal::TooMuchFromAddress { retry_after } => {
                let seconds = retry_after.as_secs().max(1);
                return Self::told(451, 7, 1, format!("{refusal}; try again in {seconds} s"));
            }
            Refusal::Plugin { code, enhanced, text, .. } => {
                // 421 would close the session, and anything outside of the two classes would be no refusal.
                let code = match code {
                    421 => 451,
                    400..=599 => *code,
                    _ => 554,
                };
                return Self::told(code, enhanced.subject, enhanced.detail, text.replace(char::is_control, " "));
            }
            Refusal::PluginFailed { permanent: true, .. } => (554, 3, 0),
            Refusal::PluginFailed { permanent: false, .. } | Refusal::StorageFailed => (451, 3, 0),
            Refusal::LoginDefect { .. } => (451, 3, 5),
            Refusal::NotAuthenticatedYet => (451, 7, 0),
            Refusal::StorageFull => (452, 3, 1),
            Refusal::Overloaded => (451, 3, 2),
        };
        Self::told(code, subject, detail, refusal.to_string().replace(char::is_control, " "))
    }
}

/// The table of faults on the wire.
impl From<ContentFault> for Reply {
    fn from(fault: ContentFault) -> Self {
        let (code, subject, detail) = match fault {
            // Not registered, but what Exchange has said for years: it is what people find when they look it up.
            ContentFault::BareLineEnd => (550, 6, 11),
            ContentFault::Nul | ContentFault::LineTooLong { .. } => (550, 6, 0),
            ContentFault::TooLarge { .. } => (552, 3, 4),
            ContentFault::NoMemory => (452, 3, 1),
            ContentFault::NotEncodable => (554, 6, 3),
        };
        Self::told(code, subject, detail, fault.to_string())
    }
}

/// The table of lines that are no commands.
impl From<SyntaxError> for Reply {
    fn from(error: SyntaxError) -> Self {
        let (code, subject, detail) = match error {
            SyntaxError::TooLong | SyntaxError::NotText => (500, 5, 2),
            SyntaxError::UnknownCommand => (500, 5, 1),
            SyntaxError::Arguments { .. } | SyntaxError::Parameter { .. } | SyntaxError::ChunkSize => (501, 5, 4),
            SyntaxError::ReversePath => (501, 1, 7),
            SyntaxError::ForwardPath => (501, 1, 3),
            SyntaxError::UnknownParameter => (555, 5, 4),
            SyntaxError::NeedsSmtpUtf8 => (553, 6, 7),
        };
        Self::told(code, subject, detail, error.to_string())
    }
}

#[cfg(test)]
mod tests;
