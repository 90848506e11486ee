//! The plugins that come with the binary: ordinary components, built from `plugins/` and embedded.

mod generated {
    include!(concat!(env!("OUT_DIR"), "/built_in.rs"));
}

/// Names of the plugins that are embedded.
pub fn names() -> impl Iterator<Item = &'static str> {
    generated::COMPONENTS.iter().map(|(name, _)| *name)
}

/// Returns an embedded component.
pub fn component(name: &str) -> Option<&'static [u8]> {
    generated::COMPONENTS.iter().find(|(known, _)| *known == name).map(|(_, octets)| *octets)
}
