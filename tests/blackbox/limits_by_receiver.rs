//! Shaping: what one receiver gets at a time, while others get theirs.
#![allow(clippy::disallowed_methods, reason = "the time between messages is what is measured")]

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use tubepost_tests::client::Client;
use tubepost_tests::host::Host;
use tubepost_tests::setup::{PASSWORD, config, login, message};
use tubepost_tests::wait::wait_for;
use tubepost_tests::zone::Zone;

const HERE: Ipv4Addr = Ipv4Addr::LOCALHOST;
/// A next hop that notes which connections it has at a time, and when each message came.
#[derive(Clone, Default)]
struct Sink(Arc<Mutex<Seen>>);

#[derive(Default)]
struct Seen {
    /// Connections with mail for domains that are limited.
    open: usize,
    most: usize,
    /// Recipient's domain and time of each message.
    taken: Vec<(String, Instant)>,
}

impl Sink {
    /// Listens on loopback.
    fn start(&self) -> Result<SocketAddr> {
        let listener = TcpListener::bind((HERE, 0))?;
        let (address, sink) = (listener.local_addr()?, self.clone());
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let sink = sink.clone();
                std::thread::spawn(move || drop(sink.serve(&stream)));
            }
        });
        Ok(address)
    }

    fn serve(&self, stream: &TcpStream) -> Result<()> {
        let mut output = stream;
        output.write_all(b"220 sink\r\n")?;
        let mut domain = String::new();
        let mut counted = false;
        let mut content = false;
        for line in BufReader::new(stream).lines().map_while(Result::ok) {
            let reply = match line.to_ascii_uppercase() {
                _ if content && line != "." => continue,
                _ if content => {
                    content = false;
                    self.0.lock().unwrap().taken.push((domain.clone(), Instant::now()));
                    "250 taken\r\n"
                }
                line if line.starts_with("RCPT") => {
                    domain = line.split(['@', '>']).nth(1).context("no domain")?.to_ascii_lowercase();
                    if domain != "fast.example" && !std::mem::replace(&mut counted, true) {
                        let mut seen = self.0.lock().unwrap();
                        seen.open += 1;
                        seen.most = seen.most.max(seen.open);
                    }
                    "250 ok\r\n"
                }
                line if line == "DATA" => {
                    content = true;
                    "354 go\r\n"
                }
                line if line == "QUIT" => break,
                _ => "250 ok\r\n",
            };
            output.write_all(reply.as_bytes())?;
        }
        self.0.lock().unwrap().open -= usize::from(counted);
        Ok(output.write_all(b"221 bye\r\n")?)
    }

    fn times(&self, domain: &str) -> Vec<Instant> {
        self.0.lock().unwrap().taken.iter().filter(|(to, _)| to == domain).map(|(_, time)| *time).collect()
    }
}

fn start(port: u16, zone: &Zone, shaping: &str) -> Result<Host> {
    let nameserver = zone.address();
    let route = format!("[routes.direct]\nkind = \"mx\"\nport = {port}\nnameservers = [\"{nameserver}\"]\nallow_private = true\n");
    let login = login("direct", "route = \"direct\"");
    Host::start(&config(SocketAddr::new(HERE.into(), port), &format!("{route}{login}{shaping}")), &[])
}

#[test]
fn f16_one_receiver_has_its_limits_and_the_others_are_not_delayed() -> Result<()> {
    let sink = Sink::default();
    let port = sink.start()?.port();
    let zone = Zone::start()?.address_of("slow.example", HERE).address_of("fast.example", HERE);
    let rule = "[[shaping]]\nname = \"slow\"\ndomains = [\"slow.example\"]\nconnections = 2\nrate = \"10/m\"\n";
    let host = start(port, &zone, rule)?;
    let mut client = Client::login(host.address("smtp none"), "direct", PASSWORD)?;
    let begin = Instant::now();
    for number in 0..12 {
        client.deliver("a@origin.example", &[&format!("r{number}@slow.example")], &message("slow"))?;
        client.deliver("a@origin.example", &[&format!("r{number}@fast.example")], &message("fast"))?;
    }
    let fast = wait_for("the mail to the other domain", || Some(sink.times("fast.example")).filter(|times| times.len() == 12))?;
    assert_eq!(fast.len(), 12);
    assert!(sink.times("slow.example").len() < 12, "the others are not delayed by what is limited");
    let slow = wait_for("the third one", || Some(sink.times("slow.example")).filter(|times| times.len() >= 3))?;
    for (number, time) in (0..).zip(&slow) {
        // They begin six seconds apart, whatever the machine does; their ends are later.
        assert!(time.duration_since(begin) >= Duration::from_secs(6) * number, "{number}: {slow:?} from {begin:?}");
    }
    assert!(sink.0.lock().unwrap().most <= 2);
    let cancelled = host.say(&["queue", "cancel", "all"])?;
    assert!(cancelled.contains("cancelled"), "{cancelled}");
    host.wait_for_empty_queue()
}

#[test]
fn f16_domains_behind_one_provider_share_its_connections() -> Result<()> {
    let sink = Sink::default();
    let port = sink.start()?.port();
    let zone = Zone::start()?
        .mx("one.example", 10, "mx1.provider.example")
        .mx("two.example", 10, "mx2.provider.example")
        .mx("slow.example", 10, "mx3.provider.example")
        .address_of("mx1.provider.example", HERE)
        .address_of("mx2.provider.example", HERE)
        .address_of("mx3.provider.example", HERE);
    let rule = "[[shaping]]\nname = \"provider\"\nmx = [\"*.provider.example\"]\nconnections = 1\nmessages_per_connection = 3\n";
    let host = start(port, &zone, rule)?;
    let mut client = Client::login(host.address("smtp none"), "direct", PASSWORD)?;
    for number in 0..8 {
        for domain in ["one.example", "two.example", "slow.example"] {
            client.deliver("a@origin.example", &[&format!("r{number}@{domain}")], &message("shared"))?;
        }
    }
    let count = || sink.0.lock().unwrap().taken.len();
    wait_for("all of it", || (count() == 24).then_some(()))?;
    assert_eq!(sink.0.lock().unwrap().most, 1);
    host.wait_for_empty_queue()
}
