//! Charsets: known, unknown, wrong, and Unicode at its edges.

use super::{Group, message};

/// Charsets that a Content-Type may name, with a text in them.
const CHARSETS: [(&str, &[u8]); 34] = [
    ("us-ascii", b"plain"),
    ("iso-8859-1", b"caf\xe9"),
    ("iso-8859-2", b"\xb3\xf3d\xbc"),
    ("iso-8859-5", b"\xc0\xe3\xe1"),
    ("iso-8859-6", b"\xc7\xe4"),
    ("iso-8859-7", b"\xe1\xe2\xe3"),
    ("iso-8859-8", b"\xf9\xec"),
    ("iso-8859-8-i", b"\xf9\xec\xe5"),
    ("iso-8859-9", b"\xfd\xfe"),
    ("iso-8859-15", b"\xa4 100"),
    ("windows-1250", b"\x8a\x9a"),
    ("windows-1251", b"\xcf\xf0\xe8\xe2\xe5\xf2"),
    ("windows-1252", b"\x80 \x93x\x94 \x81"),
    ("windows-1255", b"\xf9\xec\xe5\xed"),
    ("windows-1256", b"\xd3\xe1\xc7\xe3"),
    ("koi8-r", b"\xf0\xd2\xc9"),
    ("koi8-u", b"\xf0\xd2\xa6"),
    ("macintosh", b"caf\x8e"),
    ("ibm866", b"\x8f\xe0\xa8"),
    ("tis-620", b"\xca\xc7\xd1"),
    ("shift_jis", b"\x93\xfa\x96{"),
    ("euc-jp", b"\xc6\xfc\xcb\xdc"),
    ("iso-2022-jp", b"\x1b$BF|K\\\x1b(B"),
    ("euc-kr", b"\xc7\xd1\xb1\xdb"),
    ("iso-2022-kr", b"\x1b$)C\x0eGQ1[\x0f"),
    ("gb2312", b"\xd6\xd0\xce\xc4"),
    ("gb18030", b"\x81\x30\x81\x30"),
    ("big5", b"\xa4\xa4\xa4\xe5"),
    ("utf-7", b"+AGE- +2D3cAA-"),
    ("utf-16", b"\xff\xfe<\0p\0>\0a\0"),
    ("utf-16be", b"\0<\0p\0>\xd8\x00"),
    ("utf-32", b"\xff\xfe\0\0<\0\0\0"),
    ("no-such-charset", b"caf\xe9"),
    ("utf8", b"caf\xc3\xa9"),
];

/// Names of charsets that are none.
const NAMES: [(&str, &str); 8] = [
    ("empty", ""),
    ("quotes", "\"\""),
    ("blank", "\" utf-8 \""),
    ("binary", "binary"),
    ("default", "_autodetect_all"),
    ("long", "uuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuu"),
    ("eight-bit", "ütf-8"),
    ("injection", "\"utf-8\\\"; x=\\\"\""),
];

/// UTF-8 that is well formed, and asks for attention.
const UNICODE: [(&str, &str); 16] = [
    ("emoji", "👋 👩‍💻 🏳️‍🌈 👨‍👩‍👧‍👦 🇪🇺"),
    ("right-to-left", "שלום <b>עולם</b> مرحبا"),
    ("overrides", "\u{202e}txt.exe\u{202c} \u{2066}isolated\u{2069}"),
    ("zero-widths", "a\u{200b}b\u{200c}c\u{200d}d\u{feff}e\u{2060}f"),
    ("combining", "Z\u{300}\u{301}\u{302}\u{303}\u{304}a\u{325}\u{326}l\u{327}\u{328}g\u{330}\u{331}o"),
    ("bom-first", "\u{feff}text"),
    ("two-boms", "\u{feff}\u{feff}text"),
    ("noncharacters", "\u{fffe}\u{ffff}\u{1ffff}\u{10ffff}"),
    ("private-use", "\u{e000}\u{f8ff}\u{10fffd}"),
    ("replacement", "\u{fffd}\u{fffd}"),
    ("soft-hyphens", "Donau\u{ad}dampf\u{ad}schiff"),
    ("no-break-spaces", "100\u{a0}000\u{202f}000\u{3000}x"),
    ("case-grows", "ß ŉ ǰ ΐ ﬁ İ ẞ"),
    ("math", "𝔘𝔫𝔦𝔠𝔬𝔡𝔢 𝐛𝐨𝐥𝐝"),
    ("long-lines-of-wide", "中文字符中文字符中文字符中文字符中文字符中文字符中文字符中文字符中文字符中文字符中文字符中文字符"),
    ("controls-of-latin-1", "\u{80}\u{85}\u{9f}"),
];

/// Octets that are said to be UTF-8 and are not.
const NOT_UTF_8: [(&str, &[u8]); 9] = [
    ("latin-1", b"caf\xe9"),
    ("cut-off", b"caf\xc3"),
    ("continuation-alone", b"\x80\xbf"),
    ("overlong", b"\xc0\xaf\xe0\x80\xaf"),
    ("surrogates", b"\xed\xa0\xbd\xed\xb1\x8b"),
    ("too-large", b"\xf4\x90\x80\x80\xf8\x88\x80\x80\x80"),
    ("fe-ff", b"\xfe\xff"),
    ("twice-encoded", b"caf\xc3\x83\xc2\xa9"),
    ("mixed", b"caf\xc3\xa9 caf\xe9 \x93x\x94"),
];

pub(super) fn fill(group: &mut Group) {
    for (name, octets) in CHARSETS {
        let is_sound = !["no-such-charset", "utf8", "windows-1252", "utf-16", "utf-16be", "utf-32", "utf-7"].contains(&name);
        for (kind, before, after) in [("plain", "", ""), ("html", "<p>", " <a href=\"https://example.com/\">x</a></p>")] {
            let header = format!("Content-Type: text/{kind}; charset={name}\r\nContent-Transfer-Encoding: 8bit\r\n");
            let body = [before.as_bytes(), octets, after.as_bytes(), b"\r\n"].concat();
            group.add(&format!("{name}-{kind}"), message(&header, body), is_sound);
        }
    }
    for (name, charset) in NAMES {
        group.broken(format!("name-{name}"), message(&format!("Content-Type: text/html; charset={charset}\r\n"), "<p>café</p>\r\n"));
    }
    for (name, words) in UNICODE {
        let header = "Content-Type: text/html; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n";
        group.sound(format!("unicode-{name}"), message(header, format!("<p title=\"{words}\">{words}</p>\r\n")));
    }
    for (name, octets) in NOT_UTF_8 {
        let header = "Content-Type: text/html; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n";
        group.broken(format!("not-utf-8-{name}"), message(header, [b"<p class=\"", octets, b"\">", octets, b"</p>\r\n"].concat()));
    }
    let header = "Content-Type: text/html; charset=us-ascii\r\n";
    group.broken("meta-says-otherwise", message(header, b"<meta charset=iso-8859-1><p>caf\xe9</p>\r\n"));
}
