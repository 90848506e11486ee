//! What happened: the append-only log from which search, statistics, the dashboard and the commands are built.
//!
//! Stages write events and never read them. An event is one JSON object on the log; fields are only ever added.

pub mod index;
pub mod recorder;
pub mod search;

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::bounce::aggregate::Record;
use crate::bounce::complaint::ComplaintKind;
use crate::bounce::{Action, BounceClass, ResponseKind};
use crate::clock::Timestamp;
use crate::mail::message_id::MessageId;
use crate::mail::tag::Tag;

/// Digits of a component's digest that an event has.
pub const DIGEST_DIGITS: usize = 12;

/// [`EventKind::Received`] with this action is delivered somewhere else; with any other it has arrived.
pub const FORWARD: &str = "forward";

/// Something that happened to a message.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// When.
    pub at: Timestamp,
    /// To which message.
    pub message: MessageId,
    /// Whose message.
    pub login: Arc<str>,
    /// To which recipient's copy, by its place in the envelope; to the whole message where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recipient: Option<u32>,
    /// That recipient's address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
    /// Tags of the message.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<Tag>,
    /// What.
    #[serde(flatten)]
    pub kind: EventKind,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum EventKind {
    /// The message is on disk and the client was told so.
    Accepted {
        /// `esmtpsa`, `https`, …
        protocol: String,
        /// Address of the client.
        peer: String,
        /// The envelope's sender, "" for the null reverse-path.
        reverse_path: String,
        /// The first 100 forward-paths.
        recipients: Vec<String>,
        /// How many there are.
        recipient_count: u32,
        /// Decoded Subject, cut at 998 octets.
        subject: String,
        /// Octets as received.
        size: u64,
        /// What the plugins of the chain did, in order.
        plugins: Vec<PluginRun>,
    },
    /// It came to an address at a domain of ours.
    Received {
        /// What is done with it: `keep`, `forward`.
        action: String,
        /// What was found out about its sender.
        authentication: Authentication,
    },
    /// The message was refused: nothing was kept.
    Rejected {
        /// Why.
        reason: String,
        /// The client may try again.
        temporary: bool,
        /// What the plugins did until then.
        plugins: Vec<PluginRun>,
    },
    /// A plugin took the message off the way without telling the client.
    Discarded {
        /// Which plugin.
        plugin: String,
        /// What it says.
        reason: String,
    },
    /// The message waits for an operator.
    Held {
        /// Which plugin, or who.
        by: String,
        /// Why.
        reason: String,
    },
    /// A plugin trapped, ran out of time or memory, or gave a broken answer.
    PluginFailed {
        /// Which plugin.
        plugin: String,
        /// What went wrong.
        failure: String,
    },
    /// Plugins that run once for each recipient made his copy, and logged or decided something.
    Rendered {
        /// Those that did, in order.
        plugins: Vec<PluginRun>,
    },
    /// Plugins that were told what became of the message logged something, or failed. Not told to plugins again.
    Observed {
        /// Those that did.
        plugins: Vec<PluginRun>,
    },
    /// The next hop took the copy.
    Delivered {
        /// Name and address of the next hop, or the capture route.
        host: String,
        /// What it said.
        reply: String,
        /// From 0.
        attempt: u32,
        /// How it went there.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        via: Option<Via>,
    },
    /// It did not work this time.
    Deferred {
        /// Next hop, where one was reached.
        host: String,
        /// What it said, or what went wrong.
        reply: String,
        /// From 0.
        attempt: u32,
        /// When it is tried again.
        next: Timestamp,
        /// What it means.
        #[serde(default)]
        class: BounceClass,
    },
    /// It will not work.
    Bounced {
        /// Next hop, where one was reached.
        host: String,
        /// What it said, or what went wrong.
        reply: String,
        /// Enhanced status code.
        status: String,
        /// From 0.
        attempt: u32,
        /// What it means.
        #[serde(default)]
        class: BounceClass,
        /// The mail that said so after the next hop had taken the copy; absent where the next hop said so itself.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        report: Option<MessageId>,
    },
    /// A report came back that is not of a failure: it takes long, it arrived, it went on.
    Reported {
        /// What happened.
        action: Action,
        /// Who reports.
        host: String,
        /// What it says.
        reply: String,
        /// Enhanced status code.
        status: String,
        /// What it means.
        #[serde(default)]
        class: BounceClass,
        /// The mail that said so.
        report: MessageId,
    },
    /// The recipient calls the message spam.
    Complained {
        /// What he complains of.
        kind: ComplaintKind,
        /// Which feedback loop.
        by: String,
        /// The mail that said so.
        report: MessageId,
    },
    /// Something came back that is no report: an answer that was sent by itself, or what is not known.
    Responded {
        /// What it is; absent where it is not known.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        kind: Option<ResponseKind>,
        /// Its Subject, decoded, cut at 998 octets.
        subject: String,
        /// The mail itself.
        report: MessageId,
    },
    /// A receiver reports what it saw of a domain's mail in a day (DMARC). The event's message is the mail that the report came in.
    DmarcReported {
        /// Who reports.
        organisation: String,
        /// His address.
        email: String,
        /// His number of the report.
        id: String,
        /// Beginning of the time that it is about.
        begin: Timestamp,
        /// Its end.
        end: Timestamp,
        /// Which domain.
        domain: String,
        /// Messages in all.
        messages: u64,
        /// Messages that failed SPF.
        failed_spf: u64,
        /// Messages that failed DKIM.
        failed_dkim: u64,
        /// Records in all.
        record_count: u64,
        /// The first of them.
        records: Vec<Record>,
    },
    /// An operator took the copy out of the queue.
    Cancelled,
    /// The recipient is on a suppression list: the copy was dropped, and nobody was asked to take it.
    Suppressed {
        /// What put him there: `manual`, `bounce`, `spam`, `unsubscribe` or `validation_failed`.
        source: String,
        /// Whose list it is: `global`, `login:NAME` or `domain:NAME`.
        scope: String,
        /// Why he is on it.
        reason: String,
    },
    /// A link was followed.
    Clicked {
        /// Where it leads.
        url: String,
        /// Which link of the message.
        position: u32,
        /// Who followed it.
        #[serde(flatten)]
        visitor: Visitor,
    },
    /// An image was loaded.
    Opened {
        /// Who loaded it.
        #[serde(flatten)]
        visitor: Visitor,
    },
    /// A link was followed that a plugin made for itself.
    Followed {
        /// Which plugin.
        plugin: String,
        /// What it wanted to hear again.
        claims: String,
        /// Where it led, where it led anywhere.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        url: Option<String>,
        /// Who followed it.
        #[serde(flatten)]
        visitor: Visitor,
    },
    /// The recipient wants no more.
    Unsubscribed {
        /// By RFC 8058 one-click POST, else by the confirmation page.
        one_click: bool,
        /// Who did it.
        #[serde(flatten)]
        visitor: Visitor,
    },
}

/// How a copy went to the next hop.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Via {
    /// `TLS 1.3`; "" without TLS.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub tls: String,
    /// Its cipher suite, as IANA names it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub cipher: String,
    /// What asked for TLS: `dane`, `mta-sts`, `required`, `opportunistic`; `none` without TLS.
    pub policy: String,
    /// Our address.
    pub source: String,
}

impl fmt::Display for Via {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.tls.is_empty() {
            return write!(f, "without TLS, from {}", self.source);
        }
        write!(f, "{} {} ({}), from {}", self.tls, self.cipher, self.policy, self.source)
    }
}

/// What was found out about the sender of a message, in the words of RFC 8601: `pass`, `fail`, `softfail`, `neutral`, `none`, `temperror`,
/// `permerror`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Authentication {
    /// SPF, of the reverse-path; of the name in EHLO where that is null.
    pub spf: String,
    /// DKIM: the best of its signatures.
    pub dkim: String,
    /// DMARC.
    pub dmarc: String,
    /// ARC.
    pub arc: String,
    /// The domain in From that DMARC looked at; "" where there is no single one.
    pub domain: String,
}

/// Who visited a public link, as far as he says.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Visitor {
    /// Address of the client.
    pub ip: String,
    /// `User-Agent`, cut at 512 octets.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub user_agent: String,
}

/// What one plugin did to one message.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct PluginRun {
    /// Its name in the chain.
    pub plugin: String,
    /// Its version.
    pub version: String,
    /// The first [`DIGEST_DIGITS`] hexadecimal digits of the component's SHA-256.
    pub digest: String,
    /// `rcpt`, `submit`, `recipient` or `event`.
    pub stage: String,
    /// `next`, `accept`, `reject`, `defer`, `discard`, `hold`, `rewrite`, `handled`, `failed`, `not wanted`.
    pub outcome: String,
    /// What it said with it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub text: String,
    /// Time it took, in microseconds.
    pub micros: u64,
    /// Most memory it used, in octets.
    pub memory: u64,
    /// Header fields added, changed or removed.
    pub headers_changed: Vec<String>,
    /// Parts of the body changed.
    pub parts_changed: u32,
    /// Lines it logged.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub log: Vec<String>,
}
