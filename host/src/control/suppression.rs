//! What the commands ask of the suppression list and the allow list.

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::mail::address::EmailAddress;
use crate::store::StoreError;
use crate::suppression::entry::{Entry, List, Recipient, Scope, Sender, Source};
use crate::suppression::import::Imported;
use crate::suppression::query::{Query, Words};
use crate::suppression::{Suppressions, csv};

/// What is asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "order")]
pub enum Order {
    /// Finds entries.
    List {
        /// On which list.
        list: List,
        /// Whose; none is everybody's.
        scope: Option<String>,
        /// From which source; none is any.
        source: Option<String>,
        /// A text in address, sender, subject or reason; "" is any.
        filter: String,
        /// How many to pass over.
        offset: usize,
        /// At most.
        limit: usize,
    },
    /// Whether mail goes to an address, and what the lists say of it.
    Check {
        /// Which.
        address: String,
        /// Whose mail.
        login: String,
        /// The envelope's sender of it; "" is the null reverse-path.
        sender: String,
    },
    /// Puts addresses on a list.
    Add {
        /// On which.
        list: List,
        /// Whose.
        scope: String,
        /// What puts them there; none is people.
        source: Option<String>,
        /// Why.
        reason: String,
        /// Who.
        addresses: Vec<String>,
    },
    /// Puts the addresses in a piece of a file on a list.
    Import {
        /// On which.
        list: List,
        /// Whose.
        scope: String,
        /// Why.
        reason: String,
        /// Whole lines.
        text: String,
    },
    /// Takes addresses off a list.
    Remove {
        /// Off which.
        list: List,
        /// Whose.
        scope: String,
        /// Who.
        addresses: Vec<String>,
    },
    /// Returns a part of a list as lines of a CSV file.
    Export {
        /// Which.
        list: List,
        /// Whose; none is everybody's.
        scope: Option<String>,
        /// Goes on behind this place.
        after: Option<Vec<u8>>,
    },
}

/// Answers.
pub(super) async fn answer(order: Order, lists: &Suppressions) -> Result<Value, String> {
    match order {
        Order::List { list, scope, source, filter, offset, limit } => {
            let sources = source.map(|word| source_of(&word)).transpose()?.into_iter().collect();
            let filter = (!filter.is_empty()).then(|| Words::new(&filter, false));
            let scope = scope.map(|text| scope_of(&text)).transpose()?;
            let query = Query { list: Some(list), scope, sources, filter, offset, limit, ..Query::default() };
            let found = lists.find(&query).await.map_err(|error| text(&error))?;
            Ok(json!({ "count": found.count, "results": found.entries.iter().map(shown).collect::<Vec<_>>() }))
        }
        Order::Check { address, login, sender } => {
            let parse = |text: &str| text.parse::<EmailAddress>().map_err(|error| format!("{text}: {error}"));
            let (address, sender) = (parse(&address)?, if sender.is_empty() { None } else { Some(parse(&sender)?) });
            let standing = lists.standing(&address).await.map_err(|error| text(&error))?;
            let sender = Sender { login: &login, domain: sender.as_ref().map(EmailAddress::domain) };
            Ok(json!({ "suppressed_by": standing.block(&sender).map(shown), "allowed": standing.is_allowed(&sender) }))
        }
        Order::Add { list, scope, source, reason, addresses } => {
            let scope = scope_of(&scope)?;
            let source = source.map_or(Ok(Source::Manual), |word| source_of(&word))?;
            let mut imported = Imported::default();
            for address in &addresses {
                imported.add(address, &scope);
            }
            put(lists, list, &scope, source, &reason, imported).await
        }
        Order::Import { list, scope, reason, text } => {
            let scope = scope_of(&scope)?;
            let mut imported = Imported::default();
            imported.add_file(&text, &scope);
            put(lists, list, &scope, Source::Manual, &reason, imported).await
        }
        Order::Remove { list, scope, addresses } => {
            let addresses = addresses.iter().map(|text| text.parse::<Recipient>().map_err(|error| format!("{text}: {error}")));
            let removed =
                lists.remove(list, &scope_of(&scope)?, &addresses.collect::<Result<Vec<_>, _>>()?).await.map_err(|error| text(&error))?;
            Ok(json!({ "removed": removed }))
        }
        Order::Export { list, scope, after } => {
            let scope = scope.map(|text| scope_of(&text)).transpose()?;
            let (page, next) = lists.page(after.map(Bytes::from)).await.map_err(|error| text(&error))?;
            let mut lines = String::new();
            let query = Query { list: Some(list), scope, ..Query::default() };
            for entry in page.iter().filter(|entry| query.matches(entry)) {
                csv::push_line(&mut lines, entry);
            }
            Ok(json!({ "lines": lines, "next": next.map(|next| next.to_vec()) }))
        }
    }
}

async fn put(lists: &Suppressions, list: List, scope: &Scope, source: Source, reason: &str, imported: Imported) -> Result<Value, String> {
    let entries: Vec<Entry> = imported
        .valid
        .iter()
        .map(|recipient| {
            let mut entry = lists.entry(list, scope.clone(), recipient.clone(), reason);
            entry.note.source = source;
            entry
        })
        .collect();
    lists.put(&entries).await.map_err(|error| text(&error))?;
    Ok(json!({ "valid": entries.len(), "invalid": imported.invalid }))
}

/// An entry, for people and programs.
pub fn shown(entry: &Entry) -> Value {
    json!({
        "recipient": entry.recipient.as_str(),
        "scope": entry.scope.to_string(),
        "source": entry.note.source.word(),
        "reason": entry.note.reason,
        "sender": entry.note.sender,
        "subject": entry.note.subject,
        "date": entry.note.at.to_rfc3339(),
    })
}

fn scope_of(text: &str) -> Result<Scope, String> {
    text.parse().map_err(|error| format!("{text:?}: {error}"))
}

fn source_of(word: &str) -> Result<Source, String> {
    let words = Source::ALL.map(Source::word).join(", ");
    Source::of_word(word).ok_or_else(|| format!("no source {word:?}: there are {words}"))
}

fn text(error: &StoreError) -> String {
    if *error == StoreError::Full { "the table is full: store.table_size says how much it holds".to_owned() } else { error.to_string() }
}
