//! Header fields: none, thousands, huge ones, broken ones, odd dates.

use std::fmt::Write as _;

use super::{Group, USUAL, message, text};

/// What a Date field may say.
const DATES: [(&str, &str); 16] = [
    ("empty", ""),
    ("no-zone", "Mon, 02 Nov 2026 09:00:00"),
    ("named-zone", "Mon, 02 Nov 2026 09:00:00 EST"),
    ("military-zone", "Mon, 02 Nov 2026 09:00:00 Z"),
    ("two-digit-year", "Mon, 02 Nov 26 09:00:00 +0000"),
    ("no-weekday", "2 Nov 2026 09:00 +0000"),
    ("wrong-weekday", "Sun, 02 Nov 2026 09:00:00 +0000"),
    ("february-30", "Mon, 30 Feb 2026 09:00:00 +0000"),
    ("hour-25", "Mon, 02 Nov 2026 25:61:99 +0000"),
    ("leap-second", "Tue, 30 Jun 2026 23:59:60 +0000"),
    ("year-0", "Mon, 02 Nov 0000 09:00:00 +0000"),
    ("year-99999", "Mon, 02 Nov 99999 09:00:00 +0000"),
    ("negative", "Mon, -2 Nov -2026 09:00:00 -9999"),
    ("iso", "2026-11-02T09:00:00Z"),
    ("comments", "Mon, (day) 02 Nov (month) 2026 09:00:00 +0000 (UTC (nested))"),
    ("words", "tomorrow"),
];

/// What a Subject may be.
const SUBJECTS: [(&str, &str); 33] = [
    ("empty", ""),
    ("blanks", "      "),
    ("q", "=?utf-8?Q?What=E2=80=99s_new?="),
    ("b", "=?utf-8?B?V2hhdOKAmXMgbmV3?="),
    ("two-words", "=?utf-8?Q?one_?= =?utf-8?Q?two?="),
    ("split-character", "=?utf-8?Q?=E2=80?= =?utf-8?Q?=99s?="),
    ("no-end", "=?utf-8?Q?never ends"),
    ("no-text", "=?utf-8?Q??="),
    ("no-charset", "=??Q?text?="),
    ("no-encoding", "=?utf-8??text?="),
    ("other-encoding", "=?utf-8?X?text?="),
    ("unknown-charset", "=?no-such-charset?Q?caf=E9?="),
    ("language", "=?utf-8*de?Q?sch=C3=B6n?="),
    ("lower-q", "=?UTF-8?q?=c3=a9?="),
    ("broken-hex", "=?utf-8?Q?=ZZ=E?="),
    ("broken-base64", "=?utf-8?B?!!!?="),
    ("base64-no-padding", "=?utf-8?B?dGV4dA?="),
    ("base64-odd-length", "=?utf-8?B?dGV4d?="),
    ("nested", "=?utf-8?Q?=3D=3Futf-8=3FQ=3Fx=3F=3D?="),
    ("inside-a-word", "pre=?utf-8?Q?x?=post"),
    ("raw-blank", "=?utf-8?Q?a b?="),
    ("encoded-crlf", "=?utf-8?Q?line=0D=0ABcc:_x@example.com?="),
    ("encoded-nul", "=?utf-8?Q?nul=00here?="),
    ("utf-7", "=?utf-7?Q?+AGE-?="),
    ("utf-16", "=?utf-16?B?/v8AYQBi?="),
    ("iso-2022-jp", "=?iso-2022-jp?B?GyRCRnxLXBsoQg==?="),
    ("shift-jis", "=?shift_jis?B?k/qWew==?="),
    ("gb18030", "=?gb18030?B?1tDOxA==?="),
    ("koi8-r", "=?koi8-r?Q?=F0=D2=C9=D7=C5=D4?="),
    ("emoji", "=?utf-8?B?8J+RqeKAjfCfkpvigI3wn5Go?="),
    ("right-to-left", "=?utf-8?B?2YXYsdit2KjYpyDigK5nbml0?="),
    ("combining", "=?utf-8?Q?e=CC=81=CC=81=CC=81=CC=81=CC=81?="),
    ("question-marks", "=?=?=?=?=?=?="),
];

pub(super) fn fill(group: &mut Group) {
    shapes(group);
    sizes(group);
    for (name, date) in DATES {
        let octets = USUAL.replace("Mon, 02 Nov 2026 09:00:00 +0000", date) + "\r\ntext\r\n";
        group.broken(format!("date-{name}"), octets);
    }
    for (name, subject) in SUBJECTS {
        group.broken(format!("subject-{name}"), USUAL.replace("November", subject) + "\r\ntext\r\n");
    }
    for name in ["From", "To", "Subject", "Date", "Message-ID", "MIME-Version"] {
        let without: String = USUAL.split_inclusive("\r\n").filter(|line| !line.starts_with(&format!("{name}:"))).collect();
        group.broken(format!("no-{}", name.to_lowercase()), without + "\r\ntext\r\n");
        let twice: String = USUAL.split_inclusive("\r\n").flat_map(|line| [line; 2]).collect();
        let one: String = twice.split_inclusive("\r\n").filter(|line| line.starts_with(&format!("{name}:"))).collect();
        group.broken(format!("twice-{}", name.to_lowercase()), format!("{USUAL}{one}\r\ntext\r\n"));
    }
}

/// Headers and bodies that are not there, and fields that are none.
fn shapes(group: &mut Group) {
    group.broken("nothing", "");
    group.broken("one-crlf", "\r\n");
    group.broken("two-crlf", "\r\n\r\n");
    group.broken("only-body", "\r\nA body without a header.\r\n");
    group.broken("text-without-header", "This is no header and there is no blank line.\r\nIt is just text.\r\n");
    group.broken("only-header", USUAL);
    group.broken("only-header-no-line-end", USUAL.trim_end());
    group.sound("header-and-empty-body", format!("{USUAL}\r\n"));
    group.broken("one-letter", "x");
    group.broken("one-colon", ":");
    group.broken("one-name", "Subject");
    group.broken("name-and-colon", "Subject:");
    group.broken("continuation-first", format!(" folded\r\n{USUAL}\r\ntext\r\n"));
    group.broken("mbox-line", format!("From news@example.com Mon Nov  2 09:00:00 2026\r\n{USUAL}\r\ntext\r\n"));
    group.broken("blank-before-colon", message("X-Odd : value\r\n", "text\r\n"));
    group.broken("blank-in-name", message("X Odd: value\r\n", "text\r\n"));
    group.broken("no-name", message(": value\r\n", "text\r\n"));
    group.broken("no-colon-in-the-middle", message("no colon here\r\nX-After: y\r\n", "text\r\n"));
    group.broken("eight-bit-name", message("X-Ödd: value\r\n", "text\r\n"));
    group.broken("control-in-name", message("X-\u{1}: value\r\n", "text\r\n"));
    group.broken("tab-in-name", message("X-\tTab: value\r\n", "text\r\n"));
    group.broken("nul-in-value", message("X-Nul: a\0b\r\n", "text\r\n"));
    group.broken("all-controls-in-value", message("X-Controls: \u{1}\u{2}\u{7}\u{8}\u{b}\u{c}\u{1b}[31m\u{7f}\r\n", "text\r\n"));
    group.sound("utf-8-value", message("X-Greeting: Grüße aus Köln 👋\r\n", "text\r\n"));
    group.broken("latin-1-value", [USUAL.as_bytes(), b"X-Latin: caf\xe9 \xff\xfe\r\n\r\ntext\r\n"].concat());
    group.broken("bare-cr-in-value", message("X-Cr: one\rtwo\r\n", "text\r\n"));
    group.broken("bare-lf-in-value", message("X-Lf: one\ntwo\r\n", "text\r\n"));
    group.broken("cr-cr-lf", USUAL.replace("\r\n", "\r\r\n") + "\r\r\ntext\r\r\n");
    group.broken("lf-only", (USUAL.to_owned() + "\r\ntext\r\n").replace("\r\n", "\n"));
    group.broken("cr-only", (USUAL.to_owned() + "\r\ntext\r\n").replace("\r\n", "\r"));
    group.broken("mixed-line-ends", USUAL.replacen("\r\n", "\n", 3) + "\n" + "text\r\nmore\rmore\n");
    group.broken("bom", format!("\u{feff}{USUAL}\r\ntext\r\n"));
    group.broken("utf-16-le", utf_16(&(USUAL.to_owned() + "\r\ntext\r\n"), u16::to_le_bytes));
    group.broken("utf-16-be", utf_16(&(USUAL.to_owned() + "\r\ntext\r\n"), u16::to_be_bytes));
    group.sound("folded-often", message("X-Folded: one\r\n two\r\n\tthree\r\n   four\r\n", "text\r\n"));
    group.broken("folded-with-nothing", message("X-Folded: one\r\n \r\n \r\n two\r\n", "text\r\n"));
    group.broken("folded-name", message("X-Folded\r\n : one\r\n", "text\r\n"));
    group.sound("names-in-odd-case", USUAL.replace("Subject", "sUBJECT").replace("From", "FROM") + "\r\ntext\r\n");
    group.sound("empty-values", message("X-One:\r\nX-Two: \r\nX-Three:\t\r\n", "text\r\n"));
    group.broken("blank-line-with-blanks", format!("{USUAL} \t\r\ntext\r\n"));
    group.broken("dot-lines", text(".\r\n..\r\n.From: x\r\n"));
    group.sound(
        "references",
        message("References: <a@x.example> <b@x.example>\r\n\t<c@x.example>\r\nIn-Reply-To: <c@x.example>\r\n", "text\r\n"),
    );
    for (name, id) in
        [("empty", ""), ("no-brackets", "a@b"), ("no-at", "<ab>"), ("blanks", "< a @ b >"), ("two", "<a@b> <c@d>"), ("open", "<a@b")]
    {
        group.broken(format!("message-id-{name}"), USUAL.replace("<november@example.com>", id) + "\r\ntext\r\n");
    }
}

/// Fields that are many or long.
fn sizes(group: &mut Group) {
    for count in [100, 999, 1_000, 1_001, 5_000] {
        let mut header = String::new();
        for number in 0..count {
            // Writing to a String cannot fail.
            let _ = write!(header, "X-Field-{number}: {number}\r\n");
        }
        group.broken(format!("{count}-fields"), message(&header, "text\r\n"));
    }
    group.broken(
        "2000-times-the-same-field",
        message(&"Received: from a by b; Mon, 02 Nov 2026 09:00:00 +0000\r\n".repeat(2_000), "text\r\n"),
    );
    for length in [998, 999, 10_000, 1_000_000] {
        let header = format!("X-Long: {}\r\n", "x".repeat(length - "X-Long: ".len()));
        group.broken(format!("line-of-{length}"), message(&header, "text\r\n"));
    }
    group.broken("long-subject", USUAL.replace("November", &"word ".repeat(20_000)) + "\r\ntext\r\n");
    group.broken("long-name", message(&format!("X-{}: value\r\n", "n".repeat(10_000)), "text\r\n"));
    group.broken("folded-10000-times", message(&format!("X-Folded: {}end\r\n", "x\r\n ".repeat(10_000)), "text\r\n"));
    group.broken("5000-encoded-words", USUAL.replace("November", &"=?utf-8?Q?=C3=A9?=\r\n ".repeat(5_000)) + "\r\ntext\r\n");
    group.broken("half-open-encoded-words", USUAL.replace("November", &"=?utf-8?Q?".repeat(5_000)) + "\r\ntext\r\n");
}

fn utf_16(text: &str, octets: fn(u16) -> [u8; 2]) -> Vec<u8> {
    std::iter::once(0xfeff).chain(text.encode_utf16()).flat_map(octets).collect()
}
