//! One message: where it stands, who gets it, what plugins did, what it looks like, what happened.

use std::fmt::Write;
use std::sync::Arc;

use axum::extract::{Path, Query, State};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;

use super::page::{Badge, Size, Text, Time, Took, page};
use super::{Services, failed, not_there, preview};
use crate::archive::view::MessageView;
use crate::event::search::Summary;
use crate::event::{Authentication, Event, EventKind, PluginRun};
use crate::mail::message_id::MessageId;

/// Recipients that are listed.
const MOST_RECIPIENTS: usize = 200;
/// Events that are listed.
const MOST_EVENTS: usize = 500;

/// What the address asks for.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
pub(super) struct Wanted {
    /// Whose copy is shown, by its place.
    #[serde(default)]
    pub(super) recipient: u32,
    /// 1 lets the preview load images from elsewhere.
    #[serde(default)]
    pub(super) images: u8,
}

/// `GET /dashboard/messages/ID`.
pub(super) async fn show(State(services): State<Arc<Services>>, Path(id): Path<String>, Query(wanted): Query<Wanted>) -> Response {
    let Ok(id) = id.parse::<MessageId>() else { return not_there() };
    let (summary, events) = match services.archive.message(id).await {
        Ok(Some(MessageView { summary: Some(summary), events, .. })) => (summary, events),
        Ok(_) => return not_there(),
        Err(error) => return failed(&error),
    };
    let shown = preview::text(&services, id, &summary, wanted).await;
    let subject = if summary.subject.is_empty() { "(no subject)".to_owned() } else { summary.subject.clone() };
    page(&subject, "", &content(&summary, &events, wanted, shown.as_deref())).into_response()
}

/// `text` is the plain text of the copy, "" where it has none, nothing where its content is not kept.
fn content(summary: &Summary, events: &[Event], wanted: Wanted, text: Option<&str>) -> String {
    let mut html = String::new();
    let subject = if summary.subject.is_empty() { "(no subject)" } else { &summary.subject };
    write!(html, "<h1>{} {}</h1>", Text(subject), Badge(summary.state)).ok();
    if !summary.reason.is_empty() {
        write!(html, "<p class=\"reason\">{}</p>", Text(&summary.reason)).ok();
    }
    facts(&mut html, summary);
    recipients(&mut html, summary, wanted);
    appearance(&mut html, summary, wanted, text);
    plugins(&mut html, summary);
    timeline(&mut html, events);
    html
}

fn facts(html: &mut String, summary: &Summary) {
    html.push_str("<dl class=\"facts\">");
    let mut fact = |name: &str, value: String| {
        if !value.is_empty() {
            write!(html, "<div><dt>{name}</dt><dd>{value}</dd></div>").ok();
        }
    };
    fact("Message", format!("<code>{}</code>", summary.message));
    fact("Login", Text(&summary.login).to_string());
    fact("From", if summary.reverse_path.is_empty() { "<i>nobody</i>".to_owned() } else { Text(&summary.reverse_path).to_string() });
    fact("Received", Time(summary.at).to_string());
    let over =
        if summary.protocol.is_empty() { String::new() } else { format!("{} from {}", summary.protocol.to_uppercase(), summary.peer) };
    fact("Over", Text(over).to_string());
    fact("Size", Size(summary.size).to_string());
    let tags: Vec<String> = summary.tags.iter().map(|tag| format!("<span class=\"tag\">{}</span>", Text(tag))).collect();
    fact("Tags", tags.join(" "));
    if summary.opens > 0 || summary.clicks > 0 {
        fact("Opened", format!("{} ×", summary.opens));
        fact("Clicked", format!("{} ×", summary.clicks));
    }
    html.push_str("</dl>");
}

fn recipients(html: &mut String, summary: &Summary, wanted: Wanted) {
    if summary.recipient_count == 0 {
        return;
    }
    write!(html, "<section><h2>Recipients <small>{}</small></h2><ul class=\"recipients\">", summary.recipient_count).ok();
    for place in (0..summary.recipient_count).take(MOST_RECIPIENTS) {
        let Some(address) = summary.address(place) else { continue };
        let current = if place == wanted.recipient { " aria-current=\"true\"" } else { "" };
        write!(html, "<li><a href=\"?recipient={place}\"{current}>{}</a>", Text(address)).ok();
        match summary.copies.get(&place) {
            None => write!(html, "{}", Badge(crate::event::search::State::Queued)).ok(),
            Some(copy) => {
                let next = copy.next.map(|next| format!(" · next attempt {}", Time(next))).unwrap_or_default();
                write!(html, "{}<span class=\"reply\">{}{next}</span>", Badge(copy.state), Text(&copy.reply)).ok()
            }
        };
        html.push_str("</li>");
    }
    let left = usize::try_from(summary.recipient_count).unwrap_or(usize::MAX).saturating_sub(MOST_RECIPIENTS);
    if left > 0 {
        write!(html, "<li>and {left} more</li>").ok();
    }
    html.push_str("</ul></section>");
}

fn appearance(html: &mut String, summary: &Summary, wanted: Wanted, text: Option<&str>) {
    let Some(text) = text else {
        html.push_str("<section><h2>Content</h2><p class=\"empty\">The content is not kept.</p></section>");
        return;
    };
    let Wanted { recipient, images } = wanted;
    let base = format!("/dashboard/messages/{}", summary.message);
    let other = if images == 0 {
        format!("<a href=\"?recipient={recipient}&amp;images=1\">Load images from elsewhere</a>")
    } else {
        format!("<a href=\"?recipient={recipient}\">Load nothing from elsewhere</a>")
    };
    // The width is chosen without a script: the checked button's siblings follow it.
    write!(
        html,
        "<section class=\"appearance\"><h2>Content</h2><p class=\"links\">{other}\
         <a href=\"{base}/source?recipient={recipient}\">Source as delivered</a><a href=\"{base}/original\">Source as received</a></p>\
         <input type=\"radio\" name=\"width\" id=\"desktop\" checked><label for=\"desktop\">Desktop</label>\
         <input type=\"radio\" name=\"width\" id=\"tablet\"><label for=\"tablet\">Tablet</label>\
         <input type=\"radio\" name=\"width\" id=\"phone\"><label for=\"phone\">Phone</label>\
         <input type=\"radio\" name=\"width\" id=\"plain\"><label for=\"plain\">Text</label>\
         <iframe sandbox=\"\" title=\"The message as HTML\" src=\"{base}/html?recipient={recipient}&amp;images={images}\"></iframe>\
         <pre class=\"text\">{}</pre></section>",
        Text(if text.is_empty() { "(no text part)" } else { text })
    )
    .ok();
}

fn plugins(html: &mut String, summary: &Summary) {
    if summary.plugins.is_empty() {
        return;
    }
    write!(
        html,
        "<section><h2>Plugins</h2><p class=\"links\"><a href=\"/dashboard/messages/{}/changes\">What they changed, side by side</a></p>\
         <ol class=\"plugins\">",
        summary.message
    )
    .ok();
    for run in &summary.plugins {
        plugin(html, run);
    }
    html.push_str("</ol></section>");
}

/// When it ran, for people.
fn stage(word: &str) -> &'static str {
    match word {
        "recipient" => "for each recipient",
        _ => "",
    }
}

/// How an outcome is coloured.
fn outcome_class(outcome: &str) -> &'static str {
    match outcome {
        "failed" | "reject" => "bad",
        "defer" | "hold" | "discard" => "held",
        _ => "good",
    }
}

/// One run of a plugin as a list element.
pub(super) fn plugin(html: &mut String, run: &PluginRun) {
    write!(
        html,
        "<li><b>{}</b> <small title=\"SHA-256 {}\">{}</small> <span class=\"stage\">{}</span><span class=\"outcome {}\">{}</span><span class=\"cost\">{}, {}</span>",
        Text(&run.plugin),
        Text(&run.digest),
        Text(&run.version),
        stage(&run.stage),
        outcome_class(&run.outcome),
        Text(&run.outcome),
        Took(run.micros),
        Size(run.memory)
    )
    .ok();
    if !run.text.is_empty() {
        write!(html, "<p>{}</p>", Text(&run.text)).ok();
    }
    let mut changed = Vec::new();
    if !run.headers_changed.is_empty() {
        changed.push(format!("header: {}", Text(run.headers_changed.join(", "))));
    }
    if run.parts_changed > 0 {
        changed.push(format!("{} part{} of the body", run.parts_changed, if run.parts_changed == 1 { "" } else { "s" }));
    }
    let changed = if changed.is_empty() { "changed nothing".to_owned() } else { format!("changed {}", changed.join("; ")) };
    write!(html, "<p class=\"changed\">{changed}</p>").ok();
    if !run.log.is_empty() {
        write!(html, "<pre>{}</pre>", Text(run.log.join("\n"))).ok();
    }
    html.push_str("</li>");
}

fn timeline(html: &mut String, events: &[Event]) {
    write!(html, "<section><h2>Events <small>{}</small></h2><ol class=\"timeline\">", events.len()).ok();
    for event in events.iter().take(MOST_EVENTS) {
        let (name, detail) = describe(&event.kind);
        let who = event.address.as_deref().map(|address| format!("<span class=\"who\">{}</span>", Text(address))).unwrap_or_default();
        write!(html, "<li>{} <b>{name}</b> {who}<span class=\"detail\">{}</span></li>", Time(event.at), Text(detail)).ok();
    }
    html.push_str("</ol></section>");
}

fn describe(kind: &EventKind) -> (&'static str, String) {
    let hop = |host: &str, reply: &str| if host.is_empty() { reply.to_owned() } else { format!("{host}: {reply}") };
    match kind {
        EventKind::Accepted { recipient_count, protocol, .. } => ("accepted", format!("{recipient_count} recipients, over {protocol}")),
        EventKind::Received { action, authentication } => {
            let Authentication { spf, dkim, dmarc, arc, domain } = authentication;
            ("received", format!("{action}; spf {spf}, dkim {dkim}, dmarc {dmarc} of {domain}, arc {arc}"))
        }
        EventKind::Rejected { reason, temporary, .. } => ("rejected", format!("{reason}{}", if *temporary { " (for now)" } else { "" })),
        EventKind::Discarded { plugin, reason } => ("discarded", format!("{plugin}: {reason}")),
        EventKind::Held { by, reason } => ("held", format!("{by}: {reason}")),
        EventKind::PluginFailed { plugin, failure } => ("plugin failed", format!("{plugin}: {failure}")),
        EventKind::Rendered { plugins } | EventKind::Observed { plugins } => {
            ("plugins", plugins.iter().map(said).collect::<Vec<_>>().join("; "))
        }
        EventKind::Delivered { host, reply, via, .. } => {
            let way = via.as_ref().map(|via| format!(" ({via})")).unwrap_or_default();
            ("delivered", format!("{}{way}", hop(host, reply)))
        }
        EventKind::Deferred { host, reply, next, .. } => ("deferred", format!("{}; again at {next}", hop(host, reply))),
        EventKind::Bounced { host, reply, status, class, report, .. } => {
            let late = if report.is_some() { ", after it was taken" } else { "" };
            ("bounced", format!("{} ({status}, {class}{late})", hop(host, reply)))
        }
        EventKind::Reported { action, host, reply, .. } => ("reported", format!("{}: {}", action.name(), hop(host, reply))),
        EventKind::Complained { by, .. } => ("complained", by.clone()),
        EventKind::Responded { kind, subject, .. } => (if kind.is_some() { "answered by itself" } else { "answered" }, subject.clone()),
        EventKind::DmarcReported { organisation, domain, messages, failed_spf, failed_dkim, .. } => (
            "DMARC report",
            format!("{organisation} on {domain}: {messages} messages, SPF failed for {failed_spf}, DKIM for {failed_dkim}"),
        ),
        EventKind::Cancelled => ("cancelled", String::new()),
        EventKind::Suppressed { source, scope, reason } => ("suppressed", format!("{source}, {scope}: {reason}")),
        EventKind::Clicked { url, position, visitor } => {
            ("clicked", format!("link {position}: {url} by {} {}", visitor.ip, visitor.user_agent))
        }
        EventKind::Followed { plugin, claims, visitor, .. } => ("followed", format!("link of {plugin}: {claims} by {}", visitor.ip)),
        EventKind::Opened { visitor } => ("opened", format!("by {} {}", visitor.ip, visitor.user_agent)),
        EventKind::Unsubscribed { one_click, visitor } => {
            ("unsubscribed", format!("{}by {}", if *one_click { "with one click " } else { "" }, visitor.ip))
        }
    }
}

/// What a plugin decided about a copy, and the lines it logged.
fn said(run: &PluginRun) -> String {
    let mut text = format!("{}: {}", run.plugin, run.outcome);
    for line in Some(&run.text).filter(|text| !text.is_empty()).into_iter().chain(&run.log) {
        text.push_str(", ");
        text.push_str(line);
    }
    text
}

#[cfg(test)]
pub(super) mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]
    use super::*;
    use crate::bounce::BounceClass;
    use crate::clock::Timestamp;
    use crate::event::Visitor;
    use crate::mail::tag::Tag;

    pub(in crate::http::dashboard) fn events() -> Vec<Event> {
        let at = Timestamp::from_millis(1_533_081_600_000);
        let event = |recipient, kind| Event {
            at,
            message: MessageId::from_bytes([1; 16]),
            login: "news<letter>".into(),
            recipient,
            address: None,
            tags: vec![Tag::parse("spring sale").unwrap()],
            kind,
        };
        let run = PluginRun {
            plugin: "tracking".into(),
            version: "0.1.0".into(),
            outcome: "next".into(),
            micros: 1234,
            memory: 524_288,
            headers_changed: vec!["List-Unsubscribe".into()],
            parts_changed: 1,
            log: vec!["a <b>".into()],
            ..PluginRun::default()
        };
        let accepted = EventKind::Accepted {
            protocol: "https".into(),
            peer: "192.0.2.1".into(),
            reverse_path: "sender@example.com".into(),
            recipients: vec!["ann@x.example".into(), "bob@y.example".into()],
            recipient_count: 2,
            subject: "<script>alert(1)</script> & more".into(),
            size: 51_200,
            plugins: vec![run],
        };
        let visitor = Visitor { ip: "192.0.2.7".into(), user_agent: "Mozilla".into() };
        vec![
            event(None, accepted),
            event(Some(0), EventKind::Delivered { host: "mx.x.example".into(), reply: "250 ok".into(), attempt: 0, via: None }),
            event(
                Some(1),
                EventKind::Deferred { host: String::new(), reply: "no answer".into(), attempt: 0, next: at, class: BounceClass::Network },
            ),
            event(Some(0), EventKind::Clicked { url: "https://x/\"><script>".into(), position: 3, visitor }),
        ]
    }

    pub(in crate::http::dashboard) fn summary() -> Summary {
        let events = events();
        let mut summary = Summary::new(events.first().unwrap());
        for event in &events {
            summary.apply(event);
        }
        summary
    }

    #[test]
    fn a_message_with_everything() {
        let html = content(&summary(), &events(), Wanted::default(), Some("Dear <Ann>"));
        assert!(!html.contains("<script>") && !html.contains("<Ann>"), "{html}");
        insta::assert_snapshot!(html.replace("><", ">\n<"));
    }

    #[test]
    fn a_refused_message_has_little() {
        let kind = EventKind::Rejected { reason: "no <mail>".into(), temporary: true, plugins: Vec::new() };
        let event = Event { kind, recipient: None, ..events().remove(0) };
        let mut summary = Summary::new(&event);
        summary.apply(&event);
        let html = content(&summary, &[event], Wanted::default(), None);
        assert!(html.contains("no &lt;mail&gt; (for now)") && !html.contains("iframe"), "{html}");
    }
}
