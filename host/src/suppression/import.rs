//! Addresses out of texts that people have: one on a line, or the columns of a CSV file.

use std::collections::BTreeSet;

use super::entry::{Recipient, Scope};
use super::fits;

/// What was read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Imported {
    /// Addresses, each once, as they are compared.
    pub valid: Vec<Recipient>,
    /// What should be an address and is none, each once, in the order in which it came; cut at [`LONGEST_INVALID`] octets.
    pub invalid: Vec<String>,
    known: BTreeSet<Recipient>,
    refused: BTreeSet<String>,
}

/// Octets of something that is no address that are said again.
pub const LONGEST_INVALID: usize = 320;

impl Imported {
    /// Takes in one text that should be an address.
    pub fn add(&mut self, text: &str, scope: &Scope) {
        let text = text.trim();
        match text.parse::<Recipient>() {
            Ok(recipient) if fits(scope, &recipient) => {
                if self.known.insert(recipient.clone()) {
                    self.valid.push(recipient);
                }
            }
            Ok(_) | Err(_) => {
                let shown = text.get(..text.floor_char_boundary(LONGEST_INVALID)).unwrap_or_default().to_owned();
                if self.refused.insert(shown.clone()) {
                    self.invalid.push(shown);
                }
            }
        }
    }

    /// Takes in a file: on each line the first cell that has an `@`, or else the first cell, which a heading may be. Cells are parted by commas,
    /// semicolons or tabs, and may stand in quotes; empty lines mean nothing.
    pub fn add_file(&mut self, text: &str, scope: &Scope) {
        let lines = text.trim_start_matches('\u{feff}').split(['\n', '\r']).filter(|line| !line.trim().is_empty());
        for (number, line) in lines.enumerate() {
            let cells = cells(line);
            match cells.iter().find(|cell| cell.contains('@')) {
                Some(cell) => self.add(cell, scope),
                // The first line may say what stands below it.
                None if number == 0 => {}
                None => self.add(cells.first().map_or("", String::as_str), scope),
            }
        }
    }
}

/// The cells of a line, without their quotes.
fn cells(line: &str) -> Vec<String> {
    let mut cells = vec![String::new()];
    let mut quoted = false;
    let mut characters = line.chars().peekable();
    while let Some(character) = characters.next() {
        let Some(cell) = cells.last_mut() else { break };
        match character {
            '"' if quoted && characters.peek() == Some(&'"') => {
                characters.next();
                cell.push('"');
            }
            '"' if quoted || cell.trim().is_empty() => quoted = !quoted,
            ',' | ';' | '\t' if !quoted => cells.push(String::new()),
            other => cell.push(other),
        }
    }
    // What a spreadsheet must not take for a formula has an apostrophe in front.
    cells.iter().map(|cell| cell.trim().trim_start_matches('\'').to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_found_in_files() {
        let mut imported = Imported::default();
        let file = "\u{feff}Status;Subject;From;To\r\nAnn@Example.NET\n\n\"Smith, B\",bob@example.net\nno address\n'=cid@example.net;x\nann@example.net\nbroken@@example.net\n";
        imported.add_file(file, &Scope::Global);
        let valid: Vec<_> = imported.valid.iter().map(Recipient::as_str).collect();
        assert_eq!(valid, ["ann@example.net", "bob@example.net", "=cid@example.net"]);
        assert_eq!(imported.invalid, ["no address", "broken@@example.net"]);
    }
}
