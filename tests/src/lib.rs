//! What the black-box tests are made of: the real binary, a raw SMTP client, a scripted peer, a DNS zone, a small HTTP client.
//!
//! None of Tubepost's crates is used here: the tests see what a stranger sees. Nothing sleeps for luck: a test waits for a state, with a deadline.

pub mod certificate;
pub mod client;
pub mod compiled;
pub mod dkim;
pub mod host;
pub mod http;
pub mod mime;
pub mod peer;
pub mod plugins;
pub mod policy_server;
pub mod setup;
pub mod versioned;
pub mod wait;
pub mod zone;
