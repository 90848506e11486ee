//! What a plugin's author needs: a crate to start from, a build, and a run in the real sandbox.

pub mod building;
pub mod contract;
pub mod running;
pub mod scaffold;
pub mod toolchain;
