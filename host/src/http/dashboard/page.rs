//! The frame of every page, and how values are written in HTML.

use std::fmt::{self, Display, Write};
use std::time::Duration;

use axum::http::header::{self, HeaderName};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{Html, IntoResponse, Response};

use crate::clock::Timestamp;
use crate::event::search::State;

const STYLE: &str = include_str!("../../../dashboard/style.css");

/// What browsers may do with our pages: style and frames of our own, and nothing else.
pub(super) const SAFETY: [(HeaderName, &str); 5] = [
    (
        header::CONTENT_SECURITY_POLICY,
        "default-src 'none'; style-src 'self'; img-src 'self' data:; frame-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    ),
    (header::CACHE_CONTROL, "no-store"),
    (header::REFERRER_POLICY, "no-referrer"),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
];

/// Writes text so that HTML shows it, in elements and in quoted attributes.
pub(super) struct Text<T>(pub(super) T);

impl<T: Display> Display for Text<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(Escaper(f), "{}", self.0)
    }
}

struct Escaper<'a, 'b>(&'a mut fmt::Formatter<'b>);

impl Write for Escaper<'_, '_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let mut rest = text;
        while let Some(place) = rest.find(['&', '<', '>', '"', '\'']) {
            let (before, behind) = rest.split_at(place);
            self.0.write_str(before)?;
            self.0.write_str(match behind.as_bytes().first() {
                Some(b'&') => "&amp;",
                Some(b'<') => "&lt;",
                Some(b'>') => "&gt;",
                Some(b'"') => "&quot;",
                _ => "&#39;",
            })?;
            rest = behind.get(1..).unwrap_or_default();
        }
        self.0.write_str(rest)
    }
}

/// A time in UTC, to the second.
pub(super) struct Time(pub(super) Timestamp);

impl Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let exact = self.0.to_rfc3339();
        let readable = exact.trim_end_matches('Z').replace('T', " ");
        write!(f, "<time datetime=\"{exact}\" title=\"UTC\">{readable}</time>")
    }
}

/// A number of octets for people.
pub(super) struct Size(pub(super) u64);

impl Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let tenths = |unit: u64| (self.0 / unit, self.0 % unit * 10 / unit);
        match self.0 {
            octets @ 0..1024 => write!(f, "{octets} B"),
            1024..0x10_0000 => {
                let (whole, tenth) = tenths(1024);
                write!(f, "{whole}.{tenth} KiB")
            }
            _ => {
                let (whole, tenth) = tenths(0x10_0000);
                write!(f, "{whole}.{tenth} MiB")
            }
        }
    }
}

/// A short time for people.
pub(super) struct Took(pub(super) u64);

impl Display for Took {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let duration = Duration::from_micros(self.0);
        if self.0 < 1000 { write!(f, "{} µs", self.0) } else { write!(f, "{:.1} ms", duration.as_secs_f64() * 1000.0) }
    }
}

/// Where a message or copy stands, in its colour.
pub(super) struct Badge(pub(super) State);

impl Display for Badge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = self.0.word();
        write!(f, "<span class=\"badge {word}\">{word}</span>")
    }
}

/// A page with the bar on top; `query` stands in its search box. `content` is HTML.
pub(super) fn page(title: &str, query: &str, content: &str) -> Html<String> {
    let bar = format!(
        "<header><a class=\"brand\" href=\"/dashboard\">Tubepost</a>\
         <nav><a href=\"/dashboard\">Messages</a><a href=\"/dashboard/plugins\">Plugins</a></nav>\
         <form class=\"search\" action=\"/dashboard\" role=\"search\">\
         <input type=\"search\" name=\"q\" value=\"{}\" placeholder=\"Search messages\" aria-label=\"Search messages\"></form>\
         <form method=\"post\" action=\"/dashboard/logout\"><button class=\"quiet\">Log out</button></form></header>",
        Text(query)
    );
    document(title, &format!("{bar}<main>{content}</main>"))
}

/// The page that asks for the password, with a word on the last attempt.
pub(super) fn login(complaint: &str) -> Html<String> {
    let complaint =
        if complaint.is_empty() { String::new() } else { format!("<p class=\"complaint\" role=\"alert\">{}</p>", Text(complaint)) };
    document(
        "Log in",
        &format!(
            "<main class=\"small\"><h1>Tubepost</h1>{complaint}<form method=\"post\" action=\"/dashboard/login\" class=\"login\">\
             <label>Password <input type=\"password\" name=\"password\" autocomplete=\"current-password\" required autofocus></label>\
             <button>Log in</button></form></main>"
        ),
    )
}

/// A page that says one thing.
pub(super) fn notice(status: StatusCode, title: &str, text: &str) -> impl IntoResponse {
    let content = format!(
        "<main class=\"small\"><h1>{}</h1><p>{}</p><p><a href=\"/dashboard\">To the messages</a></p></main>",
        Text(title),
        Text(text)
    );
    (status, document(title, &content))
}

/// The style sheet.
pub(super) async fn style() -> Response {
    let mut response = STYLE.into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/css; charset=utf-8"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("max-age=300"));
    response
}

fn document(title: &str, content: &str) -> Html<String> {
    Html(format!(
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"><meta name=\"color-scheme\" content=\"light dark\">\
         <title>{} · Tubepost</title><link rel=\"stylesheet\" href=\"/dashboard/style.css\"><link rel=\"icon\" href=\"data:,\"></head>\
         <body>{content}</body></html>\n",
        Text(title)
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_no_markup() {
        assert_eq!(Text("<b a=\"1\" b='2'>&é").to_string(), "&lt;b a=&quot;1&quot; b=&#39;2&#39;&gt;&amp;é");
        assert!(!page("<script>", "\"><script>", "").0.contains("<script>"));
    }

    #[test]
    fn values_are_readable() {
        assert_eq!(
            [Size(0), Size(1023), Size(1536), Size(26_214_400)].map(|size| size.to_string()),
            ["0 B", "1023 B", "1.5 KiB", "25.0 MiB"]
        );
        assert_eq!([Took(12), Took(1234)].map(|took| took.to_string()), ["12 µs", "1.2 ms"]);
        let time = Time(Timestamp::from_millis(1_533_081_600_000)).to_string();
        assert_eq!(time, "<time datetime=\"2018-08-01T00:00:00Z\" title=\"UTC\">2018-08-01 00:00:00</time>");
    }
}
