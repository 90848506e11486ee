//! Sockets: TLS, limits on connections, and the task of each SMTP session. What is said on them is decided in [`crate::smtp`].

pub mod connections;
pub mod dns;
pub mod mx;
mod places;
pub mod port;
pub mod proxy;
pub mod smtp;
pub mod tls;
