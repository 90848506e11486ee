//! The configuration from the outside: text in, values or errors out.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests fail by panicking")]

use std::path::PathBuf;
use std::sync::LazyLock;
use std::time::Duration;

use proptest::prelude::*;
use tempfile::TempDir;

use super::*;
use crate::clock::Entropy;
use crate::mail::domain::Domain;

mod errors;
mod life;
mod page;

/// The example of the documentation, all of it.
const EXAMPLE: &str = include_str!("tests/example.toml");

/// The least that is complete.
const LEAST: &str = r#"
[server]
hostname = "mail.example.com"
data = "data"
public_url = "http://127.0.0.1:8025"

[[listen]]
kind = "smtp"
address = "127.0.0.1:0"
tls = "none"

[[logins]]
name = "app"
token = "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
route = "sandbox"

[routes.sandbox]
kind = "capture"
"#;

/// A folder with the files that configurations name.
struct Folder(TempDir);

static HASH: LazyLock<String> = LazyLock::new(|| secret::hash_password("secret of the newsletter", &Entropy::seeded(1)));

impl Folder {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let certificate = rcgen::generate_simple_self_signed(["mail.example.com".to_owned()]).unwrap();
        let other = rcgen::generate_simple_self_signed(["mail.example.com".to_owned()]).unwrap();
        let dkim = rcgen::KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap();
        for (name, content) in [
            ("cert.pem", certificate.cert.pem()),
            ("key.pem", certificate.signing_key.serialize_pem()),
            ("other-key.pem", other.signing_key.serialize_pem()),
            ("dkim.pem", dkim.serialize_pem()),
            ("greet.wasm", "\0asm".to_owned()),
            ("empty", String::new()),
        ] {
            std::fs::write(folder.path().join(name), content).unwrap();
        }
        Self(folder)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn parse(&self, text: &str) -> Result<Config, ConfigErrors> {
        let environment = |name: &str| match name {
            "UPSTREAM_PASSWORD" | "GREET_API_KEY" => Some("hunter2".to_owned()),
            "HASH" => Some(HASH.clone()),
            _ => None,
        };
        parse(text, "tubepost.toml", self.0.path(), &environment)
    }

    /// Returns the errors without what differs from run to run.
    fn errors(&self, text: &str) -> String {
        let errors = self.parse(text).expect_err("the text is wrong").to_string();
        errors.replace(&self.0.path().display().to_string(), "FOLDER").replace(&format!("FOLDER{}", std::path::MAIN_SEPARATOR), "FOLDER/")
    }
}

#[test]
fn the_example_loads() {
    let folder = Folder::new();
    let config = folder.parse(EXAMPLE).unwrap();

    assert_eq!(config.server.public_url.as_str(), "https://t.example.com/");
    assert_eq!(config.listeners.len(), 2);
    let greet = &config.plugins["greet"];
    assert_eq!(greet.source, PluginSource::File(folder.path("greet.wasm")));
    let output = ByteSize::mib(50);
    assert_eq!(greet.limits, PluginLimits { time: Duration::from_millis(50), memory: ByteSize::mib(32), output });
    assert_eq!(config.plugins["tags"].source, PluginSource::BuiltIn("tags".into()));

    let tracking = &config.chains["marketing"].steps[3];
    assert_eq!((&*tracking.plugin, tracking.when, tracking.locked), ("tracking", When::Always, false));
    assert_eq!(serde_json::to_string(&tracking.options).unwrap(), r#"{"clicks":true,"opens":true,"prevent_scam":true}"#);
    assert_eq!(tracking.place, "tubepost.toml:34:3");
    assert_eq!(config.chains["plain"].steps[1].when, When::Requested);

    let login = &config.logins[0];
    assert_eq!(login.senders, [SenderPattern::Domain(Domain::parse("example.com").unwrap())]);
    let limits = LoginLimits { messages_per_hour: Some(10_000), recipients_per_message: 1000, message_size: ByteSize::mib(25) };
    assert_eq!(login.limits, limits);
    assert_eq!(login.password.as_ref().unwrap().expose(), &*HASH);

    let Route::SmartHost(upstream) = &config.routes["upstream"] else { panic!("{:?}", config.routes) };
    assert_eq!(upstream.credentials.as_ref().unwrap().1.expose(), "hunter2");
    assert_eq!((upstream.tls, upstream.implicit_tls), (TlsLevel::Required, false));
    assert!(config.dkim[0].key.expose().starts_with("-----BEGIN PRIVATE KEY-----"));
}

#[test]
fn what_is_not_given_has_its_default() {
    let config = Folder::new().parse(LEAST).unwrap();
    assert_eq!(config.plugins.len(), FIRST_PARTY.len());
    assert_eq!(config.smtp.message_size, ByteSize::mib(25));
    assert_eq!((config.smtp.line_size, config.smtp.memory, config.smtp.junk_commands), (ByteSize::kib(64), ByteSize::mib(256), 100));
    let authentication = Authentication {
        failures: 20,
        network_failures: 200,
        user_failures: 50,
        period: Duration::from_mins(10),
        addresses: 10_000,
        waiting: 256,
        logins: 10000,
        remembered: 1024,
    };
    assert_eq!((&config.authentication, config.server.submissions), (&authentication, 4096));
    assert_eq!(config.http.body_size, ByteSize(ByteSize::mib(25).0 * 3 / 2));
    assert_eq!(config.logins[0].limits.recipients_per_message, 1000);
    assert_eq!(config.delivery.give_up, Duration::from_hours(5 * 24));
    assert!(config.tls.is_none() && config.dkim.is_empty() && config.dashboard.password.is_none());
}

#[test]
fn debug_shows_no_secret() {
    let config = Folder::new().parse(EXAMPLE).unwrap();
    let shown = format!("{config:?}");
    let token = format!("{:?}", config.logins[0].token.unwrap());
    for secret in ["hunter2", "argon2id", "BEGIN PRIVATE KEY", &token] {
        assert!(!shown.contains(secret), "{secret} in {shown}");
    }
}

#[test]
fn a_file_is_loaded_relative_to_itself() {
    let folder = Folder::new();
    std::fs::write(folder.path("tubepost.toml"), LEAST).unwrap();
    let config = load(&folder.path("tubepost.toml"), &|_| None).unwrap();
    assert_eq!(config.server.data, folder.path("data"));

    let errors = load(&folder.path("none.toml"), &|_| None).unwrap_err();
    assert!(errors.to_string().starts_with(&format!("{}: cannot be read: ", folder.path("none.toml").display())), "{errors}");
}

proptest! {
    #[test]
    fn any_text_is_answered(text in "\\PC{0,200}") {
        let _ = parse(&text, "t", Path::new("/nonexistent"), &|_| None);
    }

    /// Cuts and swaps in a right configuration reach further than noise does.
    #[test]
    fn any_damage_is_answered(from in 0..EXAMPLE.len(), length in 0_usize..200, put in "[\"\\[\\]={}a0\n,.$-]{0,6}") {
        let (from, to) = (EXAMPLE.floor_char_boundary(from), EXAMPLE.floor_char_boundary((from + length).min(EXAMPLE.len())));
        let text = format!("{}{put}{}", &EXAMPLE[..from], &EXAMPLE[to.max(from)..]);
        let _ = parse(&text, "t", Path::new("/nonexistent"), &|_| None);
    }
}
