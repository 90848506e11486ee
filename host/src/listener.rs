//! Sockets: binding, TLS, limits on connections, and the task of each SMTP session. What is said on them is decided in [`crate::smtp`].

pub mod connections;
pub mod smtp;
pub mod tls;

use std::io;
use std::net::SocketAddr;

use tokio::net::{TcpListener, TcpSocket};

/// Connections that wait in the kernel to be accepted; the system may lower it.
const BACKLOG: u32 = 1024;

/// Binds a listening socket. An address that was just in use by an earlier process of ours can be bound again at once.
pub fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    #[cfg(unix)]
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}
