//! The plugin from HTML to HTML.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests fail by panicking")]

use tubepost_plugin_sdk::testing::{self, Draft, config, slots};

use super::*;

fn run(html: &str, options: &str) -> (String, Vec<String>) {
    let mut message = Draft::new().html(html).message();
    let options = config::<Tracking>(options).unwrap();
    assert_eq!(Tracking::submit(&mut message, &options), Ok(Verdict::Next));
    let html = message.html().unwrap().replace("SLOT000000000000000000000000000", "$");
    (html, slots(&message))
}

#[test]
fn links_are_replaced_and_nothing_else() {
    let html = "<!DOCTYPE html>\r\n<a  class = x\thref='https://x/p?q=1&amp;r=2#f' >a</a ><A HREF=mailto:a@x>b</A><a href=\"#top\">c</a>\
                <map><area href=\"http://y\"></map><p title='&nbsp;' >\u{fffd}";
    let (edited, slots) = run(html, r#"{"opens":false}"#);
    assert_eq!(edited, html.replace("https://x/p?q=1&amp;r=2#f", "$0").replace("http://y", "$1"));
    assert_eq!(slots, ["click 0 https://x/p?q=1&r=2#f", "click 1 http://y"]);
}

#[test]
fn equal_links_differ_by_position() {
    let (_, slots) = run("<a href=http://x>1</a><a href=tel:1></a><a href=http://x>2</a>", r#"{"opens":false}"#);
    assert_eq!(slots, ["click 0 http://x", "click 1 http://x"]);
}

#[test]
fn honest_links_stay() {
    let html = r#"<a href="http://www.example.com">www.<b>example</b>.com</a><a href="http://www.example.com">here</a>"#;
    let (edited, slots) = run(html, r#"{"opens":false,"prevent_scam":true}"#);
    assert!(edited.starts_with(r#"<a href="http://www.example.com">www."#), "{edited}");
    assert_eq!(slots, ["click 1 http://www.example.com"]);
}

#[test]
fn remote_images_are_loaded_through_us() {
    let html = r#"<body><img src="https://x/i.png?a&amp;b"><img src="cid:logo"><img src=data:x></body>"#;
    let (edited, slots) = run(html, r#"{"clicks":false}"#);
    assert_eq!(edited, html.replace("https://x/i.png?a&amp;b", "$0"));
    assert_eq!(slots, ["open https://x/i.png?a&b"]);
}

#[test]
fn a_pixel_is_put_at_the_end_where_nothing_is_loaded() {
    let (edited, slots) = run("<html><body><img src=cid:a>x</body></html>", "{}");
    assert!(edited.starts_with("<html><body><img src=cid:a>x<img src=\"$0\" width=\"1\""), "{edited}");
    assert!(edited.ends_with("></body></html>"), "{edited}");
    assert_eq!(slots, ["open"]);
    assert!(run("no tags", "{}").0.starts_with("no tags<img src=\"$0\""));
}

#[test]
fn nothing_is_asked_for_where_nothing_is_wanted() {
    let html = "<a href=http://x><img src=http://y>";
    assert_eq!(run(html, r#"{"clicks":false,"opens":false}"#), (html.to_owned(), vec![]));
}

#[test]
fn slots_and_plain_mail_stay() {
    let html = "<a href=\"SLOT0123456789012345678901234567\">unsubscribe</a>";
    assert_eq!(run(html, r#"{"opens":false}"#), (html.to_owned(), vec![]));
    // A URL with a value of the recipient in it: signed, it would lead to the token.
    let html = "<a href=\"https://shop/?e=SLOT0000000000000000000000000000\">shop</a><a href=https://other>x</a>";
    let (edited, slots) = run(html, r#"{"opens":false}"#);
    assert!(edited.starts_with("<a href=\"https://shop/?e=$0\">") && edited.ends_with("<a href=$0>x</a>"), "{edited}");
    assert_eq!(slots, ["click 1 https://other"]);
    let mut message = Draft::new().text("http://x").message();
    assert_eq!(Tracking::submit(&mut message, &Options::default()), Ok(Verdict::Next));
    assert_eq!(message.text().as_deref(), Some("http://x"));
}

#[test]
fn the_header_options_are_those_of_smtpeter() {
    let description = Tracking::describe(Description::new("tubepost-plugin-tracking", "0.1.0", "s"));
    assert!(format!("{description:?}").contains("X-SMTPeter-PreventScam"));
    assert!(testing::schema::<Tracking>()["properties"].get("prevent_scam").is_some());
}
