//! Placeholder.

pub mod client;
