//! The order of the modules, and that every module says what it is for.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests fail by panicking")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Modules of the host in the order in which its `lib.rs` declares them: each uses only what stands above it.
fn layers() -> Vec<String> {
    let text = std::fs::read_to_string(root().join("host/src/lib.rs")).unwrap();
    text.lines().filter_map(|line| line.strip_prefix("pub mod ")?.strip_suffix(';')).map(str::to_owned).collect()
}

/// What is used from above all the same, and why.
const EXCEPTIONS: [(&str, &str); 1] = [
    // 250 can be made of nothing but a receipt: the promise is a type, and the protocol is where it is given.
    ("smtp", "crate::spool::receipt::Receipt"),
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_path_buf()
}

fn rust_files(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    let mut folders = vec![folder.to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).unwrap().map(Result::unwrap) {
            let path = entry.path();
            if path.is_dir() {
                if !path.ends_with("target") {
                    folders.push(path);
                }
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                files.push(path);
            }
        }
    }
    files.sort();
    files
}

/// Returns the module of the first level that a file of the host belongs to.
fn module_of(file: &Path, source: &Path) -> String {
    let inside = file.strip_prefix(source).unwrap();
    let first = inside.components().next().unwrap().as_os_str().to_string_lossy().into_owned();
    first.trim_end_matches(".rs").to_owned()
}

/// Whether the file is compiled for tests only: `tests.rs`, what is in a folder `tests`, and modules that are declared so.
fn is_test(file: &Path, source: &Path) -> bool {
    let inside = file.strip_prefix(source).unwrap().with_extension("");
    if inside.components().any(|part| part.as_os_str() == "tests") {
        return true;
    }
    let name = inside.file_name().unwrap().to_string_lossy().into_owned();
    let parent = inside.parent().filter(|parent| !parent.as_os_str().is_empty()).map_or("lib".into(), Path::to_path_buf);
    let declaring = std::fs::read_to_string(source.join(parent).with_extension("rs")).unwrap_or_default();
    ["mod", "pub(crate) mod", "pub mod"].iter().any(|words| declaring.contains(&format!("#[cfg(test)]\n{words} {name};")))
}

#[test]
fn modules_use_only_what_stands_above_them() {
    let source = root().join("host/src");
    let layers = layers();
    let rank: BTreeMap<&str, usize> = layers.iter().enumerate().map(|(rank, name)| (name.as_str(), rank)).collect();
    assert!(rank.contains_key("mail") && rank.contains_key("cli"), "{layers:?}");
    let mut wrong = Vec::new();
    for file in rust_files(&source) {
        let module = module_of(&file, &source);
        let Some(own) = rank.get(module.as_str()) else { continue };
        if is_test(&file, &source) {
            continue;
        }
        let text = std::fs::read_to_string(&file).unwrap();
        // Tests may build a whole world around a module.
        let code = text.split("#[cfg(test)]\nmod tests {").next().unwrap();
        for (number, line) in code.lines().enumerate() {
            if line.trim_start().starts_with("//") || EXCEPTIONS.iter().any(|(user, used)| *user == module && line.contains(used)) {
                continue;
            }
            for used in line.split("crate::").skip(1) {
                let name: String = used.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
                if rank.get(name.as_str()).is_some_and(|other| other > own) {
                    wrong.push(format!("{}:{}: `{module}` uses `{name}`, which stands below it", file.display(), number + 1));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_protocol_core_knows_no_sockets_files_or_clocks() {
    let source = root().join("host/src/smtp");
    for file in rust_files(&source) {
        let text = std::fs::read_to_string(&file).unwrap();
        for word in ["tokio::", "std::net::Tcp", "std::fs", "Instant::now", "SystemTime"] {
            assert!(!text.contains(word), "{} uses {word}", file.display());
        }
    }
}

#[test]
fn every_module_says_what_it_is_for() {
    for folder in ["host/src", "plugin-sdk/src", "xtask/src", "tests/src"] {
        // `foo/tests.rs` is for the tests of `foo`, which says what it is for.
        for file in rust_files(&root().join(folder)).into_iter().filter(|file| !file.ends_with("tests.rs")) {
            let text = std::fs::read_to_string(&file).unwrap();
            assert!(text.starts_with("//!"), "{} does not open with //!", file.display());
            assert!(!text.contains("todo!("), "{} is not finished", file.display());
        }
    }
}

#[test]
fn files_have_one_noun() {
    for file in rust_files(&root().join("host/src")) {
        let lines = std::fs::read_to_string(&file).unwrap().lines().count();
        assert!(lines <= 700, "{} has {lines} lines: is there a second noun inside?", file.display());
    }
}

#[test]
fn nothing_is_ignored_or_sleeps() {
    for folder in ["host/src", "plugin-sdk/src", "tests/blackbox", "plugins"] {
        for file in rust_files(&root().join(folder)) {
            let text = std::fs::read_to_string(&file).unwrap();
            assert!(!text.contains("#[ignore"), "{} has an ignored test", file.display());
            assert!(!text.contains("thread::sleep("), "{} sleeps", file.display());
        }
    }
}

/// Names of all functions in the tests of the host and in the black-box tests.
fn functions() -> Vec<String> {
    let folders = ["host/src", "tests/blackbox"].map(|folder| root().join(folder));
    let text: String = folders.iter().flat_map(|folder| rust_files(folder)).map(|file| std::fs::read_to_string(file).unwrap()).collect();
    let names =
        text.split("fn ").skip(1).map(|rest| rest.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').next().unwrap().to_owned());
    names.collect()
}

#[test]
fn what_is_said_to_be_compatible_has_its_test() {
    let page = std::fs::read_to_string(root().join("docs/compatibility.md")).unwrap();
    let functions = functions();
    let mut faults = Vec::new();
    for row in page.lines().filter(|line| line.starts_with("| ") && !line.starts_with("| id") && !line.starts_with("| ---")) {
        let cells: Vec<&str> = row.trim_matches('|').split('|').map(str::trim).collect();
        let [id, _, status, test, remarks] = cells[..] else {
            faults.push(format!("{row}: five columns"));
            continue;
        };
        let names = test.split(", ").filter(|name| !name.is_empty()).map(|name| name.trim_matches('`'));
        let names: Vec<&str> = names.map(|name| name.rsplit("::").next().unwrap()).collect();
        for name in &names {
            if !functions.iter().any(|function| function == name) {
                faults.push(format!("{id}: there is no test {name}"));
            }
        }
        let named_after_it = names.iter().any(|name| name.starts_with(&format!("{}_", id.to_lowercase())));
        match status {
            "done" if !named_after_it => faults.push(format!("{id}: done, but no test is named after it")),
            "partly" | "open" if remarks.is_empty() => faults.push(format!("{id}: {status}, and not said why")),
            "done" | "partly" | "open" => {}
            _ => faults.push(format!("{id}: no status {status:?}")),
        }
    }
    assert!(faults.is_empty(), "docs/compatibility.md:\n{}", faults.join("\n"));
}
