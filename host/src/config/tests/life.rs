//! What the configuration says of the life of plugins: trust, parts, shadows.

use super::{Folder, LEAST};
use crate::config::{Shadow, Share};

#[test]
fn parts_and_shadows_of_a_chain() {
    let steps = "[chains]\nx = [{ use = \"tags\", percent = 12.5 }, { use = \"template\", percent = 100 }, { use = \"tracking\", percent = 0.0001 }, \
        { use = \"inline-css\", shadow = true }, { use = \"list-unsubscribe\", shadow_of = \"tags\", percent = 5, at = 1 }]";
    let config = Folder::new().parse(&format!("{LEAST}\n{steps}")).unwrap();
    let steps = &config.chains["x"].steps;
    let shares: Vec<_> = steps.iter().map(|step| step.share.map(|share| share.0)).collect();
    assert_eq!(shares, [Some(125_000), Some(1_000_000), Some(1), None, Some(50_000)]);
    assert_eq!((&steps[3].shadow, &steps[4].shadow), (&Some(Shadow::Nothing), &Some(Shadow::Of("tags".into()))));
    assert_eq!((steps[4].share, steps[4].options.len()), (Some(Share(50_000)), 1), "the other key is the plugin's");
}

#[test]
fn trust_and_pins() {
    let key = "11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=";
    let digest = "AB".repeat(32);
    let text = format!(
        "{LEAST}\n[plugin_trust]\nkeys = [\"ann:{key}\"]\nrequire_signed = true\n[plugins.greet]\nsource = \"greet.wasm\"\nsha256 = \"{digest}\"\n"
    );
    let config = Folder::new().parse(&text).unwrap();
    assert_eq!(config.plugins["greet"].sha256, Some([0xab; 32]));
    assert_eq!((&*config.plugin_trust.keys[0].name, config.plugin_trust.keys[0].key[0]), ("ann", 0xd7));
    assert!(config.plugin_trust.require_signed);
}

#[test]
fn what_is_wrong_with_them_is_said() {
    for (added, expected) in [
        ("[chains]\nx = [{ use = \"tags\", percent = 101 }]", "percent: must be a number from 0 to 100"),
        ("[chains]\nx = [{ use = \"tags\", percent = -0.1 }]", "percent: must be a number from 0 to 100"),
        ("[chains]\nx = [{ use = \"tags\", percent = nan }]", "percent: must be a number from 0 to 100"),
        ("[chains]\nx = [{ use = \"tags\", percent = \"5\" }]", "percent: must be a number from 0 to 100"),
        ("[chains]\nx = [{ use = \"tags\", shadow_of = \"tgas\" }]", "no plugin \"tgas\"; did you mean \"tags\"?"),
        ("[plugin_trust]\nrequire_signed = true", "nobody could sign"),
        ("[plugin_trust]\nkeys = [\"ann\"]", "`tubepost plugin keygen` prints it"),
        ("[plugin_trust]\nkeys = [\"ann:AAAA\"]", "`tubepost plugin keygen` prints it"),
        ("[plugin_trust]\nkeys = [\"a b:AAAA\"]", "the name of a key"),
        ("[plugins.greet]\nsource = \"greet.wasm\"\nsha256 = \"abc\"", "must be a SHA-256"),
        (
            "[plugins.greet]\nsource = \"greet.wasm\"\nsha256 = \"+a+b+c+d+a+b+c+d+a+b+c+d+a+b+c+d+a+b+c+d+a+b+c+d+a+b+c+d+a+b+c+d\"",
            "must be a SHA-256",
        ),
    ] {
        let errors = Folder::new().errors(&format!("{LEAST}\n{added}"));
        assert!(errors.contains(expected), "{added}:\n{errors}");
    }
}
