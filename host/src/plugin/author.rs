//! What a plugin's author needs: a crate to start from, a build, and a run in the real sandbox.

pub mod building;
pub mod corpus;
pub mod running;
pub mod scaffold;
pub mod toolchain;
