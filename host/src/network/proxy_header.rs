//! The header of the PROXY protocol, versions 1 and 2: what a balancer says in front of a connection that it passes on (`proxy-protocol.txt`
//! of the balancer that began it).
//!
//! Octets in, a client's address out. The parser never asks for more than the header still has at least, so that nothing of what follows is
//! read with it. Checksums and other additions of version 2 are passed over.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::num::NonZeroUsize;

/// Octets of the shortest header of either version: before that nothing can be read too much.
const SHORTEST: usize = b"PROXY UNKNOWN\r\n".len();
/// Octets of a header of version 1, with its CRLF.
const LONGEST_TEXT: usize = 107;
/// Octets behind the fixed part of a header of version 2: 216 for the longest addresses, and room for what may be added.
const LONGEST_BINARY: usize = 4_096;
/// What a header of version 2 begins with.
const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";
/// What a header of version 1 begins with.
const WORD: &[u8; 6] = b"PROXY ";
/// Octets of a header of version 2 before its addresses.
const FIXED: usize = 16;

/// What there is of a header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProxyHeader {
    /// At least so many octets more are needed.
    Needs(NonZeroUsize),
    /// All of it.
    Whole(Behind),
}

/// For whom a proxy has opened a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Behind {
    /// For this client.
    Client(SocketAddr),
    /// For a client that it does not know, or whose address is of no kind that we know. It is not the proxy: what that may is not for this client.
    Unknown,
    /// For itself (`LOCAL`): it looks whether we are there.
    Nobody,
}

/// Why octets are no header.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProxyHeaderError {
    /// It begins as none does.
    #[error("the connection does not begin with a header of the PROXY protocol")]
    Missing,
    /// It begins as one, and is none.
    #[error("the header of the PROXY protocol is malformed")]
    Malformed,
    /// It is longer than one may be.
    #[error("the header of the PROXY protocol is too long")]
    TooLong,
}

impl ProxyHeader {
    /// Looks at the first octets of a connection.
    ///
    /// # Errors
    /// The connection is to be closed: nobody knows whose it is.
    pub fn parse(octets: &[u8]) -> Result<Self, ProxyHeaderError> {
        if octets.is_empty() {
            return Ok(Self::needs(SHORTEST));
        }
        if begins(octets, SIGNATURE) {
            return binary(octets);
        }
        if begins(octets, WORD) {
            return text(octets);
        }
        Err(ProxyHeaderError::Missing)
    }

    fn needs(octets: usize) -> Self {
        Self::Needs(NonZeroUsize::new(octets).unwrap_or(NonZeroUsize::MIN))
    }
}

/// Whether octets begin with these, as far as they go.
fn begins(octets: &[u8], with: &[u8]) -> bool {
    octets.iter().zip(with).all(|(octet, expected)| octet == expected)
}

/// Version 1: `PROXY TCP4 192.0.2.1 192.0.2.2 56324 25`, `PROXY UNKNOWN`, and CRLF.
fn text(octets: &[u8]) -> Result<ProxyHeader, ProxyHeaderError> {
    if let Some(missing) = SHORTEST.checked_sub(octets.len()).filter(|missing| *missing > 0) {
        return Ok(ProxyHeader::needs(missing));
    }
    let Some(line) = octets.strip_suffix(b"\r\n") else {
        let missing = if octets.ends_with(b"\r") { 1 } else { 2 };
        return if octets.len() + missing > LONGEST_TEXT { Err(ProxyHeaderError::TooLong) } else { Ok(ProxyHeader::needs(missing)) };
    };
    if octets.len() > LONGEST_TEXT {
        return Err(ProxyHeaderError::TooLong);
    }
    let malformed = ProxyHeaderError::Malformed;
    let line = str::from_utf8(line).map_err(|_| malformed)?;
    if line.contains(['\r', '\n']) {
        return Err(malformed);
    }
    let mut words = line.split(' ').skip(1);
    let family = words.next();
    if family == Some("UNKNOWN") {
        // What may follow is to be passed over.
        return Ok(ProxyHeader::Whole(Behind::Unknown));
    }
    let (Some(source), Some(destination), Some(port), Some(destination_port), None) =
        (words.next(), words.next(), words.next(), words.next(), words.next())
    else {
        return Err(malformed);
    };
    let address = |text: &str| -> Option<IpAddr> {
        match family {
            Some("TCP4") => text.parse::<Ipv4Addr>().ok().map(IpAddr::V4),
            Some("TCP6") => text.parse::<Ipv6Addr>().ok().map(IpAddr::V6),
            _ => None,
        }
    };
    let (source, _) = address(source).zip(address(destination)).ok_or(malformed)?;
    let (port, _) = number(port).zip(number(destination_port)).ok_or(malformed)?;
    Ok(ProxyHeader::Whole(Behind::Client(SocketAddr::new(source, port))))
}

/// A port, without sign and leading zeros.
fn number(text: &str) -> Option<u16> {
    let digits = text.bytes().all(|octet| octet.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
    if digits { text.parse().ok() } else { None }
}

/// Version 2: signature, version and command, family and transport, length, addresses and additions.
fn binary(octets: &[u8]) -> Result<ProxyHeader, ProxyHeaderError> {
    let Some((fixed, rest)) = octets.split_first_chunk::<FIXED>() else { return Ok(ProxyHeader::needs(FIXED - octets.len())) };
    let [.., version_and_command, family, high, low] = *fixed;
    let length = usize::from(u16::from_be_bytes([high, low]));
    if version_and_command >> 4 != 2 || version_and_command & 0xf > 1 {
        return Err(ProxyHeaderError::Malformed);
    }
    if length > LONGEST_BINARY {
        return Err(ProxyHeaderError::TooLong);
    }
    if let Some(missing) = length.checked_sub(rest.len()).filter(|missing| *missing > 0) {
        return Ok(ProxyHeader::needs(missing));
    }
    let addresses = rest.get(..length).unwrap_or_default();
    if rest.len() > length {
        return Err(ProxyHeaderError::TooLong);
    }
    let is_local = version_and_command.is_multiple_of(16);
    let client = match family {
        _ if is_local => return Ok(ProxyHeader::Whole(Behind::Nobody)),
        0x11 => {
            let ([source, _, port, _], _) = parts::<4>(addresses).ok_or(ProxyHeaderError::Malformed)?;
            Some((IpAddr::from(<[u8; 4]>::try_from(source).map_err(|_| ProxyHeaderError::Malformed)?), port))
        }
        0x21 => {
            let ([source, _, port, _], _) = parts::<16>(addresses).ok_or(ProxyHeaderError::Malformed)?;
            Some((IpAddr::from(<[u8; 16]>::try_from(source).map_err(|_| ProxyHeaderError::Malformed)?), port))
        }
        // Other transports, and sockets of one machine: nobody's address.
        _ => None,
    };
    let client = client.map(|(address, port)| SocketAddr::new(address, port.iter().fold(0, |port, octet| port << 8 | u16::from(*octet))));
    Ok(ProxyHeader::Whole(client.map_or(Behind::Unknown, Behind::Client)))
}

/// Source, destination and their ports, and what is left.
fn parts<const OCTETS: usize>(addresses: &[u8]) -> Option<([&[u8]; 4], &[u8])> {
    let (source, rest) = addresses.split_at_checked(OCTETS)?;
    let (destination, rest) = rest.split_at_checked(OCTETS)?;
    let (port, rest) = rest.split_at_checked(2)?;
    let (destination_port, rest) = rest.split_at_checked(2)?;
    Some(([source, destination, port, destination_port], rest))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests fail by panicking")]
    use proptest::prelude::*;

    use super::*;

    fn client(text: &str) -> ProxyHeader {
        ProxyHeader::Whole(Behind::Client(text.parse().unwrap()))
    }

    fn version_2(command: u8, family: u8, addresses: &[u8]) -> Vec<u8> {
        let mut header = SIGNATURE.to_vec();
        header.extend([0x20 | command, family]);
        header.extend(u16::try_from(addresses.len()).unwrap().to_be_bytes());
        header.extend_from_slice(addresses);
        header
    }

    #[test]
    fn text_is_read() {
        assert_eq!(ProxyHeader::parse(b"PROXY TCP4 192.0.2.1 192.0.2.2 56324 25\r\n"), Ok(client("192.0.2.1:56324")));
        assert_eq!(ProxyHeader::parse(b"PROXY TCP6 2001:db8::1 ::1 1 65535\r\n"), Ok(client("[2001:db8::1]:1")));
        assert_eq!(ProxyHeader::parse(b"PROXY UNKNOWN\r\n"), Ok(ProxyHeader::Whole(Behind::Unknown)));
        assert_eq!(ProxyHeader::parse(b"PROXY UNKNOWN ffff::1 whatever\r\n"), Ok(ProxyHeader::Whole(Behind::Unknown)));
        for bad in [
            "PROXY TCP4 192.0.2.1 192.0.2.2 56324\r\n",
            "PROXY TCP4 192.0.2.1 192.0.2.2 56324 25 1\r\n",
            "PROXY TCP4 2001:db8::1 192.0.2.2 56324 25\r\n",
            "PROXY TCP4 192.0.2.1 192.0.2.2 056324 25\r\n",
            "PROXY TCP4 192.0.2.1 192.0.2.2 65536 25\r\n",
            "PROXY TCP4 192.0.2.1 192.0.2.2 +1 25\r\n",
            "PROXY UDP4 192.0.2.1 192.0.2.2 56324 25\r\n",
            "PROXY TCP4 192.0.2.1\n192.0.2.2 56324 25\r\n",
            "PROXY  TCP4 192.0.2.1 192.0.2.2 56324 25\r\n",
        ] {
            assert_eq!(ProxyHeader::parse(bad.as_bytes()), Err(ProxyHeaderError::Malformed), "{bad:?}");
        }
        assert_eq!(ProxyHeader::parse(format!("PROXY UNKNOWN {}\r\n", "x".repeat(92)).as_bytes()), Err(ProxyHeaderError::TooLong));
        assert_eq!(ProxyHeader::parse(&[b"PROXY ".as_slice(), &[b'x'; 101]].concat()), Err(ProxyHeaderError::TooLong));
        for missing in ["EHLO a\r\n", "GET / HTTP/1.1\r\n", "PROXYTCP4", "\r\nx"] {
            assert_eq!(ProxyHeader::parse(missing.as_bytes()), Err(ProxyHeaderError::Missing), "{missing:?}");
        }
    }

    #[test]
    fn binary_is_read() {
        let four = [192, 0, 2, 1, 192, 0, 2, 2, 0xdc, 4, 0, 25];
        assert_eq!(ProxyHeader::parse(&version_2(1, 0x11, &four)), Ok(client("192.0.2.1:56324")));
        let additions = [&four[..], &[0x20, 0, 1, 0]].concat();
        assert_eq!(ProxyHeader::parse(&version_2(1, 0x11, &additions)), Ok(client("192.0.2.1:56324")));
        let mut six = [0; 36];
        six[15] = 1;
        six[33] = 9;
        assert_eq!(ProxyHeader::parse(&version_2(1, 0x21, &six)), Ok(client("[::1]:9")));
        assert_eq!(ProxyHeader::parse(&version_2(0, 0x11, &four)), Ok(ProxyHeader::Whole(Behind::Nobody)));
        assert_eq!(ProxyHeader::parse(&version_2(1, 0x31, &[0; 216])), Ok(ProxyHeader::Whole(Behind::Unknown)));
        assert_eq!(ProxyHeader::parse(&version_2(1, 0, &[])), Ok(ProxyHeader::Whole(Behind::Unknown)));
        assert_eq!(ProxyHeader::parse(&version_2(1, 0x21, &four)), Err(ProxyHeaderError::Malformed));
        assert_eq!(ProxyHeader::parse(&version_2(2, 0x11, &four)), Err(ProxyHeaderError::Malformed));
        assert_eq!(ProxyHeader::parse(&version_2(1, 0x11, &[0; LONGEST_BINARY + 1])), Err(ProxyHeaderError::TooLong));
    }

    /// Reads as a socket is read: as much as is needed, and no more. Returns what is left.
    fn read(mut input: &[u8]) -> (Result<Option<Behind>, ProxyHeaderError>, &[u8]) {
        let mut octets = Vec::new();
        loop {
            match ProxyHeader::parse(&octets) {
                Ok(ProxyHeader::Needs(count)) => {
                    let Some((taken, rest)) = input.split_at_checked(count.get()) else { return (Ok(None), input) };
                    octets.extend_from_slice(taken);
                    input = rest;
                }
                Ok(ProxyHeader::Whole(behind)) => return (Ok(Some(behind)), input),
                Err(error) => return (Err(error), input),
            }
        }
    }

    proptest! {
        #[test]
        fn nothing_behind_a_header_is_taken(source: SocketAddr, destination: SocketAddr, behind: Vec<u8>) {
            let (source, destination) = match (source, destination) {
                (SocketAddr::V4(_), SocketAddr::V4(_)) | (SocketAddr::V6(_), SocketAddr::V6(_)) => (source, destination),
                _ => (source, source),
            };
            let source = SocketAddr::new(source.ip(), source.port());
            let family = if source.is_ipv4() { "TCP4" } else { "TCP6" };
            let text = format!("PROXY {family} {} {} {} {}\r\n", source.ip(), destination.ip(), source.port(), destination.port());
            let octets = |address: IpAddr| match address {
                IpAddr::V4(address) => address.octets().to_vec(),
                IpAddr::V6(address) => address.octets().to_vec(),
            };
            let addresses = [
                octets(source.ip()),
                octets(destination.ip()),
                source.port().to_be_bytes().to_vec(),
                destination.port().to_be_bytes().to_vec(),
            ];
            let binary = version_2(1, if source.is_ipv4() { 0x11 } else { 0x21 }, &addresses.concat());
            for header in [text.into_bytes(), binary] {
                let input = [header, behind.clone()].concat();
                prop_assert_eq!(read(&input), (Ok(Some(Behind::Client(source))), &*behind));
            }
        }

        #[test]
        fn anything_can_be_looked_at(input: Vec<u8>) {
            for start in [&[][..], WORD, SIGNATURE] {
                let input = [start, &input].concat();
                let (_, rest) = read(&input);
                prop_assert!(rest.len() <= input.len());
            }
        }
    }
}
