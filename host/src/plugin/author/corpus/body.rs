//! Bodies: transfer encodings that are broken, lines that never end, octets that are no text, and none at all.

use super::{Group, message, text};

/// Bodies that are said to be encoded, and whether they keep the rules.
const ENCODED: [(&str, &str, &str, bool); 36] = [
    ("qp-soft-breaks", "quoted-printable", "<p>one=\r\n two=\r\n three</p>\r\n", true),
    ("qp-soft-break-at-end", "quoted-printable", "<p>text</p>=\r\n", true),
    ("qp-equals-at-end", "quoted-printable", "<p>text</p>=", false),
    ("qp-one-digit", "quoted-printable", "<p>a=E</p>=C\r\n", false),
    ("qp-no-digits", "quoted-printable", "<p>a=ZZ =G1 ==</p>\r\n", false),
    ("qp-lower-case", "quoted-printable", "<p>caf=c3=a9</p>\r\n", true),
    ("qp-raw-eight-bit", "quoted-printable", "<p>café</p>\r\n", false),
    ("qp-blanks-at-line-end", "quoted-printable", "<p>text   \r\nmore\t\r\n</p>", false),
    ("qp-blanks-behind-soft-break", "quoted-printable", "<p>one=  \r\ntwo</p>\r\n", false),
    ("qp-encoded-crlf", "quoted-printable", "<p>one=0D=0Atwo=0Athree=0Dfour</p>\r\n", true),
    ("qp-nul", "quoted-printable", "<p>a=00b</p>\r\n", true),
    ("qp-all-encoded", "quoted-printable", "=3C=70=3E=68=69=3C=2F=70=3E\r\n", true),
    ("qp-split-character", "quoted-printable", "<p>caf=C3=\r\n=A9</p>\r\n", true),
    ("qp-split-escape", "quoted-printable", "<p>caf=C=\r\n3=A9</p>\r\n", false),
    ("qp-equals-signs", "quoted-printable", "====================\r\n", false),
    ("qp-lf", "quoted-printable", "<p>one=\ntwo\nthree</p>\n", false),
    ("base64-one-line", "base64", "PHA+R29vZCBkYXk8L3A+", true),
    ("base64-no-padding", "base64", "PHA+R29vZCBkYXk8L3A+Cg", false),
    ("base64-too-much-padding", "base64", "PHA+R29vZCBkYXk8L3A+Cg======", false),
    ("base64-padding-inside", "base64", "PHA+Rw==b29kIGRheTwvcD4=", false),
    ("base64-junk", "base64", "PH!A+R2#9vZ$CBkY%Xk8L3A+", false),
    ("base64-blanks", "base64", "  PHA+ R29v\t\r\n\r\n ZCBk YXk8\r\nL3A+  ", true),
    ("base64-url-safe", "base64", "PHA-R29vZCBkYXk8L3A_", false),
    ("base64-one-letter", "base64", "P", false),
    ("base64-only-padding", "base64", "====", false),
    ("base64-empty", "base64", "", true),
    ("base64-not-at-all", "base64", "<p>This is not base64.</p>\r\n", false),
    ("base64-text-behind", "base64", "PHA+R29vZCBkYXk8L3A+\r\n-- \r\nSent by a list\r\n", false),
    ("base64-eight-bit", "base64", "PHA+Rü9vZCBkYXk8L3A+", false),
    ("uuencode", "x-uuencode", "begin 644 x\r\n#0V%T\r\n`\r\nend\r\n", true),
    ("unknown-encoding", "x-no-such", "<p>text</p>\r\n", true),
    ("empty-encoding", "", "<p>text</p>\r\n", false),
    ("two-encodings", "base64, quoted-printable", "PHA+R29vZCBkYXk8L3A+", false),
    ("encoding-with-comment", "(it is) base64 (really)", "PHA+R29vZCBkYXk8L3A+", true),
    ("encoding-in-other-case", "BaSe64", "PHA+R29vZCBkYXk8L3A+", true),
    ("seven-bit-that-is-not", "7bit", "<p>café</p>\r\n", false),
];

pub(super) fn fill(group: &mut Group) {
    for (name, encoding, body, is_sound) in ENCODED {
        let header = format!("Content-Type: text/html; charset=utf-8\r\nContent-Transfer-Encoding: {encoding}\r\n");
        group.add(name, message(&header, body), is_sound);
    }
    lines(group);
    octets(group);
    for (name, length) in [("100k", 100_000), ("1m", 1_000_000)] {
        let line = "All work and no play makes mail a dull thing.\r\n";
        group.sound(format!("text-of-{name}"), text(line.repeat(length / line.len())));
        let row = "<tr><td class=\"name\">Price</td><td style=\"text-align: right\">1.00</td></tr>\r\n";
        let page = format!("<html><body><table>{}</table></body></html>", row.repeat(length / row.len()));
        group.sound(format!("html-of-{name}"), message("Content-Type: text/html; charset=utf-8\r\n", page));
    }
    let attachment = "QUJDREVGR0hJSktMTU5PUFFSU1RVVldYWVphYmNkZWZnaGlqa2xtbm9wcXJzdHV2d3h5ejAx\r\n".repeat(13_000);
    let parts = format!(
        "--b\r\nContent-Type: text/html\r\n\r\n<p>See the attachment.</p>\r\n--b\r\nContent-Type: application/zip\r\n\
         Content-Disposition: attachment; filename=a.zip\r\nContent-Transfer-Encoding: base64\r\n\r\n{attachment}--b--\r\n"
    );
    group.sound("attachment-of-1m", message("Content-Type: multipart/mixed; boundary=b\r\n", parts));
}

fn lines(group: &mut Group) {
    group.sound("empty", text(""));
    group.sound("one-line-end", text("\r\n"));
    group.sound("blank-lines", text("\r\n".repeat(10_000)));
    group.sound("no-last-line-end", text("The last line has no end."));
    group.broken("bare-cr", text("one\rtwo\r\rthree\r\n"));
    group.broken("bare-lf", text("one\ntwo\n\nthree\n"));
    group.broken("cr-at-end", text("text\r"));
    group.broken("lf-cr", text("one\n\rtwo\n\r"));
    group.broken("other-line-ends", text("one\u{85}two\u{2028}three\u{2029}four\u{b}five\u{c}\r\n"));
    for length in [998, 999, 100_000, 2_000_000] {
        group.broken(format!("line-of-{length}"), text("x".repeat(length)));
    }
    group.broken("html-in-one-line", message("Content-Type: text/html\r\n", "<b>x</b>".repeat(50_000)));
    group.broken("dots", text(".\r\n.\r\n..\r\n...\r\n"));
    group.sound("from-lines", text("From here on\r\n>From there\r\n"));
    group.sound(
        "format-flowed",
        message("Content-Type: text/plain; format=flowed; delsp=yes\r\n", "A line \r\nthat goes on \r\n> quoted \r\n-- \r\nAnn\r\n"),
    );
    group.sound("signature", text("text\r\n-- \r\nAnn\r\n"));
    group.sound("inline-pgp", text("-----BEGIN PGP SIGNED MESSAGE-----\r\nHash: SHA256\r\n\r\ntext\r\n-----BEGIN PGP SIGNATURE-----\r\n\r\niQ==\r\n-----END PGP SIGNATURE-----\r\n"));
}

fn octets(group: &mut Group) {
    let all: Vec<u8> = (0..=255).collect();
    for content_type in ["text/plain", "text/html", "application/octet-stream", "text/plain; charset=us-ascii"] {
        let name = content_type.replace(['/', ';', ' ', '='], "-");
        group.broken(format!("all-octets-{name}"), message(&format!("Content-Type: {content_type}\r\n"), &all));
    }
    group.broken("nuls", text([0; 10_000]));
    group.broken("ff", text([0xff; 10_000]));
    group.broken("nul-in-html", message("Content-Type: text/html\r\n", "<p>a\0b</p><a hr\0ef=\"https://example.com/\">c</a>"));
    group.broken("binary", message("Content-Type: text/html\r\nContent-Transfer-Encoding: binary\r\n", all.repeat(50)));
    group.broken("controls", text((1..32).map(char::from).collect::<String>()));
    group.broken("escape-sequences", text("\u{1b}[2J\u{1b}]0;title\u{7}\u{1b}[31mred\u{1b}[0m\r\n"));
}
