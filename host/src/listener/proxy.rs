//! Connections that a balancer passes on: who is behind them.

use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt};

use crate::network::proxy_header::{Behind, ProxyHeader};

/// How long the header may take: it is sent with the connection, by a machine of ours.
const HEADER_TIME: Duration = Duration::from_secs(10);

/// The address of clients whose address is not known: it is in no range ([`IpNetwork::contains`](crate::config::IpNetwork::contains)), is not this machine,
/// and all of them share what one address may.
pub const UNKNOWN: IpAddr = IpAddr::V4(Ipv4Addr::UNSPECIFIED);

/// Reads the header of the PROXY protocol, and nothing behind it; returns for whom the connection was opened.
///
/// # Errors
/// There is no header, and the connection is to be closed.
pub async fn client<S: AsyncRead + Unpin>(stream: &mut S) -> io::Result<Behind> {
    let reading = async {
        let mut octets = Vec::new();
        loop {
            match ProxyHeader::parse(&octets).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))? {
                ProxyHeader::Whole(behind) => return Ok(behind),
                ProxyHeader::Needs(count) => {
                    let known = octets.len();
                    octets.resize(known + count.get(), 0);
                    stream.read_exact(octets.get_mut(known..).unwrap_or_default()).await?;
                }
            }
        }
    };
    tokio::time::timeout(HEADER_TIME, reading).await.map_err(|_| io::ErrorKind::TimedOut)?
}
