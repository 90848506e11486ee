//! What AUTH PLAIN costs: a password that was right a moment ago, one that has to be hashed, and a token. Compare ratios within one run.
#![allow(clippy::unwrap_used, clippy::missing_panics_doc, reason = "a bench fails by panicking")]

use std::net::{IpAddr, Ipv4Addr};

use divan::Bencher;
use divan::counter::ItemsCount;
use tokio::runtime::Runtime;
use tubepost::clock::{Clock, Entropy};
use tubepost::config;
use tubepost::config::secret::{hash_password, hash_token};
use tubepost::submission::login::{Door, Logins};
use tubepost::telemetry::metric::Metrics;

const PASSWORD: &str = "correct horse battery staple";
const TOKEN: &str = "tp_0123456789abcdef0123456789abcdef";
const PEER: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

fn main() {
    divan::main();
}

/// One login, and as many users as there are processors who log in over and over. `remembered` is whether passwords are.
struct Office {
    runtime: Runtime,
    logins: Logins,
    users: usize,
}

impl Office {
    fn new(remembered: bool) -> Self {
        let entropy = Entropy::seeded(1);
        let text = format!(
            "[server]\nhostname = \"mail.example.com\"\ndata = \"data\"\npublic_url = \"http://127.0.0.1:1\"\n\
             [[listen]]\nkind = \"smtp\"\naddress = \"127.0.0.1:0\"\ntls = \"none\"\n\
             [[logins]]\nname = \"app\"\nusername = \"app\"\npassword = \"{}\"\ntoken = \"{}\"\nroute = \"out\"\n[routes.out]\nkind = \"capture\"\n",
            hash_password(PASSWORD, &entropy),
            hash_token(TOKEN),
        );
        let config = config::parse(&text, "bench.toml", std::path::Path::new("."), &|_| None).unwrap();
        let limits = config::Authentication { remembered: if remembered { 1024 } else { 0 }, ..config.authentication };
        let logins = Logins::new(config.logins, &limits, &entropy, &Clock::system(), Metrics::new());
        let users = std::thread::available_parallelism().map_or(1, usize::from);
        Self { runtime: Runtime::new().unwrap(), logins, users }
    }

    /// All users log in once, at the same time.
    fn log_in(&self, username: &'static str, password: &'static str) {
        self.runtime.block_on(async {
            let coming: Vec<_> = (0..self.users)
                .map(|_| {
                    let logins = self.logins.clone();
                    tokio::spawn(async move { logins.by_password(username, password, PEER, Door::Smtp).await.is_ok() })
                })
                .collect();
            for came in coming {
                assert!(came.await.unwrap());
            }
        });
    }

    fn measure(&self, bencher: Bencher<'_, '_>, username: &'static str, password: &'static str) {
        self.log_in(username, password);
        bencher.counter(ItemsCount::new(self.users)).bench(|| self.log_in(username, password));
    }
}

#[divan::bench]
fn remembered(bencher: Bencher<'_, '_>) {
    Office::new(true).measure(bencher, "app", PASSWORD);
}

#[divan::bench(sample_count = 20)]
fn hashed_each_time(bencher: Bencher<'_, '_>) {
    Office::new(false).measure(bencher, "app", PASSWORD);
}

#[divan::bench]
fn token(bencher: Bencher<'_, '_>) {
    Office::new(false).measure(bencher, TOKEN, TOKEN);
}
