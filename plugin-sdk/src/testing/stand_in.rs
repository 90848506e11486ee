//! The message that [`Draft`](super::Draft) makes: the functions of the host's resource over what is kept in memory.

use std::cell::RefCell;

use super::host::RECEIVED;
use crate::{
    Timestamp,
    bindings::imports::tubepost::mail::{
        message::{ClickLink, EditError, Link, NewPart, PartInfo, Position, Recipient, Slot},
        types::Field,
    },
};

/// Tags of a message, by default of the host's configuration.
const TAGS: usize = 100;
/// Octets of the claims of a plugin's own link.
const CLAIMS: usize = 1_000;

/// A value that differs by recipient, as it was asked for.
#[derive(Debug, Clone)]
pub(super) enum Asked {
    Slot(Slot),
    Own { claims: String, url: Option<String> },
}

/// A decoded message in memory.
#[derive(Debug, Clone)]
pub(crate) struct StandIn {
    pub(super) headers: Vec<Field>,
    pub(super) parts: Vec<(PartInfo, Vec<u8>)>,
    pub(super) reverse_path: String,
    pub(super) recipients: Vec<Recipient>,
    next_recipient: u32,
    pub(super) variables: String,
    pub(super) context: Vec<(String, String)>,
    tags: Vec<String>,
    pub(super) slots: RefCell<Vec<Asked>>,
    pub(super) id: String,
    pub(super) now: Timestamp,
    /// Whether it is the copy of one recipient.
    pub(super) is_copy: bool,
    pub(super) route: Option<String>,
    pub(super) not_before: Option<u64>,
    /// What the message was read from.
    pub(super) original: Vec<u8>,
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
            id: "0000000000000000".to_owned(),
            now: RECEIVED,
            is_copy: false,
            route: None,
            not_before: None,
            original: Vec::new(),
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

/// Where a signed link may lead.
fn valid_target(url: &str) -> Result<(), EditError> {
    let is_web = |scheme: &str| url.get(..scheme.len()).is_some_and(|start| start.eq_ignore_ascii_case(scheme));
    if !is_web("http://") && !is_web("https://") {
        return Err(EditError::Invalid("a link needs an absolute http or https URL".to_owned()));
    }
    if holds_slot(url) {
        return Err(EditError::Invalid("the URL holds a value that differs by recipient".to_owned()));
    }
    Ok(())
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
        self.id.clone()
    }

    pub(crate) fn context(&self) -> Vec<(String, String)> {
        self.context.clone()
    }

    pub(crate) fn now_ms(&self) -> u64 {
        self.now.as_millis()
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

    /// Whether envelope and way may be changed.
    fn whole(&self) -> Result<(), EditError> {
        if self.is_copy { Err(EditError::Denied("this is the copy of one recipient".to_owned())) } else { Ok(()) }
    }

    pub(crate) fn add_recipient(&mut self, address: &str) -> Result<u32, EditError> {
        self.whole()?;
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
        self.whole()?;
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
        Ok(slice(content, offset, length))
    }

    pub(crate) fn write_part(&mut self, id: u32, new: &[u8]) -> Result<(), EditError> {
        let index = self.leaf_at(id)?;
        let (info, content) = self.parts.get_mut(index).ok_or(EditError::NoSuchPart)?;
        *content = new.to_vec();
        info.size = content.len() as u64;
        Ok(())
    }

    pub(crate) fn add_part(&mut self, parent: Option<u32>, new: &NewPart) -> Result<u32, EditError> {
        let parent = parent.unwrap_or_else(|| self.mixed_root());
        if self
            .parts
            .iter()
            .any(|(info, _)| info.id == parent && ["multipart/signed", "multipart/encrypted"].contains(&info.content_type.as_str()))
        {
            return Err(EditError::Denied("a signed or encrypted part takes no other parts".to_owned()));
        }
        let multipart = |(info, _): &(PartInfo, Vec<u8>)| info.id == parent && info.content_type.starts_with("multipart/");
        if !self.parts.iter().any(multipart) {
            return Err(EditError::NoSuchPart);
        }
        let id = self.next_part();
        let info = PartInfo {
            id,
            parent: Some(parent),
            content_type: new.content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase(),
            charset: None,
            filename: new.filename.clone(),
            content_id: new.content_id.clone(),
            inline: new.inline,
            size: new.content.len() as u64,
        };
        self.parts.push((info, new.content.clone()));
        Ok(id)
    }

    /// The root, which is a multipart/mixed then.
    fn mixed_root(&mut self) -> u32 {
        let id = self.next_part();
        match self.parts.iter_mut().find(|(info, _)| info.parent.is_none()) {
            Some((root, _)) if root.content_type == "multipart/mixed" => return root.id,
            Some((root, _)) => root.parent = Some(id),
            None => {}
        }
        self.parts.insert(0, (part(id, None, "multipart/mixed"), Vec::new()));
        id
    }

    pub(crate) fn remove_part(&mut self, id: u32) -> Result<(), EditError> {
        let (found, _) = self.parts.iter().find(|(info, _)| info.id == id).ok_or(EditError::NoSuchPart)?;
        let Some(parent) = found.parent else { return Err(EditError::Denied("a message keeps at least one part".to_owned())) };
        // A multipart goes with its last part.
        if self.parts.iter().filter(|(info, _)| info.parent == Some(parent)).count() == 1
            && self.parts.iter().any(|(info, _)| info.id == parent && info.parent.is_some())
        {
            return self.remove_part(parent);
        }
        let mut gone = vec![id];
        while let Some(id) = gone.pop() {
            gone.extend(self.parts.iter().filter(|(info, _)| info.parent == Some(id)).map(|(info, _)| info.id));
            self.parts.retain(|(info, _)| info.id != id);
        }
        Ok(())
    }

    pub(crate) fn read_original(&self, offset: u64, length: u32) -> Vec<u8> {
        slice(&self.original, offset, length)
    }

    pub(crate) fn read_content(&self, offset: u64, length: u32) -> Vec<u8> {
        slice(&self.write(), offset, length)
    }

    pub(crate) fn set_content(&mut self, content: &[u8]) -> Result<(), EditError> {
        if !self.slots.borrow().is_empty() {
            return Err(EditError::Denied("values that differ by recipient are still to be filled in".to_owned()));
        }
        if content.split_inclusive(|octet| *octet == b'\n').any(|line| !line.ends_with(b"\r\n")) {
            return Err(EditError::Invalid("line ends must be CRLF".to_owned()));
        }
        self.read(content);
        Ok(())
    }

    pub(crate) fn route(&self) -> Option<String> {
        self.route.clone()
    }

    pub(crate) fn set_route(&mut self, name: &str) -> Result<(), EditError> {
        self.whole()?;
        self.route = Some(name.to_owned());
        Ok(())
    }

    pub(crate) fn not_before_ms(&self) -> Option<u64> {
        self.not_before
    }

    pub(crate) fn set_not_before(&mut self, at_ms: u64) -> Result<(), EditError> {
        self.whole()?;
        let at = at_ms.max(self.now.as_millis());
        self.not_before = Some(self.not_before.map_or(at, |wish| wish.max(at)));
        Ok(())
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

    /// Numbers the slots, so that a test can tell what stands where with [`slots`](super::slots).
    fn ask(&self, what: Asked) -> String {
        let mut slots = self.slots.borrow_mut();
        slots.push(what);
        format!("SLOT{:028}", slots.len() - 1)
    }

    pub(crate) fn slot(&self, what: &Slot) -> Result<String, EditError> {
        match what {
            Slot::Link(Link::Click(ClickLink { url, .. }) | Link::Open(Some(url))) => valid_target(url)?,
            Slot::Address if self.is_copy => return Ok(self.recipients.first().map(|one| one.address.clone()).unwrap_or_default()),
            Slot::Variable(name) if self.is_copy => return Ok(self.variable(name)),
            Slot::Address | Slot::Variable(_) | Slot::Link(Link::Open(None) | Link::Unsubscribe) => {}
        }
        Ok(self.ask(Asked::Slot(what.clone())))
    }

    pub(super) fn variable(&self, path: &str) -> String {
        let whole: serde_json::Value = serde_json::from_str(&self.variables).unwrap_or_default();
        match path.split('.').try_fold(&whole, |value, name| value.get(name)) {
            None | Some(serde_json::Value::Null) => String::new(),
            Some(serde_json::Value::String(text)) => text.clone(),
            Some(other) => other.to_string(),
        }
    }

    pub(crate) fn own_link(&self, claims: &str, url: Option<&str>) -> Result<String, EditError> {
        if claims.len() > CLAIMS {
            return Err(EditError::Invalid(format!("claims have at most {CLAIMS} octets")));
        }
        url.map_or(Ok(()), valid_target)?;
        Ok(self.ask(Asked::Own { claims: claims.to_owned(), url: url.map(ToOwned::to_owned) }))
    }
}

fn slice(octets: &[u8], offset: u64, length: u32) -> Vec<u8> {
    octets.iter().skip(usize::try_from(offset).unwrap_or(usize::MAX)).take(length as usize).copied().collect()
}
