//! What each plugin changed, side by side: the chain is run once more over the message as it came in, for all recipients and for one of them.

use std::fmt::Write;
use std::sync::Arc;

use axum::extract::{Path, Query, State};
use axum::response::{IntoResponse, Response};

use super::message::Wanted;
use super::page::{Text, page};
use super::sides::sides;
use super::{Services, kept, message, not_there, preview};
use crate::intake::dry_run::{DryCopy, DryResult, DryRun, DryStep};
use crate::mail::message_id::MessageId;

/// Octets of a message that are compared.
const LONGEST: usize = 512 * 1024;
/// Recipients that can be chosen.
const MOST_RECIPIENTS: usize = 100;

/// `GET /dashboard/messages/ID/changes`.
pub(super) async fn show(State(services): State<Arc<Services>>, Path(id): Path<String>, Query(wanted): Query<Wanted>) -> Response {
    let Ok(id) = id.parse::<MessageId>() else { return not_there() };
    let (entry, body, original) = match kept(&services, id).await {
        Ok(message) => message,
        Err(response) => return response,
    };
    let subject = entry.subject.clone();
    let replayed = services.archive.replay(entry, body, original).await;
    // Comparing is work for a thread that may be busy.
    let html = tokio::task::spawn_blocking(move || content(id, &subject, &replayed, wanted)).await.unwrap_or_default();
    page("Changes", "", &html).into_response()
}

fn content(id: MessageId, subject: &str, replayed: &Result<(DryRun, Vec<String>), String>, wanted: Wanted) -> String {
    let mut html = format!("<p class=\"links\"><a href=\"/dashboard/messages/{id}\">Back to the message</a></p><h1>{}</h1>", Text(subject));
    let (run, notes) = match replayed {
        Ok(replayed) => replayed,
        Err(reason) => {
            write!(html, "<p class=\"empty\">{}</p>", Text(reason)).ok();
            return html;
        }
    };
    html.push_str("<p>The chain run once more over the message as it came in, with the versions of the plugins that had it.</p>");
    for note in notes {
        write!(html, "<p class=\"note\">{}</p>", Text(note)).ok();
    }
    for (plugin, failure) in &run.failures {
        write!(html, "<p class=\"reason\">{} {}</p>", Text(plugin), Text(failure)).ok();
    }
    let copies: &[DryCopy] = match &run.result {
        DryResult::Kept { copies, .. } => copies,
        DryResult::Refused(_) | DryResult::Discarded { .. } => &[],
    };
    if run.steps.is_empty() && copies.iter().all(|copy| copy.steps.is_empty()) {
        html.push_str("<p class=\"empty\">No plugin had this message.</p>");
        return html;
    }
    if !run.steps.is_empty() {
        html.push_str("<section><h2>Once, for all recipients</h2>");
        steps(&mut html, &run.steps);
        html.push_str("</section>");
    }
    for_recipient(&mut html, copies, wanted);
    html
}

/// What plugins did that run for each recipient, for the one that is wanted.
fn for_recipient(html: &mut String, copies: &[DryCopy], wanted: Wanted) {
    let place = usize::try_from(wanted.recipient).unwrap_or(usize::MAX);
    let Some(copy) = copies.get(place).or(copies.first()).filter(|_| copies.iter().any(|copy| !copy.steps.is_empty())) else { return };
    write!(html, "<section><h2>For {}</h2>", Text(&copy.address)).ok();
    if copies.len() > 1 {
        html.push_str("<p class=\"links\">");
        for (number, other) in copies.iter().enumerate().take(MOST_RECIPIENTS) {
            let current = if std::ptr::eq(other, copy) { " aria-current=\"true\"" } else { "" };
            write!(html, "<a href=\"?recipient={number}\"{current}>{}</a>", Text(&other.address)).ok();
        }
        html.push_str("</p>");
    }
    match &copy.content {
        Some(Err(error)) => write!(html, "<p class=\"reason\">{}</p>", Text(error)).ok(),
        None => write!(html, "<p class=\"empty\">There are too many recipients to make the copies of all.</p>").ok(),
        Some(Ok(_)) => None,
    };
    steps(html, &copy.steps);
    html.push_str("</section>");
}

fn steps(html: &mut String, steps: &[DryStep]) {
    html.push_str("<ol class=\"plugins\">");
    for step in steps {
        let start = html.len();
        message::plugin(html, &step.run);
        // The differences belong into the element.
        html.truncate(html.len().saturating_sub("</li>".len()).max(start));
        let [before, after] = [&step.before, &step.after].map(|octets| head(octets));
        let decoded = sides(&preview::readable(before), &preview::readable(after));
        // They may differ in their encoding alone.
        let raw = |octets: &[u8]| String::from_utf8_lossy(octets).replace('\r', "");
        html.push_str(&if decoded.is_empty() { sides(&raw(before), &raw(after)) } else { decoded });
        html.push_str("</li>");
    }
    html.push_str("</ol>");
}

fn head(octets: &[u8]) -> &[u8] {
    octets.get(..LONGEST).unwrap_or(octets)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]
    use bytes::Bytes;

    use super::*;
    use crate::event::PluginRun;
    use crate::mail::envelope::ReversePath;

    fn step(plugin: &str) -> DryStep {
        DryStep {
            run: PluginRun { plugin: plugin.into(), outcome: "next".into(), parts_changed: 1, ..PluginRun::default() },
            before: Bytes::from_static(
                b"Subject: =?utf-8?q?gr=C3=BCn?=\r\nContent-Type: text/html\r\n\r\n<p>a</p><a href=\"x\">b</a><p>c</p>\r\n",
            ),
            after: Bytes::from_static(
                b"X-New: 1\r\nSubject: =?utf-8?q?gr=C3=BCn?=\r\nContent-Type: text/html\r\n\r\n<p>a</p><a href=\"y\">b</a><p>c</p>\r\n",
            ),
        }
    }

    fn run(steps: Vec<DryStep>, copies: Vec<DryCopy>) -> (DryRun, Vec<String>) {
        let result = DryResult::Kept { reverse_path: ReversePath::Null, tags: Vec::new(), held: None, copies };
        (DryRun { content: Bytes::new(), steps, failures: Vec::new(), result }, vec!["the <chain> has changed".to_owned()])
    }

    #[test]
    fn changes_are_side_by_side() {
        let html = content(MessageId::from_bytes([1; 16]), "a <b>", &Ok(run(vec![step("tracking")], Vec::new())), Wanted::default());
        insta::assert_snapshot!(html.replace("><", ">\n<"));
    }

    #[test]
    fn each_recipient_can_be_chosen() {
        let copy =
            |address: &str| DryCopy { address: address.parse().unwrap(), steps: vec![step("template")], content: Some(Ok(Bytes::new())) };
        let run = Ok(run(Vec::new(), vec![copy("ann@example.com"), copy("bob@example.com")]));
        let html = content(MessageId::from_bytes([1; 16]), "s", &run, Wanted { recipient: 1, images: 0 });
        assert!(html.contains("<h2>For bob@example.com</h2>"), "{html}");
        assert!(html.contains("<a href=\"?recipient=0\">ann@example.com</a>"), "{html}");
    }

    #[test]
    fn what_cannot_be_shown_is_said() {
        let id = MessageId::from_bytes([1; 16]);
        let failed = content(id, "s", &Err("The chain \"x\" is gone.".into()), Wanted::default());
        assert!(failed.contains("The chain &quot;x&quot; is gone."));
        assert!(content(id, "s", &Ok(run(Vec::new(), Vec::new())), Wanted::default()).contains("No plugin"));
    }
}
