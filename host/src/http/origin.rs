//! Where a request comes from: which client, and whether anybody on the way could have read it.

use std::net::{IpAddr, SocketAddr};

use axum::http::HeaderMap;

use crate::config::IpNetwork;
use crate::network::address::is_local;
use crate::submission::Protocol;

/// Fields of which a proxy adds at least one where it forwards (the last by RFC 7239).
const FORWARDING: [&str; 3] = ["x-forwarded-for", "x-forwarded-proto", "forwarded"];

/// The connection that a request came on; the server puts it into each request's extensions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Connection {
    /// The client: the other end of the socket, or whom the balancer names that is there.
    pub peer: SocketAddr,
    /// Other end of the socket.
    pub socket: SocketAddr,
    /// TLS ends here.
    pub tls: bool,
}

/// Where a request comes from, trusted proxies looked through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Origin {
    /// Address of the client.
    pub ip: IpAddr,
    /// Nobody but the client, and proxies that the operator trusts, has read the request: TLS here, TLS at such a proxy, or loopback.
    pub protected: bool,
    /// The client spoke TLS, here or with a trusted proxy.
    pub https: bool,
    /// The socket's other end is this machine or a trusted proxy, and asks on its own account: nothing says that it forwards for others.
    pub internal: bool,
}

impl Origin {
    /// Reads `X-Forwarded-Proto` and `X-Forwarded-For`, but only of peers that are in `trusted`.
    pub fn of(connection: Connection, headers: &HeaderMap, trusted: &[IpNetwork]) -> Self {
        let peer = connection.peer.ip().to_canonical();
        let is_trusted = |ip: IpAddr| trusted.iter().any(|network| network.contains(ip));
        let local = is_local(peer, connection.socket.ip());
        let forwards = FORWARDING.iter().any(|name| headers.contains_key(*name));
        if !is_trusted(peer) || (peer.is_loopback() && !local) {
            return Self { ip: peer, protected: connection.tls || local, https: connection.tls, internal: local && !forwards };
        }
        let forwarded_for: Vec<&str> = list(headers, "x-forwarded-for").collect();
        // The last entry was written by the peer; those before it count as long as trusted proxies wrote them.
        let mut ip = peer;
        for entry in forwarded_for.iter().rev() {
            let Some(address) = address(entry) else { break };
            ip = address;
            if !is_trusted(address) {
                break;
            }
        }
        let mut protocols = list(headers, "x-forwarded-proto").peekable();
        let said = protocols.peek().is_some();
        let https = if said { protocols.all(|protocol| protocol.eq_ignore_ascii_case("https")) } else { connection.tls };
        let protected = https || (local && !said);
        Self { ip, protected, https, internal: !forwards }
    }

    /// Returns the protocol of a submission over this request.
    pub fn protocol(&self) -> Protocol {
        if self.https { Protocol::Https } else { Protocol::Http }
    }
}

fn list<'a>(headers: &'a HeaderMap, name: &str) -> impl Iterator<Item = &'a str> {
    let values = headers.get_all(name).into_iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).map(str::trim).filter(|entry| !entry.is_empty())
}

/// An address with or without a port, IPv6 in brackets or not.
fn address(entry: &str) -> Option<IpAddr> {
    let bare = entry.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(entry);
    bare.parse().ok().or_else(|| entry.parse::<SocketAddr>().ok().map(|socket| socket.ip())).map(|ip: IpAddr| ip.to_canonical())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]
    use super::*;

    fn origin(peer: &str, tls: bool, headers: &[(&'static str, &str)]) -> (String, bool, bool, bool) {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(*name, value.parse().unwrap());
        }
        let trusted = [
            IpNetwork { address: "10.0.0.0".parse().unwrap(), prefix: 8 },
            IpNetwork { address: "::1".parse().unwrap(), prefix: 128 },
            IpNetwork { address: "2001:db8::".parse().unwrap(), prefix: 32 },
        ];
        let peer = SocketAddr::new(peer.parse().unwrap(), 4711);
        let origin = Origin::of(Connection { peer, socket: peer, tls }, &map, &trusted);
        (origin.ip.to_string(), origin.protected, origin.https, origin.internal)
    }

    #[test]
    fn strangers_are_not_believed() {
        let headers = [("x-forwarded-for", "192.0.2.9"), ("x-forwarded-proto", "https")];
        assert_eq!(origin("203.0.113.5", false, &headers), ("203.0.113.5".into(), false, false, false));
        assert_eq!(origin("203.0.113.5", true, &headers), ("203.0.113.5".into(), true, true, false));
        assert_eq!(origin("::ffff:127.0.0.1", false, &[]), ("127.0.0.1".into(), true, false, true));
    }

    #[test]
    fn the_loopback_of_a_balancer_is_not_ours() {
        let trusted = [IpNetwork { address: "127.0.0.0".parse().unwrap(), prefix: 8 }];
        let peer = "127.0.0.1:4711".parse().unwrap();
        let mut headers = HeaderMap::new();
        headers.insert("x-forwarded-proto", "https".parse().unwrap());
        for (socket, expected) in [("127.0.0.1:5", (true, true)), ("10.0.0.2:5", (false, false))] {
            let connection = Connection { peer, socket: socket.parse().unwrap(), tls: false };
            let (bare, forwarded) = (HeaderMap::new(), &headers);
            let plain = Origin::of(connection, &bare, &trusted);
            assert_eq!((plain.protected, plain.internal), expected, "{socket}");
            assert_eq!(Origin::of(connection, forwarded, &trusted).https, expected.0, "{socket}");
        }
    }

    #[test]
    fn trusted_proxies_are() {
        let both = |ip, proto| [("x-forwarded-for", ip), ("x-forwarded-proto", proto)];
        assert_eq!(origin("10.1.1.1", false, &both("192.0.2.9", "https")), ("192.0.2.9".into(), true, true, false));
        assert_eq!(origin("10.1.1.1", false, &both("192.0.2.9", "http")), ("192.0.2.9".into(), false, false, false));
        assert_eq!(origin("10.1.1.1", true, &both("192.0.2.9", "http")), ("192.0.2.9".into(), false, false, false));
        assert_eq!(origin("::1", false, &both("[2001:db8:1::7]:99", "https, http")), ("2001:db8:1::7".into(), false, false, false));
        assert_eq!(origin("10.1.1.1", false, &[]), ("10.1.1.1".into(), false, false, true));
        assert_eq!(origin("::1", false, &[]), ("::1".into(), true, false, true));
    }

    #[test]
    fn whoever_forwards_is_not_internal() {
        for header in
            [("x-forwarded-for", "192.0.2.9"), ("x-forwarded-for", ""), ("x-forwarded-proto", "https"), ("forwarded", "for=192.0.2.9")]
        {
            for peer in ["10.1.1.1", "::1", "127.0.0.1"] {
                assert!(!origin(peer, true, &[header]).3, "{peer} {header:?}");
            }
        }
    }

    #[test]
    fn a_client_cannot_put_words_into_the_mouth_of_a_proxy() {
        let headers = [("x-forwarded-for", "127.0.0.1, 192.0.2.9, 10.3.3.3"), ("x-forwarded-proto", "https")];
        assert_eq!(origin("10.1.1.1", false, &headers).0, "192.0.2.9");
        assert_eq!(origin("10.1.1.1", false, &[("x-forwarded-for", "junk, 10.2.2.2")]).0, "10.2.2.2");
    }
}
