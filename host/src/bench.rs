//! Measuring: a load generator, a sink that counts, and what a process used meanwhile.
//!
//! The generator and the sink are the same for every server that is measured, and run beside it on the same machine: compare figures of one run
//! with each other, not with those of another day.

pub mod load;
pub mod message;
pub mod own_server;
pub mod process;
pub mod queue;
pub mod scenario;
pub mod sink;
