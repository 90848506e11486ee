//! What editing and filling costs: header fields at three sizes of the body, HTML of a newsletter, slots for each recipient.

use std::fmt::Write as _;

use bytes::Bytes;
use divan::counter::BytesCount;
use divan::{Bencher, black_box};
use tubepost::mail::content::{Composition, Draft, Position};
use tubepost::mail::slot::{Link, Nonce, Slot, Tokens};

const NONCE: Nonce = [42; 11];

/// Links in a newsletter.
const LINKS: u32 = 100;

fn main() {
    divan::main();
}

/// A message of about this size: header of 15 fields, body of text and HTML.
fn message(size: usize) -> Bytes {
    let mut octets = String::with_capacity(size + 2_000);
    for hop in 0..6 {
        write!(octets, "Received: from host{hop}.example.com (host{hop}.example.com [192.0.2.{hop}])\r\n\tby mx.example.com;\r\n\tMon, 1 Jan 2024 00:00:00 +0000\r\n").expect("a string takes all");
    }
    octets.push_str(
        "From: \"Sender\" <sender@example.com>\r\nTo: Recipient <recipient@example.com>\r\nSubject: =?utf-8?Q?Gr=C3=BC=C3=9Fe?=\r\n",
    );
    octets.push_str("Date: Mon, 1 Jan 2024 00:00:00 +0000\r\nMessage-ID: <0123456789@example.com>\r\nMIME-Version: 1.0\r\n");
    octets.push_str("Content-Type: multipart/alternative; boundary=b\r\n\r\n--b\r\nContent-Type: text/plain\r\n\r\nHello\r\n");
    octets.push_str("--b\r\nContent-Type: text/html; charset=utf-8\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n");
    while octets.len() < size {
        octets.push_str("<td style=3D\"color: #333333; padding: 0\">Some text of a newsletter</td>\r\n");
    }
    octets.push_str("\r\n--b--\r\n");
    octets.into()
}

/// HTML of 60 KB with [`LINKS`] links, each what `href` says.
fn html(href: impl Fn(u32) -> String) -> String {
    let mut html = String::with_capacity(64_000);
    for link in 0..LINKS {
        write!(html, "<tr><td><a href=\"{}\" style=\"color:#0a0\">Grüße Nr. {link}</a></td></tr>\r\n", href(link))
            .expect("a string takes all");
        for _ in 0..6 {
            html.push_str("<td class=\"cell\" style=\"font-family: Helvetica; font-size: 14px\">Text of a newsletter</td>\r\n");
        }
    }
    html
}

#[divan::bench(args = [1_000, 100_000, 20_000_000])]
fn header_edit(bencher: Bencher<'_, '_>, size: usize) {
    let message = message(size);
    bencher.bench(|| {
        let mut draft = Draft::new(black_box(message.clone()));
        let journal = draft.clone();
        draft.add_header("X-Mailer", "Tubepost", Position::First).expect("a good field");
        draft.set_header("Subject", "Another subject").expect("a good field");
        draft.remove_header("X-Tags");
        (journal, draft)
    });
}

#[divan::bench(args = [1_000, 100_000])]
fn header_edit_composed(bencher: Bencher<'_, '_>, size: usize) {
    let message = message(size);
    bencher.bench(|| {
        let mut draft = Draft::new(black_box(message.clone()));
        draft.add_header("X-Mailer", "Tubepost", Position::First).expect("a good field");
        draft.into_composition(Some(&NONCE))
    });
}

#[divan::bench]
fn get_html(bencher: Bencher<'_, '_>) {
    let message = message(60_000);
    bencher.counter(BytesCount::new(message.len())).bench(|| Draft::new(black_box(message.clone())).html());
}

#[divan::bench]
fn set_html(bencher: Bencher<'_, '_>) {
    let (message, html) = (message(60_000), html(|link| format!("https://www.example.com/{link}")));
    bencher.counter(BytesCount::new(html.len())).bench(|| {
        let mut draft = Draft::new(black_box(message.clone()));
        draft.set_html(&html).expect("there is HTML");
        draft.into_composition(Some(&NONCE))
    });
}

fn newsletter() -> (Composition, Vec<Slot>) {
    let tokens = Tokens::new(&NONCE);
    let mut draft = Draft::new(message(60_000));
    draft.set_html(&html(|link| tokens.make(link))).expect("there is HTML");
    draft.set_header("List-Unsubscribe", &format!("<{}>", tokens.make(0))).expect("a good field");
    let slots =
        (0..LINKS).map(|position| Slot::Link(Link::Click { url: format!("https://www.example.com/{position}"), position })).collect();
    (draft.into_composition(Some(&NONCE)), slots)
}

#[divan::bench]
fn compose_slots(bencher: Bencher<'_, '_>) {
    let tokens = Tokens::new(&NONCE);
    let mut draft = Draft::new(message(60_000));
    draft.set_html(&html(|link| tokens.make(link))).expect("there is HTML");
    bencher.with_inputs(|| draft.clone()).bench_values(|draft| draft.into_composition(Some(&NONCE)));
}

#[divan::bench]
fn fill_100_slots(bencher: Bencher<'_, '_>) {
    let (composition, slots) = newsletter();
    let url = "https://t.example.com/t/AbCdEfGhIjKlMnOpQrStUvWxYz0123456789AbCdEfGhIjKlMnOpQrStUvWxYz0123456789".to_owned();
    bencher.bench(|| composition.fill(&NONCE, &slots, &mut |_| url.clone()));
}

#[divan::bench]
fn decode_and_fill_100_slots(bencher: Bencher<'_, '_>) {
    let (composition, slots) = newsletter();
    let kept = composition.encode();
    let url = "https://t.example.com/t/AbCdEfGhIjKlMnOpQrStUvWxYz0123456789AbCdEfGhIjKlMnOpQrStUvWxYz0123456789".to_owned();
    bencher.bench(|| Composition::decode(kept.clone()).map(|composition| composition.fill(&NONCE, &slots, &mut |_| url.clone())));
}
