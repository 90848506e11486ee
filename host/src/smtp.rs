//! SMTP without sockets (RFC 5321; submission by RFC 6409): octets and the time go in, replies and deadlines come out.
//!
//! Nothing here reads a clock, waits, or knows tokio, so that every dialogue can be played in a test, as fast or as slow as it likes.
//!
//! | module | is |
//! |---|---|
//! | [`command`] | what a client says: one line, parsed strictly |
//! | [`reply`] | what a server answers, and the one table from refusals to replies |
//! | [`extension`] | EHLO keywords; `xtext` |
//! | [`data`] | message content on the wire: dots, line ends, limits |
//! | [`scram`] | proofs of passwords that stay at home |
//! | [`memory`] | how much of it there may be at one moment |
//! | [`server`] | a submission session as a state machine |
//! | [`client`] | the other side: a session that delivers |

pub mod client;
pub mod command;
pub mod data;
pub mod extension;
pub mod memory;
pub mod reply;
pub mod scram;
pub mod server;
