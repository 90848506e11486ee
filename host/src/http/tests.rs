//! The router as a whole, before a real spool in a folder of its own: what is served to whom, and what becomes of a call.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests fail by panicking")]

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;

use axum::body::{Body, to_bytes};
use axum::http::{HeaderMap, StatusCode, header};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tower::ServiceExt;

use super::*;
use crate::archive::ArchiveParts;
use crate::chain::ChainRegistry;
use crate::chain::rendering::Renderer;
use crate::clock::Timestamp;
use crate::config::Config;
use crate::event::index;
use crate::event::{Event, EventKind};
use crate::feedback::{Feedback, FeedbackParts, FeedbackSettings};
use crate::intake::{Intake, IntakeParts, IntakeSettings};
use crate::mail::message_id::{CopyId, MessageId};
use crate::mail::slot::Link;
use crate::spool::Spool;
use crate::store::Store;
use crate::store::embedded::Embedded;
use crate::submission::permission::Rates;
use crate::telemetry::metric::Metrics;
use crate::verp::Verp;

const TOKEN: &str = "a-token-of-the-test";

/// Who asks.
#[derive(Clone, Copy, Debug)]
enum From {
    Loopback,
    Plain,
    Tls,
}

/// A server without sockets.
struct Running {
    services: Services,
    store: Arc<dyn Store>,
    _folder: tempfile::TempDir,
}

/// What came back.
struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    body: String,
}

fn config(folder: &Path) -> Config {
    let digest: String = Sha256::digest(TOKEN).iter().fold(String::new(), |mut text, octet| {
        write!(text, "{octet:02x}").unwrap();
        text
    });
    let data = folder.display();
    let text = format!(
        "[server]\nhostname = \"mail.example.com\"\ndata = \"{data}\"\npublic_url = \"https://t.example.com\"\n\
         [[listen]]\nkind = \"http\"\naddress = \"127.0.0.1:0\"\ntls = \"none\"\n\
         [http]\nbody_size = \"64KiB\"\njson_values = 1000\n\
         [[logins]]\nname = \"app\"\ntoken = \"sha256:{digest}\"\nroute = \"sandbox\"\nsenders = [\"*@x.example\"]\n\
         [routes.sandbox]\nkind = \"capture\"\n"
    );
    crate::config::parse(&text, "test.toml", folder, &|_| None).unwrap()
}

fn start(demonstration: bool) -> Running {
    let folder = tempfile::tempdir().unwrap();
    let config = config(folder.path());
    let (clock, entropy) = (Clock::manual(Timestamp::from_millis(1_533_081_600_000)), Entropy::seeded(1));
    let store: Arc<dyn Store> =
        Arc::new(Embedded::open(folder.path(), &config.store, clock.clone(), entropy.clone(), Metrics::new()).unwrap());
    let (recorder, links) = (Recorder::new(store.clone()), LinkSigner::new([1; 32], "https://t.example.com".to_owned()));
    let chains = ChainRegistry::default();
    let renderer = Renderer::new(chains.clone(), links.clone());
    let spool = Spool::new(store.clone(), clock.clone());
    let logins = Logins::new(config.logins.clone(), &config.authentication, &entropy, &clock, Metrics::new());
    let domains = SendingDomains::new(
        store.clone(),
        Arc::new(crate::dns::zone::Zone::default()),
        crate::sending_domain::settings::Settings::new(&config, [7; 32]).unwrap(),
        clock.clone(),
        entropy.clone(),
    );
    let intake = Intake::new(IntakeParts {
        clock: clock.clone(),
        entropy: entropy.clone(),
        spool: spool.clone(),
        recorder: recorder.clone(),
        chains,
        renderer: renderer.clone(),
        metrics: Metrics::new(),
        rates: Arc::new(Rates::new(clock.clone())),
        shadows: crate::chain::shadow::queue(crate::config::unit::ByteSize::mib(1)).0,
        domains: Some(domains.clone()),
        submissions: 10,
        settings: IntakeSettings {
            hostname: config.server.hostname.clone(),
            routes: BTreeMap::new(),
            sources: crate::config::Sources::default(),
            header_size: config.smtp.header_size,
            tags: 100,
            takes_bounces: false,
            spam_filters: std::collections::BTreeSet::new(),
        },
    });
    let index = index::SearchIndex::open(&folder.path().join("index")).unwrap();
    let feedback = Feedback::new(FeedbackParts {
        spool: spool.clone(),
        index: index.clone(),
        logins: logins.clone(),
        verp: Verp::new([1; 32], config.returns.period),
        links: links.clone(),
        metrics: Metrics::new(),
        clock: clock.clone(),
        entropy: entropy.clone(),
        settings: FeedbackSettings::new(&config),
    });
    let archive = Archive::new(ArchiveParts {
        spool,
        index,
        intake,
        renderer,
        logins: logins.clone(),
        clock: clock.clone(),
        entropy: entropy.clone(),
        workshop: None,
        delivery: None,
        walks: config.queue.walks,
    });
    let services = Services {
        archive,
        logins,
        feedback,
        domains,
        recorder,
        links,
        idempotency: idempotency::Keys::new(store.clone(), clock.clone()),
        clock,
        places: queue::place::Places::new([1; 32], &entropy),
        entropy,
        hostname: config.server.hostname.clone(),
        trusted_proxies: Arc::new([]),
        chains: Arc::new(config.chains.clone()),
        limits: config.http.clone(),
        longest_hold: config.smtp.future_release,
        dashboard: dashboard::Access::new(&config.dashboard, demonstration),
        challenges: challenge::Challenges::default(),
        metrics: Arc::new(|| "# EOF".into()),
        ready: Arc::new(|| Err("no room".into())),
        background: TaskTracker::new(),
    };
    Running { services, store, _folder: folder }
}

impl Running {
    async fn ask(&self, from: From, method: &str, uri: &str, headers: &[(&str, &str)], body: &str) -> Answer {
        let (peer, tls) = match from {
            From::Loopback => ("127.0.0.1:1", false),
            From::Plain => ("192.0.2.1:1", false),
            From::Tls => ("192.0.2.1:1", true),
        };
        let peer = peer.parse().unwrap();
        let connection = Connection { peer, socket: peer, tls };
        let mut request = Request::builder().method(method).uri(uri).header(header::HOST, "localhost").extension(connection);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Body::from(body.to_owned())).unwrap();
        let response = router(self.services.clone()).oneshot(request).await.unwrap();
        let (status, headers) = (response.status(), response.headers().clone());
        let octets = to_bytes(response.into_body(), 1 << 20).await.unwrap();
        Answer { status, headers, body: String::from_utf8_lossy(&octets).into_owned() }
    }

    async fn post_json(&self, uri: &str, headers: &[(&str, &str)], call: &Value) -> (u16, Value) {
        let headers: Vec<_> = headers.iter().copied().chain([("content-type", "application/json")]).collect();
        let answer = self.ask(From::Tls, "POST", uri, &headers, &call.to_string()).await;
        (answer.status.as_u16(), serde_json::from_str(&answer.body).unwrap())
    }

    async fn get(&self, uri: &str) -> Answer {
        self.ask(From::Loopback, "GET", uri, &[], "").await
    }

    async fn events(&self) -> Vec<Event> {
        let logged = self.store.events(0, 1000).await.unwrap();
        logged.iter().map(|entry| serde_json::from_slice(&entry.octets).unwrap()).collect()
    }
}

fn path(url: &str) -> String {
    url.replace("https://t.example.com", "")
}

#[tokio::test]
async fn everything_is_served_to_whom_it_may() {
    let running = start(false);
    let large = "x".repeat(64 * 1024 + 1);
    let mut table = String::new();
    for (from, method, uri, body) in [
        (From::Loopback, "GET", "/", ""),
        (From::Loopback, "GET", "/dashboard", ""),
        (From::Plain, "GET", "/dashboard", ""),
        (From::Loopback, "GET", "/dashboard/login", ""),
        (From::Tls, "POST", "/dashboard/login", "password=x"),
        (From::Tls, "GET", "/dashboard/style.css", ""),
        (From::Plain, "POST", "/v1/send?access_token=a-token-of-the-test", "{}"),
        (From::Plain, "POST", "/api/mail/send", "{}"),
        (From::Plain, "POST", "/api/v1/send", "{}"),
        (From::Tls, "POST", "/v1/send", "{}"),
        (From::Tls, "POST", "/v1/send?access_token=wrong", "{}"),
        (From::Tls, "POST", "/v1/send?access_token=a-token-of-the-test", "{}"),
        (From::Tls, "GET", "/v1/send", ""),
        (From::Tls, "POST", "/v9/send", "{}"),
        (From::Tls, "POST", "/api/v1/send", "{}"),
        (From::Tls, "POST", "/api/v1/other", "{}"),
        (From::Tls, "POST", "/api/mail/send", "{}"),
        (From::Tls, "POST", "/api/mail/send?authuser=x&authpass=y", "{}"),
        (From::Tls, "POST", "/api/mail/send", &large),
        (From::Tls, "POST", "/api/v2/mail/send", "{}"),
        (From::Tls, "GET", "/nothing", ""),
        (From::Plain, "GET", "/nothing", ""),
        (From::Plain, "GET", "/healthz", ""),
        (From::Plain, "GET", "/readyz", ""),
        (From::Plain, "GET", "/metrics", ""),
        (From::Loopback, "GET", "/metrics", ""),
    ] {
        let answer = running.ask(from, method, uri, &[], body).await;
        write!(table, "{from:?} {method} {uri}\n  {}", answer.status.as_u16()).unwrap();
        for name in [header::CONTENT_TYPE, header::LOCATION, header::ALLOW, header::WWW_AUTHENTICATE, header::CACHE_CONTROL] {
            if let Some(value) = answer.headers.get(&name) {
                write!(table, " {name}={}", value.to_str().unwrap()).unwrap();
            }
        }
        let text = if answer.body.len() < 300 { answer.body.trim_end() } else { "…" };
        writeln!(table, " {text}").unwrap();
    }
    insta::assert_snapshot!(table);
}

#[tokio::test]
async fn calls_become_messages() {
    let running = start(true);
    let query = format!("/v1/send?access_token={TOKEN}");
    let call = json!({
        "recipients": ["r@sink.example", "s@sink.example"],
        "from": "Ann <ann@x.example>",
        "subject": "Grüße",
        "html": "<p>Hi</p>",
        "tags": ["spring"],
        "colour": "red",
    });
    let answer = running.ask(From::Tls, "POST", &query, &[("content-type", "application/json")], &call.to_string()).await;
    assert_eq!((answer.status, answer.headers["x-ignored-fields"].to_str().unwrap()), (StatusCode::OK, "colour"), "{}", answer.body);
    let copies: serde_json::Map<String, Value> = serde_json::from_str(&answer.body).unwrap();
    let addresses: Vec<&Value> = copies.values().collect();
    assert_eq!(addresses, ["r@sink.example", "s@sink.example"]);
    let ids: Vec<CopyId> = copies.keys().map(|id| id.parse().unwrap()).collect();
    assert_eq!((ids[0].message, ids[1].recipient), (ids[1].message, 1));

    let (entry, ..) = running.services.archive.spool().message(ids[0].message).await.unwrap().unwrap();
    assert_eq!((&*entry.login, entry.subject.as_str(), entry.tags.len()), ("app", "Grüße", 1));
    let page = running.get(&format!("/dashboard/messages/{}", ids[0].message)).await;
    assert!(page.status.is_success() && page.body.contains("s@sink.example"), "{}", page.body);
    let list = running.get("/dashboard?q=").await;
    assert!(list.status.is_success(), "{}", list.body);
    assert_eq!(running.get("/dashboard?q=colour:red").await.status, 400);
    for page in ["0", "1000000000000", "18446744073709551615"] {
        assert!(running.get(&format!("/dashboard?page={page}")).await.status.is_success(), "{page}");
    }
    let html = running.get(&format!("/dashboard/messages/{}/html", ids[0].message)).await;
    assert!(html.headers["content-security-policy"].to_str().unwrap().starts_with("sandbox; default-src 'none';"));
    assert_eq!((html.body.trim_end(), &html.headers["x-dns-prefetch-control"]), ("<p>Hi</p>", &"off".parse().unwrap()));
    let source = running.get(&format!("/dashboard/messages/{}/source", ids[0].message)).await;
    assert_eq!(source.headers["content-type"], "text/plain; charset=utf-8");
    assert!(source.body.contains("From: Ann <ann@x.example>\r\n"), "{}", source.body);
    let changes = running.get(&format!("/dashboard/messages/{}/changes", ids[0].message)).await;
    assert!(changes.body.contains("No plugin had this message."), "{}", changes.body);
}

#[tokio::test]
async fn every_dialect_answers_as_its_own() {
    let running = start(false);
    let call = json!({ "from": "ann@x.example", "to": "r@sink.example", "subject": "s", "textbody": "t" });
    for header in ["MailPace-Server-Token", "OhMySMTP-Server-Token"] {
        let (status, answer) = running.post_json("/api/v1/send", &[(header, TOKEN)], &call).await;
        assert_eq!((status, &answer["status"]), (200, &json!("pending")), "{answer}");
        assert!(answer["id"].as_u64().is_some_and(|id| id > 0));
    }
    assert_eq!(running.post_json("/api/v1/send", &[], &call).await, (401, json!({ "error": "Missing API Token" })));
    let wrong = running.post_json("/api/v1/send", &[("MailPace-Server-Token", "wrong")], &call).await;
    assert_eq!(wrong, (400, json!({ "error": "Invalid API Token" })));
    let other = json!({ "from": "ann@other.example", "to": "r@sink.example", "textbody": "t" });
    let refused = running.post_json("/api/v1/send", &[("MailPace-Server-Token", TOKEN)], &other).await;
    assert_eq!(refused, (403, json!({ "error": "Verified domain does not match domain in From address of email" })));

    // The login has a token alone: it is user name and password.
    let form = format!("authuser={TOKEN}&authpass={TOKEN}&from=ann@x.example&to=a@sink.example&bcc=b@sink.example&content=t");
    let headers = [("content-type", "application/x-www-form-urlencoded")];
    let answer = running.ask(From::Tls, "POST", "/api/mail/send", &headers, &form).await;
    assert_eq!((answer.status, answer.body.as_str()), (StatusCode::OK, "{\"message\":\"OK\"}"));
    let call = json!({ "from": "ann@x.example", "to": "a@sink.example", "content": "t" });
    for pair in [[("authuser", TOKEN), ("authpass", TOKEN)], [("authpass", TOKEN), ("authuser", TOKEN)]] {
        assert_eq!(running.post_json("/api/mail/send", &pair, &call).await, (200, json!({ "message": "OK" })));
    }
    let wrong = running.post_json(&format!("/api/mail/send?authuser={TOKEN}&authpass=x"), &[], &call).await;
    assert_eq!(wrong, (401, json!({ "errorCode": 3, "error": 3, "message": "Wrong credentials specified" })));

    let other = json!({ "recipient": "r@sink.example", "from": "a@other.example", "text": "t" });
    let (status, answer) = running.post_json("/v1/send", &[("authorization", &format!("Bearer {TOKEN}"))], &other).await;
    let text = "You cannot send mailings from other.example without configuring it as sender domain";
    assert_eq!((status, &answer["error"]["message"]), (403, &json!(text)));
}

#[tokio::test]
async fn a_body_that_unfolds_is_refused_to_those_who_may_send_and_not_looked_at_for_others() {
    let running = start(false);
    let call = json!({ "from": "ann@x.example", "to": "r@sink.example", "content": "t", "x": vec![0; 1000] });
    let (status, answer) = running.post_json("/api/mail/send", &[], &call).await;
    assert_eq!((status, &answer["errorCode"]), (401, &json!(3)), "{answer}");
    let known: [&[(&str, &str)]; 3] = [
        &[("authuser", TOKEN), ("authpass", TOKEN)],
        &[("authorization", "Bearer a-token-of-the-test")],
        &[("MailPace-Server-Token", TOKEN)],
    ];
    for (path, headers) in ["/api/mail/send", "/v1/send", "/api/v1/send"].into_iter().zip(known) {
        assert_eq!(running.post_json(path, headers, &call).await.0, 400, "{path}");
    }
    // The right credentials in the body are found in spite of what else is there.
    let mut own = call;
    (own["authuser"], own["authpass"]) = (json!(TOKEN), json!(TOKEN));
    let refused = running.post_json("/api/mail/send", &[], &own).await;
    assert_eq!(refused, (400, json!({ "message": "error", "errors": ["the JSON has more than 1000 values"] })));
}

#[tokio::test]
async fn links_lead_on_and_are_events() {
    let running = start(false);
    let call = json!({ "from": "ann@x.example", "to": "r@sink.example", "textbody": "t", "tags": "spring" });
    running.post_json("/api/v1/send", &[("MailPace-Server-Token", TOKEN)], &call).await;
    let message = running.events().await[0].message;
    let link = |link: Link| path(&running.services.links.url(CopyId { message, recipient: 0 }, &link));
    let click = link(Link::Click { url: "https://x.example/p?q=1#f".into(), position: 3 });
    for method in ["GET", "HEAD"] {
        let answer = running.ask(From::Plain, method, &click, &[("user-agent", "Reader")], "").await;
        assert_eq!((answer.status.as_u16(), answer.headers["location"].to_str().unwrap()), (302, "https://x.example/p?q=1#f"));
    }
    let prefetched = running.ask(From::Plain, "GET", &click, &[("sec-purpose", "prefetch;prerender")], "").await;
    assert_eq!(prefetched.status, 302);
    let pixel = running.ask(From::Plain, "GET", &link(Link::Open(None)), &[], "").await;
    assert_eq!(
        (pixel.headers["content-type"].to_str().unwrap(), &pixel.headers["cache-control"]),
        ("image/gif", &"no-store".parse().unwrap())
    );
    let unsubscribe = link(Link::Unsubscribe);
    assert!(running.ask(From::Plain, "GET", &unsubscribe, &[], "").await.body.contains("<form method=\"post\">"));
    assert_eq!(running.ask(From::Plain, "POST", &unsubscribe, &[], "").await.status, 400);
    let form = [("content-type", "application/x-www-form-urlencoded")];
    assert_eq!(running.ask(From::Plain, "POST", &unsubscribe, &form, "List-Unsubscribe=One-Click").await.status, 200);
    running.services.background.close();
    running.services.background.wait().await;

    let events: Vec<Event> = running.events().await.split_off(1);
    let of = |wanted: fn(&EventKind) -> bool| events.iter().filter(|event| wanted(&event.kind)).collect::<Vec<_>>();
    let clicks = of(|kind| matches!(kind, EventKind::Clicked { position: 3, .. }));
    assert_eq!((clicks.len(), &*clicks[0].login, clicks[0].tags.len(), clicks[0].recipient), (1, "app", 1, Some(0)));
    assert_eq!(of(|kind| matches!(kind, EventKind::Opened { .. })).len(), 1);
    assert_eq!(of(|kind| matches!(kind, EventKind::Unsubscribed { one_click: true, .. })).len(), 1);
    assert_eq!(events.len(), 3);
}

#[tokio::test]
async fn links_are_below_any_path() {
    for public_path in ["", "/mail", "/t", "/u/t", "/dashboard", "/dashboard/messages", "/v1/send", "/:a/*b", "/a%7B*b%7D", "/%C3%BC"] {
        let mut running = start(false);
        running.services.links = LinkSigner::new([1; 32], format!("https://t.example.com{public_path}"));
        assert_eq!(running.services.links.path(), public_path);
        let link = Link::Click { url: "https://x.example/".into(), position: 0 };
        let url = path(&running.services.links.url(CopyId { message: MessageId::from_bytes([1; 16]), recipient: 0 }, &link));
        // A proxy may take the path off.
        for asked in [url.as_str(), url.strip_prefix(public_path).unwrap()] {
            assert_eq!(running.ask(From::Plain, "GET", asked, &[], "").await.status, 302, "{asked}");
        }
    }
}

#[tokio::test]
async fn forged_links_lead_nowhere() {
    let running = start(false);
    let link = Link::Click { url: "https://x.example/".into(), position: 0 };
    let click = path(&running.services.links.url(CopyId { message: MessageId::from_bytes([1; 16]), recipient: 0 }, &link));
    for forged in [format!("/t/x{}", &click[4..]), format!("/u/{}", &click[3..]), "/t/a/b".to_owned(), "/t/".to_owned()] {
        let answer = running.ask(From::Plain, "GET", &forged, &[], "").await;
        assert_eq!((answer.status.as_u16(), answer.headers.get("location")), (404, None), "{forged}");
    }
    // Of a message that is gone: it leads on all the same.
    assert_eq!(running.ask(From::Plain, "GET", &click, &[], "").await.status, 302);
}

#[tokio::test]
async fn what_is_another_logins_is_not_to_be_had() {
    let running = start(false);
    let Services { domains, logins, .. } = &running.services;
    let app = |running: &Running| running.services.logins.principal(TOKEN, "127.0.0.1".parse().unwrap()).unwrap();
    let may_see = |domain: &str| dmarc_reports::may_see(&running.services.domains, &app(&running), domain);
    let bearer = [("authorization", format!("Bearer {TOKEN}"))];
    let bearer: Vec<(&str, &str)> = bearer.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let call = json!({ "from": "a@x.example", "recipients": ["b@y.example"], "subject": "s", "text": "t" });
    assert_eq!(running.post_json("/v1/send", &bearer, &call).await.0, 200);
    // Its `senders` name the domain, and do not name the other.
    assert!(may_see("x.example") && !may_see("other.example"));

    let name = Domain::parse("x.example").unwrap();
    domains.vouch(Some("shop".into()), &name).await.unwrap();
    let (status, answer) = running.post_json("/v1/send", &bearer, &call).await;
    assert_eq!(status, 403, "{answer}");
    assert!(answer.to_string().contains("You cannot send mailings from x.example without"), "{answer}");
    assert!(!may_see("x.example"));

    // Nobody comes by it with the name.
    let config = Arc::new(config(tempfile::tempdir().unwrap().path()));
    logins.open_book(running.store.clone(), domains.clone(), config).await.unwrap();
    let create = || crate::submission::login::book::Order::Create { name: "shop".to_owned(), keys: serde_json::Map::default() };
    let error = logins.carry_out(create()).await.unwrap_err();
    assert!(error.to_string().contains("there are 1 sender domains of an earlier login"), "{error}");
    domains.remove(&crate::sending_domain::Caller::Administrator, &name).await.unwrap();
    logins.carry_out(create()).await.unwrap();
    assert_eq!(running.post_json("/v1/send", &bearer, &call).await.0, 200);
}
