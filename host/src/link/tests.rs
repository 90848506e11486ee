#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests fail by panicking")]

use proptest::prelude::*;

use super::*;

const BASE: &str = "https://t.example.com";

fn signer() -> LinkSigner {
    LinkSigner::new([7; 32], format!("{BASE}/"))
}

fn copy(recipient: u32) -> CopyId {
    CopyId { message: MessageId::from_bytes([9; 16]), recipient }
}

fn path(url: &str) -> &str {
    url.strip_prefix(BASE).unwrap()
}

#[test]
fn links_are_the_same_text_every_time() {
    let click = Link::Click { url: "https://shop.example/spring/sale.html?q=1#top".into(), position: 3 };
    let urls = [
        signer().url(copy(0), &click),
        signer().url(copy(1), &Link::Open(None)),
        signer().url(copy(1), &Link::Open(Some("https://cdn.example/logo.png".into()))),
        signer().url(copy(300), &Link::Unsubscribe),
    ];
    insta::assert_snapshot!(urls.join("\n"), @r"
    https://t.example.com/t/AQkJCQkJCQkJCQkJCQkJCQkAA2h0dHBzOi8vc2hvcC5leGFtcGxlL3NwcmluZy9zYWxlLmh0bWw_cT0xI3RvcKCZOL3XFiEG-bcIckRS27o/spring-sale.html
    https://t.example.com/t/AgkJCQkJCQkJCQkJCQkJCQkB3gH1FqgpnJMCQGu8twZEXg.gif
    https://t.example.com/t/AwkJCQkJCQkJCQkJCQkJCQkBaHR0cHM6Ly9jZG4uZXhhbXBsZS9sb2dvLnBuZ6b_mBpV_cSmswyuMupisFY/logo.png
    https://t.example.com/u/BAkJCQkJCQkJCQkJCQkJCQmsAhq1jQTH-stjDCdkSGaTL7A
    ");
}

#[test]
fn the_tail_is_decoration() {
    let link = Link::Click { url: "https://shop.example/a".into(), position: 0 };
    let url = signer().url(copy(0), &link);
    let (signed, _) = path(&url).rsplit_once('/').unwrap();
    for tail in ["", "/", "/b", "/../x", "/a/b/c"] {
        assert_eq!(signer().verify(&format!("{signed}{tail}")), Some(SignedLink { copy: copy(0), link: link.clone() }), "{tail}");
    }
}

#[test]
fn tails_are_short_and_harmless() {
    fn check(url: &str, tail: &str) {
        let mut text = String::new();
        push_tail(&mut text, url);
        assert_eq!(text, tail, "{url}");
    }
    check("https://x.example", "");
    check("https://x.example/", "");
    check("https://x.example/..", "");
    check("https://x.example/../etc/passwd", "/etc-passwd");
    check("https://x.example/a/b%20c?d=e", "/a-b-20c");
    check("https://x.example/?u=https://evil.example/p", "");
    check("https://x.example/é/ü", "");
    check(&format!("https://x.example/{}", "y".repeat(100)), &format!("/{}", "y".repeat(40)));
}

#[test]
fn other_schemes_lead_nowhere() {
    for url in ["javascript:alert(1)", "data:text/html,x", "//evil.example", "ftp://x.example/", "", "https://x.example/\r\nSet-Cookie: a"]
    {
        let signed = signer().url(copy(0), &Link::Click { url: url.into(), position: 0 });
        assert_eq!(signer().verify(path(&signed)), None, "{url:?}");
    }
}

#[test]
fn a_token_counts_in_its_own_folder_alone() {
    let unsubscribe = signer().url(copy(0), &Link::Unsubscribe).replace("/u/", "/t/");
    assert_eq!(signer().verify(path(&unsubscribe)), None);
    let open = signer().url(copy(0), &Link::Open(None)).replace("/t/", "/u/");
    assert_eq!(signer().verify(path(&open)), None);
}

#[test]
fn another_key_signs_other_links() {
    let url = LinkSigner::new([8; 32], BASE.to_owned()).url(copy(0), &Link::Unsubscribe);
    assert_eq!(signer().verify(path(&url)), None);
}

fn any_link() -> impl Strategy<Value = Link> {
    let url = "https?://[a-z]{1,10}\\.example/[ -~é]{0,60}";
    prop_oneof![
        (url, any::<u32>()).prop_map(|(url, position)| Link::Click { url, position }),
        proptest::option::of(url).prop_map(Link::Open),
        Just(Link::Unsubscribe),
    ]
}

proptest! {
    #[test]
    fn what_was_signed_is_read_again(id: [u8; 16], recipient: u32, link in any_link()) {
        let copy = CopyId { message: MessageId::from_bytes(id), recipient };
        let url = signer().url(copy, &link);
        prop_assert!(url.is_ascii());
        prop_assert_eq!(signer().verify(path(&url)), Some(SignedLink { copy, link }));
    }

    #[test]
    fn a_changed_character_is_a_strangers_link(link in any_link(), place: prop::sample::Index, other in "[A-Za-z0-9_-]") {
        let url = signer().url(copy(5), &link);
        let path = path(&url);
        let end = path[3..].find(['/', '.']).map_or(path.len(), |end| end + 3);
        let place = 3 + place.index(end - 3);
        prop_assume!(path[place..=place] != other);
        let forged = format!("{}{other}{}", &path[..place], &path[place + 1..]);
        prop_assert_eq!(signer().verify(&forged), None);
    }

    #[test]
    fn nothing_panics(path in "/[tu]/\\PC{0,80}") {
        prop_assert_eq!(signer().verify(&path), None);
    }
}
