//! One message for some recipients of one server, and what became of it.

use std::fmt::Write as _;

use bytes::Bytes;

use super::extension::{Extensions, Size};
use super::reply::Reply;
use crate::mail::address::EmailAddress;
use crate::mail::envelope::{ForwardPath, Notify, Return, ReversePath, TransportSecurity};
use crate::smtp::extension::{push_utf8_address, push_xtext};

/// What is to be sent.
#[derive(Clone, Debug)]
pub struct Transaction {
    /// Argument of `MAIL FROM`.
    pub reverse_path: ReversePath,
    /// `RET`, where the next hop knows DSN.
    pub ret: Option<Return>,
    /// `ENVID`, where the next hop knows DSN.
    pub envid: Option<String>,
    /// The sender asked for SMTPUTF8: header fields may hold UTF-8.
    pub smtputf8: bool,
    /// `MT-PRIORITY`, where the next hop knows it; 0 is what it takes a message for that says nothing (RFC 6710 §4.2).
    pub priority: i8,
    /// `REQUIRETLS`: a next hop that does not know it, or without TLS, gets nothing.
    pub transport: TransportSecurity,
    /// Arguments of `RCPT TO`; at least one.
    pub forward_paths: Vec<ForwardPath>,
    /// The message, with CRLF line ends, unless it is binary.
    pub content: Bytes,
    /// The content is not in lines, for a server that takes that.
    pub is_binary: bool,
}

/// What became of a transaction, recipient by recipient.
#[derive(Clone, Debug)]
pub struct Conclusion {
    /// The transaction as it was given.
    pub transaction: Transaction,
    /// The server's last word for each recipient, in order; `None` where the connection ended before it.
    pub replies: Vec<Option<Reply>>,
    /// Whether the server answered anything to it: if not, it was not begun.
    pub begun: bool,
    /// Whether the server was told the DSN parameters and so answers for success DSNs.
    pub dsn_passed_on: bool,
}

impl Transaction {
    /// Whether header, reverse-path or one recipient has what only SMTPUTF8 lets through, apart from domains, which have A-labels.
    fn needs_smtputf8(&self) -> bool {
        self.reverse_path.mailbox().is_some_and(|address| !address.is_ascii()) || (self.smtputf8 && !self.header().is_ascii())
    }

    fn header(&self) -> &[u8] {
        let end = memchr::memmem::find(&self.content, b"\r\n\r\n").unwrap_or(self.content.len());
        self.content.get(..end).unwrap_or_default()
    }

    /// Returns the reply that the content would get if the server knew what it is asked, or `None` if it can be asked.
    ///
    /// RFC 6152 §3: content with the eighth bit set is no mail to a server without 8BITMIME. What could be converted has been.
    pub(super) fn content_refusal(&self, extensions: &Extensions) -> Option<Reply> {
        if let Some(Size::AtMost(limit)) = extensions.size
            && u64::try_from(self.content.len()).unwrap_or(u64::MAX) > limit
        {
            return Some(Reply::local(552, &format!("5.3.4 The next hop takes at most {limit} octets")));
        }
        if self.transport == TransportSecurity::Required && !extensions.require_tls {
            // RFC 8689 §4.2.1: the client must not send it there.
            return Some(Reply::local(
                550,
                "5.7.30 The message requires TLS on all of its way (REQUIRETLS), and the next hop does not offer that",
            ));
        }
        if self.is_binary {
            let text = "5.6.1 The next hop takes no binary content (no BINARYMIME)";
            return (!extensions.takes_binary()).then(|| Reply::local(554, text));
        }
        if !extensions.eight_bit_mime && !self.content.is_ascii() {
            let text = "5.6.3 The next hop takes ASCII only (no 8BITMIME), and the message cannot be converted";
            return Some(Reply::local(554, text));
        }
        None
    }

    /// Returns the reply that this recipient would get if the server knew what it is asked, or `None` if it can be asked.
    pub(super) fn recipient_refusal(&self, recipient: &ForwardPath, extensions: &Extensions) -> Option<Reply> {
        if !extensions.smtputf8 && (!recipient.address.is_ascii() || self.needs_smtputf8()) {
            return Some(Reply::local(553, "5.6.7 The next hop does not take internationalised mail (SMTPUTF8)"));
        }
        None
    }

    /// `MAIL FROM` with the parameters that the server knows (RFC 5321 §4.1.1.2).
    pub(super) fn mail_command(&self, extensions: &Extensions) -> String {
        let smtputf8 =
            extensions.smtputf8 && (self.needs_smtputf8() || self.forward_paths.iter().any(|recipient| !recipient.address.is_ascii()));
        let mut command = String::with_capacity(96);
        command.push_str("MAIL FROM:<");
        if let Some(address) = self.reverse_path.mailbox() {
            push_address(&mut command, address);
        }
        command.push('>');
        if extensions.size.is_some() {
            let _ = write!(command, " SIZE={}", self.content.len());
        }
        if self.is_binary {
            command.push_str(" BODY=BINARYMIME");
        } else if extensions.eight_bit_mime && !self.content.is_ascii() {
            command.push_str(" BODY=8BITMIME");
        }
        if smtputf8 {
            command.push_str(" SMTPUTF8");
        }
        if extensions.mt_priority && self.priority != 0 {
            let _ = write!(command, " MT-PRIORITY={}", self.priority);
        }
        if extensions.require_tls && self.transport == TransportSecurity::Required {
            command.push_str(" REQUIRETLS");
        }
        if extensions.dsn {
            match self.ret {
                Some(Return::Full) => command.push_str(" RET=FULL"),
                Some(Return::Headers) => command.push_str(" RET=HDRS"),
                None => {}
            }
            if let Some(envid) = &self.envid {
                command.push_str(" ENVID=");
                push_xtext(&mut command, envid);
            }
        }
        command.push_str("\r\n");
        command
    }
}

/// `RCPT TO` with the parameters that the server knows (RFC 5321 §4.1.1.3, RFC 3461 §4.1 and §4.2).
pub(super) fn recipient_command(recipient: &ForwardPath, extensions: &Extensions) -> String {
    let mut command = String::with_capacity(64);
    command.push_str("RCPT TO:<");
    push_address(&mut command, &recipient.address);
    command.push('>');
    if extensions.dsn {
        // What the sender did not say is not said for him; what he said is passed on, the default too (RFC 3461 §5.2.1).
        if let Some(notify) = recipient.notify {
            command.push_str(" NOTIFY=");
            push_notify(&mut command, notify);
        }
        if let Some(original) = &recipient.original {
            command.push_str(" ORCPT=");
            // The address type is an atom, the address behind it is xtext (RFC 3461 §4.2).
            let (kind, address) = original.split_once(';').unwrap_or(("rfc822", original));
            push_xtext(&mut command, kind);
            command.push(';');
            if kind.eq_ignore_ascii_case("utf-8") { push_utf8_address(&mut command, address) } else { push_xtext(&mut command, address) }
        }
    }
    command.push_str("\r\n");
    command
}

fn push_notify(command: &mut String, notify: Notify) {
    let words = [(notify.success, "SUCCESS"), (notify.failure, "FAILURE"), (notify.delay, "DELAY")];
    let mut wanted = words.iter().filter(|(wanted, _)| *wanted).map(|(_, word)| *word);
    command.push_str(wanted.next().unwrap_or("NEVER"));
    for word in wanted {
        command.push(',');
        command.push_str(word);
    }
}

/// Domains go out in A-labels always: every server knows them, and to DNS they are the same name.
fn push_address(command: &mut String, address: &EmailAddress) {
    if address.domain().as_str().is_ascii() {
        let _ = write!(command, "{address}");
    } else {
        command.push_str(&address.to_ascii_domain());
    }
}
