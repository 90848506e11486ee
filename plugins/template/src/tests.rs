//! The plugin from message to message.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests fail by panicking")]

use tubepost_plugin_sdk::{
    Reply,
    testing::{Draft, config},
};

use super::*;

fn run(draft: Draft, options: &str) -> (Message, Verdict) {
    let mut message = draft.message();
    let options = config::<Template>(options).unwrap();
    let verdict = Template::recipient(&mut message, &options).unwrap();
    (message, verdict)
}

fn wanted(draft: Draft, options: &str) -> bool {
    Template::wanted(&draft.message(), &config::<Template>(options).unwrap()).unwrap()
}

#[test]
fn every_place_is_filled() {
    let draft = Draft::new()
        .header("Received", "by {$name}")
        .header("From", "{$name} <a@x>")
        .header("To", "{$recipient}")
        .header("Subject", "Hi {$name}")
        .header("X-Id", "{$id}")
        .header("X-Id", "plain")
        .text("Dear {$name}, from {$envelope}")
        .html("<p>{$name} {$webversion}</p>")
        .recipient("ann@x")
        .reverse_path_to("news@x")
        .variables_to(r#"{"name":"Ann","id":7}"#);
    let (message, verdict) = run(draft, "{}");
    assert_eq!(verdict, Verdict::Next);
    let header = |name| message.header(name).unwrap();
    assert_eq!((header("From").as_str(), header("To").as_str(), header("Subject").as_str()), ("Ann <a@x>", "ann@x", "Hi Ann"));
    assert_eq!(message.header_all("x-id"), ["7", "plain"]);
    assert_eq!(header("Received"), "by {$name}");
    assert_eq!(message.text().as_deref(), Some("Dear Ann, from news@x"));
    assert_eq!(message.html().as_deref(), Some("<p>Ann </p>"));
}

#[test]
fn data_cannot_add_header_fields() {
    let draft = Draft::new().header("Subject", "{$x}").variables_to(r#"{"x":"a\r\nBcc: b@x"}"#);
    assert_eq!(run(draft, "{}").0.header("Subject").as_deref(), Some("a  Bcc: b@x"));
}

#[test]
fn data_cannot_add_addresses() {
    let draft = |list: &str| {
        Draft::new()
            .header("From", list)
            .variables_to(r#"{"name":"Ann \"Jo\" B","f":"CEO <ceo@y>,","list":"a@x, b@x","q":"\" <ceo@y>, \""}"#)
    };
    let from = |list: &str, options: &str| {
        let (message, verdict) = run(draft(list), options);
        (verdict == Verdict::Next).then(|| message.header("From").unwrap())
    };
    let jinja = r#"{"engine":"jinja"}"#;
    assert_eq!(from("{$name} <a@x>", "{}").as_deref(), Some("\"Ann \\\"Jo\\\" B\" <a@x>"));
    assert_eq!(from("{$f} <a@x>", "{}").as_deref(), Some("\"CEO <ceo@y>,\" <a@x>"));
    assert_eq!(from("\"{$q}\" <a@x>", "{}").as_deref(), Some("\"\\\" <ceo@y>, \\\"\" <a@x>"));
    assert_eq!(from("{if $name}{$name|upper}{else}nobody{/if} <a@x>", "{}").as_deref(), Some("\"ANN \\\"JO\\\" B\" <a@x>"));
    assert_eq!(from("{$list}", "{}"), None);
    assert_eq!(from("{{ f }} <a@x>", jinja).as_deref(), Some("\"CEO <ceo@y>,\" <a@x>"));
    assert_eq!(from("{% set n %}{{ f }}!{% endset %}{{ n|lower }} <a@x>", jinja).as_deref(), Some("\"CEO <ceo@y>,!\" <a@x>"));
    assert_eq!(from("{{ nobody }} <a@x>", jinja).as_deref(), Some("a@x"));
    assert_eq!(from("{{ list }}", jinja), None);
}

#[test]
fn a_broken_template_is_refused_with_part_and_line() {
    let (_, verdict) = run(Draft::new().html("a\n{if $a}").variables_to(r#"{"x":1}"#), "{}");
    let text = "the template of the HTML is not valid: line 2: {if} without {/if}";
    assert_eq!(verdict, Verdict::Reject(Reply::new(550, "5.6.0", text)));
    let (_, verdict) = run(Draft::new().header("Subject", "{{ x").variables_to(r#"{"x":1}"#), r#"{"engine":"jinja"}"#);
    assert!(matches!(verdict, Verdict::Reject(_)), "{verdict:?}");
}

#[test]
fn without_data_what_is_nearly_a_template_is_none() {
    let code = "function f() {if (x) {return 1;}} {$y z {if a b}{/if}";
    for (options, text) in [("{}", code), (r#"{"engine":"jinja"}"#, "{{ range .Items }} {% x"), ("{}", "{$x y}")] {
        let (message, verdict) = run(Draft::new().header("Subject", text).text(text).html(text), options);
        assert_eq!(verdict, Verdict::Next, "{text}");
        assert_eq!(message.header("Subject").as_deref(), Some(text));
        assert_eq!((message.text().as_deref(), message.html().as_deref()), (Some(text), Some(text)));
    }
    assert!(!wanted(Draft::new().text("function f() {if (x) {return 1;}}"), "{}"));
}

#[test]
fn fields_of_programs_and_private_ones_are_no_templates() {
    let draft = || Draft::new().variables_to(r#"{"x":1}"#);
    let fields = ["Message-ID", "references", "In-Reply-To", "Date", "Content-Type", "MIME-Version", "X-Trace", "x-json"];
    for field in fields {
        let value = "{abc} {\"x\":2}";
        assert!(!wanted(draft().header(field, value), "{}"), "{field}");
        let (message, verdict) = run(draft().header(field, value).header("Subject", "{$x}"), "{}");
        assert_eq!((verdict, message.header(field).as_deref()), (Verdict::Next, Some(value)), "{field}");
        assert_eq!(message.header("Subject").as_deref(), Some("1"));
    }
    let (message, _) = run(draft().header("X-Id", "{$x}").header("X-Code", "{$x"), "{}");
    assert_eq!((message.header("X-Id").as_deref(), message.header("X-Code").as_deref()), (Some("1"), Some("{$x")));
}

#[test]
fn data_of_any_recipient_makes_a_template_of_what_all_get() {
    let draft = || Draft::new().text("{\"x\"|upper}");
    assert!(!wanted(draft(), "{}"));
    let with_data = || draft().context_of("recipient-data", "true");
    assert!(wanted(with_data(), "{}"));
    assert_eq!(run(with_data(), "{}").0.text().as_deref(), Some("X"));
}

#[test]
fn only_templates_are_wanted() {
    assert!(!wanted(Draft::new().html("a{b}").text("c").header("Subject", "d"), "{}"));
    assert!(wanted(Draft::new().header("Subject", "{$x}"), "{}"));
    assert!(wanted(Draft::new().text("{b}").variables_to(r#"{"x":1}"#), "{}"));
    assert!(!wanted(Draft::new().text("nothing").variables_to(r#"{"x":1}"#), "{}"));
    assert!(!wanted(Draft::new().text("{$x}"), r#"{"engine":"jinja"}"#));
    assert!(wanted(Draft::new().text("{{ x }}"), r#"{"engine":"jinja"}"#));
}

#[test]
fn jinja_escapes_html_alone() {
    let draft = Draft::new()
        .header("Subject", "{{ name }}")
        .text("{% for x in list %}{{ x }},{% endfor %}{{ nobody.at.all }}\n")
        .html("{{ name }}{{ name|safe }}")
        .variables_to(r#"{"name":"<A&B>","list":[1,2]}"#);
    let (message, verdict) = run(draft, r#"{"engine":"jinja"}"#);
    assert_eq!(verdict, Verdict::Next);
    assert_eq!(message.header("Subject").as_deref(), Some("<A&B>"));
    assert_eq!(message.text().as_deref(), Some("1,2,\n"));
    assert_eq!(message.html().as_deref(), Some("&lt;A&amp;B&gt;<A&B>"));
}

#[test]
fn both_engines_are_bounded() {
    let rejected = |source: &str, options: &str| matches!(run(Draft::new().text(source), options).1, Verdict::Reject(_));
    assert!(rejected("{% for x in range(10000) %}{% for y in range(10000) %}{% endfor %}{% endfor %}", r#"{"engine":"jinja"}"#));
    assert!(rejected("{{ 'x' * 1000 }}", r#"{"engine":"jinja","max_output":999}"#));
    assert!(rejected("{$x|indent:1000}", r#"{"max_output":999}"#));
}

#[test]
fn data_does_not_make_a_template_of_plain_mail() {
    let page = "<style>p{color:red}</style><p>{ x }</p>";
    assert!(!wanted(Draft::new().html(page).variables_to(r#"{"x":1}"#), "{}"));
    let (message, verdict) = run(Draft::new().header("Subject", "{$x}").text("{plain}").html(page), "{}");
    assert_eq!(verdict, Verdict::Next);
    assert_eq!(message.header("Subject").as_deref(), Some(""));
    assert_eq!(message.text().as_deref(), Some("{plain}"));
}
