//! The vocabulary of mail: addresses, ids, header fields, links.

use tubepost::link::{LinkSigner, SignedLink, is_web};
use tubepost::mail::address::EmailAddress;
use tubepost::mail::domain::Domain;
use tubepost::mail::enhanced_status::EnhancedStatus;
use tubepost::mail::header::{self, MAX_LINE, Mailbox, MessageIdField, charset, encoded_word, parameters::Parameterized};
use tubepost::mail::message_id::{CopyId, MessageId};
use tubepost::mail::slot::Link;
use tubepost::mail::tag::Tag;

use crate::input::directive;

/// Addresses, domains, ids, status codes, tags: what is taken is written in a form that is taken for the same.
///
/// Everything that is kept on disk is such a text: if it could not be read again, mail would be lost.
pub fn address(octets: &[u8]) {
    let Ok(text) = str::from_utf8(octets) else { return };
    for text in text.lines().chain([text]) {
        if let Ok(address) = EmailAddress::parse(text) {
            assert_eq!(EmailAddress::parse(&address.to_string()).as_ref(), Ok(&address));
            assert!(!address.to_string().contains(char::is_control));
            let ascii = address.to_ascii_domain();
            assert!(!address.is_ascii() || ascii.is_ascii());
            let again = EmailAddress::parse(&ascii).expect("with A-labels it is an address too");
            assert_eq!((again.to_ascii_domain(), again.local_part()), (ascii, address.local_part()));
        }
        if let Ok(domain) = Domain::parse(text) {
            assert_eq!(Domain::parse(domain.as_str()).as_ref(), Ok(&domain));
            let ascii = domain.to_ascii();
            assert!(ascii.is_ascii() && ascii.len() <= 255, "{ascii:?}");
            assert_eq!(Domain::parse(&ascii).map(|again| again.to_ascii()), Ok(ascii), "{domain}");
        }
        if let Ok(id) = text.parse::<MessageId>() {
            assert_eq!(id.to_string().parse(), Ok(id));
            assert_eq!(MessageId::from_bytes(id.to_bytes()), id);
        }
        if let Ok(copy) = text.parse::<CopyId>() {
            assert_eq!(copy.to_string().parse(), Ok(copy));
        }
        if let Ok(status) = text.parse::<EnhancedStatus>() {
            assert_eq!(status.to_string().parse(), Ok(status));
        }
        if let Ok(tag) = Tag::parse(text) {
            assert_eq!(Tag::parse(tag.as_str()), Ok(tag));
        }
        if let Ok(id) = MessageIdField::parse(text) {
            assert_eq!(MessageIdField::parse(&id.to_string()), Ok(id));
        }
        let _ = MessageIdField::parse_list(text);
    }
}

/// Header fields: what is read has no line of its own, and what is written of it is one field that reads the same.
///
/// The first line of the input is the name, the rest the raw value.
pub fn header(octets: &[u8]) {
    let (name, raw) = directive(octets);
    let value = header::decode(name, raw);
    assert!(!value.contains(['\r', '\n']), "{value:?}");
    if let Ok(field) = header::encode(name, &value) {
        let read = header::decode(name, check_field(name, &field));
        // A list has other blanks and quotes then, and domains in A-labels; its addresses are the same, and its names, unless one is written
        // like an encoded word, which readers decode once more.
        let (before, after) = (shown(&value), shown(&read));
        let addresses = |list: &Option<Shown>| list.iter().flatten().map(|(_, address)| address.clone()).collect::<Vec<_>>();
        let is_same = before.is_none() || before == after || value.contains("=?") && addresses(&before) == addresses(&after);
        assert!(is_same || read == value.trim_matches([' ', '\t']), "{value:?} is read as {read:?}");
    }
    let list = Mailbox::parse_raw(raw);
    for mailbox in &list {
        assert!(!mailbox.name.as_ref().is_some_and(|name| name.contains(|letter: char| letter.is_control() && letter != '\t')));
        let is_plain = !mailbox.name.as_ref().is_some_and(|name| name.contains("=?"));
        let again = Mailbox::parse_list(&mailbox.to_string());
        assert!(!is_plain || again.as_ref() == Ok(&vec![mailbox.clone()]), "{mailbox:?} is read as {again:?}");
        assert_eq!(again.map(|again| again.len()), Ok(1), "{mailbox:?}");
    }
    if let Ok(senders) = Mailbox::parse_senders(raw) {
        let addresses: Vec<_> = list.iter().map(|mailbox| &mailbox.address).collect();
        assert_eq!(senders.iter().collect::<Vec<_>>(), addresses, "who may use From is asked for others than it has");
    }
    let parameterized = Parameterized::parse(raw);
    assert!(parameterized.value.len() <= raw.len() * 3);
    for name in ["boundary", "charset", "filename", "name"] {
        let _ = parameterized.parameter(name);
    }
    let _ = charset::decode(Some(name), raw);
    if let Ok(text) = str::from_utf8(raw) {
        let decoded = encoded_word::decode(text);
        assert!(text.contains("=?") || decoded == text, "{decoded:?}");
    }
}

/// Names and addresses.
type Shown = Vec<(Option<String>, String)>;

/// The mailboxes of a list, in the form in which they go over the wire.
fn shown(list: &str) -> Option<Shown> {
    let list = Mailbox::parse_list(list).ok()?;
    Some(list.into_iter().map(|mailbox| (mailbox.name, mailbox.address.to_ascii_domain())).collect())
}

/// One field: its lines are short enough, and go on with a blank. Returns its raw value.
fn check_field<'a>(name: &str, field: &'a [u8]) -> &'a [u8] {
    let inside = field.strip_suffix(b"\r\n").expect("a field ends with CRLF");
    let raw = inside.strip_prefix(name.as_bytes()).and_then(|rest| rest.strip_prefix(b":")).expect("a field begins with its name");
    for (place, line) in inside.split(|octet| *octet == b'\n').enumerate() {
        assert!(line.len() <= MAX_LINE + 1, "a line of {} octets", line.len());
        assert!(place == 0 || line.starts_with(b" ") || line.starts_with(b"\t"), "another field");
    }
    raw
}

const BASE: &str = "https://t.example.com";

/// Links: nothing is ours but what we signed, and that is read as it was.
///
/// The input is a path; it is also the URL of a link that is signed, and where its octets say so changed in one place.
pub fn link(octets: &[u8]) {
    let signer = LinkSigner::new([7; 32], BASE.to_owned());
    let text = String::from_utf8_lossy(octets);
    // The key is this file's: whoever finds another input that is verified has broken HMAC, or the check.
    let token = text.strip_prefix("/t/").and_then(|rest| rest.split(['/', '.']).next());
    assert!(signer.verify(&text).is_none() || token == Some(SIGNED), "a path that nobody signed");
    let number = u32::from(octets.first().copied().unwrap_or_default()) * 1_000_003;
    let copy = CopyId { message: MessageId::from_bytes([9; 16]), recipient: number };
    for link in [
        Link::Click { url: text.clone().into_owned(), position: number },
        Link::Open(Some(text.clone().into_owned())),
        Link::Open(None),
        Link::Unsubscribe,
        Link::Own { plugin: "survey".to_owned(), claims: text.clone().into_owned(), url: None },
        Link::Own { plugin: String::new(), claims: String::new(), url: Some(text.clone().into_owned()).filter(|url| !url.is_empty()) },
    ] {
        let url = signer.url(copy, &link);
        assert!(url.is_ascii());
        let path = url.strip_prefix(BASE).expect("below the base");
        let leads_to_web = match &link {
            Link::Click { url, .. } | Link::Open(Some(url)) | Link::Own { url: Some(url), .. } => is_web(url),
            Link::Open(None) | Link::Unsubscribe | Link::Own { url: None, .. } => true,
        };
        // Paths have a longest length, which a message's own URLs do not reach.
        let expected = (leads_to_web && path.len() <= 16 * 1024).then(|| SignedLink { copy, link: link.clone() });
        assert_eq!(signer.verify(path), expected, "{path}");
        let token_end = path.get(3..).and_then(|token| token.find(['/', '.'])).map_or(path.len(), |end| end + 3);
        let place = 3 + octets.len() * 7 % (token_end - 3);
        let mut forged = path.as_bytes().to_vec();
        if let Some(octet) = forged.get_mut(place) {
            *octet = if *octet == b'A' { b'B' } else { b'A' };
        }
        assert_eq!(signer.verify(&String::from_utf8_lossy(&forged)), None, "a changed link is taken: {path}");
    }
}

/// A token in the corpus that this key has signed.
const SIGNED: &str = "AgkJCQkJCQkJCQkJCQkJCQkB3gH1FqgpnJMCQGu8twZEXg";
