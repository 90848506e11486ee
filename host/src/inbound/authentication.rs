//! Who has sent a message: SPF (RFC 7208), DKIM (RFC 6376), DMARC (RFC 7489) and ARC (RFC 8617), by the hand of `mail-auth`, over our own name servers.
//!
//! What is looked at is somebody else's to choose, and so all of it has a limit: the time, the number of signatures, the number of messages at once. It
//! runs on a thread where it keeps nobody waiting: a body is hashed once for each kind of signature.

use std::borrow::Cow;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use mail_auth::common::headers::HeaderWriter as _;
use mail_auth::dkim::Canonicalization;
use mail_auth::dmarc::Policy;
use mail_auth::dmarc::verify::DmarcParameters;
use mail_auth::spf::verify::SpfParameters;
use mail_auth::{
    AuthenticatedMessage, AuthenticationResults, DkimOutput, DkimResult, DmarcOutput, DmarcResult, MessageAuthenticator, ReceivedSpf,
    SpfOutput, SpfResult,
};
use tokio::sync::OwnedSemaphorePermit;

use crate::dns::network::NetworkDns;
use crate::event::Authentication;
use crate::mail::header::MAX_LINE;
use crate::mail::header::raw_fields::RawFields;

/// Asks name servers about senders. Cloning is cheap.
#[derive(Clone)]
pub(super) struct Verifier(MessageAuthenticator);

/// What is known of a sender before his message is looked at.
#[derive(Clone, Debug)]
pub(super) struct Sender {
    pub(super) peer: IpAddr,
    /// What the client called itself, where that is a domain name, in A-labels.
    pub(super) helo: Option<String>,
    /// The reverse-path with its domain in A-labels; "" where it is null.
    pub(super) reverse_path: String,
    /// Whom DMARC is asked about: the addresses of the one From field, with domains in A-labels, and nobody where there are several fields. `None` where we
    /// cannot read them.
    pub(super) authors: Option<Vec<String>>,
}

/// What we ask, and how much of it.
#[derive(Clone, Debug)]
pub(super) struct Bounds {
    /// Our name: the `authserv-id`.
    pub(super) hostname: Arc<str>,
    pub(super) time: Duration,
    /// Whether the signatures are too many to be looked at.
    pub(super) skip_signatures: bool,
}

/// What was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Findings {
    pub(super) authentication: Authentication,
    /// `Authentication-Results` and `Received-SPF`, as they stand in the header.
    pub(super) fields: String,
    /// Whether DMARC failed and the domain in From wants such mail refused.
    pub(super) is_disowned: bool,
    /// What the domain in From wants could not be found out for now: a stranger may have seen to that.
    pub(super) is_undecided: bool,
}

impl Verifier {
    pub(super) fn new(dns: &NetworkDns) -> Self {
        Self(MessageAuthenticator(dns.resolver().clone()))
    }

    /// Looks at a message. `permit` is held until that is over, also where nobody waits for it any more.
    pub(super) async fn verify(&self, sender: Sender, content: Bytes, bounds: Bounds, permit: OwnedSemaphorePermit) -> Findings {
        let authenticator = self.0.clone();
        let runtime = tokio::runtime::Handle::current();
        let unknown = Findings::unknown(&bounds.hostname);
        let looking = tokio::task::spawn_blocking(move || {
            let found = runtime.block_on(tokio::time::timeout(bounds.time, find(&authenticator, &sender, &content, &bounds)));
            drop(permit);
            found.ok()
        });
        match looking.await {
            Ok(Some(findings)) => findings,
            Ok(None) => {
                tracing::info!("what DNS says of a sender took too long to find out");
                unknown
            }
            Err(error) => {
                tracing::warn!(%error, "a message could not be authenticated");
                unknown
            }
        }
    }
}

impl Findings {
    /// Nothing could be found out for now.
    fn unknown(hostname: &str) -> Self {
        let word = || "temperror".to_owned();
        let authentication = Authentication { spf: word(), dkim: word(), dmarc: word(), arc: word(), domain: String::new() };
        let fields = plain_results(hostname, &authentication);
        Self { authentication, fields, is_disowned: false, is_undecided: true }
    }
}

async fn find(authenticator: &MessageAuthenticator, sender: &Sender, content: &[u8], bounds: &Bounds) -> Findings {
    let host = &*bounds.hostname;
    let literal = sender.peer.to_string();
    let helo = sender.helo.as_deref().unwrap_or(&literal);
    let of_helo = match sender.helo {
        Some(_) => authenticator.verify_spf(SpfParameters::verify_ehlo(sender.peer, helo, host)).await,
        // A name that is none stands for nobody.
        None => SpfOutput::new(String::new()),
    };
    let reverse_path = &*sender.reverse_path;
    // RFC 7208 §2.4: the null reverse-path is that of postmaster at the host that brings it.
    let of_sender = if reverse_path.is_empty() {
        of_helo.clone()
    } else {
        authenticator.verify_spf(SpfParameters::verify_mail_from(sender.peer, helo, host, reverse_path)).await
    };
    let looked_at = if bounds.skip_signatures { Cow::Owned(without_signatures(content)) } else { Cow::Borrowed(content) };
    let message = AuthenticatedMessage::parse(&looked_at).unwrap_or_default();
    let shortened = without_blank_end(&message);
    let mut message = shortened.as_deref().map_or(message, |shortened| AuthenticatedMessage::parse(shortened).unwrap_or_default());
    if let Some(authors) = &sender.authors {
        // DMARC is asked about the author whom we read, and readers: the library sees the end of the header where a line has no colon.
        message.from.clone_from(authors);
    }
    let dkim = authenticator.verify_dkim(&message).await;
    let arc = authenticator.verify_arc(&message).await;
    let domain = reverse_path.rsplit_once('@').map_or(helo, |(_, domain)| domain);
    let dmarc = authenticator.verify_dmarc(DmarcParameters::new(&message, &dkim, domain, &of_sender)).await;

    let signed = if bounds.skip_signatures { "policy" } else { best(&dkim) };
    let authentication = Authentication {
        spf: spf_word(of_sender.result()).to_owned(),
        dkim: signed.to_owned(),
        dmarc: dmarc_word(&dmarc.result()).to_owned(),
        arc: dkim_word(arc.result()).to_owned(),
        domain: dmarc.domain().to_owned(),
    };
    let mut results = AuthenticationResults::new(host).with_spf_ehlo_result(&of_helo, sender.peer, helo);
    if !reverse_path.is_empty() {
        results = results.with_spf_mailfrom_result(&of_sender, sender.peer, reverse_path, helo);
    }
    let header_from = message.from.first().map(String::as_str).unwrap_or_default();
    results = results.with_dkim_results(&dkim, header_from);
    let unsigned = if dkim.is_empty() { format!(";\r\n\tdkim={signed}") } else { String::new() };
    let rest = AuthenticationResults::new("").with_dmarc_result(&dmarc).with_arc_result(&arc, sender.peer);
    let mut fields = format!("Authentication-Results: {results}{unsigned}{rest}\r\n");
    if !is_field(&fields) {
        // Values of the sender's making, which fit in no line.
        fields = plain_results(host, &authentication);
    }
    let received = received_spf(&of_sender, sender.peer, helo, reverse_path, host);
    if is_field(&received) {
        fields.push_str(&received);
    }
    let is_undecided = matches!(dmarc.result(), DmarcResult::TempError(_));
    Findings { authentication, fields, is_disowned: is_disowned(&dmarc), is_undecided }
}

/// Whether the domain in From wants a message refused for which nobody vouches.
fn is_disowned(dmarc: &DmarcOutput) -> bool {
    dmarc.policy() == Policy::Reject && matches!(dmarc.result(), DmarcResult::Fail(_))
}

fn received_spf(spf: &SpfOutput, peer: IpAddr, helo: &str, reverse_path: &str, host: &str) -> String {
    let mut field = Vec::new();
    ReceivedSpf::new(spf, peer, helo, reverse_path, host).write_header(&mut field);
    String::from_utf8(field).unwrap_or_default()
}

/// The results in one word each: what can be said of every message.
fn plain_results(host: &str, found: &Authentication) -> String {
    let Authentication { spf, dkim, dmarc, arc, .. } = found;
    format!("Authentication-Results: {host};\r\n\tspf={spf};\r\n\tdkim={dkim};\r\n\tdmarc={dmarc};\r\n\tarc={arc}\r\n")
}

/// Whether a text is one header field in lines that are not too long.
fn is_field(text: &str) -> bool {
    let Some(text) = text.strip_suffix("\r\n") else { return false };
    let mut lines = text.split("\r\n");
    let is_line = |line: &str| line.len() <= MAX_LINE && !line.chars().any(|c| c.is_control() && c != '\t');
    lines.next().is_some_and(is_line) && lines.all(|line| is_line(line) && line.starts_with(['\t', ' ']) && !line.trim().is_empty())
}

/// Returns the message without fields that hold signatures.
fn without_signatures(content: &[u8]) -> Vec<u8> {
    let mut octets = Vec::with_capacity(content.len());
    let mut kept = 0;
    for line in RawFields::of(content) {
        let is_signature = |name: &[u8]| {
            let is = |known: &str| name.eq_ignore_ascii_case(known.as_bytes());
            is("DKIM-Signature") || name.get(..4).is_some_and(|start| start.eq_ignore_ascii_case(b"ARC-"))
        };
        if line.field.is_some_and(|(name, _)| is_signature(name)) {
            octets.extend_from_slice(content.get(kept..line.place.start).unwrap_or_default());
            kept = line.place.end;
        }
    }
    octets.extend_from_slice(content.get(kept..).unwrap_or_default());
    octets
}

/// Returns a message without the lines at its end that hold nothing but blanks, where it has any and all its signatures are of the `relaxed` body.
///
/// In that form such lines are none (RFC 6376 §3.4.4), but what verifies here counts them, and good signatures would fail.
fn without_blank_end(message: &AuthenticatedMessage<'_>) -> Option<Vec<u8>> {
    let is_relaxed = |form: Canonicalization, length: u64| form == Canonicalization::Relaxed && length == 0;
    let are_relaxed = message.dkim_headers.iter().all(|field| is_relaxed(field.header.cb, field.header.l))
        && message.ams_headers.iter().all(|field| is_relaxed(field.header.cb, field.header.l));
    let start = usize::try_from(message.body_offset).ok()?;
    let (header, body) = message.raw_message.split_at_checked(start)?;
    let blanks = body.iter().rev().take_while(|octet| matches!(octet, b' ' | b'\t' | b'\r' | b'\n')).count();
    let (text, tail) = body.split_at_checked(body.len() - blanks)?;
    // What stands behind the last words in their own line is no matter.
    let own = if text.is_empty() { 0 } else { memchr::memchr(b'\n', tail).map_or(tail.len(), |end| end + 1) };
    let has_blanks = tail.get(own..).unwrap_or_default().iter().any(|octet| matches!(octet, b' ' | b'\t'));
    (are_relaxed && has_blanks).then(|| [header, text, tail.get(..own).unwrap_or_default()].concat())
}

/// The best of some signatures: one that is good says who takes responsibility, whatever the others are.
fn best(dkim: &[DkimOutput<'_>]) -> &'static str {
    let words: Vec<_> = dkim.iter().map(|output| dkim_word(output.result())).collect();
    let known = ["pass", "temperror", "fail", "neutral", "permerror"].into_iter().find(|word| words.contains(word));
    known.unwrap_or("none")
}

const fn dkim_word(result: &DkimResult) -> &'static str {
    match result {
        DkimResult::Pass => "pass",
        DkimResult::Neutral(_) => "neutral",
        DkimResult::Fail(_) => "fail",
        DkimResult::PermError(_) => "permerror",
        DkimResult::TempError(_) => "temperror",
        DkimResult::None => "none",
    }
}

const fn dmarc_word(result: &DmarcResult) -> &'static str {
    match result {
        DmarcResult::Pass => "pass",
        DmarcResult::Fail(_) => "fail",
        DmarcResult::TempError(_) => "temperror",
        DmarcResult::PermError(_) => "permerror",
        DmarcResult::None => "none",
    }
}

const fn spf_word(result: SpfResult) -> &'static str {
    match result {
        SpfResult::Pass => "pass",
        SpfResult::Fail => "fail",
        SpfResult::SoftFail => "softfail",
        SpfResult::Neutral => "neutral",
        SpfResult::TempError => "temperror",
        SpfResult::PermError => "permerror",
        SpfResult::None => "none",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_field_does_not_go_into_a_header() {
        assert!(is_field("A: b;\r\n\tc=d\r\n"));
        for bad in [
            "A: b",
            "A: b\r\nB: c\r\n",
            "A: b\r\n\r\n",
            "A: b\r\n\t\r\n",
            "A: b\n\tc\r\n",
            "A: \u{0}\r\n",
            &format!("A: {}\r\n", "x".repeat(1_000)),
        ] {
            assert!(!is_field(bad), "{bad:?}");
        }
        let findings = Findings::unknown("mx.example.com");
        assert!(is_field(&findings.fields), "{findings:?}");
    }

    #[test]
    fn lines_of_blanks_at_the_end_are_none_for_relaxed_signatures() {
        let signature = |form: &str| {
            format!("DKIM-Signature: v=1; a=rsa-sha256; c={form}; d=a.example; s=s; h=from; bh=AAAA; b=AAAA\r\nFrom: a@a.example\r\n\r\n")
        };
        let relaxed = signature("relaxed/relaxed");
        for (header, body, expected) in [
            (&*relaxed, "a \r\n\r\n", None),
            (&relaxed, "a \r\n\t\r\n \r\n", Some("a \r\n")),
            (&relaxed, "a\r\n ", Some("a\r\n")),
            (&relaxed, " \r\n", Some("")),
            (&relaxed, "", None),
            (&signature("relaxed/simple"), "a\r\n \r\n", None),
        ] {
            let text = format!("{header}{body}");
            let message = AuthenticatedMessage::parse(text.as_bytes()).expect("a message");
            assert_eq!(message.dkim_headers.len(), 1, "{text}");
            let shortened = without_blank_end(&message);
            assert_eq!(shortened, expected.map(|expected| format!("{header}{expected}").into_bytes()), "{text}");
        }
    }

    #[test]
    fn signatures_are_left_out() {
        let content = b"DKIM-Signature: a\r\n b\r\nFrom: c\r\narc-seal: d\r\nTo: e\r\n\r\nDKIM-Signature: body\r\n";
        assert_eq!(without_signatures(content), b"From: c\r\nTo: e\r\n\r\nDKIM-Signature: body\r\n");
    }
}
