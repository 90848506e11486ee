//! Plugins: WebAssembly components in a sandbox.
//!
//! A plugin sees the message that it is given and what the host grants, is limited in time, memory and output, and whatever it
//! does wrong is a [`failure`](verdict::Failure) with its name. Generated WIT types end in `binding`.

pub mod binding;
pub mod built_in;
pub mod engine;
pub mod manifest;
pub mod sandbox;
pub mod verdict;
