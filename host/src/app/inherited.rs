//! Sockets that a service manager has bound and passes to us (`sd_listen_fds(3)`): they stay open while we restart, and low ports take no rights.
//!
//! Which listener one is for is told by its address, so that one configuration serves with and without them; its name is for messages alone.

use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd, RawFd};

use anyhow::{Result, ensure};
use rustix::io::{FdFlags, fcntl_setfd};

/// The first one that is passed.
const FIRST: RawFd = 3;
/// A service manager passes as many as a unit has sockets; more is a mistake.
const MOST: RawFd = 1024;

/// What was passed, and is not taken yet.
#[derive(Debug, Default)]
pub(super) struct Inherited {
    streams: Vec<(String, SocketAddr, TcpListener)>,
    packets: Vec<(String, SocketAddr, UdpSocket)>,
}

impl Inherited {
    /// Takes what `environment` says that there is. To be called once, before anything is opened.
    ///
    /// # Errors
    /// What is passed is nothing that we could listen on.
    pub(super) fn take(environment: &dyn Fn(&str) -> Option<String>) -> Result<Self> {
        let mut all = Self::default();
        for (number, name) in (FIRST..).zip(passed(environment, std::process::id())?) {
            let socket = adopt(number)?;
            let is_stream = kind(&socket) == Some(libc::SOCK_STREAM);
            // Commands that we run do not get it.
            fcntl_setfd(&socket, FdFlags::CLOEXEC)?;
            let address = if is_stream {
                let socket = TcpListener::from(socket);
                let address = socket.local_addr();
                address.map(|address| all.streams.push((name.clone(), address, socket)))
            } else {
                let socket = UdpSocket::from(socket);
                let address = socket.local_addr();
                address.map(|address| all.packets.push((name.clone(), address, socket)))
            };
            ensure!(address.is_ok(), "the socket \"{name}\" that was passed is none of IP");
        }
        Ok(all)
    }

    /// Returns the listening socket with this address.
    pub(super) fn stream(&mut self, address: SocketAddr) -> Option<TcpListener> {
        let place = self.streams.iter().position(|(_, known, _)| *known == address)?;
        Some(self.streams.swap_remove(place).2)
    }

    /// Returns the socket for packets with this address.
    pub(super) fn packets(&mut self, address: SocketAddr) -> Option<UdpSocket> {
        let place = self.packets.iter().position(|(_, known, _)| *known == address)?;
        Some(self.packets.swap_remove(place).2)
    }

    /// Says what nobody has taken, and closes it.
    pub(super) fn finish(self) {
        let streams = self.streams.iter().map(|(name, address, _)| (name, address));
        for (name, address) in streams.chain(self.packets.iter().map(|(name, address, _)| (name, address))) {
            tracing::warn!("the socket \"{name}\" was passed, and no [[listen]] has its address, {address}");
        }
    }
}

/// Returns the names of what is passed to the process `id`.
fn passed(environment: &dyn Fn(&str) -> Option<String>, id: u32) -> Result<Vec<String>> {
    // Set for the process that they are for, and inherited by all that it starts.
    if environment("LISTEN_PID").and_then(|text| text.parse::<u32>().ok()) != Some(id) {
        return Ok(Vec::new());
    }
    let count: RawFd = environment("LISTEN_FDS").and_then(|text| text.parse().ok()).unwrap_or_default();
    ensure!((0..=MOST).contains(&count), "LISTEN_FDS says {count} sockets");
    let names = environment("LISTEN_FDNAMES").unwrap_or_default();
    let mut names = names.split(':').map(str::to_owned);
    Ok((0..count).map(|_| names.next().unwrap_or_default()).collect())
}

/// Takes a descriptor that the service manager says is ours.
#[expect(unsafe_code, reason = "that the number is a descriptor of ours is said by the environment")]
fn adopt(number: RawFd) -> Result<OwnedFd> {
    // SAFETY: it is only looked at.
    ensure!(unsafe { libc::fcntl(number, libc::F_GETFD) } >= 0, "LISTEN_FDS counts a socket that is not there");
    // SAFETY: it is open, and nothing that we have opened: this is called first, and once.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}

/// Returns the kind of a socket (`SOCK_STREAM`, …); `None` where it is no socket.
#[expect(unsafe_code, reason = "the standard library does not tell it")]
fn kind(socket: &OwnedFd) -> Option<libc::c_int> {
    let mut kind: libc::c_int = 0;
    let mut length = libc::socklen_t::try_from(size_of::<libc::c_int>()).ok()?;
    // SAFETY: the answer is a number, for which there is room.
    let done = unsafe { libc::getsockopt(socket.as_raw_fd(), libc::SOL_SOCKET, libc::SO_TYPE, (&raw mut kind).cast(), &raw mut length) };
    (done == 0).then_some(kind)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]
    use super::*;

    #[test]
    fn what_is_passed_is_for_one_process() {
        let environment = |name: &str| match name {
            "LISTEN_PID" => Some("7".to_owned()),
            "LISTEN_FDS" => Some("3".to_owned()),
            "LISTEN_FDNAMES" => Some("smtp:http".to_owned()),
            _ => None,
        };
        assert_eq!(passed(&environment, 7).unwrap(), ["smtp", "http", ""]);
        assert!(passed(&environment, 8).unwrap().is_empty());
        assert!(passed(&|_| None, 7).unwrap().is_empty());
        assert!(passed(&|_| Some("7000".to_owned()), 7000).is_err());
    }

    #[test]
    fn kinds_of_sockets_are_told_apart() {
        let stream = OwnedFd::from(TcpListener::bind("127.0.0.1:0").unwrap());
        let packets = OwnedFd::from(UdpSocket::bind("127.0.0.1:0").unwrap());
        assert_eq!((kind(&stream), kind(&packets)), (Some(libc::SOCK_STREAM), Some(libc::SOCK_DGRAM)));
    }
}
