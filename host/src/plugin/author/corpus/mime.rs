//! Multiparts: boundaries that are missing, doubled, odd or not what they say; deep and wide trees; messages in messages.

use std::fmt::Write as _;

use super::{Group, USUAL, message, newsletter};

/// Bodies of a multipart/mixed with the boundary `b`.
const BODIES: [(&str, &str, bool); 24] = [
    ("usual", "--b\r\n\r\none\r\n--b\r\n\r\ntwo\r\n--b--\r\n", true),
    ("preamble-and-epilogue", "before\r\n--b\r\n\r\none\r\n--b--\r\nafter\r\n", true),
    ("no-part", "--b--\r\n", false),
    ("no-boundary-line", "There is no part in here.\r\n", false),
    ("empty", "", false),
    ("not-closed", "--b\r\n\r\none\r\n--b\r\n\r\ntwo\r\n", false),
    ("not-closed-no-line-end", "--b\r\n\r\none", false),
    ("closed-at-once", "--b--\r\n--b\r\n\r\none\r\n--b--\r\n", false),
    ("closed-twice", "--b\r\n\r\none\r\n--b--\r\n--b\r\n\r\ntwo\r\n--b--\r\n", false),
    ("empty-parts", "--b\r\n--b\r\n--b\r\n--b--\r\n", false),
    ("part-without-blank-line", "--b\r\nContent-Type: text/plain\r\n--b--\r\n", false),
    ("part-that-is-text-at-once", "--b\r\nno header here\r\n--b--\r\n", false),
    ("header-only-part", "--b\r\nContent-Type: text/plain\r\n\r\n--b--\r\n", true),
    ("blanks-behind-boundary", "--b  \t\r\n\r\none\r\n--b--  \r\n", true),
    ("text-behind-boundary", "--b and more\r\n\r\none\r\n--b--\r\n", false),
    ("boundary-in-text", "--b\r\n\r\nthis --b is text\r\n --b too\r\n--b--\r\n", true),
    ("longer-boundary-in-text", "--b\r\n\r\none\r\n--bb\r\ntwo\r\n--b--\r\n", true),
    ("lf-boundaries", "--b\n\none\n--b\n\ntwo\n--b--\n", false),
    ("cr-boundaries", "--b\r\rone\r--b\r\rtwo\r--b--\r", false),
    ("three-dashes", "---b\r\n\r\none\r\n---b--\r\n", false),
    ("only-dashes", "--\r\n--\r\n----\r\n", false),
    ("nul-in-boundary-line", "--b\0\r\n\r\none\r\n--b--\r\n", false),
    ("other-case", "--B\r\n\r\none\r\n--B--\r\n", false),
    ("broken-part-header", "--b\r\nContent-Type\r\n: x\r\n\0\r\n\r\none\r\n--b--\r\n", false),
];

/// What a Content-Type may say of the boundary of a body with `--b`.
const BOUNDARIES: [(&str, &str); 14] = [
    ("missing", "multipart/mixed"),
    ("empty", "multipart/mixed; boundary="),
    ("empty-quotes", "multipart/mixed; boundary=\"\""),
    ("open-quote", "multipart/mixed; boundary=\"b"),
    ("two", "multipart/mixed; boundary=b; boundary=c"),
    ("blank-at-end", "multipart/mixed; boundary=\"b \""),
    ("other", "multipart/mixed; boundary=c"),
    ("encoded", "multipart/mixed; boundary*=utf-8''b"),
    ("split", "multipart/mixed; boundary*0=b; boundary*1="),
    ("encoded-word", "multipart/mixed; boundary=\"=?utf-8?Q?b?=\""),
    ("no-subtype", "multipart; boundary=b"),
    ("unknown-subtype", "multipart/x-strange; boundary=b"),
    ("case", "MULTIPART/MIXED; BOUNDARY=b"),
    ("comments", "multipart/mixed (really); (the) boundary=b (ary)"),
];

pub(super) fn fill(group: &mut Group) {
    group.sound("newsletter", newsletter());
    for (name, body, is_sound) in BODIES {
        group.add(&format!("body-{name}"), message("Content-Type: multipart/mixed; boundary=b\r\n", body), is_sound);
    }
    let parts = "--b\r\n\r\none\r\n--b\r\nContent-Type: text/html\r\n\r\n<p>two</p>\r\n--b--\r\n";
    for (name, content_type) in BOUNDARIES {
        group.broken(format!("boundary-{name}"), message(&format!("Content-Type: {content_type}\r\n"), parts));
    }
    let long = "b".repeat(70);
    let with = |boundary: &str| {
        message(
            &format!("Content-Type: multipart/mixed; boundary=\"{boundary}\"\r\n"),
            format!("--{boundary}\r\n\r\none\r\n--{boundary}--\r\n"),
        )
    };
    group.sound("boundary-of-70", with(&long));
    group.broken("boundary-of-10000", with(&"b".repeat(10_000)));
    group.sound("boundary-of-signs", with("'()+_,-./:=?"));
    group.broken("boundary-of-utf-8", with("grenze-ß-境"));
    group.broken("boundary-of-dashes", with("----"));
    trees(group);
    messages(group);
    subtypes(group);
}

/// Deep and wide.
fn trees(group: &mut Group) {
    for depth in [10, 31, 32, 33, 100, 1_000] {
        let mut header = String::from("Content-Type: multipart/mixed; boundary=b0\r\n");
        let mut body = String::new();
        for level in 0..depth {
            // Writing to a String cannot fail.
            let _ = write!(body, "--b{level}\r\nContent-Type: multipart/mixed; boundary=b{}\r\n\r\n", level + 1);
        }
        let _ = write!(body, "--b{depth}\r\nContent-Type: text/html\r\n\r\n<p>deep</p>\r\n");
        for level in (0..=depth).rev() {
            let _ = write!(body, "--b{level}--\r\n");
        }
        header.push_str("X-Depth: many\r\n");
        group.broken(format!("depth-{depth}"), message(&header, body));
    }
    for count in [100, 999, 1_001, 5_000] {
        let body = "--b\r\nContent-Type: text/plain\r\n\r\npart\r\n".repeat(count) + "--b--\r\n";
        group.broken(format!("{count}-parts"), message("Content-Type: multipart/mixed; boundary=b\r\n", body));
    }
    let same = "--b\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\none\r\n--b--\r\n--b--\r\n";
    group.broken("same-boundary-inside", message("Content-Type: multipart/mixed; boundary=b\r\n", same));
    let prefix = "--b\r\nContent-Type: multipart/mixed; boundary=bb\r\n\r\n--bb\r\n\r\none\r\n--bb--\r\n\r\n--b--\r\n";
    group.sound("boundary-is-prefix-of-inner", message("Content-Type: multipart/mixed; boundary=b\r\n", prefix));
    let early = "--b\r\nContent-Type: multipart/mixed; boundary=c\r\n\r\n--c\r\n\r\none\r\n--b\r\n\r\ntwo\r\n--b--\r\n";
    group.broken("inner-not-closed", message("Content-Type: multipart/mixed; boundary=b\r\n", early));
    let only = "--b\r\nContent-Type: multipart/alternative; boundary=c\r\n\r\n--b--\r\n";
    group.broken("inner-empty", message("Content-Type: multipart/mixed; boundary=b\r\n", only));
}

/// message/rfc822 and its relatives.
fn messages(group: &mut Group) {
    let forwarded = String::from_utf8(newsletter()).unwrap_or_default();
    let inside = |content_type: &str, inner: &str| {
        let body = format!("--b\r\n\r\nsee below\r\n--b\r\nContent-Type: {content_type}\r\n\r\n{inner}\r\n--b--\r\n");
        message("Content-Type: multipart/mixed; boundary=b\r\n", body)
    };
    group.sound("forwarded", inside("message/rfc822", &forwarded));
    group.broken("forwarded-nothing", inside("message/rfc822", ""));
    group.broken("forwarded-text", inside("message/rfc822", "no header at all"));
    group.broken("forwarded-base64", inside("message/rfc822\r\nContent-Transfer-Encoding: base64", "U3ViamVjdDogeA0KDQp4DQo="));
    group.sound("global", inside("message/global", "Subject: Grüße\r\n\r\ntext\r\n"));
    group.broken("partial", inside("message/partial; id=x; number=1; total=3", "Subject: x\r\n\r\ntext\r\n"));
    group.broken(
        "external-body",
        inside("message/external-body; access-type=URL; URL=\"https://example.com/\"", "Content-Type: text/plain\r\n\r\n"),
    );
    group.sound("root-is-a-message", message("Content-Type: message/rfc822\r\n", &forwarded));
    let mut nested = String::from("Subject: innermost\r\n\r\ntext\r\n");
    for _ in 0..200 {
        nested = format!("Content-Type: message/rfc822\r\n\r\n{nested}");
    }
    group.broken("200-messages-deep", message("Content-Type: message/rfc822\r\n", nested));
    let report = "--b\r\n\r\nIt bounced.\r\n--b\r\nContent-Type: message/delivery-status\r\n\r\nReporting-MTA: dns; mx.example\r\n\r\n\
                  Final-Recipient: rfc822; ann@example.net\r\nAction: failed\r\nStatus: 5.1.1\r\n\r\n--b\r\nContent-Type: text/rfc822-headers\r\n\r\n\
                  Subject: x\r\n\r\n--b--\r\n";
    group.sound("report", message("Content-Type: multipart/report; report-type=delivery-status; boundary=b\r\n", report));
}

/// Kinds of multiparts with what does not belong in them.
fn subtypes(group: &mut Group) {
    let parts = "--b\r\nContent-Type: text/html\r\n\r\n<p>html</p>\r\n--b\r\nContent-Type: text/plain\r\n\r\ntext\r\n--b--\r\n";
    for subtype in
        ["mixed", "alternative", "related", "digest", "parallel", "signed", "encrypted", "form-data", "appledouble", "byteranges"]
    {
        group.sound(format!("multipart-{subtype}"), message(&format!("Content-Type: multipart/{subtype}; boundary=b\r\n"), parts));
    }
    let signed = "--b\r\nContent-Type: text/html\r\n\r\n<p><a href=\"https://example.com/\">signed</a></p>\r\n--b\r\nContent-Type: application/pgp-signature\r\n\
                  \r\n-----BEGIN PGP SIGNATURE-----\r\n\r\niQ==\r\n-----END PGP SIGNATURE-----\r\n--b--\r\n";
    let header = "Content-Type: multipart/signed; micalg=pgp-sha256; protocol=\"application/pgp-signature\"; boundary=b\r\n";
    group.sound("pgp-signed", message(header, signed));
    let two = "--b\r\nContent-Type: text/html\r\n\r\n<p>one</p>\r\n--b\r\nContent-Type: text/html\r\n\r\n<p>two</p>\r\n--b--\r\n";
    group.sound("two-html", message("Content-Type: multipart/mixed; boundary=b\r\n", two));
    let attached = "--b\r\nContent-Type: text/html\r\nContent-Disposition: attachment; filename=page.html\r\n\r\n<p>one</p>\r\n--b--\r\n";
    group.sound("html-attached", message("Content-Type: multipart/mixed; boundary=b\r\n", attached));
    group.broken(
        "multipart-in-base64",
        message("Content-Type: multipart/mixed; boundary=b\r\nContent-Transfer-Encoding: base64\r\n", "LS1iDQoNCm9uZQ0KLS1iLS0NCg==\r\n"),
    );
    group.broken("no-mime-version", USUAL.replace("MIME-Version: 1.0\r\n", "Content-Type: multipart/mixed; boundary=b\r\n") + "\r\n" + two);
    group.broken(
        "mime-version-2",
        USUAL.replace("MIME-Version: 1.0", "MIME-Version: 2.0 (new)\r\nContent-Type: text/html") + "\r\n<p>text</p>\r\n",
    );
}
