//! Takes only recipients that are on a list: a test system that must never write to customers.
//!
//! ```toml
//! [chains]
//! staging = [{ use = "allow-list", domains = ["example.com"], others = { rewrite = "qa@example.com" } }]
//! ```
//!
//! The client hears at RCPT what becomes of each address. An address that is rewritten is one that everything behind sees in its place.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tubepost_plugin_sdk::{Answer, Failure, Plugin, Transaction, address::Address, register};

/// The plugin.
#[derive(Debug)]
pub struct AllowList;

/// The options of the plugin.
#[derive(Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Options {
    /// Domains whose addresses are taken, with all below them
    pub domains: Vec<String>,
    /// Addresses that are taken
    pub addresses: Vec<String>,
    /// What becomes of others
    pub others: Others,
}

/// What becomes of an address that is not on the list.
#[derive(Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Others {
    /// Refused
    #[default]
    Reject,
    /// Another address in its place
    Rewrite(String),
}

impl Plugin for AllowList {
    type Config = Options;

    fn rcpt(forward_path: &str, _: &Transaction, options: &Options) -> Result<Answer, Failure> {
        let address: Address = forward_path.parse()?;
        let known = |text: &String| text.parse::<Address>().map_err(|error| Failure::config(format!("addresses: {error}")));
        let allowed = options.addresses.iter().map(known).collect::<Result<Vec<_>, _>>()?;
        if allowed.contains(&address) || options.domains.iter().any(|domain| address.is_within(domain)) {
            return Ok(Answer::Accept);
        }
        Ok(match &options.others {
            Others::Reject => Answer::reject(format!("{} is not on the list of this system", address.domain())),
            Others::Rewrite(other) => Answer::rewrite(other),
        })
    }
}

register!(AllowList: rcpt);

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

    use tubepost_plugin_sdk::testing;

    use super::*;

    fn check(address: &str, options: &str) -> Result<Answer, Failure> {
        AllowList::rcpt(address, &Transaction::default(), &testing::config::<AllowList>(options).unwrap())
    }

    #[test]
    fn the_list_is_taken() {
        let options = r#"{"domains":["example.com"],"addresses":["Ann@partner.example"]}"#;
        for address in ["a@example.com", "a@Mail.EXAMPLE.com", "Ann@PARTNER.example"] {
            assert_eq!(check(address, options), Ok(Answer::Accept), "{address}");
        }
        for address in ["a@badexample.com", "ann@partner.example", "a@example.com.evil.example"] {
            assert!(matches!(check(address, options), Ok(Answer::Reject(_))), "{address}");
        }
    }

    #[test]
    fn others_go_where_the_operator_says() {
        let options = r#"{"others":{"rewrite":"qa@example.com"}}"#;
        assert_eq!(check("a@customer.example", options), Ok(Answer::rewrite("qa@example.com")));
    }

    #[test]
    fn a_bad_list_is_the_operators_fault() {
        assert!(matches!(check("a@example.com", r#"{"addresses":["nobody"]}"#), Err(Failure::Config(_))));
    }
}
