#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

use serde_json::json;

use super::*;
use crate::plugin::binding::WitDescription;

fn description(schema: &str) -> WitDescription {
    WitDescription {
        name: "greet".to_owned(),
        version: "1.0.0".to_owned(),
        summary: "Greets".to_owned(),
        config_schema: schema.to_owned(),
        header_options: Vec::new(),
    }
}

fn manifest() -> Manifest {
    let schema = r#"{"type":"object","additionalProperties":false,"required":["word"],"properties":{
        "word":{"type":"string","maxLength":5},"loud":{"type":"boolean","default":false},"times":{"type":"integer","minimum":1,"maximum":3},
        "mode":{"enum":["a","b"]},"list":{"type":"array","items":{"type":"string"},"maxItems":2},
        "deep":{"type":"object","properties":{"x":{"type":"number"}}},"none":{"type":"object","additionalProperties":false},
        "any":{"type":"object"}}}"#;
    Manifest::new(description(schema)).unwrap()
}

#[test]
fn options_are_checked() {
    let manifest = manifest();
    let check = |options: Value, complete| {
        let options = options.as_object().unwrap().clone();
        manifest.check(&options, complete).map_err(|error| error.to_string())
    };
    assert_eq!(
        check(
            json!({"word": "hi", "loud": true, "times": 2.0, "mode": "b", "list": [], "deep": {"x": 1}, "none": {}, "any": {"y": 1}, "enabled": false}),
            true
        ),
        Ok(())
    );
    assert_eq!(check(json!({"loud": true}), false), Ok(()));
    for (options, reason) in [
        (json!({"loud": true}), "word: is required"),
        (json!({"word": "hi", "lod": true}), "lod: no such option; did you mean \"loud\"?"),
        (json!({"word": 1}), "word: must be a text"),
        (json!({"word": "too long"}), "word: must have at most 5 characters"),
        (json!({"word": "hi", "times": 4}), "times: must be at most 3"),
        (json!({"word": "hi", "times": 0}), "times: must be at least 1"),
        (json!({"word": "hi", "times": 1.5}), "times: must be a whole number"),
        (json!({"word": "hi", "mode": "c"}), "mode: must be one of \"a\", \"b\""),
        (json!({"word": "hi", "list": ["a", 1]}), "list.1: must be a text"),
        (json!({"word": "hi", "list": ["a", "b", "c"]}), "list: must have at most 2 elements"),
        (json!({"word": "hi", "deep": {"y": 1}}), "deep.y: no such option"),
        (json!({"word": "hi", "none": {"y": 1}}), "none.y: no such option"),
        (json!({"word": "hi", "deep": {"x": "1"}}), "deep.x: must be a number"),
        (json!({"word": "hi", "enabled": "yes"}), "enabled: must be true or false"),
    ] {
        let error = check(options, true).unwrap_err();
        assert!(error.starts_with(reason), "{error}");
    }
}

#[test]
fn header_values_become_options() {
    let manifest = manifest();
    let read = |option: &str, text: &str| manifest.option_from_header(option, text).ok();
    assert_eq!(read("enabled", " Yes "), Some(json!(true)));
    assert_eq!(read("loud", "off"), Some(json!(false)));
    assert_eq!(read("times", "2"), Some(json!(2)));
    assert_eq!(read("list", "a, b"), Some(json!(["a", "b"])));
    assert_eq!(read("word", "hi"), Some(json!("hi")));
    for (option, text) in [("enabled", "maybe"), ("times", "9"), ("times", "x"), ("word", "too long"), ("none", "x"), ("list", "a,b,c")] {
        assert_eq!(read(option, text), None, "{option} {text}");
    }
}

#[test]
fn what_cannot_be_checked_is_refused() {
    for (schema, reason) in [
        ("{", "EOF"),
        ("[]", "a schema is an object"),
        (r#"{"type":"string"}"#, "must be of type object"),
        (r#"{"not":{}}"#, "not: this version does not know this keyword"),
        (r#"{"oneOf":[{"required":["a"]}]}"#, "must be among its own properties"),
        (r##"{"properties":{"a":{"$ref":"#/$defs/b"}}}"##, "there is no \"#/$defs/b\""),
        (r#"{"properties":{"a":{"$ref":"https://example.com/"}}}"#, "is not inside of the schema"),
        (r##"{"properties":{"a":{"$ref":"#/properties/a"}}}"##, "nested too deeply"),
        (r#"{"properties":{"a":{"pattern":"("}}}"#, "is no pattern"),
        (r#"{"properties":{"a":{"type":"text"}}}"#, "there is no type \"text\""),
        (r#"{"required":["a"]}"#, "\"a\" is required, but not among the properties"),
    ] {
        let error = Manifest::new(description(schema)).unwrap_err();
        assert!(error.contains(reason), "{error}");
    }
    let deep = format!("{}{}", r#"{"items":"#.repeat(40), "{}".to_owned() + &"}".repeat(40));
    assert!(Manifest::new(description(&deep)).unwrap_err().contains("nested too deeply"));
    // References that double at each step would be read for ever.
    let level = |number: u32| format!(r##""d{number}":{{"allOf":[{{"$ref":"#/$defs/d{0}"}},{{"$ref":"#/$defs/d{0}"}}]}}"##, number + 1);
    let levels: Vec<_> = (0..30).map(level).collect();
    let wide = format!(r##"{{"properties":{{"a":{{"$ref":"#/$defs/d0"}}}},"$defs":{{{},"d30":{{}}}}}}"##, levels.join(","));
    assert!(Manifest::new(description(&wide)).is_err());
}

#[test]
fn forms_and_references_are_checked() {
    let schema = r##"{"properties":{
        "mode":{"oneOf":[{"type":"string","const":"a","description":"first"},{"type":"string","const":"b"}]},
        "by":{"anyOf":[{"enum":["x","y"]},{"type":"null"}]},
        "others":{"oneOf":[{"type":"string","const":"reject"},{"type":"object","properties":{"rewrite":{"type":"string"}},
            "required":["rewrite"],"additionalProperties":false}]},
        "size":{"$ref":"#/$defs/size"},"word":{"type":"string","pattern":"^[a-z]+$"},"port":{"type":"integer","format":"uint16"}},
        "$defs":{"size":{"type":"integer","minimum":1}}}"##;
    let manifest = Manifest::new(description(schema)).unwrap();
    let check = |options: Value| manifest.check(options.as_object().unwrap(), true).map_err(|error| error.to_string());
    for options in [
        json!({"mode": "a"}),
        json!({"by": null}),
        json!({"by": "y"}),
        json!({"others": "reject"}),
        json!({"others": {"rewrite": "x"}}),
        json!({"size": 1, "word": "abc", "port": 25}),
    ] {
        assert_eq!(check(options.clone()), Ok(()), "{options}");
    }
    for (options, reason) in [
        (json!({"mode": "c"}), "mode: must be one of \"a\", \"b\""),
        (json!({"by": 1}), "by: must be one of \"x\", \"y\""),
        (json!({"others": "rewrite"}), "others: must be one of \"reject\""),
        (json!({"others": {"rewrit": "x"}}), "others.rewrit: no such option; did you mean \"rewrite\"?"),
        (json!({"others": {}}), "others.rewrite: is required"),
        (json!({"others": 1}), "others: must be \"reject\", or a table with \"rewrite\""),
        (json!({"size": 0}), "size: must be at least 1"),
        (json!({"word": "A"}), "word: must be as the pattern \"^[a-z]+$\" says"),
    ] {
        let error = check(options).unwrap_err();
        assert!(error.starts_with(reason), "{error}");
    }
    let read = |option: &str, text: &str| manifest.option_from_header(option, text).ok();
    assert_eq!((read("mode", "b"), read("size", "3"), read("size", "x")), (Some(json!("b")), Some(json!(3)), None));
}
