//! `c-bindings WIT WORLD FOLDER`: makes `WORLD.h`, `WORLD.c` and `WORLD_component_type.o` of the contract, in `FOLDER`.

use std::path::Path;

use anyhow::{Context as _, Result, bail};
use wit_bindgen_core::Files;
use wit_bindgen_core::wit_parser::Resolve;

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [wit, world, folder] = arguments.as_slice() else { bail!("usage: c-bindings WIT WORLD FOLDER") };
    let mut resolve = Resolve::default();
    let (package, _) = resolve.push_path(wit)?;
    let world = resolve.select_world(&[package], Some(world))?;
    let mut files = Files::default();
    wit_bindgen_c::Opts::default().build().generate(&mut resolve, world, &mut files)?;
    std::fs::create_dir_all(folder)?;
    for (name, content) in files.iter() {
        let path = Path::new(folder).join(name);
        std::fs::write(&path, content).with_context(|| path.display().to_string())?;
    }
    Ok(())
}
