//! What may be loaded, and what is kept of it.

use std::fmt::Write;
use std::sync::Arc;

use super::super::test_guest::{Guest, componentized, engine, try_load};
use super::submit;
use crate::plugin::engine::{Engine, EngineOptions};
use crate::plugin::loading::LoadError;
use crate::plugin::verdict::Verdict;
use crate::telemetry::metric::Metrics;

#[tokio::test]
async fn what_is_no_plugin_is_refused_with_the_reason() {
    let engine = engine();
    let error = |octets: Vec<u8>| {
        let engine = &engine;
        async move { try_load(engine, "x", &octets).await.unwrap_err().to_string() }
    };
    assert!(error(b"hello".to_vec()).await.contains("no WebAssembly component"));
    assert!(error(wat::parse_str("(module)").unwrap()).await.contains("tubepost plugin build"));
    assert!(error(wat::parse_str("(component)").unwrap()).await.contains("does not export tubepost:mail/plugin"));
    let mut broken = Guest::new("x").component();
    broken.truncate(broken.len() / 2);
    assert!(error(broken).await.contains("no WebAssembly component"));
    let wit = "package tubepost:mail@0.1.3; interface http { get: func(); } world w { import http; }";
    let mut resolve = wit_parser::Resolve::default();
    let package = resolve.push_str("w.wit", wit).unwrap();
    let world = resolve.select_world(&[package], Some("w")).unwrap();
    let mut module = wat::parse_str(r#"(module (import "tubepost:mail/http@0.1.3" "get" (func)))"#).unwrap();
    wit_component::embed_component_metadata(&mut module, &resolve, world, wit_component::StringEncoding::UTF8).unwrap();
    assert_eq!(error(componentized(&module)).await, "it needs tubepost:mail/http@0.1.3, which this version does not offer");
}

/// A component without imports whose exports are these of another contract, each function returning 0.
fn foreign(interfaces: &[(&str, &str)]) -> Vec<u8> {
    let (mut declared, mut exported, mut functions) = (String::new(), String::new(), String::new());
    for (name, function) in interfaces {
        writeln!(declared, "interface {name} {{ {function}: func() -> u32; }}").unwrap();
        write!(exported, "export {name}; ").unwrap();
        write!(functions, "(func (export \"tubepost:mail/{name}@0.1.4#{function}\") (result i32) (i32.const 0))").unwrap();
    }
    let mut resolve = wit_parser::Resolve::default();
    let package = resolve.push_str("w.wit", &format!("package tubepost:mail@0.1.4;\n{declared} world w {{ {exported} }}")).unwrap();
    let world = resolve.select_world(&[package], Some("w")).unwrap();
    let mut module = wat::parse_str(format!("(module (memory (export \"memory\") 1) {functions})")).unwrap();
    wit_component::embed_component_metadata(&mut module, &resolve, world, wit_component::StringEncoding::UTF8).unwrap();
    componentized(&module)
}

#[tokio::test]
async fn an_export_that_cannot_be_used_is_not_passed_over() {
    let engine = engine();
    for (interfaces, reason) in [
        (vec![("plugin", "describe"), ("later", "process")], "it exports tubepost:mail/later@0.1.4, which this version does not know"),
        (vec![("plugin", "describe"), ("submit", "other")], "its tubepost:mail/submit cannot be used"),
        (vec![("plugin", "describe"), ("submit", "process")], "it does not fit tubepost:mail@0.1.0"),
        (vec![("plugin", "describe")], "it exports no stage"),
    ] {
        let error = try_load(&engine, "x", &foreign(&interfaces)).await.unwrap_err();
        assert!(matches!(error, LoadError::Contract(_)), "{error}");
        assert!(error.to_string().contains(reason), "{error}");
    }
}

#[tokio::test]
async fn compiled_plugins_are_kept_checked_and_tidied() {
    let folder = tempfile::tempdir().unwrap();
    let cache = folder.path().join("compiled");
    let engine = || {
        let options = EngineOptions { cache: Some(cache.clone()), ..EngineOptions::new(crate::clock::Clock::system(), Metrics::new()) };
        Arc::new(Engine::new(options).unwrap())
    };
    let octets = Guest::adding("one", "X-One", "1").component();
    let files = || std::fs::read_dir(&cache).unwrap().map(|entry| entry.unwrap().path()).collect::<Vec<_>>();
    drop(try_load(&engine(), "one", &octets).await.unwrap());
    let [file] = files().try_into().unwrap();
    let first = std::fs::read(&file).unwrap();
    drop(try_load(&engine(), "one", &octets).await.unwrap());
    // Damage is found, and mended.
    let mut damaged = first.clone();
    damaged[first.len() / 2] ^= 1;
    std::fs::write(&file, damaged).unwrap();
    let engine = engine();
    let plugin = try_load(&engine, "one", &octets).await.unwrap();
    assert_eq!(submit(&plugin).await.result, Ok(Verdict::Next));
    assert_eq!(std::fs::read(&file).unwrap(), first);
    // Of another engine, and never finished by whoever wrote it. All else may be the operator's.
    std::fs::write(cache.join(format!("{}-0123456789abcdef.cwasm", plugin.digest())), "old").unwrap();
    let abandoned = std::fs::File::create(cache.join("12-3.tmp")).unwrap();
    abandoned.set_modified(std::time::UNIX_EPOCH).unwrap();
    let others = ["12-4.tmp", "greet.wasm", "mine.cwasm", "notes.tmp"].map(|name| cache.join(name));
    for path in &others {
        std::fs::write(path, "kept").unwrap();
    }
    engine.tidy_cache(&[plugin.digest()]);
    let mut expected: Vec<_> = others.into_iter().chain([file]).collect();
    expected.sort();
    let mut left = files();
    left.sort();
    assert_eq!(left, expected);
}

#[cfg(unix)]
#[tokio::test]
async fn compiled_plugins_that_others_could_write_are_not_run() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let cache = folder.path().join("compiled");
    let options = || EngineOptions { cache: Some(cache.clone()), ..EngineOptions::new(crate::clock::Clock::system(), Metrics::new()) };
    let octets = Guest::adding("one", "X-One", "1").component();
    drop(try_load(&Arc::new(Engine::new(options()).unwrap()), "one", &octets).await.unwrap());
    let mode = || std::fs::metadata(&cache).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(), 0o700);
    std::fs::write(cache.join("notes.txt"), "mine").unwrap();
    std::fs::set_permissions(&cache, std::fs::Permissions::from_mode(0o777)).unwrap();
    drop(Engine::new(options()).unwrap());
    let left: Vec<_> = std::fs::read_dir(&cache).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!((left, mode()), (vec!["notes.txt".into()], 0o700));
}

#[tokio::test]
async fn a_component_that_begins_with_too_much_is_refused() {
    let engine = engine();
    let instances = "(core instance (instantiate $m))".repeat(17);
    for (what, text) in [
        ("table", "(component (core module $m (table 30000000 funcref)) (core instance (instantiate $m)))".to_owned()),
        ("tables", format!("(component (core module $m {}) (core instance (instantiate $m)))", "(table 1 funcref)".repeat(5))),
        ("memor", format!("(component (core module $m {}) (core instance (instantiate $m)))", "(memory 1)".repeat(3))),
        ("instances", format!("(component (core module $m) {instances})")),
    ] {
        let error = try_load(&engine, "x", &wat::parse_str(&text).unwrap()).await.unwrap_err().to_string();
        assert!(error.contains(what), "{what}: {error}");
    }
}
