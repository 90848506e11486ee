//! Just enough MIME to look at what we built: the tree of parts, their header fields and their content.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;

/// A part of a message, or the whole of it.
#[derive(Clone, Debug)]
pub struct Part {
    header: Vec<(String, String)>,
    body: String,
    /// The parts in it.
    pub children: Vec<Part>,
}

impl Part {
    /// Reads a message.
    pub fn read(text: &str) -> Self {
        let (header, body) = text.split_once("\r\n\r\n").unwrap_or((text, ""));
        let unfolded = header.trim_start_matches("\r\n").replace("\r\n ", " ").replace("\r\n\t", " ");
        let header = unfolded.split("\r\n").filter_map(|line| line.split_once(':'));
        let header: Vec<_> = header.map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned())).collect();
        let mut part = Self { header, body: body.to_owned(), children: Vec::new() };
        if let Some(boundary) = part.parameter("content-type", "boundary") {
            let body = format!("\r\n{}", part.body);
            let inside = body.split(&format!("\r\n--{boundary}--")).next().unwrap_or_default();
            part.children = inside.split(&format!("\r\n--{boundary}\r\n")).skip(1).map(Self::read).collect();
        }
        part
    }

    /// All values of a header field, unfolded.
    pub fn fields(&self, name: &str) -> Vec<&str> {
        self.header.iter().filter(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str()).collect()
    }

    /// The names of all header fields, in lower case.
    pub fn names(&self) -> Vec<&str> {
        self.header.iter().map(|(name, _)| name.as_str()).collect()
    }

    /// `type/subtype`.
    pub fn content_type(&self) -> &str {
        self.fields("content-type").first().and_then(|value| value.split(';').next()).unwrap_or("text/plain").trim()
    }

    /// A parameter of a structured field, without its quotes.
    pub fn parameter(&self, field: &str, name: &str) -> Option<String> {
        let value = (*self.fields(field).first()?).to_owned();
        let found =
            value.split(';').skip(1).find_map(|parameter| parameter.trim().strip_prefix(name)?.strip_prefix('=').map(str::to_owned));
        found.map(|value| value.trim_matches('"').to_owned())
    }

    /// The tree: `mixed(alternative(plain,html),pdf)`.
    pub fn tree(&self) -> String {
        let kind = self.content_type().split('/').nth(1).unwrap_or_default();
        if self.children.is_empty() {
            return kind.to_owned();
        }
        format!("{kind}({})", self.children.iter().map(Self::tree).collect::<Vec<_>>().join(","))
    }

    /// All leaves, in order.
    pub fn leaves(&self) -> Vec<&Self> {
        if self.children.is_empty() { vec![self] } else { self.children.iter().flat_map(Self::leaves).collect() }
    }

    /// The content, decoded where it is quoted-printable or base64.
    pub fn content(&self) -> Vec<u8> {
        match self.fields("content-transfer-encoding").first().copied().unwrap_or_default() {
            "base64" => BASE64_STANDARD.decode(self.body.replace("\r\n", "")).unwrap_or_default(),
            "quoted-printable" => unquoted(&self.body),
            _ => self.body.clone().into_bytes(),
        }
    }

    /// The content as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.content()).into_owned()
    }
}

fn unquoted(text: &str) -> Vec<u8> {
    let text = text.replace("=\r\n", "");
    let mut octets = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, tail)) = rest.split_first() {
        let digits = tail.get(..2).and_then(|digits| str::from_utf8(digits).ok());
        match digits.and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            Some(octet) if *first == b'=' => {
                octets.push(octet);
                rest = tail.get(2..).unwrap_or_default();
            }
            _ => {
                octets.push(*first);
                rest = tail;
            }
        }
    }
    octets
}
