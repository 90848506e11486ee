//! The dashboard behind its password, and the pages for machines beside it.

use anyhow::{Context as _, Result};
use serde_json::json;
use tubepost_tests::client::Client;
use tubepost_tests::host::Host;
use tubepost_tests::http::{Response, get, post_json, request};
use tubepost_tests::setup::{PASSWORD, PASSWORD_HASH, TOKEN, config};
use tubepost_tests::wait::wait_for;

const NEWSLETTER: &[u8] = include_bytes!("messages/newsletter.eml");
const FORM: (&str, &str) = ("Content-Type", "application/x-www-form-urlencoded");

fn start(more: &str) -> Result<Host> {
    let text = config("127.0.0.1:9".parse()?, &format!("[dashboard]\npassword = \"{PASSWORD_HASH}\"\n{more}"));
    // What is captured is looked at here; the chain is that of the newsletter.
    Host::start(&text.replace("username = \"sandbox\"", "username = \"sandbox\"\nchain = \"marketing\""), &[])
}

/// Logs in; returns the cookie.
fn log_in(host: &Host) -> Result<String> {
    let response = request(host.address("http none"), "POST", "/dashboard/login", &[FORM], format!("password={PASSWORD}").as_bytes())?;
    assert_eq!((response.status, response.header("location")), (303, Some("/dashboard")), "{}", response.text());
    let cookie = response.header("set-cookie").context("a cookie")?;
    assert!(cookie.contains("HttpOnly") && cookie.contains("SameSite=Strict"), "{cookie}");
    Ok(cookie.split(';').next().unwrap_or_default().to_owned())
}

#[test]
fn it_is_closed_without_its_password() -> Result<()> {
    let host = start("")?;
    let http = host.address("http none");
    for path in ["/dashboard", "/dashboard/messages/01JD0000000000000000000000", "/dashboard/messages/01JD0000000000000000000000/html"] {
        let response = get(http, path)?;
        assert_eq!((response.status, response.header("location")), (303, Some("/dashboard/login")), "{path}");
    }
    let form = get(http, "/dashboard/login")?;
    assert!(form.status == 200 && form.text().contains("type=\"password\""), "{}", form.text());
    let wrong = request(http, "POST", "/dashboard/login", &[FORM], b"password=wrong")?;
    assert_eq!((wrong.status, wrong.header("set-cookie")), (401, None));
    let forged = request(http, "GET", "/dashboard", &[("Cookie", "tubepost_session=AAAA")], b"")?;
    assert_eq!(forged.status, 303);
    // Another site cannot log somebody in, either.
    let elsewhere = [FORM, ("Origin", "https://evil.example"), ("Sec-Fetch-Site", "cross-site")];
    assert_eq!(request(http, "POST", "/dashboard/login", &elsewhere, format!("password={PASSWORD}").as_bytes())?.status, 403);
    Ok(())
}

#[test]
fn a_captured_message_is_listed_shown_and_previewed_in_a_sandbox() -> Result<()> {
    let host = start("")?;
    let http = host.address("http none");
    let id =
        Client::login(host.address("smtp none"), "sandbox", PASSWORD)?.deliver("news@example.com", &["ann@example.net"], NEWSLETTER)?;
    let cookie = log_in(&host)?;
    let page = |path: &str| -> Result<Response> { request(http, "GET", path, &[("Cookie", &cookie)], b"") };
    wait_for("the message in the list", || {
        let list = page("/dashboard").ok()?;
        (list.status == 200 && list.text().contains(&id) && list.text().contains("The spring letter")).then_some(())
    })?;
    assert!(page("/dashboard?q=tag%3Aspring")?.text().contains(&id), "it is found");
    assert!(!page("/dashboard?q=autumn")?.text().contains(&id), "it is not found by what it is not");

    let message = format!("/dashboard/messages/{id}");
    let shown = wait_for("the capture", || Some(page(&message).ok()?.text()).filter(|text| text.contains("delivered")))?;
    for expected in ["ann@example.net", "tracking", "inline-css", "sandbox=\"\"", "Spring is here: https://shop.example.com"] {
        assert!(shown.contains(expected), "{expected:?} is missing in:\n{shown}");
    }
    let preview = page(&format!("{message}/html"))?;
    let policy = preview.header("content-security-policy").unwrap_or_default();
    assert!(policy.contains("sandbox") && policy.contains("default-src 'none'") && !policy.contains("allow-scripts"), "{policy}");
    assert!(preview.text().contains("color: #336699") && preview.text().contains("http://links.example.com/t/"), "{}", preview.text());
    let source = page(&format!("{message}/source"))?;
    assert_eq!(source.header("content-type"), Some("text/plain; charset=utf-8"));
    assert!(source.text().contains("List-Unsubscribe: ") && !source.text().contains("X-OMS-Tags"), "{}", source.text());
    assert!(page(&format!("{message}/original"))?.text().contains("X-OMS-Tags"), "as it came in");
    let changes = page(&format!("{message}/changes"))?.text();
    assert!(changes.contains("X-OMS-Tags") && changes.contains("<th>Before</th><th>After</th>"), "what the plugins changed: {changes}");
    let plugins = page("/dashboard/plugins")?.text();
    for expected in ["inline-css", "tracking", "99 % within", "SHA-256"] {
        assert!(plugins.contains(expected), "{expected:?} is missing in:\n{plugins}");
    }
    assert_eq!(page("/dashboard/messages/nonsense")?.status, 404);

    assert_eq!(request(http, "POST", "/dashboard/logout", &[("Cookie", &cookie)], b"")?.status, 303);
    assert_eq!(page("/dashboard")?.status, 303, "the cookie is worth nothing any more");
    Ok(())
}

#[test]
fn a_copy_is_shown_with_its_recipients_own_data() -> Result<()> {
    let more = format!("[dashboard]\npassword = \"{PASSWORD_HASH}\"\n");
    let text = config("127.0.0.1:9".parse()?, &more);
    // It cannot be delivered: what is shown is made for the occasion.
    let host = Host::start(&text.replace("username = \"plain\"", "username = \"plain\"\nchain = \"marketing\""), &[])?;
    let http = host.address("http none");
    let call = json!({
        "recipients": { "ann@example.net": { "name": "Ann" }, "ben@example.net": { "name": "Ben" } },
        "from": "news@example.com",
        "subject": "Dear {$name}",
        "text": "Good morning, {$name}.{if $name} How are you?{/if}",
        "data": { "name": "reader" },
    });
    let answer = post_json(http, &format!("/v1/send?access_token={TOKEN}"), &[], &call)?;
    let answer = answer.json()?;
    let id = answer.as_object().and_then(|ids| ids.keys().next()).context("an id")?;
    let cookie = log_in(&host)?;
    for (recipient, name) in [(0, "Ann"), (1, "Ben")] {
        let path = format!("/dashboard/messages/{id}/source?recipient={recipient}");
        let source = wait_for("the source", || {
            let source = request(http, "GET", &path, &[("Cookie", &cookie)], b"").ok()?;
            (source.status == 200).then(|| source.text())
        })?;
        assert!(source.contains(&format!("Subject: Dear {name}\r\n")) && source.contains(&format!("Good morning, {name}.")), "{source}");
    }
    Ok(())
}

#[test]
fn health_readiness_and_metrics_are_there_for_machines() -> Result<()> {
    let host = start("")?;
    let http = host.address("http none");
    Client::login(host.address("smtp none"), "sandbox", PASSWORD)?.deliver("news@example.com", &["ann@example.net"], NEWSLETTER)?;
    assert_eq!(get(http, "/healthz")?.status, 200);
    assert_eq!(get(http, "/readyz")?.status, 200);
    let counted = [
        "tubepost_recipients_total{route=\"sandbox\",outcome=\"captured\"} 1",
        "tubepost_plugin_calls_total{plugin=\"inline-css\",login=\"sandbox\",outcome=\"continued\"} 1",
        "tubepost_plugin_time_seconds_count{plugin=\"tracking\",login=\"sandbox\"} 1",
        // The one that asks: those that asked before are gone soon.
        "tubepost_connections{protocol=\"http\"} 1",
    ];
    let metrics = wait_for("all that is counted", || {
        let metrics = get(http, "/metrics").ok()?;
        counted.iter().all(|counted| metrics.text().lines().any(|line| line == *counted)).then_some(metrics)
    })?;
    assert!(metrics.header("content-type").is_some_and(|kind| kind.starts_with("application/openmetrics-text")), "{metrics:?}");
    let text = metrics.text();
    assert!(!text.lines().any(|line| line == "tubepost_store_commit_size_count 0"), "{text}");
    assert!(text.ends_with("# EOF\n"), "{text}");
    let families: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix("# TYPE ")).collect();
    let distinct: std::collections::BTreeSet<&str> = families.iter().copied().collect();
    assert_eq!(families.len(), distinct.len(), "a family is there twice: {families:?}");
    Ok(())
}

#[test]
fn what_a_proxy_says_counts_when_it_is_trusted() -> Result<()> {
    let call = |host: &Host, headers: &[(&str, &str)]| -> Result<u16> {
        let headers = [&[("Content-Type", "application/json"), ("Accept", "application/json")], headers].concat();
        let body = br#"{"recipient":"r@example.net","from":"s@example.com","subject":"x","text":"x"}"#;
        Ok(request(host.address("http none"), "POST", &format!("/v1/send?access_token={TOKEN}"), &headers, body)?.status)
    };
    let sandboxed = |more: &str| -> Result<Host> {
        let text = config("127.0.0.1:9".parse()?, "").replace("route = \"peer\"", "route = \"sandbox\"");
        Host::start(&text.replace("[server]\n", &format!("[server]\n{more}")), &[])
    };
    let trusting = sandboxed("trusted_proxies = [\"127.0.0.1\"]\n")?;
    let outside = ("X-Forwarded-For", "203.0.113.9");
    assert_eq!(call(&trusting, &[outside, ("X-Forwarded-Proto", "http")])?, 400, "the client's password went over the net in the clear");
    assert_eq!(call(&trusting, &[outside, ("X-Forwarded-Proto", "https")])? / 100, 2);
    assert_eq!(get(trusting.address("http none"), "/healthz")?.status, 200);
    assert_eq!(request(trusting.address("http none"), "GET", "/metrics", &[outside, ("X-Forwarded-Proto", "https")], b"")?.status, 404);
    // A proxy that does not say for whom it asks does not ask for itself.
    assert_eq!(request(trusting.address("http none"), "GET", "/metrics", &[("X-Forwarded-Proto", "https")], b"")?.status, 404);
    assert_eq!(get(trusting.address("http none"), "/metrics")?.status, 200);
    // From anybody else these fields are the client's own invention.
    let plain = sandboxed("")?;
    assert_eq!(call(&plain, &[outside, ("X-Forwarded-Proto", "http")])? / 100, 2);
    Ok(())
}
