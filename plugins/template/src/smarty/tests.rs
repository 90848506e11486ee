//! The language row by row: what each construct of the documentation and of the reference implementation's tests prints.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests fail by panicking")]

use proptest::prelude::*;
use serde_json::{Map, Value as Json, json};

use super::*;

fn data(json: Json) -> Data {
    let Json::Object(variables) = json else { panic!("data is an object") };
    Data::new(&variables, 1_533_081_600)
}

fn try_render(source: &str, json: Json) -> Result<String, Error> {
    render(source, true, &data(json), Limits::default())
}

#[track_caller]
fn check(source: &str, json: Json, expected: &str) {
    assert_eq!(try_render(source, json).as_deref(), Ok(expected), "{source}");
}

/// Checks a modifier on `$v`.
#[track_caller]
fn modify(value: impl Into<Json>, modifiers: &str, expected: &str) {
    check(&format!("{{$v|{modifiers}}}"), json!({ "v": value.into() }), expected);
}

#[test]
fn variables_and_paths() {
    let json = || json!({ "name": "Ann", "a": { "b": [0, { "c": "deep" }] }, "i": 2, "list": ["x", "y"], "first_name": "F" });
    check("Hi {$name}!", json(), "Hi Ann!");
    check(r#"{$a.b[1]["c"]}{$a["b"][$i - 1].c}"#, json(), "deepdeep");
    check("{$list[1]}{$list.0}{$a[0][0]}", json(), "yx0");
    check("[{$nobody}{$name.x.y}{$list[7]}]", json(), "[]");
    check("{$first-name}", json(), "F");
    check("{$Name}", json(), "");
    check("{ $name} {\n$name}", json(), "{ $name} {\n$name}");
    check("{$smarty.now}", json(), "1533081600");
}

#[test]
fn arithmetic() {
    let json = || json!({ "two": 2, "text": "10 apples", "i-1": "name" });
    check("{$two + 3 * 4}", json(), "14");
    check("{($two + 3) * 4}", json(), "20");
    check("{7 / 2} {8 / 2} {7 % 4} {-$two} {1.5 + 1.5}", json(), "3.5 4 3 -2 3");
    check("{0.1 + 0.2} {1.1 * 1.1} {-0.0}", json(), "0.3 1.21 0");
    check("{1 / 0}{1 % 0}{$nobody + 1}", json(), "001");
    check(r#"{"10" + "text"}{$text + 1}"#, json(), "1011");
    check("{$i-1}{$two - 1}{$two-$two}", json(), "name10");
    check("{9223372036854775807 + 1} {-9223372036854775807 - 2}", json(), "9223372036854780000 -9223372036854780000");
}

#[test]
fn truth_table_of_operators() {
    for (test, expected) in [
        ("1 == 1", true),
        ("1 == '1'", true),
        ("'a' == 'b'", false),
        ("1 != 2", true),
        ("1 <> 1", false),
        ("2 > 1", true),
        ("1 > 2", false),
        ("2 >= 2", true),
        ("1 < 2", true),
        ("2 <= 1", false),
        ("'9' < '10'", true),
        ("'2020-01-01' < '2021-01-01'", true),
        ("1 eq 1", true),
        ("1 ne 1", false),
        ("2 gt 2", false),
        ("2 gte 2", true),
        ("2 ge 3", false),
        ("1 lt 2", true),
        ("2 lte 2", true),
        ("3 le 2", false),
        ("true AND false", false),
        ("true or false", true),
        ("true && true", true),
        ("false || false", false),
        ("not true", false),
        ("!false", true),
        ("not 1 == 2", true),
        ("false or true and true", true),
        ("''", false),
        ("0", false),
        ("'0'", false),
        ("0.0", false),
        ("'a'", true),
        ("$nobody", false),
        ("$nobody == ''", true),
        ("$list", true),
        ("$empty", false),
        ("$list|count > 1", true),
        ("'abc' =~ '^a.c$'", true),
        ("'abc' =~ '('", false),
        ("2 &gt; 1 &amp;&amp; 1 &lt;&nbsp;2", true),
    ] {
        let json = json!({ "list": [1, 2], "empty": [] });
        check(&format!("{{if {test}}}yes{{else}}no{{/if}}"), json, if expected { "yes" } else { "no" });
    }
}

#[test]
fn conditions() {
    let source = "{if $x == 1}one{elseif $x == 2}two{else if $x == 3}three{else}many{/if}";
    for (x, expected) in [(1, "one"), (2, "two"), (3, "three"), (4, "many")] {
        check(source, json!({ "x": x }), expected);
    }
    check("{IF 1}a{If 0}b{ELSE}c{endif}{/IF}", json!({}), "ac");
    check("{if 0}a{/if}", json!({}), "");
}

#[test]
fn loops() {
    let json = || json!({ "list": ["a", "b"], "pairs": { "x": 1, "y": 2 }, "empty": [], "text": "t", "i": "kept" });
    check("{foreach $i in $list}<{$i}>{/foreach}{$i}", json(), "<a><b>kept");
    check("{foreach $list as $i}{$i}{/foreach}", json(), "ab");
    check("{foreach $pairs as $k => $v}{$k}={$v};{/foreach}", json(), "x=1;y=2;");
    check("{foreach $list as $k =&gt; $v}{$k}{$v}{/foreach}", json(), "0a1b");
    check("{foreach $pairs as $v}{$v}{/foreach}", json(), "12");
    for nothing in ["empty", "text", "nobody"] {
        check(&format!("{{foreach $i in ${nothing}}}x{{foreachelse}}none{{/foreach}}"), json(), "none");
    }
    check("{foreach $a in $list}{foreach $b in $list}{$a}{$b} {/foreach}{/foreach}", json(), "aa ab ba bb ");
    check("{foreach $x in $list|range:1}{$x}{/foreach}", json(), "a");
}

#[test]
fn assignments_print_nothing_and_survive_loops() {
    check("{assign 1 to $x}{$x = $x + 1}{$x}", json!({}), "2");
    check("{foreach $i in $l}{$sum = $sum + $i}{/foreach}{$sum}", json!({ "l": [1, 2, 3] }), "6");
    check("{$l[0] == 1}", json!({ "l": [1] }), "true");
}

#[test]
fn literal_braces() {
    check("{ldelim}{rdelim}[ldelim][rdelim]", json!({}), "{}{}");
    check("{literal}{$x}{if}{ / literal }{/literal }{$x}", json!({ "x": 1 }), "{$x}{if}{ / literal }1");
    check("a { b {} c }", json!({}), "a { b {} c }");
    check("{* {$x} *}x{**}", json!({ "x": 1 }), "x");
    check("[bracket] [LDELIM]", json!({}), "[bracket] {");
}

#[test]
fn braces_of_style_and_script_are_text() {
    let css = "<style>p{color:red}.a{{b:c}}@media x{ifs{a:b}}</style><SCRIPT>if(a){b()};{\"x\":1}</SCRIPT>";
    check(css, json!({}), css);
    check("<style>p{color:{$c}}{if 1}a{x:y}{/if}</style>{'x'|upper}", json!({ "c": "red" }), "<style>p{color:red}a{x:y}</style>X");
    assert!(try_render("<p>{color:red}</p>", json!({})).is_err());
}

#[test]
fn white_space_stays() {
    check("a\n {if 1}\n b {/if}\r\n\tc", json!({}), "a\n \n b \r\n\tc");
}

#[test]
fn escaping_is_asked_for() {
    let json = || json!({ "x": "<b>&\"'" });
    check("{$x}", json(), "<b>&\"'");
    check("{$x|escape}", json(), "&lt;b&gt;&amp;&quot;&#39;");
    check("{escape}{$x}{$x|raw}{$x|escape}{$x|raw|upper}", json(), "&lt;b&gt;&amp;&quot;&#39;<b>&\"'&lt;b&gt;&amp;&quot;&#39;<B>&\"'");
    check("{mode=html}{$x}", json(), "&lt;b&gt;&amp;&quot;&#39;");
}

#[test]
fn text_modifiers() {
    modify("VaRiAbLe", "tolower", "variable");
    modify("VaRiAbLe", "lower", "variable");
    modify("VaRiAbLe", "toupper", "VARIABLE");
    modify("éa", "UPPER", "ÉA");
    modify("sir", "ucfirst", "Sir");
    modify("Testing", r#"cat:" 1 2 3":"!""#, "Testing 1 2 3!");
    modify(json!(["x"]), r#"cat:"only""#, "only");
    modify("  \tTest\n\t  ", "trim", "Test");
    modify("xxTestxy", r#"trim:"xy""#, "Test");
    modify("abcdef", "substr:1:3", "bcd");
    modify("abcdef", "substr:2", "cdef");
    modify("abcdef", "substr:9", "abcdef");
    modify("abcdef", "substr:-2", "ef");
    modify("äöü", "substr:1:1", "ö");
    modify("name@example.com", r#"strstr:"@""#, "@example.com");
    modify("name@example.com", r#"strstr:"@":true"#, "name");
    modify("name", r#"strstr:"@""#, "");
    modify("a-b-c", r#"replace:"-":"+""#, "a+b+c");
    modify("Quick brown fox", r#"regex_replace:"a|e|i|o|u":"*""#, "Q**ck br*wn f*x");
    modify("ab", r#"regex_replace:"(a)(b)":"$2$1$&$$$x""#, "baab$$x");
    modify("ab", r#"regex_replace:"(":"x""#, "ab");
    modify("a1b22", r#"regex_replace:"\d+":"_""#, "a_b_");
    modify("a\nb\nc", r#"indent:1:"\t""#, "\ta\n\tb\n\tc");
    modify("a\nb", "indent", " a\n b");
    modify("Test", "spacify", "T e s t");
    modify("äö", r#"spacify:"-""#, "ä-ö");
    modify("a\nb", "nl2br", "a<br />b");
    modify("next x-men film, part 2b", "capitalize", "Next X-men Film, Part 2b");
    modify("2b or", "capitalize:true", "2b Or");
    modify("hello", r#"strpos:"l""#, "2");
    modify("hello", r#"strpos:"x""#, "-1");
}

#[test]
fn truncating() {
    let text = "This is just a simple test sentence.";
    modify(text, "truncate:13", "This is...");
    modify(text, r#"truncate:13:"""#, "This is just");
    modify(text, r#"truncate:13:"...":true"#, "This is ju...");
    modify(text, "truncate:0", "");
    modify(text, "truncate", text);
    modify("äöüäöü", "truncate:5", "äö...");
    modify("abcdef", "truncate:2", "...");
}

#[test]
fn counting_modifiers() {
    let headline = "Cold Wave Linked to Temperatures.";
    modify(headline, "count_characters", "29");
    modify(headline, "count_characters:true", "33");
    modify("War Dims Hope for Peace. Child's Death - Ruins Couple's Holiday.", "count_words", "10");
    modify("one two three four five six seven", "count_words", "7");
    modify("War Dims Hope\n\nChild's Death", "count_paragraphs", "2");
    modify("Hello, world!", "strlen", "13");
    modify("äöü", "strlen", "3");
    modify(json!([1, 2, 3]), "count", "3");
    modify(json!({ "a": 1 }), "count", "1");
    modify("text", "count", "0");
    for counting in ["strlen", "count_words", "count_characters", "count_paragraphs"] {
        modify(json!(["a b"]), counting, "0");
    }
}

#[test]
fn coding_modifiers() {
    modify("foo&bar=some/value", "urlencode", "foo%26bar%3Dsome%2Fvalue");
    modify("foo%26bar%3Dsome%2Fvalue", "urldecode", "foo&bar=some/value");
    modify("a b_.-~", "urlencode", "a+b_.-%7E");
    modify("a+b%C3%A9%zz%", "urldecode", "a bé%zz%");
    modify("test", "base64_encode", "dGVzdA==");
    modify("dGVzdA==", "base64_decode", "test");
    modify("???", "base64_decode", "");
    modify("<b>", "escape", "&lt;b&gt;");
    modify("a b", r#"escape:"url""#, "a+b");
    modify("test", "escape:base64", "dGVzdA==");
    modify(json!({ "a": [1, "x"] }), "jsonencode", r#"{"a":[1,"x"]}"#);
    check("{$v = $t|jsondecode}{$v.a}", json!({ "t": "{\"a\":1}" }), "1");
}

#[test]
fn hashing() {
    let text = "Test string";
    let sha256 = "a3e49d843df13c2e2a7786f6ecd7e0d184f45d718d1ac1a8a63e570466e489dd";
    modify(text, "md5", "0fd3dbec9730101bff92acc820befc34");
    modify(text, "sha1", "18af819125b70879d36378431c4e8d9bfa6a2599");
    modify(text, "sha256", sha256);
    check("{hash($t, 'sha256')}", json!({ "t": text }), sha256);
    check("{$t|sha512}{$ok}", json!({ "t": text }), &try_render("{hash($t,'sha512')}", json!({ "t": text })).unwrap());
    modify(json!(["Test ", "string"]), "md5", "0fd3dbec9730101bff92acc820befc34");
    check("{'x'|md5}", json!({}), "9dd4e461268c8034f5c8564e155c67a6");
    assert!(try_render("{hash($t, 'rot13')}", json!({})).is_err());
}

#[test]
fn choosing_modifiers() {
    modify("", r#"default:"you""#, "you");
    modify("set", r#"default:"you""#, "set");
    modify(0, r#"default:"you""#, "0");
    check(r#"{$nobody|default:"you"}{$nobody|default:$x}"#, json!({ "x": "me" }), "youme");
    modify("test", "empty", "false");
    modify("", "empty", "true");
    modify(json!([1, 2, 3, 4, 5]), "range:1:3|jsonencode", "[2,3]");
    modify(json!([1, 2, 3, 4, 5, 6]), "range:5|count", "5");
    modify("text", "range:1", "text");
}

#[test]
fn extra_modifiers() {
    modify(123_123.45, "number_format:2:'.':','", "123,123.45");
    modify(1234.5, "number_format", "1,235");
    modify(-1_234_567.891, "number_format:2:',':'.'", "-1.234.567,89");
    modify(1.005, "number_format:2", "1.01");
    modify(1_533_081_600, "date_format", "Aug  1, 2018");
    modify("2018-08-01", r#"date_format:"%d-%m-%Y %H:%M:%S %A %j %%""#, "01-08-2018 00:00:00 Wednesday 213 %");
    modify("soon", "date_format", "soon");
}

#[test]
fn modifiers_chain_and_unknown_ones_do_nothing() {
    modify("  Text ", "trim|upper|nosuch:1:'x'", "TEXT");
    check("{$a + $b|default:2}", json!({ "a": 1 }), "3");
}

#[test]
fn syntax_errors_name_their_line() {
    for (source, line, reason) in [
        ("a\nb {if $a}\nc", 2, "{if} without {/if}"),
        ("{foreach $x in $y}", 1, "{foreach} without {/foreach}"),
        ("\n\n{nosuch}", 3, "there is no tag {nosuch}"),
        ("{/if}", 1, "{/if} without its beginning"),
        ("{if 1}{/foreach}", 1, "{/foreach} where {/if} should be"),
        ("{if 1}{else}{else}{/if}", 1, "{else} where {/if} should be"),
        ("{$a", 1, "a tag has no end"),
        ("{$a b}", 1, "there should be `}`"),
        ("{$}", 1, "`$` without a name"),
        ("{'x}", 1, "a quoted text has no end"),
        ("{literal}", 1, "{literal} without {/literal}"),
        ("{nosuch(1)}", 1, "there is no tag {nosuch}"),
        ("{1 + }", 1, "there should be a value"),
    ] {
        assert_eq!(try_render(source, json!({})), Err(Error::Syntax { line, reason: reason.to_owned() }), "{source}");
    }
}

#[test]
fn work_is_bounded() {
    let list: Vec<u32> = (0..1000).collect();
    let limited = |source: &str| matches!(try_render(source, json!({ "l": list, "t": "xy" })), Err(Error::Limit(_)));
    assert!(limited("{foreach $a in $l}{foreach $b in $l}x{/foreach}{/foreach}"));
    assert!(limited("{foreach $a in $l}{$t = $t|cat:$t}{/foreach}{$t}"));
    assert!(limited("{foreach $a in $l}{$t = $t|replace:'x':'xx'}{/foreach}"));
    assert!(limited("{foreach $a in $l}{$t = $t|regex_replace:'x':'xx'}{/foreach}"));
    assert!(limited("{$t|indent:1000000000}"));
    assert!(limited("{foreach $a in $l}{$t = $t|spacify:'abc'}{/foreach}"));
    for deep in ["(", "-", "!", "$a[", "{if 1}", "1+", "{$a|x:"] {
        assert!(try_render(&format!("{{{}", deep.repeat(100_000)), json!({})).is_err(), "{deep}");
    }
    assert!(try_render(&"{if 1}".repeat(10_000), json!({})).is_err());
    assert_eq!(try_render(&"{**}".repeat(10_000), json!({})).as_deref(), Ok(""));
}

#[test]
fn templates_are_told_from_mail() {
    for text in [
        "{$x}",
        "a {if $x}b{/if}",
        "{IF $x}{EndIf}",
        "{ldelim}",
        "{foreach $a in $b}x{/foreach}",
        "{hash($x,'md5')}",
        "<style>a{b:{$c}}</style>",
    ] {
        assert!(has_certain_tags(text), "{text}");
    }
    for text in ["", "{", "a {b} c", "<style>a{b:c}.i{if:x}</style>", "{\"json\": 1}", "{iffy}", "{ $x }", "{%7B}"].into_iter().chain([
        "function f() {if (x) {return 1;}}",
        "{/if}{if $x}",
        "{foreach ($a as $b) {",
        "{else}",
        "{foreachelse}",
        "{if (a)}{/foreach}",
    ]) {
        assert!(!has_certain_tags(text), "{text}");
    }
    assert!(has_tags("{nosuch}", true) && has_tags("[RDELIM]", true) && has_tags("{**}", true));
    assert!(!has_tags("a { b } c {}", true) && !has_tags("<style>p{color:red}</style>", true));
    assert!(has_tags("<style>p{color:red}</style>", false));
}

proptest! {
    #[test]
    fn nothing_panics(source in "(\\{[^}]{0,12}\\}|\\{(if|foreach|else|/if|/foreach|literal|\\$[a-z.]{1,3}(\\|[a-z_]{1,9}(:[0-9\"']{1,3})?)?)[ $a-z]{0,9}\\}|<style>|.){0,12}") {
        let _ = try_render(&source, json!({ "a": [1, "x"], "b": { "c": null } }));
    }

    #[test]
    fn every_modifier_takes_every_value(
        name in proptest::sample::select(vec![
            "lower", "ucfirst", "capitalize", "cat", "trim", "truncate", "substr", "strstr", "strpos", "replace", "regex_replace",
            "indent", "spacify", "nl2br", "default", "empty", "count", "count_characters", "count_words", "count_paragraphs",
            "strlen", "range", "number_format", "date_format", "escape", "urlencode", "urldecode", "base64_encode",
            "base64_decode", "jsonencode", "jsondecode", "md5", "sha512",
        ]),
        value in ".{0,20}",
        number in any::<f64>(),
        arguments in proptest::collection::vec(any::<i64>(), 0..3),
    ) {
        let arguments = arguments.iter().map(|number| format!(":{number}")).collect::<Vec<_>>().concat();
        let json = json!({ "t": value, "n": number, "l": [value, [number]], "o": Map::new() });
        for variable in ["t", "n", "l", "o", "nobody"] {
            // A limit may be reached; what matters is that nothing panics.
            let _ = try_render(&format!("{{${variable}|{name}{arguments}|jsonencode}}"), json.clone());
        }
    }

    #[test]
    fn text_without_braces_stays(text in "[^{\\[]{0,200}") {
        prop_assert_eq!(try_render(&text, json!({})), Ok(text));
    }
}
