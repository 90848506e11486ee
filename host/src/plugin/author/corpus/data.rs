//! Data and recipients: none, odd, many; and what looks like a template.

use serde_json::{Map, Value, json};

use super::{Group, newsletter, text};

/// What template engines trip over, or run away with.
const TEMPLATES: [(&str, &str); 14] = [
    ("variable", "Hello {{ name }} {$name} %name% ${name} {name}"),
    ("unknown-variable", "Hello {{ nobody }} {$nobody}"),
    ("open-variable", "Hello {{ name } {$name"),
    ("open-block", "{% if name %}never closed {if $name} never closed"),
    ("end-only", "{% endif %}{/if}{% endfor %}{/foreach}"),
    ("unknown-block", "{% nosuch %}{nosuch}{% end %}"),
    ("endless-loop", "{% for a in range(1000000) %}{% for b in range(1000000) %}x{% endfor %}{% endfor %}"),
    ("smarty-loop", "{for $a=1 to 1000000}{for $b=1 to 1000000}x{/for}{/for}"),
    ("self-include", "{% include 'self' %}{include file='self'}"),
    ("code", "{{ ''.__class__.__mro__ }}{php}system('x'){/php}<%= `x` %>"),
    ("division", "{{ 1 / 0 }}{1/0}{$name/0}"),
    ("filters", "{{ name|nosuch }}{$name|nosuch}{{ name|upper|lower|length }}"),
    ("css-braces", "p { color: red } a{b}{c} {{{{ }}}}"),
    ("deep-brackets", "{{ (((((((((((((((((((((((((((((((((((((((((1))))))))))))))))))))))))))))))))))))))))) }}"),
];

pub(super) fn fill(group: &mut Group) {
    for (name, template) in TEMPLATES {
        group.broken(format!("template-{name}"), text(format!("{template}\r\n")));
        let last = text(format!("{template}\r\n"));
        group.broken(format!("template-subject-{name}"), String::from_utf8_lossy(&last).replace("November", template));
    }
    group.broken("template-5000-brackets-deep", text(format!("{{{{ {}1{} }}}}\r\n", "(".repeat(5_000), ")".repeat(5_000))));
    group.broken("template-5000-blocks-deep", text(format!("{}{}\r\n", "{% if 1 %}".repeat(5_000), "{if 1}".repeat(5_000))));

    recipients(group, "no-recipient", Vec::new());
    recipients(group, "recipient-without-data", vec![("ann@example.net", Map::new())]);
    let address = |address| vec![(address, Map::new())];
    recipients(group, "recipient-with-quotes", address("\"ann of the north\"@example.net"));
    recipients(group, "recipient-with-markup", address("\"<b>&'\"@example.net"));
    recipients(group, "recipient-utf-8", address("jörg@example.net"));
    recipients(group, "recipient-literal", address("ann@[192.0.2.1]"));
    recipients(group, "recipient-signs", address("!#$%&'*+-/=?^_`{|}~@example.net"));
    recipients(group, "same-recipient-twice", vec![("ann@example.net", Map::new()), ("ann@example.net", Map::new())]);
    recipients(group, "300-recipients", vec![("ann@example.net", Map::new()); 300]);
    let values = [
        ("null", json!(null)),
        ("boolean", json!(true)),
        ("number", json!(-1.5e300)),
        ("empty", json!("")),
        ("markup", json!("<script>alert(\"x\")</script>&amp;")),
        ("line-ends", json!("a\r\nBcc: eve@example.com\r\n\r\nb")),
        ("controls", json!("\u{0}\u{1}\u{1b}[31m\u{7f}")),
        ("template", json!("{{ name }}{$name}{% for a in range(9) %}")),
        ("emoji", json!("👩‍💻\u{202e}")),
        ("long", json!("x".repeat(100_000))),
        ("list", json!([1, [2, [3, [4]]], {"a": []}])),
        ("object", json!({"name": {"name": {"name": "x"}}})),
    ];
    for (name, value) in values {
        let data = Map::from_iter([("name".to_owned(), value)]);
        recipients(group, &format!("value-{name}"), vec![("ann@example.net", data)]);
    }
    let deep = (0..100).fold(Value::Null, |inner, _| json!({ "name": inner }));
    recipients(group, "value-deep", vec![("ann@example.net", Map::from_iter([("name".to_owned(), deep)]))]);
    let many = (0..5_000).map(|number| (format!("key{number}"), Value::from(number))).collect();
    recipients(group, "5000-values", vec![("ann@example.net", many)]);
    let odd = ["", " ", ".", "a.b", "a b", "ä", "__proto__", "recipient", "envelope", "0", "\"", "\n"];
    recipients(group, "odd-names", vec![("ann@example.net", odd.into_iter().map(|name| (name.to_owned(), Value::from("x"))).collect())]);
    group.broken("message-data", newsletter());
    if let Some(last) = group.samples.last_mut() {
        last.variables =
            Map::from_iter([("name".to_owned(), json!("everybody")), ("items".to_owned(), json!([{"price": 1}, {"price": "2"}, null]))]);
    }
}

/// Adds a newsletter that speaks to somebody, for other recipients than the usual.
fn recipients(group: &mut Group, name: &str, recipients: Vec<(&'static str, Map<String, Value>)>) {
    let octets = String::from_utf8_lossy(&newsletter()).replace("Go to", "Dear {$name} {{ name }}, go to");
    group.broken(name, octets);
    if let Some(last) = group.samples.last_mut() {
        last.recipients = recipients;
    }
}
