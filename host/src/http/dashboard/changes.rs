//! What each plugin changed, line by line: the chain is run once more over the message as it came in.

use std::fmt::Write;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use similar::{ChangeTag, TextDiff};

use super::page::{Text, page};
use super::{Services, kept, message, not_there, preview};
use crate::intake::dry_run::DryStep;
use crate::mail::message_id::MessageId;

/// Octets of a message that are compared.
const LONGEST: usize = 512 * 1024;
/// Lines around a change.
const AROUND: usize = 2;
/// Lines of one plugin's changes that are shown.
const MOST_LINES: usize = 2000;
/// Characters of a line that are shown.
const LONGEST_LINE: usize = 2000;
/// How long the comparison looks for the shortest way to say it.
const LOOKING_TIME: Duration = Duration::from_millis(300);

/// `GET /dashboard/messages/ID/changes`.
pub(super) async fn show(State(services): State<Arc<Services>>, Path(id): Path<String>) -> Response {
    let Ok(id) = id.parse::<MessageId>() else { return not_there() };
    let (entry, body, original) = match kept(&services, id).await {
        Ok(message) => message,
        Err(response) => return response,
    };
    let subject = entry.subject.clone();
    let steps = services.archive.replay(entry, body, original).await.map(|(run, _)| run.steps);
    // Comparing is work for a thread that may be busy.
    let html = tokio::task::spawn_blocking(move || content(id, &subject, &steps)).await.unwrap_or_default();
    page("Changes", "", &html).into_response()
}

fn content(id: MessageId, subject: &str, steps: &Result<Vec<DryStep>, String>) -> String {
    let mut html = format!("<p class=\"links\"><a href=\"/dashboard/messages/{id}\">Back to the message</a></p><h1>{}</h1>", Text(subject));
    match steps {
        Err(reason) => write!(html, "<p class=\"empty\">{}</p>", Text(reason)).ok(),
        Ok(steps) if steps.is_empty() => write!(html, "<p class=\"empty\">No plugin had this message.</p>").ok(),
        Ok(steps) => {
            html.push_str(
                "<p>The chain as it is configured now, run once more over the message as it came in.</p><section><ol class=\"plugins\">",
            );
            for step in steps {
                let start = html.len();
                message::plugin(&mut html, &step.run);
                // The differences belong into the element.
                html.truncate(html.len().saturating_sub("</li>".len()).max(start));
                html.push_str(&difference(&preview::readable(head(&step.before)), &preview::readable(head(&step.after))));
                html.push_str("</li>");
            }
            html.push_str("</ol></section>");
            Some(())
        }
    };
    html
}

fn head(octets: &[u8]) -> &[u8] {
    octets.get(..LONGEST).unwrap_or(octets)
}

fn difference(before: &str, after: &str) -> String {
    if before == after {
        return String::new();
    }
    let difference = TextDiff::configure().timeout(LOOKING_TIME).diff_lines(before, after);
    let mut html = String::from("<pre class=\"difference\">");
    let mut lines = 0;
    for (number, group) in difference.grouped_ops(AROUND).iter().enumerate() {
        if number > 0 {
            html.push_str("<span class=\"gap\">⋯</span>\n");
        }
        for change in group.iter().flat_map(|op| difference.iter_changes(op)) {
            lines += 1;
            if lines > MOST_LINES {
                html.push_str("<span class=\"gap\">and more</span></pre>");
                return html;
            }
            let (tag, sign) = match change.tag() {
                ChangeTag::Delete => ("del", '-'),
                ChangeTag::Insert => ("ins", '+'),
                ChangeTag::Equal => ("span", ' '),
            };
            let line: String = change.value().trim_end_matches('\n').chars().take(LONGEST_LINE).collect();
            writeln!(html, "<{tag}>{sign}{}</{tag}>", Text(line)).ok();
        }
    }
    html.push_str("</pre>");
    html
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::event::PluginRun;

    #[test]
    fn changes_are_lines() {
        let step = DryStep {
            run: PluginRun { plugin: "tracking".into(), outcome: "next".into(), parts_changed: 1, ..PluginRun::default() },
            before: Bytes::from_static(b"Subject: s\r\nContent-Type: text/html\r\n\r\n<p>a</p><a href=\"x\">b</a><p>c</p>\r\n"),
            after: Bytes::from_static(b"X-New: 1\r\nSubject: s\r\nContent-Type: text/html\r\n\r\n<p>a</p><a href=\"y\">b</a><p>c</p>\r\n"),
        };
        let html = content(MessageId::from_bytes([1; 16]), "a <b>", &Ok(vec![step]));
        insta::assert_snapshot!(html);
    }

    #[test]
    fn equal_messages_have_no_difference() {
        assert_eq!(difference("a", "a"), "");
        let id = MessageId::from_bytes([1; 16]);
        assert!(content(id, "s", &Err("The chain \"x\" is gone.".into())).contains("The chain &quot;x&quot; is gone."));
        assert!(content(id, "s", &Ok(Vec::new())).contains("No plugin"));
    }

    #[test]
    fn huge_differences_are_cut() {
        let long = |c: &str| (0..3000).map(|n| format!("{c}{n}")).collect::<Vec<_>>().join("\n");
        assert!(difference(&long("a"), &long("b")).ends_with("and more</span></pre>"));
    }
}
