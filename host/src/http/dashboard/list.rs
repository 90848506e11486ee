//! The list of messages, and what a search found.

use std::fmt::Write;
use std::sync::Arc;

use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Deserialize;

use super::page::{Badge, Size, Text, Time, page};
use super::{Services, failed};
use crate::archive::ArchiveError;
use crate::event::index::{Found, IndexError, MOST_PASSED_OVER};
use crate::event::search::Summary;

/// Messages on one page.
const PER_PAGE: usize = 50;
/// The last page that is shown; further back a search with `before:` leads.
const LAST_PAGE: usize = MOST_PASSED_OVER / PER_PAGE;
/// Characters of a query that are looked at.
const LONGEST_QUERY: usize = 500;

/// What the address asks for.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Wanted {
    #[serde(default)]
    q: String,
    /// From 1.
    #[serde(default)]
    page: usize,
}

/// `GET /dashboard`.
pub(super) async fn show(State(services): State<Arc<Services>>, Query(wanted): Query<Wanted>) -> Response {
    let query: String = wanted.q.chars().take(LONGEST_QUERY).collect();
    let number = wanted.page.clamp(1, LAST_PAGE);
    match services.archive.search(&query, (number - 1) * PER_PAGE, PER_PAGE).await {
        Ok(found) => page("Messages", &query, &content(&found, &query, number)).into_response(),
        Err(ArchiveError::Index(IndexError::Query(reason))) => {
            let html = format!("<h1>Messages</h1><p class=\"reason\">{}</p>", Text(reason.to_string()));
            (StatusCode::BAD_REQUEST, page("Messages", &query, &html)).into_response()
        }
        Err(error @ (ArchiveError::Index(_) | ArchiveError::Store(_) | ArchiveError::Busy)) => failed(&error),
    }
}

fn content(found: &Found, query: &str, number: usize) -> String {
    let mut html = String::new();
    let what = if query.is_empty() { "Messages".to_owned() } else { format!("Found for <q>{}</q>", Text(query)) };
    write!(html, "<h1>{what} <small>{}</small></h1>", found.total).ok();
    if found.messages.is_empty() {
        let hint = "Words are looked for in subjects, addresses, tags and logins; <code>state:bounced</code>, <code>to:</code>, \
                    <code>from:</code>, <code>subject:</code>, <code>tag:</code>, <code>login:</code> and <code>id:</code> in one field.";
        write!(html, "<p class=\"empty\">Nothing here. {hint}</p>").ok();
        return html;
    }
    html.push_str("<ul class=\"messages\">");
    for summary in &found.messages {
        row(&mut html, summary);
    }
    html.push_str("</ul>");
    let last = found.total.div_ceil(PER_PAGE).min(LAST_PAGE);
    if last > 1 {
        let query: String = form_urlencoded::byte_serialize(query.as_bytes()).collect();
        html.push_str("<nav class=\"pages\">");
        if number > 1 {
            write!(html, "<a rel=\"prev\" href=\"/dashboard?q={query}&amp;page={}\">Newer</a>", number - 1).ok();
        }
        write!(html, "<span>Page {number} of {last}</span>").ok();
        if number < last {
            write!(html, "<a rel=\"next\" href=\"/dashboard?q={query}&amp;page={}\">Older</a>", number + 1).ok();
        }
        html.push_str("</nav>");
    }
    html
}

fn row(html: &mut String, summary: &Summary) {
    let subject = if summary.subject.is_empty() { "(no subject)" } else { &summary.subject };
    let others = usize::try_from(summary.recipient_count).unwrap_or(usize::MAX).saturating_sub(1);
    let mut to = Text(summary.address(0).unwrap_or("–")).to_string();
    if others > 0 {
        write!(to, " <small>+{others}</small>").ok();
    }
    write!(
        html,
        "<li><a href=\"/dashboard/messages/{id}\">{badge}<span class=\"subject\">{subject}</span><span class=\"to\">{to}</span>\
         <span class=\"login\">{login}</span><span class=\"tags\">",
        id = summary.message,
        badge = Badge(summary.state),
        subject = Text(subject),
        login = Text(&summary.login),
    )
    .ok();
    for tag in &summary.tags {
        write!(html, "<span class=\"tag\">{}</span>", Text(tag)).ok();
    }
    write!(html, "</span><span class=\"size\">{}</span><span class=\"when\">{}</span></a></li>", Size(summary.size), Time(summary.at)).ok();
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::dashboard::message::tests::summary;

    #[test]
    fn a_list_of_one() {
        let found = Found { messages: vec![summary()], total: 120 };
        insta::assert_snapshot!(content(&found, "a&b", 2).replace("><", ">\n<"));
        assert!(content(&Found { messages: Vec::new(), total: 0 }, "", 1).contains("Nothing here"));
    }
}
