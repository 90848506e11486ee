//! What leads from a report to the message that it is about: addresses, links and ids in the header that came back.
//!
//! Nothing here is proved. Addresses and links of ours are signed, and count when they are verified; an id is a hint, as recipients know it too.

use bytes::Bytes;

use crate::mail::content::Draft;

/// Things of each kind that are kept.
const MOST: usize = 16;
/// Octets of a header that are looked at.
const HEADER: usize = 64 * 1024;
/// Octets of one thing.
const LONGEST: usize = 1_000;

/// What leads to a message.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Trail {
    /// Addresses that may be a return path of ours.
    pub addresses: Vec<String>,
    /// Links that may be of ours.
    pub links: Vec<String>,
    /// `Message-ID` of the message, without angle brackets.
    pub message_ids: Vec<String>,
}

/// Fields in which servers keep the reverse-path.
const RETURN_PATHS: [&str; 7] =
    ["Return-Path", "X-Original-Return-Path", "X-Envelope-From", "X-MailFrom", "Envelope-From", "X-Sender", "Errors-To"];

impl Trail {
    /// Reads the header of a message that came back, or that header alone.
    pub fn of_message(content: &Bytes) -> Self {
        let end = memchr::memmem::find(content, b"\r\n\r\n").map_or(content.len(), |end| end + 4).min(HEADER);
        let header = Draft::new(content.slice(..end));
        let mut trail = Self::default();
        for name in RETURN_PATHS {
            header.header_all(name).iter().for_each(|value| trail.add_addresses(value));
        }
        header.header_all("Message-ID").iter().for_each(|value| trail.add_message_id(value));
        for name in ["List-Unsubscribe", "X-Report-Abuse"] {
            header.header_all(name).iter().for_each(|value| trail.add_links(value));
        }
        // Received fields of many servers say for which sender they took it.
        for value in header.header_all("Received") {
            if let Some((_, behind)) = value.split_once("envelope-from") {
                trail.add_addresses(behind);
            }
        }
        trail
    }

    /// Adds addresses in a text, with or without angle brackets.
    pub fn add_addresses(&mut self, text: &str) {
        let words = text.split(|c: char| c.is_whitespace() || "<>()[],;:\"'=".contains(c));
        for word in words.filter(|word| word.contains('@')) {
            add(&mut self.addresses, word);
        }
    }

    fn add_links(&mut self, text: &str) {
        for word in text.split(|c: char| c.is_whitespace() || "<>,".contains(c)).filter(|word| word.contains("://")) {
            add(&mut self.links, word);
        }
    }

    fn add_message_id(&mut self, text: &str) {
        add(&mut self.message_ids, text.trim().trim_start_matches('<').trim_end_matches('>'));
    }

    /// Adds what another one has.
    pub fn append(&mut self, other: &Self) {
        other.addresses.iter().for_each(|address| add(&mut self.addresses, address));
        other.links.iter().for_each(|link| add(&mut self.links, link));
        other.message_ids.iter().for_each(|id| add(&mut self.message_ids, id));
    }
}

fn add(list: &mut Vec<String>, text: &str) {
    if !text.is_empty() && text.len() <= LONGEST && list.len() < MOST && !list.iter().any(|known| known == text) {
        list.push(text.to_owned());
    }
}
