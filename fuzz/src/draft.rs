//! Messages that are edited.

use bytes::Bytes;
use tubepost::http::raw_mime::with_crlf;
use tubepost::mail::content::{Composition, Draft, MAX_FIELDS, NewPart, Position};
use tubepost::mail::header::MAX_LINE;
use tubepost::mail::header::raw_fields::raw_values;
use tubepost::mail::slot::{Nonce, Slot, Tokens};

const NONCE: Nonce = [7; 11];

/// Between the message and the edits.
const SEPARATOR: &[u8] = b"\n%%%%\n";

/// Messages: unedited they keep every octet, edits do what they say and no more, and nothing that is set makes a field of its own.
///
/// The input is a message, and behind a line `%%%%` a script, one edit in each line: `S name:value` sets a field, `F` adds one first, `L`
/// last, `D name` removes; `T text` and `H html` set what is shown; `W id content` writes a part, `P parent|type|name|content` adds one, `R id`
/// removes one. `\n` is a line end, `@` a slot.
pub fn draft(octets: &[u8]) {
    let place = octets.windows(SEPARATOR.len()).rposition(|window| window == SEPARATOR);
    let (message, script) = match place {
        Some(place) => (octets.get(..place).unwrap_or_default(), octets.get(place + SEPARATOR.len()..).unwrap_or_default()),
        None => (octets, &b""[..]),
    };
    // As it is, and as it would be taken over HTTP.
    let message = Bytes::copy_from_slice(message);
    untouched(&message);
    let message = Bytes::from(with_crlf(&String::from_utf8_lossy(&message)).into_owned());
    untouched(&message);
    edited(&message, &String::from_utf8_lossy(script));
}

fn untouched(message: &Bytes) {
    let mut draft = Draft::new(message.clone());
    let parts = draft.parts();
    assert!(!parts.is_empty());
    for part in &parts {
        if let Ok(content) = draft.read_part(part.id, 0, u32::MAX) {
            assert_eq!(content.len() as u64, part.size, "the size of part {} is another", part.id);
        }
    }
    let _ = (draft.text(), draft.html());
    let from: Vec<&[u8]> = draft.header_all_raw("From").collect();
    let mut seen = raw_values(message, "From");
    assert!(from.iter().all(|value| seen.any(|other| other == *value)), "a From is overlooked");
    assert!(!draft.header_names().iter().any(|name| draft.header(name).is_none()));
    assert_eq!(draft.size(), message.len() as u64);
    assert!(!draft.is_edited());
    assert_eq!(finished(draft), *message, "an unedited message has changed");
}

fn finished(draft: Draft) -> Bytes {
    draft.into_composition(Some(&NONCE)).fill(&NONCE, &[Slot::Address], &mut |_| "reader@example.com".to_owned())
}

fn edited(message: &Bytes, script: &str) {
    let tokens = Tokens::new(&NONCE);
    let token = tokens.make(0);
    let mut draft = Draft::new(message.clone());
    for line in script.lines().take(50) {
        let line = line.replace("\\n", "\r\n").replace('@', &token);
        let (letter, argument) = line.split_once(' ').unwrap_or((&line, ""));
        edit(&mut draft, letter, argument);
    }
    let (names, is_edited) = (draft.header_names(), draft.is_edited());
    let composition = draft.clone().into_composition(Some(&NONCE));
    assert_eq!(Composition::decode(composition.encode()), Some(composition));
    let after = finished(draft.clone());
    assert_eq!(after, finished(draft.clone()), "the same edits give other octets");
    if !is_edited {
        assert_eq!(after, *message);
        return;
    }
    untouched(&after);
    // Fields that are too many are one to us; where some are removed, those may be read.
    if Draft::new(message.clone()).header_names().len() + 1 >= MAX_FIELDS {
        return;
    }
    // Without slots nothing is left to do to the header.
    let after = draft.into_composition(None).fill(&NONCE, &[], &mut |_| String::new());
    assert_eq!(Draft::new(after).header_names(), names, "the header reads otherwise than it was edited");
}

fn edit(draft: &mut Draft, letter: &str, argument: &str) {
    let (name, value) = argument.split_once(':').unwrap_or((argument, ""));
    let (id, content) = argument.split_once(' ').unwrap_or((argument, ""));
    let before = draft.header_names();
    match letter {
        "S" if draft.set_header(name, value).is_ok() => {
            assert_eq!(draft.header_all(name).len(), 1, "a field that was set is there once");
            check_line_lengths(draft, name);
        }
        "F" | "L" => {
            let position = if letter == "F" { Position::First } else { Position::Last };
            if draft.add_header(name, value, position).is_ok() {
                assert_eq!(draft.header_names().len(), before.len() + 1);
            }
        }
        "D" => {
            let removed = draft.remove_header(name) as usize;
            assert_eq!(draft.header_names().len() + removed, before.len());
            assert!(draft.header(name).is_none());
        }
        "T" if draft.set_text(argument).is_ok() => assert!(draft.text().is_some()),
        "H" if draft.set_html(argument).is_ok() => assert!(draft.html().is_some()),
        "W" => {
            let Ok(id) = id.parse() else { return };
            if draft.write_part(id, Bytes::copy_from_slice(content.as_bytes())).is_ok() {
                assert_eq!(draft.read_part(id, 0, u32::MAX).as_deref(), Ok(content.as_bytes()));
            }
        }
        "P" => add_part(draft, argument),
        "R" => {
            let Ok(id) = id.parse() else { return };
            if draft.remove_part(id).is_ok() {
                assert!(!draft.parts().iter().any(|part| part.id == id));
            }
        }
        _ => {}
    }
}

fn add_part(draft: &mut Draft, argument: &str) {
    let mut fields = argument.splitn(4, '|');
    let mut next = || fields.next().unwrap_or_default();
    let (parent, content_type, filename, content) = (next(), next(), next(), next());
    let part = NewPart {
        content_type: content_type.to_owned(),
        filename: (!filename.is_empty()).then(|| filename.to_owned()),
        content_id: (filename.len() % 2 == 1).then(|| filename.to_owned()),
        inline: content.len() % 2 == 1,
        content: Bytes::copy_from_slice(content.as_bytes()),
    };
    let count = draft.parts().len();
    if let Ok(id) = draft.add_part(parent.parse().ok(), part) {
        assert!((1..=2).contains(&(draft.parts().len() - count)));
        assert_eq!(draft.read_part(id, 0, u32::MAX).as_deref(), Ok(content.as_bytes()));
    }
}

/// What we write has no line that is too long.
fn check_line_lengths(draft: &Draft, name: &str) {
    if let Some(raw) = draft.header_raw(name)
        && draft.is_edited()
        && Draft::new(draft.original().clone()).header_raw(name) != Some(raw.clone())
    {
        assert!(raw.split(|octet| *octet == b'\n').all(|line| line.len() <= MAX_LINE + 1), "{name} has a line that is too long");
    }
}
