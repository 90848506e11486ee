//! What goes over the wire.

use super::*;
use crate::config::unit::Secret;
use crate::delivery::dkim::Occasion;

const KEY: &str = include_str!("../dkim/ed25519.pem");

fn signers() -> Signers {
    let key = config::Dkim {
        domain: Domain::parse("a.example").unwrap(),
        selector: "s".into(),
        key: Secret::new(KEY.into()),
        senders: Vec::new(),
        always: false,
        fallback: false,
    };
    Signers::load(&[key], None).unwrap()
}

fn with_body(body: String) -> NewEntry {
    NewEntry { body: body.into(), ..mail("direct", &["x@b.example"]) }
}

/// The next hop's mail, signed as it is there.
fn signed(message: &str) -> String {
    let at = Timestamp::from_millis(1_800_000_000_000);
    String::from_utf8(signers().sign(Bytes::copy_from_slice(message.as_bytes()), Occasion { login: "a", received: at }).to_vec()).unwrap()
}

#[tokio::test]
async fn lines_that_are_too_long_are_encoded_before_signing() {
    let peer = Peer::plain(&["PIPELINING", "8BITMIME"]).await;
    let running = Setup { signers: signers(), ..Setup::to(&peer) }.start();
    running.accept(with_body(format!("From: <s@a.example>\r\n\r\n{}\r\n", "x".repeat(2_000)))).await;
    running.wait_for_events(1).await;
    let sent = peer.log().messages[0].clone();
    assert!(sent.split("\r\n").all(|line| line.len() <= 998), "{sent}");
    let unsigned = &sent[sent.find("From: ").unwrap()..];
    assert!(unsigned.contains("\r\nContent-Transfer-Encoding: quoted-printable\r\n"), "{sent}");
    assert_eq!(sent, signed(unsigned));
    running.stop().await;
}

#[tokio::test]
async fn what_came_from_outside_and_goes_on_is_not_signed() {
    for extensions in [&["PIPELINING", "8BITMIME"][..], &[]] {
        let peer = Peer::plain(extensions).await;
        let running = Setup { signers: signers(), ..Setup::to(&peer) }.start();
        let mut new = with_body("From: <s@a.example>\r\nMIME-Version: 1.0\r\n\r\ngrün\r\n".to_owned());
        // It waits under a login, and From names a domain with a key.
        new.entry.terms.unsigned = true;
        running.accept(new).await;
        running.wait_for_events(1).await;
        let sent = peer.log().messages[0].clone();
        assert!(!sent.contains("DKIM-Signature"), "{sent}");
        running.stop().await;
    }
}

#[tokio::test]
async fn without_8bitmime_content_is_converted_and_signed_again() {
    let message = |encoding: &str, word: &str| {
        format!(
            "From: <s@a.example>\r\nMIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: {encoding}\r\n\r\n{word}\r\n"
        )
    };
    for (extensions, encoding, word) in [
        (&["PIPELINING", "8BITMIME"][..], "8bit", "grün"),
        (&["PIPELINING"], "quoted-printable", "gr=C3=BCn"),
        (&[], "quoted-printable", "gr=C3=BCn"),
    ] {
        let peer = Peer::plain(extensions).await;
        let running = Setup { signers: signers(), ..Setup::to(&peer) }.start();
        running.accept(with_body(message("8bit", "grün"))).await;
        assert_eq!(running.wait_for_events(1).await, ["delivered x@b.example 0 250 2.0.0 queued"]);
        assert_eq!(peer.log().messages, [signed(&message(encoding, word))], "{extensions:?}");
        running.stop().await;
    }
}

#[tokio::test]
async fn what_cannot_be_converted_bounces() {
    let peer = Peer::plain(&["PIPELINING"]).await;
    let running = Setup::to(&peer).start();
    let part = "--b\r\nContent-Type: text/plain; charset=utf-8\r\n\r\ngrün\r\n--b--\r\n";
    let mut new =
        with_body(format!("From: <s@a.example>\r\nMIME-Version: 1.0\r\nContent-Type: multipart/signed; boundary=b\r\n\r\n{part}"));
    new.entry.reverse_path = ReversePath::Null;
    running.accept(new).await;
    let expected = "bounced x@b.example 0 5.6.3 554 5.6.3 The next hop takes ASCII only (no 8BITMIME), and the message cannot be converted";
    assert_eq!(running.wait_for_events(1).await, [expected]);
    assert!(peer.log().messages.is_empty());
    running.stop().await;
}
