//! From the fields of a REST call to the mail that arrives, in all three dialects.

use anyhow::{Result, ensure};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value, json};
use tubepost_tests::host::Host;
use tubepost_tests::http::{Response, post_json};
use tubepost_tests::mime::Part;
use tubepost_tests::peer::{Peer, Protection, Taken};
use tubepost_tests::setup::{PASSWORD, SECOND_TOKEN, SECOND_TOKEN_HASH, TOKEN, config, login};
use tubepost_tests::wait::wait_for;

/// A server, and the next hop of its logins: `plain` has no plugins, `second` those of the chain `requested`.
struct Api {
    peer: Peer,
    host: Host,
}

/// Whose call is made, as whom.
#[derive(Clone, Copy, Debug)]
enum Dialect {
    V1,
    /// With the token of the login `second`.
    Second,
    TurboSmtp,
    MailPace,
}

impl Api {
    fn start() -> Result<Self> {
        let peer = Peer::start()?;
        let chain = "[chains]\nrequested = [\"template\", { use = \"inline-css\", when = \"requested\" }, { use = \"tracking\", when = \"requested\" }]\n";
        let second = login("second", &format!("route = \"peer\"\nchain = \"requested\"\ntoken = \"{SECOND_TOKEN_HASH}\""));
        let host = Host::start(&config(peer.address(), &second).replace("[chains]\n", chain), &[])?;
        Ok(Self { peer, host })
    }

    fn post(&self, dialect: Dialect, call: &Value) -> Result<Response> {
        let http = self.host.address("http none");
        match dialect {
            Dialect::V1 => post_json(http, &format!("/v1/send?access_token={TOKEN}"), &[], call),
            Dialect::Second => post_json(http, &format!("/v1/send?access_token={SECOND_TOKEN}"), &[], call),
            Dialect::TurboSmtp => post_json(http, "/api/mail/send", &[("authuser", "plain"), ("authpass", PASSWORD)], call),
            Dialect::MailPace => post_json(http, "/api/v1/send", &[("MailPace-Server-Token", TOKEN)], call),
        }
    }

    /// Makes a call that is taken; returns the mail that `recipients` copies of it arrive as.
    fn send(&self, dialect: Dialect, call: &Value, recipients: usize) -> Result<Vec<Taken>> {
        let before = self.peer.count();
        let response = self.post(dialect, call)?;
        ensure!(response.status == 200, "{dialect:?} {call}: {} {}", response.status, response.text());
        wait_for("the mail", || {
            let taken = self.peer.taken().split_off(before);
            (taken.iter().map(|mail| mail.to.len()).sum::<usize>() == recipients).then_some(taken)
        })
    }

    /// As [`Api::send`], for one recipient.
    fn mail(&self, dialect: Dialect, call: &Value) -> Result<Part> {
        Ok(Part::read(&self.send(dialect, call, 1)?.remove(0).text()))
    }

    /// Makes a call that is refused.
    fn refusal(&self, dialect: Dialect, call: &Value) -> Result<String> {
        let response = self.post(dialect, call)?;
        ensure!(response.status == 400, "{dialect:?} {call}: {} {}", response.status, response.text());
        Ok(response.text())
    }
}

/// A call of `/v1/send` with these fields more.
fn v1(fields: Value) -> Value {
    merged(json!({ "recipient": "r@sink.example", "from": "info@example.com", "subject": "s", "text": "t" }), fields)
}

/// A call of `/api/mail/send` with these fields more.
fn turbosmtp(fields: Value) -> Value {
    merged(json!({ "from": "info@example.com", "to": "r@sink.example", "subject": "s", "content": "t" }), fields)
}

/// A call of `/api/v1/send` with these fields more.
fn mailpace(fields: Value) -> Value {
    merged(json!({ "from": "info@example.com", "to": "r@sink.example", "subject": "s", "textbody": "t" }), fields)
}

fn merged(mut call: Value, fields: Value) -> Value {
    if let (Value::Object(call), Value::Object(fields)) = (&mut call, fields) {
        call.extend(fields);
    }
    call
}

#[test]
fn raw_mime_wins_and_may_lack_a_header() -> Result<()> {
    let api = Api::start()?;
    let whole = "From: own@example.com\nSubject: own\nBcc: secret@example.net\n\nbody\n";
    for (dialect, call) in [
        (Dialect::V1, v1(json!({ "mime": whole, "html": "ignored" }))),
        (Dialect::TurboSmtp, turbosmtp(json!({ "mime_raw": whole }))),
        (Dialect::TurboSmtp, turbosmtp(json!({ "mime": whole }))),
    ] {
        let mail = api.mail(dialect, &call)?;
        assert_eq!((mail.fields("Subject"), mail.fields("Bcc"), mail.text()), (vec!["own"], vec![], "body\r\n".into()), "{dialect:?}");
    }
    for (dialect, call) in
        [(Dialect::V1, v1(json!({ "mime": "\nGrüße\n" }))), (Dialect::TurboSmtp, turbosmtp(json!({ "mime_raw": "\r\nGrüße\r\n" })))]
    {
        let mail = api.mail(dialect, &call)?;
        assert_eq!((mail.fields("Subject"), mail.text().trim_end()), (vec!["s"], "Grüße"), "{dialect:?}");
        assert_eq!(
            (mail.content_type(), mail.parameter("Content-Type", "charset").as_deref()),
            ("text/plain", Some("utf-8")),
            "{dialect:?}"
        );
    }
    assert!(api.refusal(Dialect::V1, &v1(json!({ "mime": "\nbody\n", "from": null })))?.contains("\"field\":\"from\""));
    assert!(api.refusal(Dialect::V1, &v1(json!({ "mime": "no header" })))?.contains("\"field\":\"mime\""));
    assert_eq!(
        serde_json::from_str::<Value>(&api.refusal(Dialect::TurboSmtp, &turbosmtp(json!({ "mime_raw": "no header" })))?)?,
        json!({ "message": "error", "errors": ["Invalid Mime"] })
    );
    Ok(())
}

#[test]
fn files_are_in_their_places_with_name_type_and_every_octet() -> Result<()> {
    let api = Api::start()?;
    let files: [(&str, &str, &[u8]); 3] = [
        ("übersicht.pdf", "application/pdf", b"%PDF-1.7\n\xff\0"),
        ("list, \"new\".csv", "text/csv", b"a;b\n1;2\r\n"),
        ("empty.txt", "text/plain", b""),
    ];
    let encoded = |octets: &[u8]| BASE64_STANDARD.encode(octets);
    let html = "<p>Hi <img src=\"cid:logo\"></p>";
    let logo = encoded(b"\x89PNG");
    let each = |make: &dyn Fn(&str, &str, String) -> Value| files.map(|(name, kind, octets)| make(name, kind, encoded(octets))).to_vec();
    let of_v1 = [
        vec![json!({ "data": logo, "name": "l.png", "type": "image/png", "cid": "logo" })],
        each(&|name, kind, data| json!({ "data": data, "name": name, "type": kind })),
    ]
    .concat();
    let of_turbosmtp = [
        vec![json!({ "content": logo, "name": "l.png", "type": "image/png", "content_id": "logo" })],
        each(&|name, kind, data| json!({ "content": data, "name": name, "type": kind })),
    ]
    .concat();
    for (dialect, call) in [
        (Dialect::V1, v1(json!({ "html": html, "attachments": of_v1 }))),
        (Dialect::TurboSmtp, turbosmtp(json!({ "html_content": html, "attachments": of_turbosmtp }))),
    ] {
        let mail = api.mail(dialect, &call)?;
        assert_eq!(mail.tree(), "mixed(related(alternative(plain,html),png),pdf,csv,plain)", "{dialect:?}");
        let leaves = mail.leaves();
        assert_eq!((leaves[0].text().trim_end(), leaves[1].text().trim_end()), ("t", html));
        assert_eq!((leaves[2].fields("Content-ID"), leaves[2].content().as_slice()), (vec!["<logo>"], &b"\x89PNG"[..]), "{dialect:?}");
        assert!(leaves[2].fields("Content-Disposition")[0].starts_with("inline"));
        for ((name, kind, octets), leaf) in files.iter().zip(&leaves[3..]) {
            assert_eq!((leaf.content_type(), leaf.content().as_slice()), (*kind, *octets), "{dialect:?} {name}");
            assert!(leaf.fields("Content-Disposition")[0].starts_with("attachment"));
        }
        let names: Vec<_> = leaves.iter().skip(3).map(|leaf| leaf.fields("Content-Disposition")[0]).collect();
        assert!(names[0].contains("%C3%BCbersicht.pdf") || names[0].contains("=C3=BCbersicht"), "{names:?}");
        assert!(names[1].contains("list, \\\"new\\\".csv") && names[2].contains("\"empty.txt\""), "{names:?}");
    }
    assert!(api.refusal(Dialect::V1, &v1(json!({ "attachments": [{ "data": "*" }] })))?.contains("not valid base64"));
    assert!(api.refusal(Dialect::TurboSmtp, &turbosmtp(json!({ "attachments": [{ "content": "*" }] })))?.contains("not base64"));
    assert!(
        api.refusal(Dialect::MailPace, &mailpace(json!({ "attachments": [{ "name": "a.txt", "content": "*" }] })))?
            .contains("{\"attachments.content\":[\"is invalid\"]}")
    );
    Ok(())
}

#[test]
fn header_and_envelope_have_each_their_own_addresses() -> Result<()> {
    let api = Api::start()?;
    let mail = api.mail(Dialect::V1, &v1(json!({ "to": ["\"A, B\" <a@x.example>, c@x.example", "d@x.example"] })))?;
    assert_eq!(mail.fields("To"), ["\"A, B\" <a@x.example>, c@x.example, d@x.example"]);

    let taken = api.send(Dialect::V1, &v1(json!({ "to": "t@other.example", "cc": "c@other.example" })), 1)?;
    assert_eq!(taken[0].to, ["r@sink.example"]);
    assert_eq!(Part::read(&taken[0].text()).fields("To"), ["t@other.example"]);
    assert_eq!(api.mail(Dialect::V1, &v1(json!({})))?.fields("To"), ["r@sink.example"]);

    for (dialect, call) in [
        (Dialect::V1, v1(json!({ "bcc": "Hidden <b@sink.example>" }))),
        (Dialect::TurboSmtp, turbosmtp(json!({ "bcc": "b@sink.example" }))),
        (Dialect::MailPace, mailpace(json!({ "bcc": "b@sink.example" }))),
    ] {
        let taken = api.send(dialect, &call, 2)?;
        let mut recipients: Vec<_> = taken.iter().flat_map(|mail| mail.to.clone()).collect();
        recipients.sort();
        assert_eq!(recipients, ["b@sink.example", "r@sink.example"], "{dialect:?}");
        for mail in taken {
            let text = mail.text().to_lowercase();
            assert!(!text.contains("bcc") && !text.contains("b@sink.example"), "{dialect:?}:\n{text}");
        }
    }
    for (dialect, call) in [(Dialect::TurboSmtp, turbosmtp(json!({ "to": " , ;" }))), (Dialect::MailPace, mailpace(json!({ "to": "," })))] {
        let said = api.refusal(dialect, &call)?;
        assert!(said.contains("missing recipients (to)") || said.contains("{\"to\":[\"undefined field\"]}"), "{said}");
    }
    Ok(())
}

#[test]
fn there_is_one_reply_to() -> Result<()> {
    let api = Api::start()?;
    let template = json!({ "html": "x", "headers": { "Reply-To": "a@x.example" } });
    for (dialect, call, expected) in [
        (Dialect::V1, v1(json!({ "replyto": "R <r@x.example>" })), "R <r@x.example>"),
        (Dialect::V1, v1(json!({ "replyTo": "r@x.example" })), "r@x.example"),
        (Dialect::Second, v1(json!({ "template": template, "replyto": "b@x.example" })), "b@x.example"),
        (Dialect::Second, v1(json!({ "template": template })), "a@x.example"),
        (Dialect::TurboSmtp, turbosmtp(json!({ "custom_headers": { "reply-to": "r@x.example" } })), "r@x.example"),
        (Dialect::MailPace, mailpace(json!({ "replyto": "r@x.example" })), "r@x.example"),
    ] {
        assert_eq!(api.mail(dialect, &call)?.fields("Reply-To"), [expected], "{dialect:?} {call}");
    }
    Ok(())
}

#[test]
fn own_fields_arrive_and_make_no_others() -> Result<()> {
    let api = Api::start()?;
    assert_eq!(api.mail(Dialect::V1, &v1(json!({ "extra": { "x-a": "1" } })))?.fields("x-a"), ["1"]);
    assert!(api.refusal(Dialect::V1, &v1(json!({ "extra": { "Subject": "s" } })))?.contains("\"field\":\"extra.Subject\""));
    let custom = turbosmtp(json!({ "custom_headers": "{\"X-key1\":\"value1\"}" }));
    assert_eq!(api.mail(Dialect::TurboSmtp, &custom)?.fields("X-key1"), ["value1"]);

    let before = api.peer.count();
    for injected in ["a\r\nBcc: evil@example.net", "a\nBcc: evil@example.net", "a\rBcc: evil@example.net"] {
        let addressed = format!("{injected} <a@x.example>");
        for fields in [
            json!({ "subject": injected }),
            json!({ "from": addressed }),
            json!({ "to": [addressed] }),
            json!({ "replyto": { "name": injected, "address": "a@x.example" } }),
            json!({ "extra": { "x-a": injected } }),
            json!({ "extra": { format!("x-{injected}"): "a" } }),
            json!({ "unsubscribe": { "email": injected } }),
            json!({ "attachments": [{ "data": "", "name": injected }] }),
        ] {
            api.refusal(Dialect::V1, &v1(fields))?;
        }
        for fields in [json!({ "subject": injected }), json!({ "cc": addressed }), json!({ "custom_headers": { "X-A": injected } })] {
            api.refusal(Dialect::TurboSmtp, &turbosmtp(fields))?;
        }
        for fields in [json!({ "subject": injected }), json!({ "list_unsubscribe": injected }), json!({ "references": injected })] {
            api.refusal(Dialect::MailPace, &mailpace(fields))?;
        }
    }
    // An encoded word that hides a line end becomes text.
    let mail = api.mail(Dialect::V1, &v1(json!({ "from": "=?utf-8?Q?A=0D=0ABcc=3A_evil?= <info@example.com>" })))?;
    assert!(!mail.names().contains(&"bcc"), "{mail:?}");
    assert_eq!(api.peer.count(), before + 1, "what was refused was sent");
    Ok(())
}

#[test]
fn long_ids_and_urls_stay_whole() -> Result<()> {
    let api = Api::start()?;
    let references = (0..12).map(|n| format!("<conversation-{n}-with-a-long-id@mail.example.com>")).collect::<Vec<_>>().join(" ");
    let url = format!("https://x.example/unsubscribe?token={}", "0123456789abcdef".repeat(20));
    let fields = json!({ "references": references, "inreplyto": "1@mail.example.com", "list_unsubscribe": url });
    let mail = api.mail(Dialect::MailPace, &mailpace(fields))?;
    assert_eq!(mail.fields("References"), [references.as_str()]);
    assert_eq!(mail.fields("In-Reply-To"), ["<1@mail.example.com>"]);
    assert_eq!(mail.fields("List-Unsubscribe"), [format!("<{url}>")]);

    let mail = api.mail(Dialect::V1, &v1(json!({ "unsubscribe": { "email": "stop@example.com", "url": url, "oneclick": true } })))?;
    assert_eq!(mail.fields("List-Unsubscribe"), [format!("<mailto:stop@example.com>, <{url}>")]);
    assert_eq!(mail.fields("List-Unsubscribe-Post"), ["List-Unsubscribe=One-Click"]);

    let headers = json!({ "References": references, "List-Unsubscribe": "<https://bücher.example/ü>" });
    let mail = api.mail(Dialect::TurboSmtp, &turbosmtp(json!({ "custom_headers": headers })))?;
    assert_eq!(mail.fields("References"), [references.as_str()]);
    assert_eq!(mail.fields("List-Unsubscribe"), ["<https://xn--bcher-kva.example/%C3%BC>"]);
    Ok(())
}

#[test]
fn variables_work_in_addresses_where_somebody_fills_them_in() -> Result<()> {
    let api = Api::start()?;
    let fields = json!({ "to": "{$name} <{$recipient}>", "subject": "For {$name}", "data": { "name": "Ann" } });
    let mail = api.mail(Dialect::Second, &v1(fields.clone()))?;
    assert_eq!((mail.fields("To"), mail.fields("Subject")), (vec!["Ann <r@sink.example>"], vec!["For Ann"]));
    // Without the plugin, readers would see the braces.
    assert!(api.refusal(Dialect::V1, &v1(fields))?.contains("\"field\":\"data\""));
    for (fields, field) in [
        (json!({ "template": "Hi {$name}" }), "template"),
        (json!({ "recipient": null, "recipients": { "r@sink.example": { "name": "Ann" } } }), "recipients"),
        (json!({ "to": "{$name} <{$recipient}>" }), "to"),
    ] {
        assert!(api.refusal(Dialect::V1, &v1(fields))?.contains(&format!("\"field\":\"{field}\"")), "{field}");
    }
    Ok(())
}

#[test]
fn styles_are_inlined_when_the_field_asks() -> Result<()> {
    let api = Api::start()?;
    let html = "<html><head><style>p { color: #336699 }</style></head><body><p>Hi</p></body></html>";
    for alias in ["inlinecss", "inlinizecss", "inlineizecss"] {
        let mail = api.mail(Dialect::Second, &v1(json!({ "html": html, alias: true })))?;
        assert!(mail.leaves()[1].text().contains("<p style=\"color: #336699"), "{alias}:\n{}", mail.leaves()[1].text());
    }
    for fields in [json!({ "html": html }), json!({ "html": html, "inlinecss": false })] {
        assert_eq!(api.mail(Dialect::Second, &v1(merged(fields, json!({ "trackopens": false }))))?.leaves()[1].text().trim_end(), html);
    }
    Ok(())
}

#[test]
fn tracking_is_on_unless_it_is_switched_off() -> Result<()> {
    let api = Api::start()?;
    let html = "<p><a href=\"https://shop.example.com/\">To the shop</a></p>";
    let tracked = |fields: Value| -> Result<(bool, bool, String)> {
        let taken = api.send(Dialect::Second, &v1(merged(json!({ "html": html }), fields)), 1)?.remove(0);
        let html = Part::read(&taken.text()).leaves()[1].text();
        Ok((!html.contains("href=\"https://shop.example.com/\""), html.contains("<img src=\"http://links.example.com/t/"), taken.from))
    };
    let sender = || "info@example.com".to_owned();
    assert_eq!(tracked(json!({}))?, (true, true, sender()));
    for alias in ["trackclicks", "clicktracking"] {
        assert_eq!(tracked(json!({ alias: false }))?, (false, true, sender()), "{alias}");
    }
    for alias in ["trackopens", "openstracking"] {
        assert_eq!(tracked(json!({ alias: false }))?, (true, false, sender()), "{alias}");
    }
    for alias in ["trackbounces", "bouncetracking"] {
        assert_eq!(tracked(json!({ alias: false }))?, (true, true, String::new()), "{alias}");
    }
    Ok(())
}

#[test]
fn a_call_says_how_urgent_its_mail_is_and_when_it_goes_out() -> Result<()> {
    let peer = Peer::offering(Protection::None, &["MT-PRIORITY", "8BITMIME"])?;
    let second = login("second", &format!("route = \"peer\"\ntoken = \"{SECOND_TOKEN_HASH}\"\nlimits = {{ priority = 4 }}"));
    let host = Host::start(&config(peer.address(), &format!("{second}[smtp]\nfuture_release = \"365d\"\n")), &[])?;
    let post = |fields| post_json(host.address("http none"), &format!("/v1/send?access_token={SECOND_TOKEN}"), &[], &v1(fields));
    for fields in [json!({ "priority": 10 }), json!({ "holduntil": "2999-01-01 00:00:00" }), json!({ "holduntil": "soon" })] {
        let answer = post(fields.clone())?;
        ensure!(answer.status == 400, "{fields}: {} {}", answer.status, answer.text());
    }
    // As over SMTP: what is above the login's highest is lowered to it, and a time that is over is now.
    for (fields, expected) in [
        (json!({ "priority": 9 }), Some(" MT-PRIORITY=4")),
        (json!({ "priority": -3, "holduntil": "2020-01-01 00:00:00" }), Some(" MT-PRIORITY=-3")),
        (json!({}), None),
    ] {
        let before = peer.transcript().len();
        ensure!(post(fields.clone())?.status == 200, "{fields}");
        let line = wait_for("MAIL", || peer.transcript().split_off(before).into_iter().find(|line| line.starts_with("MAIL")))?;
        ensure!(expected.map_or(!line.contains("MT-PRIORITY"), |expected| line.contains(expected)), "{fields}: {line}");
        host.wait_for_empty_queue()?;
    }
    // In a month, whenever this is run.
    let later = time_of(now()? + 30 * 86_400);
    ensure!(post(json!({ "recipient": "later@sink.example", "holduntil": later }))?.status == 200);
    let queue = host.json(&["queue", "list"])?.to_string();
    ensure!(queue.contains("later@sink.example") && peer.count() == 3, "{queue}");
    Ok(())
}

/// Seconds since 1970.
#[expect(clippy::disallowed_methods, reason = "the server that is tested has the clock of the system")]
fn now() -> Result<u64> {
    Ok(std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?.as_secs())
}

/// `YYYY-MM-DD hh:mm:ss` of seconds since 1970 (civil-from-days, H. Hinnant).
fn time_of(seconds: u64) -> String {
    let days = seconds / 86_400 + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    let time = seconds % 86_400;
    format!("{year:04}-{month:02}-{day:02} {:02}:{:02}:{:02}", time / 3600, time / 60 % 60, time % 60)
}
