//! What a server says it can do (RFC 5321 §4.1.1.1, and the RFC of each extension).

use super::reply::Reply;

/// Extensions of a server, as far as we use them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each is an extension of its own")]
pub struct Extensions {
    /// `PIPELINING` (RFC 2920).
    pub pipelining: bool,
    /// `CHUNKING` (RFC 3030).
    pub chunking: bool,
    /// `BINARYMIME` (RFC 3030).
    pub binary_mime: bool,
    /// `8BITMIME` (RFC 6152).
    pub eight_bit_mime: bool,
    /// `SMTPUTF8` (RFC 6531).
    pub smtputf8: bool,
    /// `DSN` (RFC 3461).
    pub dsn: bool,
    /// `STARTTLS` (RFC 3207).
    pub starttls: bool,
    /// `SIZE` (RFC 1870).
    pub size: Option<Size>,
    /// `MT-PRIORITY` (RFC 6710).
    pub mt_priority: bool,
    /// `REQUIRETLS` (RFC 8689).
    pub require_tls: bool,
    /// `AUTH PLAIN` (RFC 4954, RFC 4616).
    pub auth_plain: bool,
    /// `AUTH LOGIN`, which no RFC has and many servers do.
    pub auth_login: bool,
}

/// How large a message may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Size {
    /// The server does not say, or has no limit.
    Unlimited,
    /// At most so many octets.
    AtMost(u64),
}

impl Extensions {
    /// Whether content may be anything but lines: there is no way to send that but in chunks (RFC 3030 §3).
    pub fn takes_binary(&self) -> bool {
        self.binary_mime && self.chunking
    }

    /// Reads the answer to EHLO. What is not known or is not well-formed is passed over.
    pub fn parse(reply: &Reply) -> Self {
        let mut extensions = Self::default();
        for line in reply.lines().skip(1) {
            // `AUTH=PLAIN` is how servers of the last century wrote it.
            let mut words = line.split([' ', '=']).filter(|word| !word.is_empty());
            let Some(keyword) = words.next() else { continue };
            match keyword.to_ascii_uppercase().as_str() {
                "PIPELINING" => extensions.pipelining = true,
                "CHUNKING" => extensions.chunking = true,
                "BINARYMIME" => extensions.binary_mime = true,
                "8BITMIME" => extensions.eight_bit_mime = true,
                "SMTPUTF8" => extensions.smtputf8 = true,
                "DSN" => extensions.dsn = true,
                "MT-PRIORITY" => extensions.mt_priority = true,
                "REQUIRETLS" => extensions.require_tls = true,
                "STARTTLS" => extensions.starttls = true,
                "SIZE" => {
                    let limit = words.next().and_then(|word| word.parse::<u64>().ok()).filter(|limit| *limit > 0);
                    extensions.size = Some(limit.map_or(Size::Unlimited, Size::AtMost));
                }
                "AUTH" => {
                    for mechanism in words {
                        extensions.auth_plain |= mechanism.eq_ignore_ascii_case("PLAIN");
                        extensions.auth_login |= mechanism.eq_ignore_ascii_case("LOGIN");
                    }
                }
                _ => {}
            }
        }
        extensions
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_extensions_are_found() {
        let reply =
            Reply::local(250, "mx hello PIPELINING\npipelining\nSIZE 1000\nAUTH=LOGIN\nAUTH CRAM-MD5 plain\nX-WHATEVER a\n\nSMTPUTF8");
        let expected = Extensions {
            pipelining: true,
            size: Some(Size::AtMost(1000)),
            auth_plain: true,
            auth_login: true,
            smtputf8: true,
            ..Extensions::default()
        };
        assert_eq!(Extensions::parse(&reply), expected);
        assert!(Extensions::parse(&Reply::local(250, "mx\nCHUNKING\nBINARYMIME")).takes_binary());
        assert!(!Extensions::parse(&Reply::local(250, "mx\nBINARYMIME")).takes_binary());
        assert_eq!(Extensions::parse(&Reply::local(250, "PIPELINING")), Extensions::default());
        assert_eq!(Extensions::parse(&Reply::local(250, "mx\nSIZE")).size, Some(Size::Unlimited));
        assert_eq!(Extensions::parse(&Reply::local(250, "mx\nSIZE 0")).size, Some(Size::Unlimited));
        assert_eq!(Extensions::parse(&Reply::local(250, "mx\nSIZE many")).size, Some(Size::Unlimited));
    }
}
