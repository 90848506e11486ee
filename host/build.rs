fn main() {
    let out = std::env::var("OUT_DIR").unwrap();
    std::fs::write(format!("{out}/built_in.rs"), "pub(super) static COMPONENTS: &[(&str, &[u8])] = &[];").unwrap();
}
