//! Connections that a balancer passes on: who is behind them.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt};

use crate::network::proxy_header::ProxyHeader;

/// How long the header may take: it is sent with the connection, by a machine of ours.
const HEADER_TIME: Duration = Duration::from_secs(10);

/// Reads the header of the PROXY protocol, and nothing behind it; returns the client. `None` where the proxy speaks for itself.
///
/// # Errors
/// There is no header, and the connection is to be closed.
pub async fn client<S: AsyncRead + Unpin>(stream: &mut S) -> io::Result<Option<SocketAddr>> {
    let reading = async {
        let mut octets = Vec::new();
        loop {
            match ProxyHeader::parse(&octets).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))? {
                ProxyHeader::Client(client) => return Ok(client),
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
