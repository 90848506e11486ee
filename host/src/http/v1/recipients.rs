//! `recipient`, `recipients` and `data`: who gets the message, and what is known of each.

use std::collections::BTreeMap;

use indexmap::IndexMap;
use serde_json::{Map, Value};

use crate::http::address_list::{BadAddress, parse_list};
use crate::http::fields::Fields;
use crate::http::problem::Flaw;
use crate::mail::address::EmailAddress;
use crate::mail::header::Mailbox;

/// Data of one recipient.
pub type Data = Map<String, Value>;

/// Everybody who gets the message, in the order of the call, with his data.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Recipients(IndexMap<EmailAddress, Option<Data>>);

impl Recipients {
    /// Reads both fields. `recipient` is a text or an array of texts; `recipients` may also be an object of address and data, or an array that
    /// mixes addresses and such objects. Texts may be comma lists of pure addresses.
    pub fn read(fields: &Fields) -> Result<Self, Flaw> {
        let mut all = Self::default();
        for name in ["recipient", "recipients"] {
            if let Some((written, value)) = fields.structured(&[name])? {
                all.take(&written, &value)?;
            }
        }
        if all.0.is_empty() { Err(Flaw::new("recipient", "an address to deliver to is needed, here or in recipients")) } else { Ok(all) }
    }

    /// Returns the addresses.
    pub fn addresses(&self) -> Vec<EmailAddress> {
        self.0.keys().cloned().collect()
    }

    /// Returns the data of those who have some, by their places.
    pub fn into_data(self) -> BTreeMap<u32, Data> {
        (0..).zip(self.0.into_values()).filter_map(|(place, data)| Some((place, data?))).collect()
    }

    fn take(&mut self, field: &str, value: &Value) -> Result<(), Flaw> {
        match value {
            Value::String(list) => {
                for address in pure_addresses(field, list)? {
                    self.0.entry(address).or_default();
                }
                Ok(())
            }
            Value::Array(elements) => elements.iter().try_for_each(|element| match element {
                Value::Array(_) => Err(Flaw::new(field, "an array in an array is no recipient")),
                Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Object(_) => self.take(field, element),
            }),
            Value::Object(object) => object.iter().try_for_each(|(address, data)| self.take_with_data(field, address, data)),
            Value::Null | Value::Bool(_) | Value::Number(_) => Err(Flaw::new(field, "an address is expected")),
        }
    }

    fn take_with_data(&mut self, field: &str, address: &str, data: &Value) -> Result<(), Flaw> {
        let data = match data {
            Value::Object(data) => Some(data.clone()),
            Value::Null => None,
            // What PHP makes of an empty object.
            Value::Array(nothing) if nothing.is_empty() => None,
            Value::Array(_) | Value::Bool(_) | Value::Number(_) | Value::String(_) => {
                return Err(Flaw::new(field, format!("the data of {address} is no object")));
            }
        };
        for address in pure_addresses(field, address)? {
            let known = self.0.entry(address).or_default();
            match (known, &data) {
                (Some(known), Some(data)) => known.extend(data.clone()),
                (known @ None, Some(data)) => *known = Some(data.clone()),
                (_, None) => {}
            }
        }
        Ok(())
    }
}

/// Reads addresses without names.
fn pure_addresses(field: &str, list: &str) -> Result<Vec<EmailAddress>, Flaw> {
    let one = |mailbox: Result<Mailbox, BadAddress>| match mailbox {
        Err(BadAddress(text)) => Err(Flaw::new(field, format!("'{text}' is not a valid email address"))),
        Ok(Mailbox { name: Some(_), address }) => Err(Flaw::new(field, format!("{address} must stand without a name"))),
        Ok(Mailbox { name: None, address }) => Ok(address),
    };
    parse_list(list).into_iter().map(one).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]
    use serde_json::json;

    use super::*;

    fn read(value: Value) -> Result<String, Flaw> {
        let Value::Object(object) = value else { panic!("an object") };
        let recipients = Recipients::read(&Fields::from_object(object)?)?;
        let addresses: Vec<String> = recipients.addresses().iter().map(ToString::to_string).collect();
        let data = serde_json::to_string(&recipients.into_data()).unwrap();
        Ok(format!("{} {data}", addresses.join(" ")))
    }

    #[test]
    fn all_forms_are_read() {
        for (call, expected) in [
            (json!({ "recipient": "a@x" }), "a@x {}"),
            (json!({ "recipient": ["a@x", "b@x"] }), "a@x b@x {}"),
            (json!({ "recipient": "a@x", "recipients": ["b@x", "a@x"] }), "a@x b@x {}"),
            (json!({ "recipients": ["a@x, b@x", "c@x"] }), "a@x b@x c@x {}"),
            (json!({ "recipients": "[\"a@x\",\"b@x\"]" }), "a@x b@x {}"),
            (json!({ "recipients": { "a@x": { "n": 1 }, "b@x": null, "c@x": [] } }), r#"a@x b@x c@x {"0":{"n":1}}"#),
            (json!({ "recipients": [{ "a@x": { "n": 1 } }, { "b@x": { "n": 2 } }] }), r#"a@x b@x {"0":{"n":1},"1":{"n":2}}"#),
            (json!({ "recipients": ["a@x", { "b@x": { "n": 2 } }, "c@x"] }), r#"a@x b@x c@x {"1":{"n":2}}"#),
            (json!({ "recipients": ["a@x", { "a@x": { "n": 2 } }, { "a@x": { "m": 3 } }] }), r#"a@x {"0":{"n":2,"m":3}}"#),
        ] {
            assert_eq!(read(call.clone()).as_deref(), Ok(expected), "{call}");
        }
    }

    #[test]
    fn what_is_no_recipient_is_named() {
        for (call, field, reason) in [
            (json!({}), "recipient", "an address to deliver to is needed, here or in recipients"),
            (json!({ "recipient": "" }), "recipient", "an address to deliver to is needed, here or in recipients"),
            (json!({ "Recipient": "a@b@c" }), "Recipient", "'a@b@c' is not a valid email address"),
            (json!({ "recipient": "Ann <a@x>" }), "recipient", "a@x must stand without a name"),
            (json!({ "recipients": [["a@x"]] }), "recipients", "an array in an array is no recipient"),
            (json!({ "recipients": [7] }), "recipients", "an address is expected"),
            (json!({ "recipients": { "a@x": "n" } }), "recipients", "the data of a@x is no object"),
            (json!({ "recipient": "a@x\r\nRCPT TO:<b@x>" }), "recipient", "'a@xRCPT TO:<b@x>' is not a valid email address"),
        ] {
            assert_eq!(read(call.clone()), Err(Flaw::new(field, reason)), "{call}");
        }
    }
}
