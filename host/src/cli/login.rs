//! `tubepost login`: logins of a running server, and secrets for the configuration.

use std::io::{BufRead as _, IsTerminal as _};
use std::process::ExitCode;

use anyhow::{Context as _, Result, bail, ensure};
use clap::{Args, Subcommand};
use serde_json::{Map, Value, json};

use super::output::{complain, json as print_json, line, printable, table};
use super::queue::put;
use super::{ConfigFile, Format};
use crate::clock::Entropy;
use crate::config::secret::{hash_password, hash_token, new_token};
use crate::control::Question;
use crate::smtp::scram::{self, Verifier};
use crate::submission::login::book::{MOST_LISTED, Order};

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Makes a login: prints its password and its token, which are shown this once. It is in force at once.
    Create(Box<Describe>),
    /// Lists all logins.
    List(List),
    /// Shows one login.
    Show(One),
    /// Changes keys of a login that was made while the server runs.
    Change(Box<Describe>),
    /// Makes another password and another token for a login; the ones from before are worth nothing at once.
    Regenerate(One),
    /// Takes a login away; its sessions end with their next command.
    Revoke(One),
    /// Reads a secret on standard input and prints its hash for `password`, or, with --token, for `token`.
    Hash {
        /// The secret is an API token.
        #[arg(long)]
        token: bool,
        /// Prints what SCRAM-SHA-256 proves the secret against, for `scram`, or for `token_scram` where it is a token.
        #[arg(long, conflicts_with = "token")]
        scram: bool,
    },
    /// Makes a new API token: prints it, its hash for `token`, and what goes into `token_scram`. It is shown this once.
    Token,
}

#[derive(Debug, Args)]
pub(super) struct One {
    #[command(flatten)]
    config: ConfigFile,
    #[command(flatten)]
    format: Format,
    /// Its name.
    name: String,
}

#[derive(Debug, Args)]
pub(super) struct List {
    #[command(flatten)]
    config: ConfigFile,
    #[command(flatten)]
    format: Format,
    /// At most so many.
    #[arg(long, default_value_t = 100)]
    limit: usize,
    /// Goes on behind this one.
    #[arg(long, value_name = "NAME")]
    after: Option<String>,
}

/// The keys that a login in the file has too.
#[derive(Debug, Args)]
pub(super) struct Describe {
    #[command(flatten)]
    config: ConfigFile,
    #[command(flatten)]
    format: Format,
    /// Its name, and its user name.
    name: String,
    /// Its chain.
    #[arg(long)]
    chain: Option<String>,
    /// Its route; where there is one alone, it need not be named.
    #[arg(long)]
    route: Option<String>,
    /// Whom it may send as, such as `*@example.com`; may be given more than once.
    #[arg(long, value_delimiter = ',')]
    senders: Vec<String>,
    /// Whence it may come, such as `192.0.2.0/24`; may be given more than once.
    #[arg(long, value_delimiter = ',')]
    ips: Vec<String>,
    /// Ways that are open to it: `smtp`, `rest`.
    #[arg(long, value_delimiter = ',')]
    permissions: Vec<String>,
    /// Messages that it may send in an hour.
    #[arg(long)]
    messages_per_hour: Option<u32>,
    /// Recipients that a message of it may have.
    #[arg(long)]
    recipients_per_message: Option<u32>,
    /// How large a message of it may be, such as `10MiB`.
    #[arg(long)]
    message_size: Option<String>,
    /// Where its bounces go: `return` or `track`.
    #[arg(long)]
    bounces: Option<String>,
    /// Whose rules hold for its mail over SMTP: `native` or `mailpace`.
    #[arg(long)]
    dialect: Option<String>,
    /// Any key of a login, with a value in JSON; without one, the key is taken away.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    set: Vec<String>,
}

impl Describe {
    fn keys(&self) -> Result<Map<String, Value>> {
        let mut keys = Map::new();
        for (key, text) in [("chain", &self.chain), ("route", &self.route), ("bounces", &self.bounces), ("dialect", &self.dialect)] {
            keys.extend(text.as_ref().map(|text| (key.to_owned(), text.clone().into())));
        }
        for (key, list) in [("senders", &self.senders), ("ips", &self.ips), ("permissions", &self.permissions)] {
            if !list.is_empty() {
                keys.insert(key.to_owned(), list.clone().into());
            }
        }
        let limits: Map<String, Value> = [
            ("messages_per_hour", self.messages_per_hour.map(Value::from)),
            ("recipients_per_message", self.recipients_per_message.map(Value::from)),
            ("message_size", self.message_size.clone().map(Value::from)),
        ]
        .into_iter()
        .filter_map(|(key, value)| Some((key.to_owned(), value?)))
        .collect();
        if !limits.is_empty() {
            keys.insert("limits".to_owned(), limits.into());
        }
        for pair in &self.set {
            let (key, value) = pair.split_once('=').with_context(|| format!("--set {pair}: there is no \"=\" in it"))?;
            let value = if value.is_empty() { Value::Null } else { serde_json::from_str(value).unwrap_or_else(|_| json!(value)) };
            keys.insert(key.to_owned(), value);
        }
        Ok(keys)
    }
}

pub(super) fn run(command: Command) -> Result<ExitCode> {
    let entropy = Entropy::system();
    match command {
        Command::Create(described) => {
            let (name, keys) = (described.name.clone(), described.keys()?);
            secrets(&described.config, described.format, Order::Create { name, keys })?;
        }
        Command::Change(described) => {
            let (name, keys) = (described.name.clone(), described.keys()?);
            show(described.format, &put(&described.config, Question::Logins(Order::Change { name, keys }))?)?;
        }
        Command::Show(One { config, format, name }) => show(format, &put(&config, Question::Logins(Order::Show { name }))?)?,
        Command::Regenerate(One { config, format, name }) => secrets(&config, format, Order::Regenerate { name })?,
        Command::Revoke(One { config, format, name }) => {
            let said = put(&config, Question::Logins(Order::Revoke { name: name.clone() }))?;
            if format.json {
                print_json(&said)?;
            } else {
                line(format!("login {} is revoked", printable(&name)));
            }
        }
        Command::List(List { config, format, limit, after }) => {
            let limit = limit.min(MOST_LISTED);
            list(format, &put(&config, Question::Logins(Order::List { after, limit }))?)?;
        }
        Command::Hash { token, scram } => {
            let secret = read_secret()?;
            line(match (token, scram) {
                (true, _) => hash_token(&secret),
                (false, true) => verifier(&secret, &entropy)?,
                (false, false) => hash_password(&secret, &entropy),
            });
        }
        Command::Token => {
            let token = new_token(&entropy);
            line(format!("token = {token}"));
            line(format!("hash  = {}", hash_token(&token)));
            line(format!("scram = {}", verifier(&token, &entropy)?));
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn verifier(secret: &str, entropy: &Entropy) -> Result<String> {
    if !secret.bytes().all(|octet| octet == b' ' || octet.is_ascii_graphic()) {
        bail!("SCRAM takes a secret of printable ASCII characters: clients do not agree on how others are written");
    }
    Ok(Verifier::new(secret, entropy.array(), scram::ITERATIONS).text())
}

/// Carries out an order that makes secrets, and shows them.
fn secrets(config: &ConfigFile, format: Format, order: Order) -> Result<()> {
    let said = put(config, Question::Logins(order))?;
    if format.json {
        return print_json(&said);
    }
    let text = |key: &str| said.get(key).and_then(Value::as_str).map(printable).unwrap_or_default();
    line(format!("user name = {}", text("username")));
    line(format!("password  = {}", text("password")));
    line(format!("token     = {}", text("token")));
    complain("password and token are not shown again");
    Ok(())
}

fn show(format: Format, login: &Value) -> Result<()> {
    if format.json {
        return print_json(login);
    }
    for (key, value) in login.as_object().into_iter().flatten() {
        let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        line(format!("{key} = {}", printable(&value)));
    }
    Ok(())
}

fn list(format: Format, logins: &Value) -> Result<()> {
    if format.json {
        return print_json(logins);
    }
    let rows: Vec<Vec<String>> = logins
        .as_array()
        .into_iter()
        .flatten()
        .map(|login| {
            let text = |key: &str| login.get(key).and_then(Value::as_str).map(printable).unwrap_or_default();
            let note = if text("defect").is_empty() { text("shadows") } else { text("defect") };
            vec![text("name"), text("source"), text("chain"), text("route"), note]
        })
        .collect();
    table(&["NAME", "SOURCE", "CHAIN", "ROUTE", "NOTE"], &rows);
    Ok(())
}

/// One line, without its end.
fn read_secret() -> Result<String> {
    let input = std::io::stdin();
    if input.is_terminal() {
        complain("type the secret and press Enter (it is shown as you type; `tubepost login hash < file` hides it)");
    }
    let mut secret = String::new();
    input.lock().read_line(&mut secret).context("standard input cannot be read")?;
    let secret = secret.trim_end_matches(['\r', '\n']);
    ensure!(!secret.is_empty(), "the secret is empty");
    Ok(secret.to_owned())
}
