//! `[delivery]`.

use std::ops::RangeInclusive;
use std::time::Duration;

use super::document::{Section, Value};
use super::shaping::{Rate, ShapingRule};
use super::tls_reports::TlsReports;
use super::tls_rule::TlsRule;
use super::unit::ByteSize;

/// `[delivery]`.
#[derive(Clone, Debug)]
pub struct Delivery {
    /// `connections`: to all destinations together. Default 500.
    pub connections: u32,
    /// `connections_per_destination`. Default 20.
    pub connections_per_destination: u32,
    /// `messages_per_connection`. Default 1000.
    pub messages_per_connection: u32,
    /// `recipients_per_transaction`: copies with equal content that go together. Default 50.
    pub recipients_per_transaction: u32,
    /// `idle_time`: how long an idle connection is kept. Default 5 s.
    pub idle_time: Duration,
    /// `connect_time`: default 30 s.
    pub connect_time: Duration,
    /// `command_time`: how long a reply may take; the end of data may take twice as long. Default 5 min (RFC 5321 §4.5.3.2).
    pub command_time: Duration,
    /// `retry_first`: wait after the first deferral; doubled for each one after. Default 5 min.
    pub retry_first: Duration,
    /// `retry_longest`: the longest wait. Default 4 h.
    pub retry_longest: Duration,
    /// `retry`: the waits one by one, in the place of those two; the last one is repeated.
    pub retry: Vec<Duration>,
    /// `retry_jitter`: how much a wait may be longer or shorter, in percent. Default 10.
    pub retry_jitter: u32,
    /// `retry_greylisted`: the longest first wait where a server says that it greylists. Default 5 min.
    pub retry_greylisted: Duration,
    /// `provider_limits`: whether the rules for large providers hold, behind `[[shaping]]`. Default true.
    pub provider_limits: bool,
    /// `[[shaping]]`, and the rules for providers behind it.
    pub shaping: Vec<ShapingRule>,
    /// `[[tls_rules]]`.
    pub tls_rules: Vec<TlsRule>,
    /// `[tls_reports]`.
    pub tls_reports: TlsReports,
    /// `give_up`: age at which a copy bounces. Default 5 days (RFC 5321 §4.5.4.1); SMTPeter tries for 1 day, MailPace for 2.
    pub give_up: Duration,
    /// `delay_report`: how long a copy has waited when a sender hears of it who asked for that (`NOTIFY=DELAY`). Default 4 h.
    pub delay_report: Duration,
    /// `lease`: time after which work that was taken and not reported is due again; at least five times `command_time`, and a minute. Default five times, or 25 min if that is more.
    pub lease: Duration,
    /// `login_connections`: how many of `connections` the mail of one login may have. Default nine tenths of `connections`.
    pub login_connections: u32,
    /// `failing_connections`: how many of `connections` may be under way to destinations that could not be reached the last time. Default half of
    /// `connections`.
    pub failing_connections: u32,
    /// `unreachable_rate`: copies to destinations that cannot be reached that are put off or given up in a time, all together. Default 250/s.
    pub unreachable_rate: Rate,
    /// `dead_time`: how long a host that does not answer is left alone, at most. Default 30 s.
    pub dead_time: Duration,
    /// `dead_hosts`: how many of them are known, each for each address of ours. Default 10,000.
    pub dead_hosts: u32,
    /// `host_tries`: connections that are tried for one copy, to all hosts and addresses together. Default 8.
    pub host_tries: u32,
    /// `mta_sts_memory`: what the MTA-STS policies that are kept may have together. Default 16 MiB.
    pub mta_sts_memory: ByteSize,
    /// `outcome_queue`: outcomes of transactions that may wait for the store; read at the start. Default 1024.
    pub outcome_queue: u32,
    /// `returned_size`: octets of a message above which a DSN has its header alone, whatever RET says. Default 64 KiB.
    pub returned_size: ByteSize,
    /// `copy_log`: octets of what plugins log that are kept of one attempt to make a copy. Default 16 KiB.
    pub copy_log: ByteSize,
    /// `rendered_size`: what a copy may have once its slots are filled in. Default twice `smtp.message_size`.
    pub rendered_size: ByteSize,
    /// `dns_*`.
    pub dns: Dns,
}

/// How name servers are asked.
#[derive(Clone, Debug)]
pub struct Dns {
    /// `dns_cache`: answers that each route keeps. Default 16,384.
    pub cache: u32,
    /// `dns_time`: how long a name server may take. Default 5 s.
    pub time: Duration,
    /// `dns_tries`: how often a question is asked. Default 3.
    pub tries: u32,
    /// `dns_negative_time`: the longest time for which it is believed that there is nothing. Default 5 min.
    pub negative_time: Duration,
    /// `dns_trust_ad`: whether the word of the name servers on signatures (DNSSEC) is taken. Default: where all of them are on this machine.
    pub trust_ad: Option<bool>,
}

/// What policies may have: at least some of the largest, each of which has up to 30 KiB.
const POLICIES: RangeInclusive<ByteSize> = ByteSize::mib(1)..=ByteSize::gib(1);

/// Times of a command that a lease has at least: the end of data may take two, and half of the lease is to be left when it begins.
const LEASE_COMMANDS: u32 = 5;
/// With less there would be no time to write down what became of a copy.
const SHORTEST_LEASE: Duration = Duration::from_mins(1);

/// `rendered_size` is the default of the key of this name.
pub(super) fn read(section: &Section<'_>, rendered_size: ByteSize) -> Delivery {
    let connections = section.or("connections", 500, Value::count);
    let retry = section.list("retry", Value::duration);
    if !retry.is_empty() && (section.has("retry_first") || section.has("retry_longest")) {
        section.report("retry has all waits: retry_first and retry_longest say nothing beside it");
    }
    let first = section.or("retry_first", Duration::from_mins(5), Value::duration);
    let longest = section.or("retry_longest", Duration::from_hours(4), Value::duration);
    let command_time = section.or("command_time", Duration::from_mins(5), Value::duration);
    let delivery = Delivery {
        connections,
        login_connections: section.or("login_connections", connections - connections / 10, Value::count),
        failing_connections: section.or("failing_connections", (connections / 2).max(1), Value::count),
        connections_per_destination: section.or("connections_per_destination", 20, Value::count),
        messages_per_connection: section.or("messages_per_connection", 1000, Value::count),
        recipients_per_transaction: section.or("recipients_per_transaction", 50, Value::count),
        idle_time: section.or("idle_time", Duration::from_secs(5), Value::duration_from_zero),
        connect_time: section.or("connect_time", Duration::from_secs(30), Value::duration),
        command_time,
        retry_first: retry.iter().min().copied().unwrap_or(first),
        retry_longest: retry.iter().max().copied().unwrap_or(longest),
        retry,
        retry_jitter: section.or("retry_jitter", 10, |value| value.number(0..=100)),
        retry_greylisted: section.or("retry_greylisted", Duration::from_mins(5), Value::duration),
        provider_limits: section.or("provider_limits", true, Value::boolean),
        shaping: Vec::new(),
        tls_rules: Vec::new(),
        tls_reports: TlsReports::default(),
        give_up: section.or("give_up", Duration::from_hours(5 * 24), Value::duration),
        delay_report: section.or("delay_report", Duration::from_hours(4), Value::duration),
        lease: section.or("lease", Duration::from_mins(25).max(command_time.saturating_mul(LEASE_COMMANDS)), Value::duration),
        unreachable_rate: section.or("unreachable_rate", Rate { count: 250, period: Duration::from_secs(1) }, Value::parsed),
        dead_time: section.or("dead_time", Duration::from_secs(30), Value::duration_from_zero),
        dead_hosts: section.or("dead_hosts", 10_000, Value::count),
        host_tries: section.or("host_tries", 8, Value::count),
        mta_sts_memory: section.or("mta_sts_memory", ByteSize::mib(16), |value| value.size_within(&POLICIES)),
        outcome_queue: section.or("outcome_queue", 1024, Value::count),
        returned_size: section.or("returned_size", ByteSize(64 << 10), Value::size),
        copy_log: section.or("copy_log", ByteSize(16 << 10), Value::size),
        dns: Dns {
            cache: section.or("dns_cache", 16_384, Value::count),
            time: section.or("dns_time", Duration::from_secs(5), Value::duration),
            tries: section.or("dns_tries", 3, Value::count),
            negative_time: section.or("dns_negative_time", Duration::from_mins(5), Value::duration_from_zero),
            trust_ad: section.optional("dns_trust_ad", Value::boolean),
        },
        rendered_size: section.or("rendered_size", rendered_size, Value::size),
    };
    if delivery.retry_first > delivery.retry_longest {
        section.report("retry_first is longer than retry_longest");
    }
    if delivery.give_up <= delivery.retry_first {
        section.report("give_up is not longer than retry_first: there would be no second attempt");
    }
    if delivery.lease < delivery.command_time.saturating_mul(LEASE_COMMANDS).max(SHORTEST_LEASE) {
        section.report(
            "lease is shorter than five times command_time, or than a minute: a copy could be taken again while a server is still to answer",
        );
    }
    delivery
}
