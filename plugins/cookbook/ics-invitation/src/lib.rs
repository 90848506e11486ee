//! Adds a calendar invitation (RFC 5545, RFC 6047) made of the message's data: what a booking system sends beside its mail.
//!
//! ```json
//! { "invitation": { "summary": "Review", "start": "2026-03-02T09:00:00+01:00", "end": "2026-03-02T10:00:00+01:00", "location": "Room 4" } }
//! ```
//!
//! The invitation is one more alternative of the message, which calendars show with buttons to answer, and a file for those that do not. Each
//! recipient is the attendee of their own copy. A message without this data, and what is signed or encrypted, goes on as it is.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tubepost_plugin_sdk::{Failure, Message, NewPart, Plugin, Timestamp, Verdict, address::Mailbox, header, log, register};

/// The plugin.
#[derive(Debug)]
pub struct IcsInvitation;

/// The options of the plugin.
#[derive(Debug, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Options {
    /// Name of the attached file; none is attached where it is empty
    pub filename: String,
    /// Who made it, as calendars keep it
    pub product: String,
}

impl Default for Options {
    fn default() -> Self {
        Self { filename: "invite.ics".to_owned(), product: "-//Tubepost//ics-invitation//EN".to_owned() }
    }
}

#[derive(Debug, Default, Deserialize)]
struct Data {
    invitation: Option<Invitation>,
}

#[derive(Debug, Deserialize)]
struct Invitation {
    summary: String,
    start: String,
    end: String,
    #[serde(default)]
    location: String,
    #[serde(default)]
    description: String,
    /// The same for a later message about the same event; that of this message where there is none.
    uid: Option<String>,
    /// Higher for a later message.
    #[serde(default)]
    sequence: u32,
}

impl Plugin for IcsInvitation {
    type Config = Options;

    fn submit(message: &mut Message, options: &Options) -> Result<Verdict, Failure> {
        let Some(invitation) = message.variables::<Data>()?.invitation else { return Ok(Verdict::Next) };
        if message.is_sealed() {
            log::warn!("signed or encrypted: no invitation is added");
            return Ok(Verdict::Next);
        }
        let organizer =
            message.get::<header::From>()?.into_iter().next().ok_or_else(|| Failure::permanent("there is no From to invite"))?;
        let attendee = message.recipient_slot()?;
        let calendar = invitation.calendar(&organizer, &attendee, &message.id(), message.now(), &options.product)?;
        let alternative = message.parts().into_iter().find(|part| part.content_type == "multipart/alternative").map(|part| part.id);
        message
            .add_part(alternative, &NewPart::inline("text/calendar; charset=utf-8; method=REQUEST; component=VEVENT", calendar.clone()))?;
        if !options.filename.is_empty() {
            message.add_part(None, &NewPart::attachment(&options.filename, "application/ics", calendar))?;
        }
        Ok(Verdict::Next)
    }
}

impl Invitation {
    fn calendar(&self, organizer: &Mailbox, attendee: &str, id: &str, now: Timestamp, product: &str) -> Result<String, Failure> {
        let time = |what: &str, text: &str| {
            Timestamp::parse_rfc3339(text)
                .ok_or_else(|| Failure::permanent(format!("invitation.{what}: {text:?} is no time as 2026-03-02T09:00:00Z")))
        };
        let (start, end) = (time("start", &self.start)?, time("end", &self.end)?);
        if end < start {
            return Err(Failure::permanent("invitation.end is before its start"));
        }
        let uid = self.uid.clone().unwrap_or_else(|| format!("{id}@{}", organizer.address.domain()));
        let mut lines = vec![
            "BEGIN:VCALENDAR".to_owned(),
            format!("PRODID:{}", escape(product)),
            "VERSION:2.0".to_owned(),
            "METHOD:REQUEST".to_owned(),
        ];
        lines.extend(["BEGIN:VEVENT".to_owned(), format!("UID:{}", escape(&uid)), format!("SEQUENCE:{}", self.sequence)]);
        lines.extend([("DTSTAMP", now), ("DTSTART", start), ("DTEND", end)].map(|(name, time)| format!("{name}:{}", utc(time))));
        lines.push(format!("SUMMARY:{}", escape(&self.summary)));
        let optional = [("LOCATION", &self.location), ("DESCRIPTION", &self.description)];
        lines.extend(optional.iter().filter(|(_, text)| !text.is_empty()).map(|(name, text)| format!("{name}:{}", escape(text))));
        // A quoted value of a parameter has no way to hold a quote.
        let name = organizer.name.as_deref().map(|name| format!(";CN=\"{}\"", name.replace(|c: char| c == '"' || c.is_control(), "'")));
        lines.push(format!("ORGANIZER{}:mailto:{}", name.unwrap_or_default(), organizer.address));
        let mut calendar: String = lines.iter().map(|line| folded(line)).collect();
        // The address is filled in for each recipient and stands on a line of its own, so that it has room.
        calendar.push_str("ATTENDEE;ROLE=REQ-PARTICIPANT;PARTSTAT=NEEDS-ACTION;RSVP=TRUE:mailto:\r\n ");
        calendar.push_str(attendee);
        calendar.push_str("\r\nEND:VEVENT\r\nEND:VCALENDAR\r\n");
        Ok(calendar)
    }
}

/// `20260302T080000Z`.
fn utc(time: Timestamp) -> String {
    time.to_string().chars().filter(|character| !"-:".contains(*character)).collect()
}

/// A value of the type TEXT (RFC 5545 §3.3.11).
fn escape(text: &str) -> String {
    let mut escaped = String::new();
    for character in text.chars() {
        match character {
            '\\' | ';' | ',' => escaped.extend(['\\', character]),
            '\n' => escaped.push_str("\\n"),
            other if other.is_control() => {}
            other => escaped.push(other),
        }
    }
    escaped
}

/// A content line of at most 75 octets per line, and never cut inside of a character (RFC 5545 §3.1).
fn folded(line: &str) -> String {
    let mut result = String::new();
    let mut octets = 0;
    for character in line.chars() {
        if octets + character.len_utf8() > 75 {
            result.push_str("\r\n ");
            octets = 1;
        }
        octets += character.len_utf8();
        result.push(character);
    }
    result + "\r\n"
}

register!(IcsInvitation: submit);

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests fail by panicking")]

    use tubepost_plugin_sdk::testing::{self, Draft};

    use super::*;

    const DATA: &str = r#"{"invitation":{"summary":"Review, part 2; \"the rest\"","start":"2026-03-02T09:00:00+01:00","end":"2026-03-02T10:00:00+01:00",
        "location":"Straße der langen Namen, im Raum ganz hinten links neben der Küche, vierter Stock"}}"#;

    fn draft() -> Draft {
        Draft::new().header("From", "Desk <desk@example.com>").text("You are invited").variables_to(DATA)
    }

    #[test]
    fn calendars_can_read_it() {
        let mut message = draft().message();
        assert_eq!(IcsInvitation::submit(&mut message, &Options::default()), Ok(Verdict::Next));
        let parts = message.parts();
        let kinds: Vec<_> = parts.iter().map(|part| (part.content_type.as_str(), part.inline)).collect();
        assert_eq!(kinds[2..], [("text/calendar", true), ("application/ics", false)]);
        let calendar = String::from_utf8(message.part_content(parts[2].id).unwrap()).unwrap();
        assert!(calendar.split("\r\n").all(|line| line.len() <= 75) && !calendar.replace("\r\n", "").contains(['\r', '\n']));
        let unfolded = calendar.replace("\r\n ", "");
        for line in [
            "DTSTART:20260302T080000Z",
            "DTSTAMP:20260101T000000Z",
            "SUMMARY:Review\\, part 2\\; \"the rest\"",
            "ORGANIZER;CN=\"Desk\":mailto:desk@example.com",
            "UID:0000000000000000@example.com",
            "RSVP=TRUE:mailto:SLOT0000000000000000000000000000",
        ] {
            assert!(unfolded.contains(line), "{line} in {unfolded}");
        }
        assert_eq!(testing::slots(&message), ["address"]);
    }

    #[test]
    fn mail_without_an_invitation_goes_on() {
        let mut message = draft().variables_to("{}").message();
        assert_eq!(IcsInvitation::submit(&mut message, &Options::default()), Ok(Verdict::Next));
        assert_eq!(message.parts().len(), 2);
    }

    #[test]
    fn what_makes_no_sense_is_the_messages_fault() {
        for data in [DATA.replace("T10", "T08"), DATA.replace("2026-03-02T09", "tomorrow"), DATA.replace("summary", "title")] {
            let mut message = draft().variables_to(&data).message();
            assert!(matches!(IcsInvitation::submit(&mut message, &Options::default()), Err(Failure::Permanent(_))), "{data}");
        }
    }

    #[test]
    fn golden() {
        testing::golden::<IcsInvitation>("tests/golden");
    }
}
