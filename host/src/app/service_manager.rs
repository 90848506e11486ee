//! What the service manager is told (`sd_notify(3)`): that we are ready, read the configuration again, end, and are alive.
//!
//! Datagrams to the socket that it names; where it names none, nobody is told. That one is lost is its business, and stops nothing.

use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::clock::kernel_micros;

/// Speaks to the service manager. Cloning is cheap.
#[derive(Clone, Debug, Default)]
pub(super) struct ServiceManager(Option<Arc<Manager>>);

#[derive(Debug)]
struct Manager {
    socket: UnixDatagram,
    address: SocketAddr,
    /// How often it wants to hear that we are alive.
    watchdog: Option<Duration>,
}

impl ServiceManager {
    /// Finds the one that `environment` names.
    pub(super) fn of(environment: &dyn Fn(&str) -> Option<String>) -> Self {
        let Some(address) = environment("NOTIFY_SOCKET").as_deref().and_then(address) else { return Self::default() };
        let Ok(socket) = UnixDatagram::unbound() else { return Self::default() };
        // What it does not read must not hold us up.
        if socket.set_nonblocking(true).is_err() {
            return Self::default();
        }
        let is_for_us = environment("WATCHDOG_PID").is_none_or(|id| id.parse() == Ok(std::process::id()));
        let micros = environment("WATCHDOG_USEC").and_then(|text| text.parse().ok()).filter(|micros| *micros > 0 && is_for_us);
        Self(Some(Arc::new(Manager { socket, address, watchdog: micros.map(Duration::from_micros) })))
    }

    fn tell(&self, what: &str) {
        if let Self(Some(manager)) = self
            && let Err(error) = manager.socket.send_to_addr(what.as_bytes(), &manager.address)
        {
            tracing::debug!(%error, "the service manager is not told");
        }
    }

    /// Mail is taken.
    pub(super) fn ready(&self, status: &str) {
        self.tell(&format!("READY=1\nSTATUS={status}"));
    }

    /// The configuration is read again; [`ServiceManager::ready`] ends it, whatever came of it.
    pub(super) fn reloading(&self) {
        self.tell(&format!("RELOADING=1\nMONOTONIC_USEC={}\nSTATUS=reloading", kernel_micros()));
    }

    /// No more mail is taken.
    pub(super) fn stopping(&self) {
        self.tell("STOPPING=1\nSTATUS=draining");
    }

    /// Says that we are alive, as often as is wanted, until `end`: as long as the runtime runs tasks.
    pub(super) async fn keep_alive(self, end: CancellationToken) {
        let Some(period) = self.0.as_ref().and_then(|manager| manager.watchdog) else { return };
        loop {
            self.tell("WATCHDOG=1");
            if end.run_until_cancelled(tokio::time::sleep(period / 2)).await.is_none() {
                return;
            }
        }
    }
}

/// A path, or a name in the abstract space, which begins with `@`.
fn address(text: &str) -> Option<SocketAddr> {
    match text.strip_prefix('@') {
        Some(name) => SocketAddr::from_abstract_name(name).ok(),
        None if text.starts_with('/') => SocketAddr::from_pathname(text).ok(),
        None => None,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests fail by panicking")]
    use super::*;

    #[tokio::test]
    async fn it_is_told_what_happens() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let manager = UnixDatagram::bind(&path).unwrap();
        let told = || {
            let mut octets = [0; 256];
            let length = manager.recv(&mut octets).unwrap();
            String::from_utf8(octets[..length].to_vec()).unwrap()
        };
        let environment = |name: &str| match name {
            "NOTIFY_SOCKET" => Some(path.display().to_string()),
            "WATCHDOG_USEC" => Some("2000000".to_owned()),
            _ => None,
        };
        let known = ServiceManager::of(&environment);
        known.ready("3 listeners");
        assert_eq!(told(), "READY=1\nSTATUS=3 listeners");
        known.reloading();
        assert!(told().starts_with("RELOADING=1\nMONOTONIC_USEC="));
        known.stopping();
        assert_eq!(told(), "STOPPING=1\nSTATUS=draining");
        let end = CancellationToken::new();
        end.cancel();
        known.keep_alive(end).await;
        assert_eq!(told(), "WATCHDOG=1");
    }

    #[test]
    fn without_one_nobody_is_told() {
        ServiceManager::of(&|_| None).ready("x");
        assert!(ServiceManager::of(&|_| Some("relative".to_owned())).0.is_none());
        assert!(address("@name").is_some() && address("/run/x").is_some() && address("vsock:2:1").is_none());
    }
}
