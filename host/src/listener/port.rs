//! A port that is bound before there is a runtime, and listened on when there is one: between the two, rights can be given up.

use std::io;
use std::net::SocketAddr;

use tokio::net::{TcpListener, TcpSocket};

/// Connections that may wait to be accepted, as tokio has it.
const BACKLOG: u32 = 1024;

/// A port for connections.
#[derive(Debug)]
pub struct Port(Kind);

#[derive(Debug)]
enum Kind {
    Bound(TcpSocket),
    Listening(std::net::TcpListener),
}

impl Port {
    /// Binds it.
    ///
    /// # Errors
    /// As the system says.
    pub fn bind(address: SocketAddr) -> io::Result<Self> {
        let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
        // What is left of connections of the process before this one does not keep us out.
        socket.set_reuseaddr(true)?;
        socket.bind(address)?;
        Ok(Self(Kind::Bound(socket)))
    }

    /// Takes a socket that listens already.
    pub fn of(socket: std::net::TcpListener) -> Self {
        Self(Kind::Listening(socket))
    }

    /// Where it is bound.
    ///
    /// # Errors
    /// As the system says.
    pub fn address(&self) -> io::Result<SocketAddr> {
        match &self.0 {
            Kind::Bound(socket) => socket.local_addr(),
            Kind::Listening(socket) => socket.local_addr(),
        }
    }

    /// Listens. To be called on the runtime.
    ///
    /// # Errors
    /// As the system says: somebody else may listen there by now.
    pub fn listen(self) -> io::Result<TcpListener> {
        match self.0 {
            Kind::Bound(socket) => socket.listen(BACKLOG),
            Kind::Listening(socket) => {
                socket.set_nonblocking(true)?;
                TcpListener::from_std(socket)
            }
        }
    }
}
