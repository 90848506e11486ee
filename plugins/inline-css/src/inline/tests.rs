//! What is written where.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests fail by panicking")]

use super::*;

#[track_caller]
fn check(css: &str, body: &str, expected: &str) {
    let page = format!("<html><head><style>{css}</style></head><body>{body}</body></html>");
    let expected = (body != expected).then(|| page.replace(body, expected));
    assert_eq!(inline(&page, false), expected);
}

#[test]
fn specificity_and_order_decide() {
    check("p{color:red}p{color:blue}", "<p>", "<p style=\"color: blue;\">");
    check("#i{color:red}.c{color:blue}p{color:green}", "<p id=i class=c>", "<p style=\"color: red;\" id=i class=c>");
    check(
        "div p{color:red;margin:0}p{color:blue}",
        "<div><p></div><p>",
        "<div><p style=\"color: red;margin: 0;\"></div><p style=\"color: blue;\">",
    );
    check("ul > li:first-child{color:red}", "<ul><li>a<li>b</ul>", "<ul><li style=\"color: red;\">a<li>b</ul>");
}

#[test]
fn an_existing_style_wins_unless_a_rule_is_important() {
    check("p{color:red;margin:0}", "<p style='color:blue'>", "<p style=\"margin: 0;color: blue\">");
    check("p{color:red !important}", "<p style=\"color:blue\">", "<p style=\"color: red !important\">");
    check("p{font-family:\"A B\"}", "<p style=margin:0>", "<p style=\"font-family: 'A B';margin: 0\">");
}

#[test]
fn what_no_attribute_can_say_stays_in_the_head() {
    let css = "a:hover{color:red}@media (max-width:600px){p{color:red}}p::before{content:'x'}@font-face{font-family:f}";
    check(css, "<p><a href=x>", "<p><a href=x>");
}

#[test]
fn everything_else_keeps_every_octet() {
    check(
        "td{padding:0}",
        "<TABLE  border = 0>\r\n{foreach $r in $rows}<tr><TD\tclass='a'>{$r|escape}&nbsp;&copy;</td>{/foreach}</TABLE ><br/><!--[if mso]><td><![endif]-->",
        "<TABLE  border = 0>\r\n{foreach $r in $rows}<tr><TD style=\"padding: 0;\"\tclass='a'>{$r|escape}&nbsp;&copy;</td>{/foreach}</TABLE ><br/><!--[if mso]><td><![endif]-->",
    );
    check("b{color:red}", "<p style='a: &quot;b&quot;; c: d'>x", "<p style='a: &quot;b&quot;; c: d'>x");
}

#[test]
fn fragments_stay_fragments() {
    let page = "<style>p{color:red}</style><p>x";
    assert_eq!(inline(page, false).as_deref(), Some("<style>p{color:red}</style><p style=\"color: red;\">x"));
}

#[test]
fn nothing_is_edited_where_nothing_is_inlined() {
    for page in [
        "",
        "<p>x</p>",
        "<style></style><p>",
        "<style>h1{color:red}</style><p style='x:y'>",
        "<link rel=stylesheet href=https://x/s.css><p>",
    ] {
        assert_eq!(inline(page, false), None, "{page}");
        assert_eq!(inline(page, true).filter(|after| after == page), None, "{page}");
    }
}

#[test]
fn a_sloppy_style_stays_and_stops_nothing() {
    for style in ["color", "*zoom:1", "color:red;}", "{$style}", "{if $a}color:red{/if}", "a:b;;c", "\"x", "@media x", "color:red;/*"] {
        let expected = format!("<p style='{style}'><p style=\"margin: 0;\">");
        check("p{margin:0}", &format!("<p style='{style}'><p>"), &expected);
    }
    // What can be read is merged, whatever stands in it.
    check("p{margin:0}", "<p style='color:{$c};--x:1;'>", "<p style=\"margin: 0;color: {$c};--x: 1\">");
    check("p{margin:0}", "<p style='background:url(data:a;b)'>", "<p style=\"margin: 0;background: url(data:a;b)\">");
    // The rule is still needed where it was not inlined.
    let page = "<style>p{margin:0}</style><p style=color><p>";
    assert_eq!(inline(page, true).unwrap(), "<style>p{margin:0}</style><p style=color><p style=\"margin: 0;\">");
}

/// A limit of css-inline, which writes a property where it was first named; see the documentation of the plugin. A browser shows a margin of
/// 10 pixels on all sides.
#[test]
fn a_shorthand_behind_its_longhand_does_not_win() {
    check(
        ".a{margin:0}.b{margin-top:5px}.c{margin:10px}",
        "<p class=\"a b c\">",
        "<p style=\"margin: 10px;margin-top: 5px;\" class=\"a b c\">",
    );
}

#[test]
fn sheets_for_other_media_are_not_inlined() {
    assert_eq!(inline("<style media=print>p{color:red}</style><p>", false), None);
    let page = "<style media=\"Screen\">p{color:red}</style><style media=print>p{margin:0}</style><p>";
    assert!(inline(page, false).unwrap().ends_with("<p style=\"color: red;\">"));
}

#[test]
fn inlined_rules_are_taken_out_if_asked_for() {
    let page = "<style>p{color:red}\na:hover{color:blue}@media print{p{color:black}}</style><p>x<a href=y>z</a>";
    let inlined = inline(page, true).unwrap();
    let (sheet, body) = inlined.split_once("</style>").unwrap();
    assert!(!sheet.contains("red") && sheet.contains("a:hover") && sheet.contains("@media print"), "{sheet}");
    assert_eq!(body, "<p style=\"color: red;\">x<a href=y>z</a>");
}

#[test]
fn broken_pages_are_survived() {
    for page in [
        "<style>p{color:red}</style><p <p><b><p></b></p>",
        "<style>p{",
        "<style>p{color:red}</style><p style",
        "<style>{}}{</style><table><p><td><p></table>",
    ] {
        let _ = inline(page, false);
        let _ = inline(page, true);
    }
}
