#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests fail by panicking")]

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use parking_lot::Mutex;

use super::change::{Changes, NewKey, Posted};
use super::spf::Mechanism;
use super::*;
use crate::config;
use crate::dns::zone::Zone;
use crate::dns::{DnsError, Mx, RecordKind};
use crate::store::embedded::Embedded;
use crate::telemetry::metric::Metrics;

const DAY: Duration = Duration::from_hours(24);

/// A zone that changes while it is asked.
#[derive(Clone, Default)]
struct Changing(Arc<Mutex<Zone>>);

impl Changing {
    fn add(&self, records: &[Record]) {
        let mut zone = self.0.lock();
        for record in records {
            *zone = match record.kind {
                RecordKind::Mx => {
                    let (preference, host) = record.value.split_once(' ').unwrap();
                    zone.clone().mx(&record.name, preference.parse().unwrap(), host)
                }
                RecordKind::Txt | RecordKind::Cname | RecordKind::A | RecordKind::Aaaa | RecordKind::Caa | RecordKind::Tlsa => {
                    zone.clone().record(&record.name, record.kind, &record.value)
                }
            };
        }
    }

    fn remove(&self, name: &str) {
        let mut zone = self.0.lock();
        *zone = zone.clone().without(name);
    }
}

impl Dns for Changing {
    fn mx<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<Vec<Mx>, DnsError>> {
        let zone = self.0.lock().clone();
        Box::pin(async move { Dns::mx(&zone, name).await })
    }
    fn addresses<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<Vec<std::net::IpAddr>, DnsError>> {
        let zone = self.0.lock().clone();
        Box::pin(async move { zone.addresses(name).await })
    }
    fn records<'a>(&'a self, name: &'a str, kind: RecordKind) -> BoxFuture<'a, Result<Vec<String>, DnsError>> {
        let zone = self.0.lock().clone();
        Box::pin(async move { Dns::records(&zone, name, kind).await })
    }
}

struct World {
    domains: SendingDomains,
    dns: Changing,
    clock: Clock,
    config: config::Config,
    store: Arc<dyn Store>,
    _folder: tempfile::TempDir,
}

fn world(more: &str) -> World {
    let folder = tempfile::tempdir().unwrap();
    let text = format!(
        "[server]\nhostname = \"mail.provider.example\"\ndata = \"data\"\npublic_url = \"https://links.provider.example\"\n\
         [[listen]]\nkind = \"http\"\naddress = \"127.0.0.1:0\"\ntls = \"none\"\n\
         [[logins]]\nname = \"shop\"\ntoken = \"sha256:{}\"\nroute = \"sandbox\"\n[routes.sandbox]\nkind = \"capture\"\n\
         [domains]\nzone = \"dns.provider.example\"\n{more}\n",
        "11".repeat(32)
    );
    let config = config::parse(&text, "test.toml", folder.path(), &|_| None).unwrap();
    let (clock, entropy) = (Clock::manual(Timestamp::from_millis(1_800_000_000_000)), Entropy::seeded(1));
    let store: Arc<dyn Store> =
        Arc::new(Embedded::open(folder.path(), &config.store, clock.clone(), entropy.clone(), Metrics::new()).unwrap());
    let dns = Changing::default();
    let settings = Settings::new(&config, [7; 32]).unwrap();
    let domains = SendingDomains::new(store.clone(), Arc::new(dns.clone()), settings, clock.clone(), entropy);
    World { domains, dns, clock, config, store, _folder: folder }
}

fn name(text: &str) -> Domain {
    Domain::parse(text).unwrap()
}

fn shop() -> Caller {
    Caller::Login("shop".into())
}

/// A domain of the login `shop`, with all its records in DNS.
async fn approved(world: &World, text: &str) -> Arc<SendingDomain> {
    let Posted::Pending(_) = world.domains.submit(&shop(), &name(text), Changes::default()).await.unwrap() else { panic!() };
    let domain = world.domains.get(&shop(), &name(text)).unwrap();
    world.dns.add(&world.domains.recommended(&domain));
    let Posted::Approved(_) = world.domains.submit(&shop(), &name(text), Changes::default()).await.unwrap() else { panic!() };
    publish(world);
    let Posted::Approved(domain) = world.domains.submit(&shop(), &name(text), Changes::default()).await.unwrap() else { panic!() };
    domain
}

/// Puts our zone into DNS as it is now.
fn publish(world: &World) {
    for (name, records) in world.domains.zone().unwrap().records {
        world.dns.remove(&name);
        world.dns.add(&records);
    }
}

fn selector(world: &World, from: &str, received: Timestamp) -> String {
    let from = EmailAddress::parse(from).unwrap();
    let domain = world.domains.signing_domain("shop", from.domain()).unwrap();
    world.domains.signatories(&domain, &from, received).pop().unwrap().selector
}

#[tokio::test]
async fn whoever_proves_it_has_the_domain() {
    let world = world("");
    let Posted::Pending(record) = world.domains.submit(&shop(), &name("a.example"), Changes::default()).await.unwrap() else { panic!() };
    // Another may claim it too, and cannot change the record that the first one has got, nor anything else of his.
    let claimed = world.domains.get(&shop(), &name("a.example")).unwrap();
    let other = Caller::Login("other".into());
    let Posted::Pending(theirs) = world.domains.submit(&other, &name("a.example"), Changes::default()).await.unwrap() else { panic!() };
    assert_ne!(record, theirs);
    assert_eq!(world.domains.get(&shop(), &name("a.example")).unwrap(), claimed);
    assert_eq!(world.domains.get(&other, &name("a.example")), Err(DomainError::Unknown));
    // A claim publishes nothing, whatever aliases stand in DNS.
    assert!(world.domains.zone().unwrap().records.is_empty());
    world.dns.add(std::slice::from_ref(&record));
    let Posted::Approved(_) = world.domains.submit(&shop(), &name("a.example"), Changes::default()).await.unwrap() else { panic!() };
    assert!(matches!(world.domains.submit(&other, &name("a.example"), Changes::default()).await, Err(DomainError::Invalid { .. })));
    assert!(world.domains.is_approved("shop", &name("news.a.example")) && !world.domains.is_approved("other", &name("a.example")));
    assert_eq!(world.domains.signing_domain("other", &name("a.example")), None);
    assert!(!world.domains.zone().unwrap().records.is_empty());
    assert_eq!(world.domains.standing("other", &name("news.a.example")), Standing::Foreign);
    assert_eq!(world.domains.standing("other", &name("b.example")), Standing::Unknown);
    for text in ["example", "co.uk", "[192.0.2.1]"] {
        assert!(world.domains.submit(&shop(), &name(text), Changes::default()).await.is_err(), "{text}");
    }
    // After a restart it is all there.
    let again = SendingDomains::new(
        world.store.clone(),
        Arc::new(world.dns.clone()),
        Settings::new(&world.config, [7; 32]).unwrap(),
        world.clock.clone(),
        Entropy::seeded(2),
    );
    again.load().await.unwrap();
    assert_eq!(again.list(&shop()), world.domains.list(&shop()));
    world.domains.remove(&shop(), &name("a.example")).await.unwrap();
    assert!(!world.domains.is_approved("shop", &name("a.example")));
}

#[tokio::test]
async fn the_first_to_show_his_record_has_the_domain() {
    let world = world("");
    let Posted::Pending(_) = world.domains.submit(&shop(), &name("a.example"), Changes::default()).await.unwrap() else { panic!() };
    let other = Caller::Login("other".into());
    let Posted::Pending(theirs) = world.domains.submit(&other, &name("a.example"), Changes::default()).await.unwrap() else { panic!() };
    world.dns.add(&[theirs]);
    let changes = Changes { https: Some(false), ..Changes::default() };
    let Posted::Approved(domain) = world.domains.submit(&other, &name("a.example"), changes).await.unwrap() else { panic!() };
    assert_eq!((domain.owner.as_deref(), domain.https), (Some("other"), false));
    assert!(matches!(world.domains.submit(&shop(), &name("a.example"), Changes::default()).await, Err(DomainError::Invalid { .. })));
    assert!(!format!("{:?}", NewKey { private: Some("PRIVATE".to_owned()), ..NewKey::default() }).contains("PRIVATE"));
}

#[tokio::test]
async fn both_lists_of_records_make_all_well() {
    let world = world("");
    let domain = approved(&world, "a.example").await;
    let status = world.domains.status(&domain).await;
    assert!(status.parts().iter().all(|(_, finding)| finding.is_ok()), "{status:?}");
    assert_eq!(world.domains.return_path_host("shop", &name("news.a.example")), Some(name("bounces.a.example")));
    assert_eq!(world.domains.return_path_host("other", &name("news.a.example")), None);

    let records = world.domains.self_hosted(&domain);
    assert!(records.iter().all(|record| record.kind != RecordKind::Cname || record.name == "clicks.a.example"));
    for record in records.iter().chain(&world.domains.recommended(&domain)) {
        world.dns.remove(&record.name);
    }
    world.dns.add(&records);
    assert!(world.domains.status(&domain).await.parts().iter().all(|(_, finding)| finding.is_ok()));

    world.dns.remove("a.example");
    world.dns.add(&[Record { name: "a.example".into(), kind: RecordKind::Txt, value: "v=spf1 ip4:192.0.2.1 -all".into() }]);
    let status = world.domains.status(&domain).await;
    let wrong: Vec<&str> = status.parts().iter().filter(|(_, finding)| !finding.is_ok()).map(|(part, _)| *part).collect();
    assert_eq!(wrong, ["spf"]);
    assert!(status.spf.fault.unwrap().contains("put \"include:_spf.a.example.dns.provider.example\" in front of \"all\""));
}

#[tokio::test]
async fn g4_the_next_published_key_signs_when_the_period_ends() {
    let world = world("rotation = \"30d\"");
    let domain = approved(&world, "a.example").await;
    let first = world.clock.now();
    assert_eq!(selector(&world, "a@a.example", first), "zero");
    let mut looked_up = None;
    world.clock.advance(DAY * 29);
    world.domains.look_after(&mut looked_up).await;
    assert_eq!(selector(&world, "a@a.example", world.clock.now()), "zero");

    // It is time, and the next key is not in DNS: the old one goes on.
    let next = "one._domainkey.a.example.dns.provider.example";
    world.dns.remove(next);
    world.clock.advance(DAY);
    world.domains.look_after(&mut looked_up).await;
    assert_eq!(selector(&world, "a@a.example", world.clock.now()), "zero");

    publish(&world);
    world.domains.look_after(&mut looked_up).await;
    let switched = world.clock.now();
    assert_eq!(selector(&world, "a@a.example", switched), "one");
    // Queued mail is signed as before, with a key that is still published.
    assert_eq!(selector(&world, "a@a.example", first), "zero");
    let old = domain.keys.all().next().unwrap().1.record();
    let published =
        |world: &World| world.domains.zone().unwrap().records["zero._domainkey.a.example.dns.provider.example"][0].value.clone();
    assert_eq!(published(&world), old);

    // When no queued mail can need it any more, a new key is published in its place, early for its turn.
    world.clock.advance(world.config.delivery.give_up + DAY * 3);
    world.domains.look_after(&mut looked_up).await;
    assert_ne!(published(&world), old);
    assert_eq!(selector(&world, "a@a.example", first), "one");
}

#[tokio::test]
async fn g5_custom_keys_sign_in_their_window() {
    let world = world("");
    approved(&world, "a.example").await;
    let now = world.clock.now();
    let pem = include_str!("../delivery/dkim/ed25519.pem");
    let new = NewKey { private: Some(pem.to_owned()), start: Some(now.plus(DAY)), end: Some(now.plus(DAY * 2)), ..NewKey::default() };
    world.domains.add_key(&shop(), &name("a.example"), "april", new).await.unwrap();
    let from = EmailAddress::parse("x@a.example").unwrap();
    let selectors = || {
        let signatories = world.domains.signatories("a.example", &from, world.clock.now());
        signatories.into_iter().map(|signatory| signatory.selector).collect::<Vec<_>>()
    };
    assert_eq!(selectors(), ["zero"]);
    world.clock.advance(DAY);
    assert_eq!(selectors(), ["april", "zero"]);
    world.clock.advance(DAY);
    assert_eq!(selectors(), ["zero"]);

    world.domains.add_key(&shop(), &name("a.example"), "may", NewKey { always: true, ..NewKey::default() }).await.unwrap();
    let general = world.domains.general_signatories("shop", false);
    assert_eq!(general.iter().map(|signatory| signatory.selector.as_str()).collect::<Vec<_>>(), ["may"]);
    assert!(world.domains.general_signatories("other", false).is_empty());
    for (selector, new) in [
        ("zero", NewKey::default()),
        ("a b", NewKey::default()),
        ("x", NewKey { private: Some("secret".to_owned()), ..NewKey::default() }),
        ("x", NewKey { always: true, fallback: true, ..NewKey::default() }),
        ("x", NewKey { start: Some(now), end: Some(now), ..NewKey::default() }),
    ] {
        let error = world.domains.add_key(&shop(), &name("a.example"), selector, new).await.unwrap_err();
        assert!(matches!(error, DomainError::Invalid { .. }) && !error.to_string().contains("secret"), "{error}");
    }
}

#[tokio::test]
async fn g10_mechanisms_are_published_and_no_more_than_receivers_follow() {
    let world = world("");
    approved(&world, "a.example").await;
    let published = || world.domains.zone().unwrap().records["_spf.a.example.dns.provider.example"][0].value.clone();
    let own = "v=spf1 a:mail.provider.example -all";
    assert_eq!(published(), own);
    let list = |texts: &[&str]| texts.iter().map(|text| text.parse().unwrap()).collect::<Vec<Mechanism>>();
    let add = async |texts: &[&str]| world.domains.add_mechanisms(&shop(), &name("a.example"), list(texts)).await.map(drop);
    add(&["ip4:192.0.2.0/24", "mx:a.example"]).await.unwrap();
    assert_eq!(published(), "v=spf1 a:mail.provider.example ip4:192.0.2.0/24 mx:a.example -all");
    world.dns.add(&[Record { name: "spf.other.example".into(), kind: RecordKind::Txt, value: "v=spf1 ip4:198.51.100.0/24 ~all".into() }]);
    add(&["include:spf.other.example"]).await.unwrap();
    assert_eq!(published(), "v=spf1 a:mail.provider.example ip4:192.0.2.0/24 mx:a.example ip4:198.51.100.0/24 -all");

    // What is included changes: so does what we publish, in time.
    world.dns.remove("spf.other.example");
    world.dns.add(&[Record { name: "spf.other.example".into(), kind: RecordKind::Txt, value: "v=spf1 ip4:203.0.113.0/24 ~all".into() }]);
    let mut looked_up = Some(world.clock.now());
    world.clock.advance(Duration::from_mins(59));
    world.domains.look_after(&mut looked_up).await;
    assert!(published().contains("198.51.100.0"));
    world.clock.advance(Duration::from_mins(1));
    world.domains.look_after(&mut looked_up).await;
    assert!(published().contains("203.0.113.0") && !published().contains("198.51.100.0"));
    // When it cannot be looked up, it stays.
    world.dns.remove("spf.other.example");
    world.clock.advance(DAY);
    world.domains.look_after(&mut looked_up).await;
    assert!(published().contains("203.0.113.0"));

    world.domains.reset_mechanisms(&shop(), &name("a.example")).await.unwrap();
    assert_eq!(published(), own);
    let hosts: Vec<String> = (0..9).map(|n| format!("a:h{n}.example")).collect();
    let error = add(&hosts.iter().map(String::as_str).collect::<Vec<_>>()).await.unwrap_err();
    assert!(error.to_string().contains("more than 10 look-ups"), "{error}");
    assert_eq!(published(), own);
}

#[tokio::test]
async fn g12_half_of_the_percentage_is_published_after_half_of_the_days() {
    let world = world("");
    approved(&world, "a.example").await;
    let today = Day::of(world.clock.now());
    let end = Day::of(world.clock.now().plus(DAY * 10));
    let changes = Changes {
        policy: Some(dmarc::Policy::Quarantine),
        percentage: Some(100),
        start: Some(Some(today)),
        end: Some(Some(end)),
        ..Changes::default()
    };
    world.domains.submit(&shop(), &name("a.example"), changes).await.unwrap();
    let published = || world.domains.zone().unwrap().records["_dmarc.a.example.dns.provider.example"][0].value.clone();
    for (days, expected) in [(0, "pct=0;"), (5, "pct=50;"), (4, "pct=90;"), (1, "p=quarantine; rua")] {
        world.clock.advance(DAY * days);
        assert!(published().contains(expected), "{expected} in {}", published());
    }
}
