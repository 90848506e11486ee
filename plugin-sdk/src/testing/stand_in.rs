//! The message that [`Draft`](super::Draft) makes: the functions of the host's resource over what is kept in memory.

use std::cell::RefCell;

use crate::bindings::imports::tubepost::mail::{
    message::{ClickLink, EditError, Link, NewPart, PartInfo, Position, Recipient, Slot},
    types::Field,
};

/// Tags of a message, by default of the host's configuration.
const TAGS: usize = 100;

/// A decoded message in memory.
#[derive(Debug)]
pub(crate) struct StandIn {
    pub(super) headers: Vec<Field>,
    pub(super) parts: Vec<(PartInfo, Vec<u8>)>,
    pub(super) reverse_path: String,
    pub(super) recipients: Vec<Recipient>,
    next_recipient: u32,
    pub(super) variables: String,
    pub(super) context: Vec<(String, String)>,
    tags: Vec<String>,
    pub(super) slots: RefCell<Vec<Slot>>,
}

impl StandIn {
    pub(super) fn new() -> Self {
        Self {
            headers: Vec::new(),
            parts: vec![(part(0, None, "multipart/mixed"), Vec::new())],
            reverse_path: "sender@example.com".to_owned(),
            recipients: vec![Recipient { id: 0, address: "recipient@example.com".to_owned() }],
            next_recipient: 1,
            variables: "{}".to_owned(),
            context: Vec::new(),
            tags: Vec::new(),
            slots: RefCell::new(Vec::new()),
        }
    }

    pub(super) fn next_part(&self) -> u32 {
        self.parts.iter().map(|(info, _)| info.id).max().map_or(0, |id| id + 1)
    }

    fn displayed(&self, content_type: &str) -> Option<usize> {
        self.parts.iter().position(|(info, _)| info.inline && info.content_type == content_type)
    }

    fn read_displayed(&self, content_type: &str) -> Option<String> {
        let (_, content) = self.parts.get(self.displayed(content_type)?)?;
        Some(String::from_utf8_lossy(content).into_owned())
    }

    fn write_displayed(&mut self, content_type: &str, value: &str) -> Result<(), EditError> {
        let none = || EditError::Denied(format!("there is no {content_type} part"));
        let index = self.displayed(content_type).ok_or_else(none)?;
        let (info, content) = self.parts.get_mut(index).ok_or_else(none)?;
        *content = value.as_bytes().to_vec();
        info.size = content.len() as u64;
        Ok(())
    }

    fn leaf_at(&self, id: u32) -> Result<usize, EditError> {
        self.parts.iter().position(|(info, _)| info.id == id && !info.content_type.starts_with("multipart/")).ok_or(EditError::NoSuchPart)
    }
}

pub(super) fn part(id: u32, parent: Option<u32>, content_type: &str) -> PartInfo {
    PartInfo { id, parent, content_type: content_type.to_owned(), charset: None, filename: None, content_id: None, inline: true, size: 0 }
}

fn valid_field(name: &str, value: &str) -> Result<(), EditError> {
    if name.is_empty() || !name.bytes().all(|octet| (33..127).contains(&octet) && octet != b':') {
        return Err(EditError::Invalid(format!("{name:?} is no field name")));
    }
    if value.chars().any(|character| character.is_control() && character != '\t') {
        return Err(EditError::Invalid("a header value holds a control character".to_owned()));
    }
    Ok(())
}

/// Whether a token of ours stands in a text.
fn holds_slot(text: &str) -> bool {
    let digits = |rest: &str| rest.get(..28).is_some_and(|digits| digits.bytes().all(|octet| octet.is_ascii_digit()));
    text.match_indices("SLOT").any(|(place, word)| text.get(place + word.len()..).is_some_and(digits))
}

fn valid_address(address: &str) -> Result<(), EditError> {
    match address.split_once('@') {
        Some((local, domain)) if !local.is_empty() && !domain.is_empty() && !address.contains(char::is_whitespace) => Ok(()),
        Some(_) | None => Err(EditError::Invalid(format!("{address:?} is no address"))),
    }
}

/// Domains are compared without case.
fn same_address(one: &str, other: &str) -> bool {
    match (one.rsplit_once('@'), other.rsplit_once('@')) {
        (Some((local, domain)), Some((other_local, other_domain))) => local == other_local && domain.eq_ignore_ascii_case(other_domain),
        _ => one == other,
    }
}

/// What the host's resource does, function by function; see [`Message`](crate::Message) for what each means.
#[allow(clippy::unnecessary_wraps, clippy::unused_self, reason = "the signatures are those of the host's resource")]
impl StandIn {
    pub(crate) fn id(&self) -> String {
        "0000000000000000".to_owned()
    }

    pub(crate) fn context(&self) -> Vec<(String, String)> {
        self.context.clone()
    }

    /// 2026-01-01T00:00:00Z.
    pub(crate) fn now_ms(&self) -> u64 {
        1_767_225_600_000
    }

    pub(crate) fn size(&self) -> u64 {
        let header: usize = self.headers.iter().map(|field| field.name.len() + field.value.len() + 4).sum();
        self.parts.iter().map(|(_, content)| content.len() as u64).sum::<u64>() + header as u64
    }

    pub(crate) fn reverse_path(&self) -> String {
        self.reverse_path.clone()
    }

    pub(crate) fn set_reverse_path(&mut self, address: &str) -> Result<(), EditError> {
        if !address.is_empty() {
            valid_address(address)?;
        }
        address.clone_into(&mut self.reverse_path);
        Ok(())
    }

    pub(crate) fn recipient_count(&self) -> u32 {
        u32::try_from(self.recipients.len()).unwrap_or(u32::MAX)
    }

    pub(crate) fn recipients(&self, offset: u32, limit: u32) -> Vec<Recipient> {
        self.recipients.iter().skip(offset as usize).take(limit as usize).cloned().collect()
    }

    pub(crate) fn add_recipient(&mut self, address: &str) -> Result<u32, EditError> {
        valid_address(address)?;
        if let Some(known) = self.recipients.iter().find(|known| same_address(&known.address, address)) {
            return Ok(known.id);
        }
        let id = self.next_recipient;
        self.next_recipient += 1;
        self.recipients.push(Recipient { id, address: address.to_owned() });
        Ok(id)
    }

    pub(crate) fn remove_recipient(&mut self, id: u32) -> Result<(), EditError> {
        let before = self.recipients.len();
        self.recipients.retain(|recipient| recipient.id != id);
        if self.recipients.len() == before {
            return Err(EditError::Invalid(format!("there is no recipient {id}")));
        }
        Ok(())
    }

    pub(crate) fn variables(&self) -> String {
        self.variables.clone()
    }

    fn first(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|field| field.name.eq_ignore_ascii_case(name)).map(|field| field.value.as_str())
    }

    pub(crate) fn header(&self, name: &str) -> Option<String> {
        self.first(name).map(ToOwned::to_owned)
    }

    pub(crate) fn header_all(&self, name: &str) -> Vec<String> {
        let named = self.headers.iter().filter(|field| field.name.eq_ignore_ascii_case(name));
        named.map(|field| field.value.clone()).collect()
    }

    pub(crate) fn header_raw(&self, name: &str) -> Option<Vec<u8>> {
        self.first(name).map(|value| format!(" {value}").into_bytes())
    }

    pub(crate) fn header_names(&self) -> Vec<String> {
        self.headers.iter().map(|field| field.name.clone()).collect()
    }

    pub(crate) fn headers(&self) -> Vec<Field> {
        self.headers.clone()
    }

    pub(crate) fn add_header(&mut self, name: &str, value: &str, at: Position) -> Result<(), EditError> {
        valid_field(name, value)?;
        let field = Field { name: name.to_owned(), value: value.to_owned() };
        match at {
            Position::First => self.headers.insert(0, field),
            Position::Last => self.headers.push(field),
        }
        Ok(())
    }

    pub(crate) fn set_header(&mut self, name: &str, value: &str) -> Result<(), EditError> {
        valid_field(name, value)?;
        let place = self.headers.iter().position(|field| field.name.eq_ignore_ascii_case(name));
        self.remove_header(name)?;
        let field = Field { name: name.to_owned(), value: value.to_owned() };
        self.headers.insert(place.unwrap_or(self.headers.len()), field);
        Ok(())
    }

    pub(crate) fn remove_header(&mut self, name: &str) -> Result<u32, EditError> {
        let before = self.headers.len();
        self.headers.retain(|field| !field.name.eq_ignore_ascii_case(name));
        Ok(u32::try_from(before - self.headers.len()).unwrap_or(u32::MAX))
    }

    pub(crate) fn text(&self) -> Option<String> {
        self.read_displayed("text/plain")
    }

    pub(crate) fn set_text(&mut self, value: &str) -> Result<(), EditError> {
        self.write_displayed("text/plain", value)
    }

    pub(crate) fn html(&self) -> Option<String> {
        self.read_displayed("text/html")
    }

    pub(crate) fn set_html(&mut self, value: &str) -> Result<(), EditError> {
        self.write_displayed("text/html", value)
    }

    pub(crate) fn parts(&self) -> Vec<PartInfo> {
        self.parts.iter().map(|(info, _)| info.clone()).collect()
    }

    pub(crate) fn read_part(&self, id: u32, offset: u64, length: u32) -> Result<Vec<u8>, EditError> {
        let (_, content) = self.parts.get(self.leaf_at(id)?).ok_or(EditError::NoSuchPart)?;
        let offset = usize::try_from(offset).unwrap_or(usize::MAX);
        Ok(content.iter().skip(offset).take(length as usize).copied().collect())
    }

    pub(crate) fn write_part(&mut self, id: u32, new: &[u8]) -> Result<(), EditError> {
        let index = self.leaf_at(id)?;
        let (info, content) = self.parts.get_mut(index).ok_or(EditError::NoSuchPart)?;
        *content = new.to_vec();
        info.size = content.len() as u64;
        Ok(())
    }

    pub(crate) fn add_part(&mut self, parent: Option<u32>, new: &NewPart) -> Result<u32, EditError> {
        let parent = parent.unwrap_or(0);
        let multipart = |(info, _): &(PartInfo, Vec<u8>)| info.id == parent && info.content_type.starts_with("multipart/");
        if !self.parts.iter().any(multipart) {
            return Err(EditError::NoSuchPart);
        }
        let id = self.next_part();
        let info = PartInfo {
            id,
            parent: Some(parent),
            content_type: new.content_type.to_ascii_lowercase(),
            charset: None,
            filename: new.filename.clone(),
            content_id: new.content_id.clone(),
            inline: new.inline,
            size: new.content.len() as u64,
        };
        self.parts.push((info, new.content.clone()));
        Ok(id)
    }

    pub(crate) fn remove_part(&mut self, id: u32) -> Result<(), EditError> {
        if id == 0 {
            return Err(EditError::Denied("the root stays".to_owned()));
        }
        let before = self.parts.len();
        // Drafts are one level deep unless a test adds multiparts, so children are found by their parent alone.
        self.parts.retain(|(info, _)| info.id != id && info.parent != Some(id));
        if self.parts.len() == before { Err(EditError::NoSuchPart) } else { Ok(()) }
    }

    pub(crate) fn read_original(&self, _offset: u64, _length: u32) -> Vec<u8> {
        Vec::new()
    }

    pub(crate) fn tags(&self) -> Vec<String> {
        self.tags.clone()
    }

    pub(crate) fn add_tag(&mut self, tag: &str) -> Result<(), EditError> {
        let forbidden = |character: char| character == ',' || character == ';' || character.is_control();
        if tag.is_empty() || tag.chars().count() > 128 || tag.contains(forbidden) {
            return Err(EditError::Invalid(format!("{tag:?} is no tag")));
        }
        if self.tags.iter().any(|known| known == tag) {
            return Ok(());
        }
        if self.tags.len() >= TAGS {
            return Err(EditError::Denied(format!("a message has at most {TAGS} tags")));
        }
        self.tags.push(tag.to_owned());
        Ok(())
    }

    /// Numbers the slots, so that a test can tell what stands where with [`slots`].
    pub(crate) fn slot(&self, what: &Slot) -> Result<String, EditError> {
        if let Slot::Link(Link::Click(ClickLink { url, .. }) | Link::Open(Some(url))) = what
            && holds_slot(url)
        {
            return Err(EditError::Invalid("the URL holds a value that differs by recipient".to_owned()));
        }
        let mut slots = self.slots.borrow_mut();
        slots.push(what.clone());
        Ok(format!("SLOT{:028}", slots.len() - 1))
    }
}
