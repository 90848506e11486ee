//! Content-Type, Content-Disposition and their parameters: RFC 2231 as it is, and as it is not.

use std::fmt::Write as _;

use super::{Group, message};

const TYPES: [(&str, &str); 24] = [
    ("empty", ""),
    ("slash", "/"),
    ("no-subtype", "text"),
    ("no-type", "/html"),
    ("three", "text/html/xml"),
    ("semicolon", "text/html;"),
    ("semicolons", "text/html;;;;charset=utf-8;;"),
    ("no-semicolon", "text/html charset=utf-8"),
    ("no-value", "text/html; charset"),
    ("no-name", "text/html; =utf-8"),
    ("equals", "text/html; ==="),
    ("blanks", "text / html ; charset = utf-8"),
    ("quoted", "\"text/html\"; \"charset\"=\"utf-8\""),
    ("open-quote", "text/html; charset=\"utf-8"),
    ("backslashes", "text/html; charset=\"\\u\\t\\f\\-\\8\""),
    ("comment", "text/html (a page); charset=utf-8 (of course)"),
    ("open-comment", "text/html (a page; charset=utf-8"),
    ("twice", "text/html; charset=utf-8\r\nContent-Type: text/plain; charset=latin1"),
    ("case", "TEXT/HTML; CHARSET=UTF-8"),
    ("encoded-word", "=?utf-8?Q?text/html?=; charset=utf-8"),
    ("eight-bit", "text/hträml; charset=ütf-8"),
    ("nul", "text/html\0; charset=utf-8"),
    ("fold", "text/html;\r\n\tcharset=utf-8;\r\n format=flowed"),
    ("unknown", "x-own/x-thing; x-parameter=\"a;b=c\""),
];

const DISPOSITIONS: [(&str, &str, bool); 25] = [
    ("plain", "attachment; filename=list.pdf", true),
    ("quoted", "attachment; filename=\"price list.pdf\"", true),
    ("encoded", "attachment; filename*=utf-8''Preise%20f%C3%BCr%20Sie.pdf", true),
    ("encoded-language", "attachment; filename*=utf-8'de'Preise.pdf", true),
    ("latin-1", "attachment; filename*=iso-8859-1''Preise%20f%FCr.pdf", true),
    ("split", "attachment; filename*0=\"price \"; filename*1=\"list.pdf\"", true),
    ("split-encoded", "attachment; filename*0*=utf-8''Preise%20; filename*1*=f%C3%BCr; filename*2=\" Sie.pdf\"", true),
    ("both", "attachment; filename=list.pdf; filename*=utf-8''Liste.pdf", true),
    ("encoded-word", "attachment; filename=\"=?utf-8?Q?f=C3=BCr.pdf?=\"", false),
    ("split-out-of-order", "attachment; filename*1=\"list.pdf\"; filename*0=\"price \"", false),
    ("split-with-a-gap", "attachment; filename*0=\"price \"; filename*2=\"list.pdf\"", false),
    ("split-from-1", "attachment; filename*1=\"a\"; filename*2=\"b\"", false),
    ("split-character", "attachment; filename*0*=utf-8''f%C3; filename*1*=%BCr.pdf", false),
    ("split-huge-number", "attachment; filename*99999999999999999999=\"x\"", false),
    ("split-negative", "attachment; filename*-1=\"x\"", false),
    ("broken-percent", "attachment; filename*=utf-8''%ZZ%F%", false),
    ("no-quotes-in-encoded", "attachment; filename*=utf-8", false),
    ("unknown-charset", "attachment; filename*=no-such''%E9", false),
    ("path", "attachment; filename=\"../../../etc/passwd\"", false),
    ("backslash-path", "attachment; filename=\"C:\\\\windows\\\\system32\\\\x.exe\"", false),
    ("nul-in-name", "attachment; filename*=utf-8''a%00b.pdf", false),
    ("crlf-in-name", "attachment; filename*=utf-8''a%0D%0AX-Evil:%20b.pdf", false),
    ("right-to-left-name", "attachment; filename*=utf-8''%E2%80%AEfdp.exe", false),
    ("unknown", "x-strange; filename=x", true),
    ("empty", "", false),
];

/// What stands in Content-ID, Content-Location and the like.
const OTHERS: [(&str, &str); 8] = [
    ("content-id-empty", "Content-ID:"),
    ("content-id-open", "Content-ID: <logo"),
    ("content-id-no-brackets", "Content-ID: logo@example.com"),
    ("content-id-twice", "Content-ID: <a@x>\r\nContent-ID: <b@x>"),
    ("content-location", "Content-Location: ../logo.gif\r\nContent-Base: https://example.com/"),
    ("content-language", "Content-Language: de, en-GB, *"),
    ("content-md5", "Content-MD5: Q2hlY2sgSW50ZWdyaXR5IQ=="),
    ("content-description", "Content-Description: =?utf-8?Q?Preise_f=C3=BCr?= Sie"),
];

pub(super) fn fill(group: &mut Group) {
    for (name, content_type) in TYPES {
        let octets = message(&format!("Content-Type: {content_type}\r\n"), "<p>Good <b>day</b></p>\r\n");
        group.broken(format!("type-{name}"), octets);
    }
    for (name, disposition, is_sound) in DISPOSITIONS {
        group.add(&format!("disposition-{name}"), with_attachment(&format!("Content-Disposition: {disposition}")), is_sound);
    }
    for (name, field) in OTHERS {
        group.broken(name, with_attachment(field));
    }
    let mut many = String::from("Content-Disposition: attachment");
    for number in 0..3_000 {
        // Writing to a String cannot fail.
        let _ = write!(many, ";\r\n filename*{number}=x");
    }
    group.broken("3000-pieces-of-a-name", with_attachment(&many));
    let mut many = String::from("Content-Type: text/html");
    for number in 0..3_000 {
        let _ = write!(many, "; p{number}=v");
    }
    group.broken("3000-parameters", message(&format!("{many}\r\n"), "<p>x</p>\r\n"));
    group.broken("name-of-100000", with_attachment(&format!("Content-Disposition: attachment; filename=\"{}\"", "n".repeat(100_000))));
}

fn with_attachment(field: &str) -> Vec<u8> {
    let body = format!(
        "--b\r\nContent-Type: text/html; charset=utf-8\r\n\r\n<p>See <a href=\"https://example.com/\">here</a></p>\r\n\
         --b\r\nContent-Type: application/octet-stream\r\n{field}\r\nContent-Transfer-Encoding: base64\r\n\r\nAAECAwQFBgcICQ==\r\n--b--\r\n"
    );
    message("Content-Type: multipart/mixed; boundary=b\r\n", body)
}
