//! Logins that are made while the server runs: kept in the store beside those of the file, in force at once and after a restart.
//!
//! A login has the keys that one in the file has (`chain`, `route`, `senders`, `limits`, …), read by the same reader; user name and secrets are made
//! here. Secrets are shown once and kept as hashes. What is changed is on disk before it counts. A login of the file with the same name wins; one that
//! refers to a chain or a route that is gone stays, is let in, and hears why it cannot send.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use parking_lot::RwLock;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::{Login, Logins};
use crate::clock::{Entropy, Timestamp};
use crate::config::secret::{hash_password, hash_token, new_password, new_token};
use crate::config::{self, Access, Config, LoginLimits};
use crate::sending_domain::SendingDomains;
use crate::smtp::scram::{self, Shapes, Verifier};
use crate::store::{Batch, Store, StoreError, ValueChange};

/// Where logins are, and where the key is that makes strangers look like users.
const TABLE: &str = "logins";
const KEYS: &str = "login_keys";
const PRETENCE: &[u8] = b"scram";

/// Entries that are read at a time.
const PAGE: usize = 1000;

/// Logins that one answer lists.
pub const MOST_LISTED: usize = 1000;

/// Keys that are made here, and set by nobody.
const OWN: [&str; 6] = ["name", "username", "password", "token", "scram", "token_scram"];

/// The version of what is kept.
const VERSION: u32 = 1;

/// A login as it is kept.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Record {
    version: u32,
    created: Timestamp,
    changed: Timestamp,
    /// Hashes: argon2id, SHA-256, and what SCRAM proves either against.
    password: String,
    token: String,
    scram: String,
    token_scram: String,
    /// The other keys, as they would stand in the file.
    keys: Map<String, Value>,
}

/// What is wanted of the logins that are made while the server runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "do")]
pub enum Order {
    /// All logins, those of the file too, in the order of their names.
    List {
        /// Behind this one.
        after: Option<String>,
        /// At most.
        limit: usize,
    },
    /// One login.
    Show {
        /// Its name.
        name: String,
    },
    /// Makes one.
    Create {
        /// Its name, which is its user name too.
        name: String,
        /// Its keys.
        keys: Map<String, Value>,
    },
    /// Sets keys of one; `null` takes one away.
    Change {
        /// Its name.
        name: String,
        /// Keys that get other values.
        keys: Map<String, Value>,
    },
    /// Makes other secrets for one.
    Regenerate {
        /// Its name.
        name: String,
    },
    /// Takes one away.
    Revoke {
        /// Its name.
        name: String,
    },
}

/// Why an order is not carried out.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OrderError {
    /// There is no login of this name.
    #[error("there is no login \"{0}\"")]
    Unknown(String),
    /// It stands in the configuration.
    #[error("login \"{0}\" is in the configuration file: change it there")]
    InFile(String),
    /// Sender domains would become another's with the name.
    #[error("there are {count} sender domains of an earlier login \"{name}\": remove them first")]
    Inherits {
        /// Of the login.
        name: String,
        /// How many.
        count: usize,
    },
    /// Its name is taken.
    #[error("there is a login with the name or user name \"{0}\" already")]
    Taken(String),
    /// Something about it is wrong.
    #[error("{0}")]
    Wrong(String),
    /// There are as many as there may be.
    #[error("there are {0} logins, and no more are made (authentication.logins)")]
    TooMany(usize),
    /// It could not be kept.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// The logins of the file and those that were made.
pub(super) struct Book {
    pub(super) configured: RwLock<Vec<Login>>,
    records: RwLock<BTreeMap<Arc<str>, Record>>,
    /// What the records refer to; nothing before the store is open.
    config: RwLock<Option<Arc<Config>>>,
    store: OnceLock<Arc<dyn Store>>,
    /// Domains belong to names.
    domains: OnceLock<SendingDomains>,
    /// Held while something changes: one thing at a time.
    turn: tokio::sync::Mutex<()>,
    most: usize,
    pretence: RwLock<[u8; 32]>,
}

impl Book {
    pub(super) fn new(configured: Vec<Login>, entropy: &Entropy, limits: &config::Authentication) -> Self {
        Self {
            configured: RwLock::new(configured),
            records: RwLock::default(),
            config: RwLock::default(),
            store: OnceLock::new(),
            domains: OnceLock::new(),
            turn: tokio::sync::Mutex::default(),
            most: usize::try_from(limits.logins).unwrap_or(usize::MAX),
            pretence: RwLock::new(entropy.array()),
        }
    }

    /// What SCRAM shows of a user that there is not.
    pub(super) fn pretended(&self, username: &str, shapes: &Shapes) -> Verifier {
        Verifier::pretended(&self.pretence.read(), username, shapes)
    }

    /// Returns the logins that were made, as they are under the configuration.
    pub(super) fn logins(&self) -> Vec<Login> {
        let Some(config) = self.config.read().clone() else { return Vec::new() };
        self.records.read().iter().map(|(name, record)| record.login(name, &config)).collect()
    }
}

impl Record {
    /// Makes a login of it; one that cannot send where the configuration does not have what it refers to.
    fn login(&self, name: &Arc<str>, config: &Config) -> Login {
        self.read(name, &self.keys, config).unwrap_or_else(|faults| {
            // Enough to be known by, and to be told why.
            let route = config.routes.keys().next().map(ToString::to_string);
            let bare = Map::from_iter([("route".to_owned(), route.into())]);
            let defect = Some(faults.join("; ").into());
            if let Ok(login) = self.read(name, &bare, config) {
                return Login { access: Access { defect, ..login.access }, ..login };
            }
            let limits = LoginLimits { messages_per_hour: None, recipients_per_message: 1, message_size: config.smtp.message_size };
            Login { name: Arc::clone(name), access: Access { defect, ..Access::default() }, ..Login::inbound(limits) }
        })
    }

    fn read(&self, name: &str, keys: &Map<String, Value>, config: &Config) -> Result<Login, Vec<String>> {
        let Self { password, token, scram, token_scram, .. } = self;
        let own = OWN.into_iter().zip([name, name, password, token, scram, token_scram]);
        let mut all: Map<String, Value> = own.map(|(key, value)| (key.to_owned(), value.into())).collect();
        all.extend(keys.clone());
        config::login(&all, config)
    }
}

/// Secrets, to be shown once.
struct Secrets {
    password: String,
    token: String,
    record: Record,
}

impl Secrets {
    /// Makes new ones; this takes a while.
    fn new(entropy: &Entropy, keys: Map<String, Value>, created: Timestamp, changed: Timestamp) -> Self {
        let (password, token) = (new_password(entropy), new_token(entropy));
        let verifier = |secret: &str| Verifier::new(secret, entropy.array(), scram::ITERATIONS).text();
        let record = Record {
            version: VERSION,
            created,
            changed,
            password: hash_password(&password, entropy),
            token: hash_token(&token),
            scram: verifier(&password),
            token_scram: verifier(&token),
            keys,
        };
        Self { password, token, record }
    }
}

impl Logins {
    /// Reads the logins that were made before from `store`, and keeps there what is made from now on. No login is made with a name that has `domains`.
    ///
    /// # Errors
    /// If the store cannot be read, or a record is from a later version.
    pub async fn open_book(&self, store: Arc<dyn Store>, domains: SendingDomains, config: Arc<Config>) -> Result<(), StoreError> {
        let now = self.0.clock.now();
        let mut records = BTreeMap::new();
        let mut after: Option<Bytes> = None;
        loop {
            let page = store.values(TABLE, after.as_deref(), now, PAGE).await?;
            for (key, value) in &page {
                let damaged = |error: &dyn std::fmt::Display| StoreError::Damaged(format!("a login cannot be read: {error}").into());
                let name = std::str::from_utf8(key).map_err(|error| damaged(&error))?;
                let record: Record = serde_json::from_slice(value).map_err(|error| damaged(&error))?;
                if record.version != VERSION {
                    return Err(damaged(&format!("\"{name}\" was kept by another version")));
                }
                records.insert(Arc::from(name), record);
            }
            match page.last() {
                Some((key, _)) if page.len() == PAGE => after = Some(key.clone()),
                Some(_) | None => break,
            }
        }
        let key = store.value(KEYS, PRETENCE, now).await?.and_then(|octets| <[u8; 32]>::try_from(&*octets).ok());
        if let Some(key) = key {
            *self.0.book.pretence.write() = key;
        } else {
            let key = Bytes::copy_from_slice(&*self.0.book.pretence.read());
            match store.commit(kept(KEYS, Bytes::from_static(PRETENCE), Some(key))).await {
                Ok(()) => {}
                // A full disk stops nobody from starting; unknown users look different after the next start, and that is all.
                Err(StoreError::Full) => tracing::warn!("no room for the key of unknown users: it is good until the next start"),
                Err(error) => return Err(error),
            }
        }
        *self.0.book.records.write() = records;
        // Only a second call would find one there.
        let _ = self.0.book.store.set(store);
        let _ = self.0.book.domains.set(domains);
        self.reconfigure(&config);
        Ok(())
    }

    /// Switches to the logins and administrators of `config`; those that were made stay, and refer to what it has.
    pub fn reconfigure(&self, config: &Arc<Config>) {
        self.replace_administrators(config.administrators.clone());
        *self.0.book.config.write() = Some(Arc::clone(config));
        self.replace(config.logins.clone());
        for name in self.0.book.records.read().keys() {
            if config.logins.iter().any(|login| login.name == *name || login.username.as_deref() == Some(name)) {
                tracing::warn!(login = %name, "a login of the configuration has the name of one that was made: the one in the configuration counts");
            } else if let Some(defect) = self.by_name(name).and_then(|login| login.access.defect.clone()) {
                tracing::warn!(login = %name, "a login that was made cannot send: {defect}");
            }
        }
    }

    /// Carries out an order; what it changes is on disk, and in force, when this returns.
    ///
    /// # Errors
    /// Why nothing was changed.
    pub async fn carry_out(&self, order: Order) -> Result<Value, OrderError> {
        // In a task of its own: who asked may go away, and what is on disk must be in force all the same.
        let logins = self.clone();
        let carrying_out = tokio::spawn(async move { logins.carry_out_to_the_end(order).await });
        carrying_out.await.unwrap_or_else(|error| Err(OrderError::Wrong(format!("something broke: {error}"))))
    }

    async fn carry_out_to_the_end(&self, order: Order) -> Result<Value, OrderError> {
        let _turn = self.0.book.turn.lock().await;
        match order {
            Order::List { after, limit } => Ok(self.list(after.as_deref(), limit.min(MOST_LISTED))),
            Order::Show { name } => self.shown(&name).ok_or(OrderError::Unknown(name)),
            Order::Create { name, keys } => self.create(name, keys).await,
            Order::Change { name, keys } => {
                let mut record = self.record(&name)?;
                for (key, value) in keys {
                    if value.is_null() {
                        record.keys.remove(&key);
                    } else {
                        record.keys.insert(key, value);
                    }
                }
                record.changed = self.0.clock.now();
                self.check(&name, &record)?;
                self.keep(&name, Some(record)).await?;
                self.shown(&name).ok_or(OrderError::Unknown(name))
            }
            Order::Regenerate { name } => {
                let record = self.record(&name)?;
                let secrets = self.secrets(record.keys, record.created).await?;
                self.keep_and_show(name, secrets).await
            }
            Order::Revoke { name } => {
                self.record(&name)?;
                self.keep(&name, None).await?;
                Ok(json!({ "name": name, "revoked": true }))
            }
        }
    }

    async fn create(&self, name: String, mut keys: Map<String, Value>) -> Result<Value, OrderError> {
        keys.retain(|_, value| !value.is_null());
        let is_used = self.0.book.records.read().contains_key(&*name) || self.set().by_username.contains_key(&name);
        if is_used || self.by_name(&name).is_some() {
            return Err(OrderError::Taken(name));
        }
        let inherited = self.0.book.domains.get().map_or(0, |domains| domains.count_of(&name));
        if inherited > 0 {
            return Err(OrderError::Inherits { name, count: inherited });
        }
        let count = self.0.book.records.read().len();
        if count >= self.0.book.most {
            return Err(OrderError::TooMany(count));
        }
        // Where there is one way alone, nobody needs to name it.
        if let (None, Some(config)) = (keys.get("route"), &*self.0.book.config.read())
            && let (Some(route), 1) = (config.routes.keys().next(), config.routes.len())
        {
            keys.insert("route".to_owned(), route.to_string().into());
        }
        let secrets = self.secrets(keys, self.0.clock.now()).await?;
        self.check(&name, &secrets.record)?;
        self.keep_and_show(name, secrets).await
    }

    async fn secrets(&self, keys: Map<String, Value>, created: Timestamp) -> Result<Secrets, OrderError> {
        let (entropy, now) = (self.0.entropy.clone(), self.0.clock.now());
        let making = tokio::task::spawn_blocking(move || Secrets::new(&entropy, keys, created, now));
        making.await.map_err(|_| OrderError::Wrong("the server is ending".to_owned()))
    }

    async fn keep_and_show(&self, name: String, secrets: Secrets) -> Result<Value, OrderError> {
        let Secrets { password, token, record } = secrets;
        self.keep(&name, Some(record)).await?;
        let mut shown = self.shown(&name).ok_or(OrderError::Unknown(name))?;
        if let Some(fields) = shown.as_object_mut() {
            fields.insert("password".to_owned(), password.into());
            fields.insert("token".to_owned(), token.into());
        }
        Ok(shown)
    }

    /// Returns the record of a login that can be changed.
    fn record(&self, name: &str) -> Result<Record, OrderError> {
        let record = self.0.book.records.read().get(name).cloned();
        record.ok_or_else(|| match self.by_name(name) {
            Some(_) => OrderError::InFile(name.to_owned()),
            None => OrderError::Unknown(name.to_owned()),
        })
    }

    fn check(&self, name: &str, record: &Record) -> Result<(), OrderError> {
        if let Some(key) = OWN.into_iter().find(|key| record.keys.contains_key(*key)) {
            return Err(OrderError::Wrong(format!("\"{key}\" is made by the server")));
        }
        let config = self.0.book.config.read().clone();
        let config = config.ok_or_else(|| OrderError::Wrong("the server keeps no logins".to_owned()))?;
        record.read(name, &record.keys, &config).map(drop).map_err(|faults| OrderError::Wrong(faults.join("; ")))
    }

    /// Writes a record, or takes it away, and switches to what is written.
    async fn keep(&self, name: &str, record: Option<Record>) -> Result<(), OrderError> {
        let store = self.0.book.store.get().ok_or_else(|| OrderError::Wrong("the server keeps no logins".to_owned()))?;
        let value = record.as_ref().map(serde_json::to_vec).transpose().map_err(|error| OrderError::Wrong(error.to_string()))?;
        store.commit(kept(TABLE, Bytes::copy_from_slice(name.as_bytes()), value.map(Bytes::from))).await?;
        let mut records = self.0.book.records.write();
        match record {
            Some(record) => drop(records.insert(name.into(), record)),
            None => drop(records.remove(name)),
        }
        drop(records);
        self.renew();
        Ok(())
    }

    fn list(&self, after: Option<&str>, limit: usize) -> Value {
        let mut names: Vec<Arc<str>> = self.set().by_name.keys().cloned().collect();
        names.retain(|name| after.is_none_or(|after| &**name > after));
        names.sort_unstable();
        names.truncate(limit);
        names.iter().filter_map(|name| self.shown(name)).collect()
    }

    /// Describes a login, without its secrets.
    fn shown(&self, name: &str) -> Option<Value> {
        let login = self.by_name(name)?;
        let record = self.0.book.records.read().get(name).cloned();
        let is_configured = self.0.book.configured.read().iter().any(|login| &*login.name == name);
        let Login { username, chain, route, limits, access, .. } = &*login;
        let open = [("smtp", access.closed.smtp), ("rest", access.closed.rest)];
        let permissions: Vec<&str> = open.into_iter().filter(|(_, is_closed)| !is_closed).map(|(name, _)| name).collect();
        let mut shown = json!({
            "name": name,
            "source": if is_configured { "file" } else { "runtime" },
            "username": username,
            "chain": chain.as_deref(),
            "route": &**route,
            "senders": login.senders.iter().map(ToString::to_string).collect::<Vec<_>>(),
            "limits": {
                "messages_per_hour": limits.messages_per_hour,
                "recipients_per_message": limits.recipients_per_message,
                "message_size": limits.message_size.0,
            },
            "permissions": permissions,
            "ips": access.ips.iter().map(ToString::to_string).collect::<Vec<_>>(),
        });
        let fields = shown.as_object_mut()?;
        if let Some(defect) = &access.defect {
            fields.insert("defect".to_owned(), (**defect).into());
        }
        if let Some(record) = record {
            if is_configured {
                fields.insert("shadows".to_owned(), "a login of the same name that was made: the one in the file counts".into());
            } else {
                fields.insert("keys".to_owned(), record.keys.into());
                fields.insert("created".to_owned(), record.created.to_rfc3339().into());
                fields.insert("changed".to_owned(), record.changed.to_rfc3339().into());
            }
        }
        Some(shown)
    }
}

fn kept(table: &str, key: Bytes, value: Option<Bytes>) -> Batch {
    let change = ValueChange { table: table.into(), key, value, expires: Timestamp::NEVER };
    Batch { values: vec![change], ..Batch::default() }
}
