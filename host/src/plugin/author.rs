//! What a plugin's author needs: a crate to start from, a build, and runs in the real sandbox.

pub mod building;
pub mod contract;
pub mod corpus;
pub mod golden;
pub mod inspection;
pub mod measuring;
pub mod robustness;
pub mod running;
pub mod scaffold;
pub mod showing;
pub mod toolchain;
