//! Bodies of calls over HTTP.

use std::sync::LazyLock;
use std::time::Duration;

use axum::http::{HeaderMap, HeaderValue, header};
use bytes::Bytes;
use futures_util::FutureExt as _;
use mail_parser::MessageParser;
use tubepost::clock::{Entropy, Timestamp};
use tubepost::config::{self, Config, JSON_VALUES};
use tubepost::http::compose::{Content, Stamp};
use tubepost::http::order::{Order, Stations};
use tubepost::http::v1::timing::Moment;
use tubepost::http::{body, mailpace, turbosmtp, v1};
use tubepost::mail::domain::Domain;
use tubepost::mail::message_id::MessageId;

use crate::input::{directive, has_bare_line_end};

const NOW: Timestamp = Timestamp::from_millis(1_533_081_600_000);
const MOMENT: Moment = Moment { now: NOW, longest_hold: Duration::from_hours(24) };

/// A login with a chain, so that switches have plugins to switch.
static CONFIG: LazyLock<Config> = LazyLock::new(|| {
    let text = include_str!("rest.toml");
    config::parse(text, "rest.toml", std::path::Path::new(""), &|_| None).expect("a good configuration")
});

/// Calls: what is understood has recipients, and its message holds no field that nobody asked for.
///
/// The first line of the input is the dialect, a blank and the content type, the rest the body.
pub fn rest(octets: &[u8]) {
    let (line, body) = directive(octets);
    let (dialect, content_type) = line.split_once(' ').unwrap_or((line, ""));
    let Ok(content_type) = HeaderValue::from_str(content_type) else { return };
    let headers = HeaderMap::from_iter([(header::CONTENT_TYPE, content_type)]);
    let body = Bytes::copy_from_slice(body);
    let pair = body::pair(&headers, &body, ["authuser", "authpass"]).now_or_never().expect("a body in memory is there at once");
    let read = body::fields(&headers, body, JSON_VALUES).now_or_never().expect("a body in memory is there at once");
    let Ok(fields) = read else { return };
    // Whoever is understood is known, too.
    assert!(pair.is_ok(), "{pair:?}");
    let order = match dialect {
        "v1" => {
            let stations = CONFIG.logins.first().map_or_else(Stations::default, |login| Stations::of(login, &CONFIG.chains));
            v1::send::parse(&fields, &stations, MOMENT).ok()
        }
        "turbosmtp" => turbosmtp::parse(&fields).ok(),
        _ => mailpace::parse(&fields).ok(),
    };
    if let Some(order) = order {
        check(order);
    }
}

fn check(order: Order) {
    assert!(!order.envelope.forward_paths.is_empty(), "mail for nobody");
    let is_letter = matches!(&order.content, Content::Letter(_));
    let hostname = Domain::parse("mail.example.com").expect("a domain");
    let entropy = Entropy::seeded(1);
    let message = order.content.into_octets(Stamp { id: MessageId::from_bytes([1; 16]), now: NOW, hostname: &hostname, entropy: &entropy });
    assert!(!has_bare_line_end(&message), "a bare line end");
    assert!(!message.contains(&0), "NUL");
    let parsed = MessageParser::default().parse(&message[..]).expect("a message");
    if is_letter {
        assert!(parsed.bcc().is_none(), "a hidden recipient is shown");
        for name in ["From", "To", "Cc", "Subject", "Reply-To", "Date", "Message-ID", "MIME-Version", "Content-Type"] {
            let count = parsed.headers().iter().filter(|field| field.name().eq_ignore_ascii_case(name)).count();
            assert!(count <= 1, "{name} is there {count} times");
        }
    }
}
