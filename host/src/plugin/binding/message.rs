//! The resource `message`: what a plugin may ask and do, as the WIT's comments promise it.

use wasmtime::component::Resource;

use super::wit_message::{EditError, Host, HostMessage, Link, NewPart, PartInfo, Position, Recipient, Slot};
use super::wit_types::Field;
use crate::clock::Timestamp;
use crate::link::is_web;
use crate::mail::address::EmailAddress;
use crate::mail::content;
use crate::mail::envelope::ReversePath;
use crate::mail::slot::{self, Tokens};
use crate::mail::tag::Tag;
use crate::plugin::lease::{Denial, Lease, Lent, Occasion, PartChange, encoded_at_most};
use crate::plugin::sandbox::{MessageHandle, State};

/// Octets of the claims of a plugin's own link.
const CLAIMS: usize = 1_000;

type Handle = Resource<MessageHandle>;
/// The outer error traps; the inner one is the plugin's to handle.
type Answer<T> = wasmtime::Result<Result<T, EditError>>;

impl From<content::EditError> for EditError {
    fn from(error: content::EditError) -> Self {
        match error {
            content::EditError::Denied(reason) => Self::Denied(reason),
            content::EditError::Invalid(reason) => Self::Invalid(reason),
            content::EditError::NoSuchPart => Self::NoSuchPart,
        }
    }
}

impl From<Denial> for EditError {
    fn from(denial: Denial) -> Self {
        match denial {
            Denial::TooLarge(limit) => Self::TooLarge(limit),
            Denial::TooMany => Self::Denied("too many edits in one call".to_owned()),
        }
    }
}

impl From<content::PartInfo> for PartInfo {
    fn from(part: content::PartInfo) -> Self {
        Self {
            id: part.id,
            parent: part.parent,
            content_type: part.content_type,
            charset: part.charset,
            filename: part.filename,
            content_id: part.content_id,
            inline: part.inline,
            size: part.size,
        }
    }
}

impl From<Slot> for slot::Slot {
    fn from(slot: Slot) -> Self {
        match slot {
            Slot::Address => Self::Address,
            Slot::Variable(name) => Self::Variable(name),
            Slot::Link(Link::Click(link)) => Self::Link(slot::Link::Click { url: link.url, position: link.position }),
            Slot::Link(Link::Open(url)) => Self::Link(slot::Link::Open(url)),
            Slot::Link(Link::Unsubscribe) => Self::Link(slot::Link::Unsubscribe),
        }
    }
}

impl State {
    fn lease(&mut self) -> wasmtime::Result<&mut Lease> {
        self.lent().map(|lent| &mut lent.lease)
    }

    /// Makes an edit that adds up to `octets`, where that is allowed.
    fn edit<T>(&mut self, octets: u64, edit: impl FnOnce(&mut Lent) -> Result<T, EditError>) -> Answer<T> {
        let lent = self.lent()?;
        Ok(match lent.allow(octets) {
            Ok(()) => edit(lent),
            Err(denial) => Err(denial.into()),
        })
    }
}

fn invalid(error: &impl ToString) -> EditError {
    EditError::Invalid(error.to_string())
}

/// Whether the envelope's recipients may be changed.
fn whole_message(lent: &Lent) -> Result<(), EditError> {
    match lent.lease.occasion {
        Occasion::Message => Ok(()),
        Occasion::Copy(_) => Err(EditError::Denied("this is the copy of one recipient".to_owned())),
    }
}

/// `http` and `https` only: a link is followed by people.
fn is_web_url(text: &str) -> bool {
    is_web(text) && url::Url::parse(text).is_ok_and(|url| matches!(url.scheme(), "http" | "https") && url.has_host())
}

/// Checks where a signed link is to lead.
fn check_target(url: &str, lease: &Lease) -> Result<(), EditError> {
    if !is_web_url(url) {
        return Err(EditError::Invalid("a link needs an absolute http or https URL".to_owned()));
    }
    // What is signed is not filled in any more: the reader would be sent to the token.
    if Tokens::new(lease.letter.slots().nonce()).are_in(url.as_bytes()) {
        return Err(EditError::Invalid("the URL holds a value that differs by recipient".to_owned()));
    }
    if lease.circumstances.links.is_own(url) {
        return Err(EditError::Invalid("the URL is a signed link already".to_owned()));
    }
    Ok(())
}

fn slice(octets: &[u8], offset: u64, length: u32) -> &[u8] {
    let start = usize::try_from(offset).unwrap_or(usize::MAX).min(octets.len());
    let end = start.saturating_add(usize::try_from(length).unwrap_or(usize::MAX)).min(octets.len());
    octets.get(start..end).unwrap_or_default()
}

impl State {
    /// Returns the token of a slot, or, for one recipient, its value.
    fn value_of(&mut self, slot: slot::Slot) -> Answer<String> {
        // The text is kept with the message and goes out with each copy.
        self.edit(encoded_at_most(&slot.texts().map(str::as_bytes)), |lent| {
            if !Lent::slot_fits(&slot) {
                return Err(EditError::Invalid("the text of a slot is too long".to_owned()));
            }
            let lease = &lent.lease;
            if let slot::Slot::Link(slot::Link::Click { url, .. } | slot::Link::Open(Some(url)) | slot::Link::Own { url: Some(url), .. }) =
                &slot
            {
                check_target(url, lease)?;
            }
            if let (Occasion::Copy(facts), true) = (&lease.occasion, lease.direct_slots) {
                return Ok(facts.value(&slot, &lease.circumstances.links));
            }
            let limit = lent.limits().slots;
            lent.token(slot).ok_or_else(|| EditError::Denied(format!("a message has at most {limit} slots")))
        })
    }
}

/// Whether all line ends are CRLF, which is what goes over the wire.
fn has_wire_line_ends(content: &[u8]) -> bool {
    let mut before = 0;
    for octet in content {
        if (*octet == b'\n') != (before == b'\r') {
            return false;
        }
        before = *octet;
    }
    before != b'\r'
}

impl Host for State {}

impl HostMessage for State {
    fn id(&mut self, _: Handle) -> wasmtime::Result<String> {
        Ok(self.lease()?.circumstances.id.to_string())
    }

    fn context(&mut self, _: Handle) -> wasmtime::Result<Vec<(String, String)>> {
        Ok(self.lease()?.circumstances.context.clone())
    }

    fn now_ms(&mut self, _: Handle) -> wasmtime::Result<u64> {
        Ok(self.lease()?.circumstances.received.as_millis())
    }

    fn size(&mut self, _: Handle) -> wasmtime::Result<u64> {
        Ok(self.lease()?.letter.draft.size())
    }

    fn reverse_path(&mut self, _: Handle) -> wasmtime::Result<String> {
        Ok(self.lease()?.letter.reverse_path.to_string())
    }

    fn set_reverse_path(&mut self, _: Handle, address: String) -> Answer<()> {
        self.edit(0, |lent| {
            lent.lease.letter.reverse_path = ReversePath::parse(&address).map_err(|error| invalid(&error))?;
            Ok(())
        })
    }

    fn recipient_count(&mut self, _: Handle) -> wasmtime::Result<u32> {
        let lease = self.lease()?;
        Ok(match lease.occasion {
            Occasion::Message => u32::try_from(lease.letter.recipients().len()).unwrap_or(u32::MAX),
            Occasion::Copy(_) => 1,
        })
    }

    fn recipients(&mut self, _: Handle, offset: u32, limit: u32) -> wasmtime::Result<Vec<Recipient>> {
        let lease = self.lease()?;
        let [offset, limit] = [offset, limit].map(|number| usize::try_from(number).unwrap_or(usize::MAX));
        Ok(match &lease.occasion {
            Occasion::Message => {
                let all = lease.letter.recipients().iter();
                all.skip(offset).take(limit).map(|r| Recipient { id: r.id, address: r.path.address.to_string() }).collect()
            }
            Occasion::Copy(facts) => {
                let one = Recipient { id: facts.copy.recipient, address: facts.address.to_string() };
                std::iter::once(one).skip(offset).take(limit).collect()
            }
        })
    }

    fn add_recipient(&mut self, _: Handle, address: String) -> Answer<u32> {
        self.edit(0, |lent| {
            whole_message(lent)?;
            let address = EmailAddress::parse(&address).map_err(|error| invalid(&error))?;
            let limit = lent.lease.circumstances.recipient_limit;
            let letter = &mut lent.lease.letter;
            if u32::try_from(letter.recipients().len()).is_ok_and(|count| count >= limit) {
                return Err(EditError::Denied(format!("a message has at most {limit} recipients")));
            }
            Ok(letter.add_recipient(address))
        })
    }

    fn remove_recipient(&mut self, _: Handle, id: u32) -> Answer<()> {
        self.edit(0, |lent| {
            whole_message(lent)?;
            let found = lent.lease.letter.remove_recipient(id);
            if found { Ok(()) } else { Err(EditError::Invalid(format!("there is no recipient {id}"))) }
        })
    }

    fn variables(&mut self, _: Handle) -> wasmtime::Result<String> {
        let lease = self.lease()?;
        Ok(match &lease.occasion {
            Occasion::Message if lease.circumstances.variables.is_empty() => "{}".to_owned(),
            Occasion::Message => lease.circumstances.variables.clone(),
            Occasion::Copy(facts) => serde_json::to_string(&facts.variables).unwrap_or_else(|_| "{}".to_owned()),
        })
    }

    fn header(&mut self, _: Handle, name: String) -> wasmtime::Result<Option<String>> {
        Ok(self.lease()?.letter.draft.header(&name))
    }

    fn header_all(&mut self, _: Handle, name: String) -> wasmtime::Result<Vec<String>> {
        Ok(self.lease()?.letter.draft.header_all(&name))
    }

    fn header_raw(&mut self, _: Handle, name: String) -> wasmtime::Result<Option<Vec<u8>>> {
        Ok(self.lease()?.letter.draft.header_raw(&name).map(|value| value.to_vec()))
    }

    fn header_names(&mut self, _: Handle) -> wasmtime::Result<Vec<String>> {
        Ok(self.lease()?.letter.draft.header_names())
    }

    fn headers(&mut self, _: Handle) -> wasmtime::Result<Vec<Field>> {
        Ok(self.lease()?.letter.draft.headers().map(|(name, value)| Field { name: name.to_owned(), value }).collect())
    }

    fn add_header(&mut self, _: Handle, name: String, value: String, at: Position) -> Answer<()> {
        self.edit(encoded_at_most(&[name.as_bytes(), value.as_bytes()]), |lent| {
            let position = match at {
                Position::First => content::Position::First,
                Position::Last => content::Position::Last,
            };
            lent.lease.letter.draft.add_header(&name, &value, position)?;
            lent.header_changed(&name);
            Ok(())
        })
    }

    fn set_header(&mut self, _: Handle, name: String, value: String) -> Answer<()> {
        self.edit(encoded_at_most(&[name.as_bytes(), value.as_bytes()]), |lent| {
            lent.lease.letter.draft.set_header(&name, &value)?;
            lent.header_changed(&name);
            Ok(())
        })
    }

    fn remove_header(&mut self, _: Handle, name: String) -> Answer<u32> {
        self.edit(0, |lent| {
            let removed = lent.lease.letter.draft.remove_header(&name);
            if removed > 0 {
                lent.header_changed(&name);
            }
            Ok(removed)
        })
    }

    fn text(&mut self, _: Handle) -> wasmtime::Result<Option<String>> {
        Ok(self.lease()?.letter.draft.text())
    }

    fn set_text(&mut self, _: Handle, value: String) -> Answer<()> {
        self.edit(encoded_at_most(&[value.as_bytes()]), |lent| {
            lent.lease.letter.draft.set_text(&value)?;
            lent.part_changed(PartChange::Text);
            Ok(())
        })
    }

    fn html(&mut self, _: Handle) -> wasmtime::Result<Option<String>> {
        Ok(self.lease()?.letter.draft.html())
    }

    fn set_html(&mut self, _: Handle, value: String) -> Answer<()> {
        self.edit(encoded_at_most(&[value.as_bytes()]), |lent| {
            lent.lease.letter.draft.set_html(&value)?;
            lent.part_changed(PartChange::Html);
            Ok(())
        })
    }

    fn parts(&mut self, _: Handle) -> wasmtime::Result<Vec<PartInfo>> {
        Ok(self.lease()?.letter.draft.parts().into_iter().map(PartInfo::from).collect())
    }

    fn read_part(&mut self, _: Handle, id: u32, offset: u64, length: u32) -> Answer<Vec<u8>> {
        let read = self.lease()?.letter.draft.read_part(id, offset, length);
        Ok(read.map(|octets| octets.to_vec()).map_err(EditError::from))
    }

    fn write_part(&mut self, _: Handle, id: u32, content: Vec<u8>) -> Answer<()> {
        self.edit(encoded_at_most(&[&content]), |lent| {
            lent.lease.letter.draft.write_part(id, content.into())?;
            lent.part_changed(PartChange::Part(id));
            Ok(())
        })
    }

    fn add_part(&mut self, _: Handle, parent: Option<u32>, part: NewPart) -> Answer<u32> {
        let names = [Some(&part.content_type), part.filename.as_ref(), part.content_id.as_ref()];
        let [kind, filename, id] = names.map(|name| name.map_or(&[][..], String::as_bytes));
        self.edit(encoded_at_most(&[&part.content, kind, filename, id]), |lent| {
            let part = content::NewPart {
                content_type: part.content_type,
                filename: part.filename,
                content_id: part.content_id,
                inline: part.inline,
                content: part.content.into(),
            };
            let id = lent.lease.letter.draft.add_part(parent, part)?;
            lent.part_changed(PartChange::Part(id));
            Ok(id)
        })
    }

    fn remove_part(&mut self, _: Handle, id: u32) -> Answer<()> {
        self.edit(0, |lent| {
            lent.lease.letter.draft.remove_part(id)?;
            lent.part_changed(PartChange::Part(id));
            Ok(())
        })
    }

    fn read_original(&mut self, _: Handle, offset: u64, length: u32) -> wasmtime::Result<Vec<u8>> {
        Ok(slice(&self.lease()?.circumstances.original, offset, length).to_vec())
    }

    fn read_content(&mut self, _: Handle, offset: u64, length: u32) -> wasmtime::Result<Vec<u8>> {
        Ok(slice(self.lent()?.content(), offset, length).to_vec())
    }

    fn set_content(&mut self, _: Handle, content: Vec<u8>) -> Answer<()> {
        let octets = u64::try_from(content.len()).unwrap_or(u64::MAX);
        // It takes the place of what there is: only its own length counts.
        self.edit(0, |lent| {
            lent.allow_whole(octets).map_err(EditError::from)?;
            let letter = &mut lent.lease.letter;
            if !letter.slots().as_slice().is_empty() {
                return Err(EditError::Denied("values that differ by recipient are still to be filled in".to_owned()));
            }
            if !has_wire_line_ends(&content) {
                return Err(EditError::Invalid("line ends must be CRLF".to_owned()));
            }
            letter.draft = content::Draft::replacing(content.into());
            lent.part_changed(PartChange::Whole);
            Ok(())
        })
    }

    fn route(&mut self, _: Handle) -> wasmtime::Result<Option<String>> {
        Ok(self.lease()?.letter.route.as_ref().map(ToString::to_string))
    }

    fn set_route(&mut self, _: Handle, name: String) -> Answer<()> {
        let granted = self.desk.grants.route(&name);
        self.edit(0, |lent| {
            whole_message(lent)?;
            if !granted {
                return Err(EditError::Denied(format!("`allow.routes` does not name {name:?}")));
            }
            lent.lease.letter.route = Some(name.into());
            Ok(())
        })
    }

    fn not_before_ms(&mut self, _: Handle) -> wasmtime::Result<Option<u64>> {
        Ok(self.lease()?.letter.not_before.map(Timestamp::as_millis))
    }

    fn set_not_before(&mut self, _: Handle, at_ms: u64) -> Answer<()> {
        self.edit(0, |lent| {
            whole_message(lent)?;
            let at = Timestamp::from_millis(at_ms);
            let Lease { letter, circumstances, .. } = &mut lent.lease;
            if circumstances.deliver_before.is_some_and(|deadline| at > deadline) {
                return Err(EditError::Invalid("the message must be delivered before that time".to_owned()));
            }
            if at > circumstances.received.plus(crate::plugin::LONGEST_WAIT) {
                return Err(EditError::Invalid(format!("that is more than {} days away", crate::plugin::LONGEST_WAIT.as_secs() / 86_400)));
            }
            letter.not_before = letter.not_before.max(Some(at));
            Ok(())
        })
    }

    fn tags(&mut self, _: Handle) -> wasmtime::Result<Vec<String>> {
        Ok(self.lease()?.letter.tags.iter().map(ToString::to_string).collect())
    }

    fn add_tag(&mut self, _: Handle, tag: String) -> Answer<()> {
        self.edit(0, |lent| {
            let tag = Tag::parse(&tag).map_err(|error| invalid(&error))?;
            if lent.add_tag(tag) { Ok(()) } else { Err(EditError::Denied(format!("a message has at most {} tags", lent.limits().tags))) }
        })
    }

    fn slot(&mut self, _: Handle, what: Slot) -> Answer<String> {
        let slot = slot::Slot::from(what);
        // The text is kept with the message and goes out with each copy.
        self.value_of(slot)
    }

    fn own_link(&mut self, _: Handle, claims: String, url: Option<String>) -> Answer<String> {
        self.lent()?;
        if !self.desk.grants.links {
            return Ok(Err(EditError::Denied("`allow.links` is not granted".to_owned())));
        }
        if claims.len() > CLAIMS {
            return Ok(Err(EditError::Invalid(format!("claims have at most {CLAIMS} octets"))));
        }
        let plugin = self.desk.plugin.to_string();
        self.value_of(slot::Slot::Link(slot::Link::Own { plugin, claims, url }))
    }

    fn drop(&mut self, _: Handle) -> wasmtime::Result<()> {
        // The letter goes back with the call, whether the plugin still held it or not.
        Ok(())
    }
}
