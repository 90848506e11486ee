//! What a client says: one command line (RFC 5321 §4.1), parsed strictly.
//!
//! Every tolerance for clients that do otherwise is a [`Quirk`]: named, explained and tested.

mod parameter;
mod path;

use std::fmt;
use std::time::Duration;

use crate::clock::Timestamp;
use crate::mail::address::EmailAddress;
use crate::mail::domain::Domain;
use crate::mail::envelope::{BodyType, ForwardPath, Notify, Return, ReversePath};
use parameter::Parameters;

/// Octets of the longest line there may be before its command is known: a line of an AUTH exchange (RFC 4954 §4).
pub const LONGEST_LINE_OCTETS: usize = 12_288;
/// Octets of a command line with its CRLF (RFC 5321 §4.5.3.1.4).
const COMMAND_OCTETS: usize = 512;
/// What extensions add to `MAIL`: SIZE 26 (RFC 1870), BODY 17 (RFC 6152), SMTPUTF8 10 (RFC 6531), AUTH 500 (RFC 4954), RET and ENVID 125 (RFC 3461),
/// HOLDFOR or HOLDUNTIL 34 (RFC 4865), MT-PRIORITY 15 (RFC 6710), REQUIRETLS 11 (RFC 8689).
const MAIL_OCTETS: usize = COMMAND_OCTETS + 26 + 17 + 10 + 500 + 125 + 34 + 15 + 11;
/// What extensions add to `RCPT`: NOTIFY and ORCPT 528 (RFC 3461), SMTPUTF8 10.
const RCPT_OCTETS: usize = COMMAND_OCTETS + 528 + 10;

/// A command with its arguments.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command<'a> {
    /// `EHLO name`.
    Ehlo(&'a str),
    /// `HELO name`.
    Helo(&'a str),
    /// `STARTTLS` (RFC 3207).
    StartTls,
    /// `AUTH mechanism [initial-response]` (RFC 4954).
    Auth {
        /// Name of the mechanism as it was written.
        mechanism: &'a str,
        /// Base64, or `=` for an empty one.
        initial_response: Option<&'a str>,
    },
    /// `MAIL FROM:`.
    Mail(Mail),
    /// `RCPT TO:`.
    Rcpt(Rcpt),
    /// `DATA`.
    Data,
    /// `BDAT size [LAST]` (RFC 3030).
    Bdat(Bdat),
    /// `RSET`.
    Rset,
    /// `NOOP`.
    Noop,
    /// `VRFY`.
    Vrfy,
    /// `EXPN`.
    Expn,
    /// `HELP`.
    Help,
    /// `QUIT`.
    Quit,
}

/// `MAIL FROM:` with its parameters (RFC 5321 §4.1.1.2).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mail {
    /// Where failures are reported.
    pub reverse_path: ReversePath,
    /// `SIZE=` in octets (RFC 1870); `None` where the client did not say.
    pub size: Option<u64>,
    /// `BODY=` (RFC 6152).
    pub body: BodyType,
    /// `SMTPUTF8` (RFC 6531).
    pub smtputf8: bool,
    /// `RET=` (RFC 3461 §4.3).
    pub ret: Option<Return>,
    /// `ENVID=`, decoded (RFC 3461 §4.4).
    pub envid: Option<String>,
    /// `HOLDFOR=` or `HOLDUNTIL=` (RFC 4865).
    pub hold: Option<Hold>,
    /// `MT-PRIORITY=`, from -9 to 9 (RFC 6710).
    pub priority: Option<i8>,
    /// `REQUIRETLS` (RFC 8689).
    pub require_tls: bool,
}

/// How long a message is not to be delivered (RFC 4865).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hold {
    /// `HOLDFOR`.
    For(Duration),
    /// `HOLDUNTIL`.
    Until(Timestamp),
}

/// `RCPT TO:` with its parameters (RFC 5321 §4.1.1.3).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rcpt {
    /// A recipient.
    Mailbox(ForwardPath),
    /// `<Postmaster>` without a domain: that of this host.
    Postmaster(RcptParameters),
}

/// What `RCPT` says beside the forward-path (RFC 3461 §4).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RcptParameters {
    /// As in [`ForwardPath`].
    pub notify: Option<Notify>,
    /// As in [`ForwardPath`].
    pub original: Option<String>,
}

/// `BDAT size [LAST]`: this many octets of content follow the line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bdat {
    /// Octets of the chunk.
    pub size_octets: u64,
    /// Whether the message ends with it.
    pub last: bool,
}

/// What we let pass although RFC 5321 does not have it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Quirk {
    /// `MAIL FROM: <a@example.com>`: a blank behind the colon, as many scripts and devices write it.
    SpaceAfterColon,
    /// Blanks at the end of a line, which RFC 5321 §4.1.1 itself asks servers to tolerate.
    TrailingSpace,
    /// A name in EHLO that is no domain and no address literal, as hosts without a proper name make one up (`my_host!`, `::1`). It goes
    /// into the trace field and means nothing else, and RFC 5321 §4.1.4 forbids to refuse mail because of it.
    ClientName,
}

impl fmt::Display for Quirk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::SpaceAfterColon => "a space behind the colon",
            Self::TrailingSpace => "space at the end of the line",
            Self::ClientName => "an EHLO name that is no domain",
        })
    }
}

/// Why a line is no command. The reply is in `reply`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SyntaxError {
    /// Longer than this command may be.
    #[error("the line is too long")]
    TooLong,
    /// Octets that are neither printable ASCII nor UTF-8.
    #[error("the line has characters that no command has")]
    NotText,
    /// A verb that we do not know.
    #[error("the command is not known")]
    UnknownCommand,
    /// Arguments are missing, too many, or malformed.
    #[error("the form is: {form}")]
    Arguments {
        /// How the command is written.
        form: &'static str,
    },
    /// What follows `MAIL FROM:` is no path.
    #[error("the sender's address is not valid")]
    ReversePath,
    /// What follows `RCPT TO:` is no path.
    #[error("the recipient's address is not valid")]
    ForwardPath,
    /// A parameter that we did not offer.
    #[error("a parameter is not known")]
    UnknownParameter,
    /// A parameter that we know with a value that it cannot have, or given twice.
    #[error("the parameter {keyword} is not valid")]
    Parameter {
        /// Which.
        keyword: &'static str,
    },
    /// An address that is not ASCII, without `SMTPUTF8` (RFC 6531 §3.5).
    #[error("an address that is not ASCII needs SMTPUTF8")]
    NeedsSmtpUtf8,
    /// `BDAT` without a valid size: nobody knows where the chunk ends and the next command starts.
    #[error("the size of the chunk is not valid")]
    ChunkSize,
}

/// Whether a line, or the beginning of one, is a `BDAT` command, in whatever form: what follows it may be content.
pub fn is_bdat(line: &[u8]) -> bool {
    let (verb, rest) = line.split_at_checked(4).unwrap_or((line, &[]));
    verb.eq_ignore_ascii_case(b"BDAT") && !rest.first().is_some_and(u8::is_ascii_alphanumeric)
}

/// Parses a command line without its CRLF. With the command comes what had to be tolerated to read it, if anything.
pub fn parse(line: &[u8]) -> Result<(Command<'_>, Option<Quirk>), SyntaxError> {
    let not_text = || if is_bdat(line) { SyntaxError::ChunkSize } else { SyntaxError::NotText };
    let text = str::from_utf8(line).map_err(|_| not_text())?;
    if text.chars().any(char::is_control) {
        return Err(not_text());
    }
    let trimmed = text.trim_end_matches(' ');
    let (verb, arguments) = trimmed.split_once(' ').unwrap_or((trimmed, ""));
    let keyword = Keyword::new(verb).ok_or(SyntaxError::UnknownCommand)?;
    if line.len() + "\r\n".len() > keyword.longest_line_octets() {
        return Err(if keyword == Keyword::Bdat { SyntaxError::ChunkSize } else { SyntaxError::TooLong });
    }
    let (command, quirk) = keyword.parse(arguments)?;
    Ok((command, quirk.or((trimmed.len() < text.len()).then_some(Quirk::TrailingSpace))))
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Keyword {
    Ehlo,
    Helo,
    StartTls,
    Auth,
    Mail,
    Rcpt,
    Data,
    Bdat,
    Rset,
    Noop,
    Vrfy,
    Expn,
    Help,
    Quit,
}

impl Keyword {
    const ALL: [(&'static str, Self); 14] = [
        ("EHLO", Self::Ehlo),
        ("HELO", Self::Helo),
        ("STARTTLS", Self::StartTls),
        ("AUTH", Self::Auth),
        ("MAIL", Self::Mail),
        ("RCPT", Self::Rcpt),
        ("DATA", Self::Data),
        ("BDAT", Self::Bdat),
        ("RSET", Self::Rset),
        ("NOOP", Self::Noop),
        ("VRFY", Self::Vrfy),
        ("EXPN", Self::Expn),
        ("HELP", Self::Help),
        ("QUIT", Self::Quit),
    ];

    fn new(verb: &str) -> Option<Self> {
        Self::ALL.iter().find(|(name, _)| name.eq_ignore_ascii_case(verb)).map(|(_, keyword)| *keyword)
    }

    const fn longest_line_octets(self) -> usize {
        match self {
            Self::Auth => LONGEST_LINE_OCTETS,
            Self::Mail => MAIL_OCTETS,
            Self::Rcpt => RCPT_OCTETS,
            Self::Ehlo
            | Self::Helo
            | Self::StartTls
            | Self::Data
            | Self::Bdat
            | Self::Rset
            | Self::Noop
            | Self::Vrfy
            | Self::Expn
            | Self::Help
            | Self::Quit => COMMAND_OCTETS,
        }
    }

    fn parse(self, arguments: &str) -> Result<(Command<'_>, Option<Quirk>), SyntaxError> {
        let alone = |command, form| if arguments.is_empty() { Ok(command) } else { Err(SyntaxError::Arguments { form }) };
        let command = match self {
            Self::Ehlo => return client_name(arguments, "EHLO hostname").map(|(name, quirk)| (Command::Ehlo(name), quirk)),
            Self::Helo => return client_name(arguments, "HELO hostname").map(|(name, quirk)| (Command::Helo(name), quirk)),
            Self::Mail => return mail(arguments).map(|(mail, quirk)| (Command::Mail(mail), quirk)),
            Self::Rcpt => return rcpt(arguments).map(|(rcpt, quirk)| (Command::Rcpt(rcpt), quirk)),
            Self::Auth => auth(arguments)?,
            Self::Bdat => Command::Bdat(bdat(arguments)?),
            Self::StartTls => alone(Command::StartTls, "STARTTLS")?,
            Self::Data => alone(Command::Data, "DATA")?,
            Self::Rset => alone(Command::Rset, "RSET")?,
            Self::Quit => alone(Command::Quit, "QUIT")?,
            // Their arguments change nothing here, so whatever they are, the answer is the same.
            Self::Noop => Command::Noop,
            Self::Vrfy => Command::Vrfy,
            Self::Expn => Command::Expn,
            Self::Help => Command::Help,
        };
        Ok((command, None))
    }
}

fn client_name<'a>(arguments: &'a str, form: &'static str) -> Result<(&'a str, Option<Quirk>), SyntaxError> {
    if arguments.is_empty() || arguments.len() > 255 || arguments.contains(' ') {
        return Err(SyntaxError::Arguments { form });
    }
    Ok((arguments, Domain::parse(arguments).is_err().then_some(Quirk::ClientName)))
}

fn auth(arguments: &str) -> Result<Command<'_>, SyntaxError> {
    let mut words = arguments.split(' ');
    match (words.next(), words.next(), words.next()) {
        (Some(mechanism), initial_response, None) if !mechanism.is_empty() => Ok(Command::Auth { mechanism, initial_response }),
        _ => Err(SyntaxError::Arguments { form: "AUTH mechanism [initial-response]" }),
    }
}

fn bdat(arguments: &str) -> Result<Bdat, SyntaxError> {
    let (size, last) = match arguments.split_once(' ') {
        None => (arguments, false),
        Some((size, word)) if word.eq_ignore_ascii_case("LAST") => (size, true),
        Some(_) => return Err(SyntaxError::ChunkSize),
    };
    Ok(Bdat { size_octets: parameter::number(size).ok_or(SyntaxError::ChunkSize)?, last })
}

fn mail(arguments: &str) -> Result<(Mail, Option<Quirk>), SyntaxError> {
    let form = "MAIL FROM:<address> [parameters]";
    let (path, quirk) = path::introduced(arguments, "FROM:").ok_or(SyntaxError::Arguments { form })?;
    let (path, parameters) = path::enclosed(path).ok_or(SyntaxError::ReversePath)?;
    let reverse_path =
        if path.is_empty() { ReversePath::Null } else { ReversePath::Mailbox(mailbox(path).ok_or(SyntaxError::ReversePath)?) };
    let parameters = Parameters::parse(parameters).ok_or(SyntaxError::Arguments { form })?;
    let mail = parameters.into_mail(reverse_path)?;
    if !mail.smtputf8 && mail.reverse_path.mailbox().is_some_and(|address| !is_ascii(address)) {
        return Err(SyntaxError::NeedsSmtpUtf8);
    }
    Ok((mail, quirk))
}

fn rcpt(arguments: &str) -> Result<(Rcpt, Option<Quirk>), SyntaxError> {
    let form = "RCPT TO:<address> [parameters]";
    let (path, quirk) = path::introduced(arguments, "TO:").ok_or(SyntaxError::Arguments { form })?;
    let (path, parameters) = path::enclosed(path).ok_or(SyntaxError::ForwardPath)?;
    let parameters = Parameters::parse(parameters).ok_or(SyntaxError::Arguments { form })?;
    if path.eq_ignore_ascii_case("postmaster") {
        return Ok((Rcpt::Postmaster(parameters.into_rcpt()?), quirk));
    }
    let address = mailbox(path).ok_or(SyntaxError::ForwardPath)?;
    let RcptParameters { notify, original } = parameters.into_rcpt()?;
    Ok((Rcpt::Mailbox(ForwardPath { address, notify, original }), quirk))
}

/// Parses what stands in angle brackets; a source route is dropped (RFC 5321 appendix C).
fn mailbox(path: &str) -> Option<EmailAddress> {
    EmailAddress::parse(path::without_route(path)?).ok()
}

/// Whether an address may be used without `SMTPUTF8`.
pub(super) fn is_ascii(address: &EmailAddress) -> bool {
    address.is_ascii() && address.domain().as_str().is_ascii()
}

#[cfg(test)]
mod tests;
