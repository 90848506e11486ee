//! docs/configuration.md describes every key.

use std::collections::BTreeSet;

use super::{Folder, LEAST};

const PAGE: &str = include_str!("../../../../docs/configuration.md");

/// A section of each kind with a key that does not exist: the errors list those that do.
const UNKNOWN: &str = r#"
0 = 1
[store]
0 = 1
[tls]
0 = 1
[plugins.tags]
0 = 1
[plugins.tags.limits]
0 = 1
[plugins.tags.allow]
0 = 1
[templates.welcome]
0 = 1
[plugin_runtime]
0 = 1
[plugin_trust]
0 = 1
[routes.direct]
kind = "mx"
0 = 1
[routes.upstream]
kind = "smarthost"
0 = 1
[[logins]]
0 = 1
[logins.limits]
0 = 1
[[dkim]]
0 = 1
[domains]
0 = 1
[dns_server]
0 = 1
[delivery]
0 = 1
[[shaping]]
0 = 1
[[tls_rules]]
0 = 1
[tls_reports]
0 = 1
[smtp]
0 = 1
[mx]
0 = 1
[bounces]
0 = 1
[[inbound]]
action = "keep"
0 = 1
[[inbound]]
action = "forward"
0 = 1
[authentication]
0 = 1
[http]
0 = 1
[queue]
0 = 1
[search]
0 = 1
[dashboard]
0 = 1
[server]
0 = 1
[[listen]]
0 = 1
[[certificates]]
0 = 1
"#;

#[test]
fn every_key_is_on_the_page() {
    let errors = Folder::new().errors(UNKNOWN);
    let lists: Vec<&str> = errors.lines().filter_map(|line| Some(line.split_once("; known are ")?.1)).collect();
    assert_eq!(lists.len(), UNKNOWN.matches("0 = 1").count(), "{errors}");
    let keys: BTreeSet<&str> =
        lists.iter().flat_map(|list| list.split(", ")).chain(["use", "when", "locked", "percent", "shadow", "shadow_of"]).collect();
    let missing: Vec<&&str> = keys.iter().filter(|key| !PAGE.contains(&format!("`{key}`"))).collect();
    assert!(missing.is_empty(), "not in docs/configuration.md: {missing:?}");
}

#[test]
fn the_examples_on_the_page_load() {
    for block in PAGE.split("```toml\n").skip(1) {
        let text = block.split("```").next().unwrap_or_default();
        let folder = Folder::new();
        let result = folder.parse(&if text.contains("[server]") { text.to_owned() } else { format!("{LEAST}\n{text}") });
        assert!(result.is_ok(), "{text}\n{}", result.unwrap_err());
    }
}
