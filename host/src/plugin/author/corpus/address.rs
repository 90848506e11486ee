//! Address lists: quoted, commented, grouped, encoded, endless, broken.

use super::{Group, USUAL};

/// What To may say, and whether that is well formed.
const LISTS: [(&str, &str, bool); 31] = [
    ("bare", "ann@example.net", true),
    ("name", "Ann <ann@example.net>", true),
    ("quoted-name", "\"Ann, of the \\\"North\\\"\" <ann@example.net>", true),
    ("encoded-name", "=?utf-8?Q?J=C3=B6rg?= <joerg@example.net>", true),
    ("encoded-in-quotes", "\"=?utf-8?Q?J=C3=B6rg?=\" <joerg@example.net>", true),
    ("raw-utf-8-name", "Jörg <joerg@example.net>", true),
    ("utf-8-local-part", "jörg@example.net", true),
    ("utf-8-domain", "ann@köln.example", true),
    ("comment", "ann@example.net (Ann (the (third)))", true),
    ("open-comment", "ann@example.net (Ann", false),
    ("quoted-local-part", "\"ann of the north\"@example.net", true),
    ("address-literal", "ann@[192.0.2.1]", true),
    ("address-literal-6", "ann@[IPv6:2001:db8::1]", true),
    ("group", "Friends: ann@example.net, Bob <bob@example.org>;", true),
    ("empty-group", "undisclosed-recipients:;", true),
    ("open-group", "Friends: ann@example.net", false),
    ("group-in-group", "A: B: ann@example.net;;", false),
    ("route", "<@relay.example,@other.example:ann@example.net>", false),
    ("null", "<>", false),
    ("no-at", "ann", false),
    ("two-ats", "ann@north@example.net", false),
    ("no-domain", "ann@", false),
    ("no-local-part", "@example.net", false),
    ("dots", "..ann..@..example..net..", false),
    ("open-angle", "Ann <ann@example.net", false),
    ("open-quote", "\"Ann <ann@example.net>", false),
    ("angles", "<<ann@example.net>>", false),
    ("commas", ",,,ann@example.net,,,", false),
    ("semicolons", "ann@example.net; bob@example.org", false),
    ("trailing-backslash", "\"Ann\\", false),
    ("folded", "Ann\r\n <ann@example.net>,\r\n\tBob <bob@example.org>", true),
];

pub(super) fn fill(group: &mut Group) {
    for (name, list, is_sound) in LISTS {
        let octets = USUAL.replace("Ann <ann@example.net>", list) + "\r\ntext\r\n";
        group.add(&format!("to-{name}"), octets.into_bytes(), is_sound);
    }
    for (name, list) in
        [("empty", ""), ("two", "a@example.com, b@example.com"), ("null", "<>"), ("name-only", "News"), ("group", "a: b@example.com;")]
    {
        group.broken(format!("from-{name}"), USUAL.replace("News <news@example.com>", list) + "\r\ntext\r\n");
    }
    let many = "Reader <reader@example.net>,\r\n ".repeat(5_000);
    group.sound("5000-in-to", USUAL.replace("Ann <ann@example.net>", &format!("{many}Ann <ann@example.net>")) + "\r\ntext\r\n");
    group.broken("10000-angles", USUAL.replace("Ann <ann@example.net>", &"<".repeat(10_000)) + "\r\ntext\r\n");
    group.broken("10000-parentheses", USUAL.replace("Ann <ann@example.net>", &"(".repeat(10_000)) + "\r\ntext\r\n");
    group.broken("10000-quotes", USUAL.replace("Ann <ann@example.net>", &"\"".repeat(10_001)) + "\r\ntext\r\n");
    group.broken("long-local-part", USUAL.replace("ann@", &format!("{}@", "a".repeat(5_000))) + "\r\ntext\r\n");
}
