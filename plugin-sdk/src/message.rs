//! The message that a plugin looks at and edits.

use serde::de::DeserializeOwned;

pub use crate::bindings::imports::tubepost::mail::message::{EditError, NewPart, PartInfo, Position, Recipient};
use crate::{
    Failure, Timestamp,
    bindings::imports::tubepost::mail::message::{ClickLink, Link, Slot},
};

/// In production a lease on a message that stays in the host; on other targets than wasm32 a stand-in for tests.
#[cfg(target_arch = "wasm32")]
type Backend = crate::bindings::imports::tubepost::mail::message::Message;
#[cfg(not(target_arch = "wasm32"))]
type Backend = crate::testing::StandIn;

/// One message: its envelope, its header, its parts, and what the submission says about it.
///
/// A plugin pays for what it asks for. Edits are seen at once by the plugin that makes them, and by others after a verdict that
/// keeps them; what is not edited keeps every octet that it came with.
#[derive(Debug)]
pub struct Message(Backend);

impl Message {
    pub(crate) fn new(backend: Backend) -> Self {
        Self(backend)
    }

    #[cfg(not(target_arch = "wasm32"))]
    pub(crate) fn stand_in(&self) -> &crate::testing::StandIn {
        &self.0
    }

    /// The id of the message: the same at every stage, attempt and event.
    pub fn id(&self) -> String {
        self.0.id()
    }

    /// What is known about the submission: "login", "protocol", "peer", "helo", "received-at", "public-url", "recipient-data".
    pub fn context(&self) -> Vec<(String, String)> {
        self.0.context()
    }

    /// The time that counts for this message, in milliseconds since 1970.
    pub fn now_ms(&self) -> u64 {
        self.0.now_ms()
    }

    /// The time that counts for this message: when it was received, at every stage and attempt.
    pub fn now(&self) -> Timestamp {
        Timestamp::from_millis(self.0.now_ms())
    }

    /// One thing that is known about the submission; see [`context`](Self::context) for the names.
    ///
    /// ```
    /// # use tubepost_plugin_sdk::testing::Draft;
    /// let message = Draft::new().context_of("login", "shop").message();
    /// assert_eq!(message.context_value("login").as_deref(), Some("shop"));
    /// ```
    pub fn context_value(&self, name: &str) -> Option<String> {
        self.0.context().into_iter().find(|(known, _)| known == name).map(|(_, value)| value)
    }

    /// The size of the message in octets, as it is now.
    pub fn size(&self) -> u64 {
        self.0.size()
    }

    /// The reverse-path; "" is the null sender.
    pub fn reverse_path(&self) -> String {
        self.0.reverse_path()
    }

    /// Sets the reverse-path; "" is the null sender.
    ///
    /// # Errors
    /// [`EditError::Invalid`] where it is no address, [`EditError::Denied`] where the stage or the configuration forbids it.
    pub fn set_reverse_path(&mut self, address: &str) -> Result<(), EditError> {
        self.0.set_reverse_path(address)
    }

    /// How many recipients there are; 1 in the stage `recipient`.
    pub fn recipient_count(&self) -> u32 {
        self.0.recipient_count()
    }

    /// Up to `limit` recipients from the one at `offset` on.
    pub fn recipients(&self, offset: u32, limit: u32) -> Vec<Recipient> {
        self.0.recipients(offset, limit)
    }

    /// Adds a recipient and returns its id; not in the stage `recipient`.
    pub fn add_recipient(&mut self, address: &str) -> Result<u32, EditError> {
        self.0.add_recipient(address)
    }

    /// Removes a recipient; not in the stage `recipient`.
    pub fn remove_recipient(&mut self, id: u32) -> Result<(), EditError> {
        self.0.remove_recipient(id)
    }

    /// All recipients. For a message to thousands, [`recipients`](Self::recipients) gives them page by page.
    pub fn all_recipients(&self) -> Vec<Recipient> {
        self.0.recipients(0, u32::MAX)
    }

    /// Puts one recipient in the place of all there are; not in the stage `recipient`.
    ///
    /// ```
    /// # use tubepost_plugin_sdk::testing::Draft;
    /// let mut message = Draft::new().recipient("ann@example.com").message();
    /// message.redirect("audit@example.com")?;
    /// assert_eq!(message.all_recipients().len(), 1);
    /// assert_eq!(message.all_recipients()[0].address, "audit@example.com");
    /// # Ok::<(), tubepost_plugin_sdk::EditError>(())
    /// ```
    ///
    /// # Errors
    /// [`EditError::Invalid`] where it is no address, and then nobody is removed; [`EditError::Denied`] in the stage `recipient`, and where
    /// the message has as many recipients as it may have.
    pub fn redirect(&mut self, address: &str) -> Result<(), EditError> {
        let kept = self.0.add_recipient(address)?;
        for recipient in self.all_recipients() {
            if recipient.id != kept {
                self.0.remove_recipient(recipient.id)?;
            }
        }
        Ok(())
    }

    /// The data given with the message as one JSON object; in the stage `recipient` with the recipient's own laid over it.
    pub fn variables_json(&self) -> String {
        self.0.variables()
    }

    /// The data given with the message, parsed.
    ///
    /// # Errors
    /// [`Failure::Permanent`] where the data does not fit `T`.
    pub fn variables<T: DeserializeOwned>(&self) -> Result<T, Failure> {
        let json = self.0.variables();
        Ok(serde_json::from_str(if json.is_empty() { "{}" } else { &json })?)
    }

    /// The first header field of this name, unfolded and decoded.
    pub fn header(&self, name: &str) -> Option<String> {
        self.0.header(name)
    }

    /// All header fields of this name in the order of the message, unfolded and decoded.
    pub fn header_all(&self, name: &str) -> Vec<String> {
        self.0.header_all(name)
    }

    /// The first header field of this name as it stands in the message: folded and encoded, without name, colon and line end.
    pub fn header_raw(&self, name: &str) -> Option<Vec<u8>> {
        self.0.header_raw(name)
    }

    /// The names of all header fields in order, doubles included.
    pub fn header_names(&self) -> Vec<String> {
        self.0.header_names()
    }

    /// Names and decoded values of all header fields in order.
    pub fn headers(&self) -> Vec<(String, String)> {
        self.0.headers().into_iter().map(|field| (field.name, field.value)).collect()
    }

    /// Adds a header field; the host folds and encodes it.
    pub fn add_header(&mut self, name: &str, value: &str, at: Position) -> Result<(), EditError> {
        self.0.add_header(name, value, at)
    }

    /// Puts one header field in the place of all fields of this name.
    pub fn set_header(&mut self, name: &str, value: &str) -> Result<(), EditError> {
        self.0.set_header(name, value)
    }

    /// Removes all header fields of this name and returns how many there were.
    pub fn remove_header(&mut self, name: &str) -> Result<u32, EditError> {
        self.0.remove_header(name)
    }

    /// The text/plain part that a reader sees, as UTF-8.
    pub fn text(&self) -> Option<String> {
        self.0.text()
    }

    /// Replaces the text/plain part; denied where there is none.
    pub fn set_text(&mut self, value: &str) -> Result<(), EditError> {
        self.0.set_text(value)
    }

    /// The text/html part that a reader sees, as UTF-8.
    pub fn html(&self) -> Option<String> {
        self.0.html()
    }

    /// Replaces the text/html part; denied where there is none.
    pub fn set_html(&mut self, value: &str) -> Result<(), EditError> {
        self.0.set_html(value)
    }

    /// The MIME tree, parents first; the root has id 0.
    pub fn parts(&self) -> Vec<PartInfo> {
        self.0.parts()
    }

    /// Up to `length` octets of a leaf's decoded content from `offset` on.
    pub fn read_part(&self, id: u32, offset: u64, length: u32) -> Result<Vec<u8>, EditError> {
        self.0.read_part(id, offset, length)
    }

    /// Replaces a leaf's content; its other header fields stay.
    pub fn write_part(&mut self, id: u32, content: &[u8]) -> Result<(), EditError> {
        self.0.write_part(id, content)
    }

    /// Adds a leaf at the end of a multipart, or beside all that there is; returns its id.
    pub fn add_part(&mut self, parent: Option<u32>, part: &NewPart) -> Result<u32, EditError> {
        self.0.add_part(parent, part)
    }

    /// Removes a part and all below it; the root cannot be removed.
    pub fn remove_part(&mut self, id: u32) -> Result<(), EditError> {
        self.0.remove_part(id)
    }

    /// Up to `length` octets of the message as it was received, from `offset` on.
    pub fn read_original(&self, offset: u64, length: u32) -> Vec<u8> {
        self.0.read_original(offset, length)
    }

    /// Up to `length` octets of the whole message as it is now, edits included, from `offset` on.
    ///
    /// Dear: the message is put together for it.
    pub fn read_content(&self, offset: u64, length: u32) -> Vec<u8> {
        self.0.read_content(offset, length)
    }

    /// The whole message as it is now, edits included. Dear, as it is copied: for signing and encrypting, not for looking.
    pub fn content(&self) -> Vec<u8> {
        in_slices(|offset| Ok::<_, std::convert::Infallible>(self.0.read_content(offset, SLICE))).unwrap_or_default()
    }

    /// The whole decoded content of a leaf. The size of a leaf is known beforehand by [`PartInfo::size`].
    ///
    /// # Errors
    /// [`EditError::NoSuchPart`] where there is no such leaf.
    pub fn part_content(&self, id: u32) -> Result<Vec<u8>, EditError> {
        in_slices(|offset| self.0.read_part(id, offset, SLICE))
    }

    /// Puts another message in the place of all that there is: header and body as they go over the wire, line ends CRLF.
    ///
    /// Ids of parts begin anew. For what cannot be said by edits, such as signing or encrypting the whole.
    ///
    /// # Errors
    /// [`EditError::Invalid`] where a line ends otherwise; [`EditError::Denied`] where values that differ by recipient are to be filled in.
    pub fn set_content(&mut self, content: &[u8]) -> Result<(), EditError> {
        self.0.set_content(content)
    }

    /// Whether any part of the message is signed or encrypted (PGP/MIME, S/MIME), or holds inline PGP in the text that a reader sees: then no
    /// part can be edited without breaking it. Header fields of the message itself are outside of such a seal.
    ///
    /// ```
    /// # use tubepost_plugin_sdk::testing::Draft;
    /// assert!(!Draft::new().text("Hello").message().is_sealed());
    /// assert!(Draft::new().text("-----BEGIN PGP SIGNED MESSAGE-----").message().is_sealed());
    /// ```
    pub fn is_sealed(&self) -> bool {
        const KINDS: [&str; 6] = [
            "multipart/signed",
            "multipart/encrypted",
            "application/pkcs7-mime",
            "application/x-pkcs7-mime",
            "application/pgp-encrypted",
            "application/pgp-signature",
        ];
        self.0.parts().iter().any(|part| KINDS.contains(&part.content_type.as_str()))
            || self.0.text().is_some_and(|text| text.lines().any(|line| line.starts_with("-----BEGIN PGP ")))
    }

    /// The operator's route over which the message will go, where this or an earlier plugin chose one.
    pub fn route(&self) -> Option<String> {
        self.0.route()
    }

    /// Sends the message over a route of the operator's, which must be granted by `allow.routes`; not in the stage `recipient`.
    ///
    /// # Errors
    /// [`EditError::Denied`] where it is not granted.
    pub fn set_route(&mut self, name: &str) -> Result<(), EditError> {
        self.0.set_route(name)
    }

    /// Before this time, delivery is not tried.
    pub fn not_before(&self) -> Option<Timestamp> {
        self.0.not_before_ms().map(Timestamp::from_millis)
    }

    /// Puts delivery off until a time; not in the stage `recipient`. A wish of the message's own for a later time is kept.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use tubepost_plugin_sdk::testing::Draft;
    /// let mut message = Draft::new().message();
    /// let in_an_hour = message.now() + Duration::from_hours(1);
    /// message.set_not_before(in_an_hour)?;
    /// assert_eq!(message.not_before(), Some(in_an_hour));
    /// # Ok::<(), tubepost_plugin_sdk::EditError>(())
    /// ```
    ///
    /// # Errors
    /// [`EditError::Invalid`] where the message would be too old by then.
    pub fn set_not_before(&mut self, at: Timestamp) -> Result<(), EditError> {
        self.0.set_not_before(at.as_millis())
    }

    /// The tags of the message.
    pub fn tags(&self) -> Vec<String> {
        self.0.tags()
    }

    /// Adds a tag: at most 128 characters, no comma, semicolon or control character.
    pub fn add_tag(&mut self, tag: &str) -> Result<(), EditError> {
        self.0.add_tag(tag)
    }

    /// What to write where a recipient's address shall stand.
    ///
    /// This and the functions below return a token of 32 letters and digits in the stage `submit`, which the host replaces for
    /// each recipient, and the value itself in the stage `recipient`.
    pub fn recipient_slot(&mut self) -> Result<String, EditError> {
        self.0.slot(&Slot::Address)
    }

    /// What to write where a variable of the recipient's data shall stand; `a.b` looks inside objects.
    pub fn variable_slot(&mut self, name: &str) -> Result<String, EditError> {
        self.0.slot(&Slot::Variable(name.to_owned()))
    }

    /// What to write where a signed link shall stand that goes to `url` and is seen as a click on link `position` of the message.
    pub fn click_link(&mut self, url: &str, position: u32) -> Result<String, EditError> {
        self.0.slot(&Slot::Link(Link::Click(ClickLink { url: url.to_owned(), position })))
    }

    /// What to write as the source of an image whose loading is seen as an opening: `image`, or a transparent pixel.
    pub fn open_link(&mut self, image: Option<&str>) -> Result<String, EditError> {
        self.0.slot(&Slot::Link(Link::Open(image.map(ToOwned::to_owned))))
    }

    /// What to write where a signed link shall stand that unsubscribes the recipient.
    pub fn unsubscribe_link(&mut self) -> Result<String, EditError> {
        self.0.slot(&Slot::Link(Link::Unsubscribe))
    }

    /// What to write where a signed link shall stand that comes back to this plugin: whoever follows it is an event
    /// [`EventKind::Followed`](crate::EventKind::Followed) with these `claims`, at most 1,000 octets. The reader is led to `url`, or sees a short
    /// page that thanks him. Must be granted by `allow.links`.
    ///
    /// # Errors
    /// [`EditError::Denied`] where it is not granted, [`EditError::Invalid`] where `url` is no absolute http or https URL.
    pub fn own_link(&mut self, claims: &str, url: Option<&str>) -> Result<String, EditError> {
        self.0.own_link(claims, url)
    }
}

impl NewPart {
    /// An attachment with a name.
    ///
    /// ```
    /// # use tubepost_plugin_sdk::{NewPart, testing::Draft};
    /// let mut message = Draft::new().text("See below").message();
    /// message.add_part(None, &NewPart::attachment("a.csv", "text/csv", "a,b\r\n"))?;
    /// assert_eq!(message.parts().last().and_then(|part| part.filename.clone()).as_deref(), Some("a.csv"));
    /// # Ok::<(), tubepost_plugin_sdk::EditError>(())
    /// ```
    pub fn attachment(filename: &str, content_type: &str, content: impl Into<Vec<u8>>) -> Self {
        let filename = Some(filename.to_owned());
        Self { content_type: content_type.to_owned(), filename, content_id: None, inline: false, content: content.into() }
    }

    /// A part without a name that is shown with the message, where the reader's program can.
    pub fn inline(content_type: &str, content: impl Into<Vec<u8>>) -> Self {
        Self { content_type: content_type.to_owned(), filename: None, content_id: None, inline: true, content: content.into() }
    }
}

/// Octets that are asked for at once.
const SLICE: u32 = 1 << 20;

/// Reads to the end.
fn in_slices<E>(read: impl Fn(u64) -> Result<Vec<u8>, E>) -> Result<Vec<u8>, E> {
    let mut whole = read(0)?;
    let mut full = whole.len() >= SLICE as usize;
    while full {
        let slice = read(whole.len() as u64)?;
        full = slice.len() >= SLICE as usize;
        whole.extend(slice);
    }
    Ok(whole)
}
