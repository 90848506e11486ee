//! HTML that no browser wrote, and some that one did.

use std::fmt::Write as _;

use super::{Group, message};

/// Pages that HTML parsers disagree about.
const PAGES: [(&str, &str); 62] = [
    ("empty", ""),
    ("blank", " \r\n\t"),
    ("text", "Just text & more < text > here"),
    ("less-than", "<"),
    ("open-tag", "<p"),
    ("open-attribute", "<a href=\"https://example.com/"),
    ("open-end-tag", "<p>text</"),
    ("open-comment", "<p>text<!-- never closed"),
    ("open-cdata", "<p>text<![CDATA[ never closed"),
    ("open-doctype", "<!DOCTYPE html"),
    ("open-script", "<script>if (a < b) { '<p>' "),
    ("open-style", "<style>p { color: red"),
    ("open-title", "<title>never closed <p>text"),
    ("open-textarea", "<textarea><a href=\"https://example.com/\">x</a>"),
    ("unclosed-tags", "<div><p><b><i><a href=\"https://example.com/\">text"),
    ("crossed-tags", "<b><i>text</b></i>"),
    ("only-end-tags", "</p></div></body></html>"),
    ("two-bodies", "<body><p>one</body><body><p>two</body>"),
    ("two-pages", "<html><body>one</body></html><html><body>two</body></html>"),
    ("behind-the-end", "<html><body>one</body></html><p>behind</p>"),
    ("no-body", "<html><head><title>x</title></head></html>"),
    ("head-only", "<head><style>p { color: red }</style></head>"),
    ("frameset", "<html><frameset><frame src=\"a\"></frameset></html>"),
    ("upper-case", "<HTML><BODY><A HREF=\"HTTPS://EXAMPLE.COM/\">X</A></BODY></HTML>"),
    ("no-quotes", "<a href=https://example.com/?a=1&b=2 title=x>y</a>"),
    ("single-quotes", "<a href='https://example.com/?a=\"1\"'>y</a>"),
    ("blanks-in-attributes", "<a\r\n  href  =\r\n\t\"https://example.com/\"  >x</a >"),
    ("attribute-twice", "<a href=\"https://one.example/\" href=\"https://two.example/\">x</a>"),
    ("attribute-without-value", "<a href>x</a><a href=>y</a><a href=\"\">z</a>"),
    ("attribute-equals-first", "<a =\"x\" ==y>z</a>"),
    ("attribute-names", "<a @click=\"x\" :href=\"y\" [z]=\"1\" 中=\"文\">x</a>"),
    ("slash-everywhere", "<br/><a/href=\"https://example.com/\"/>x</a/>"),
    ("void-elements-closed", "<br></br><img></img><hr></hr>"),
    ("self-closed-div", "<div/><p>text</p>"),
    (
        "links",
        "<a href=\"mailto:a@example.com\">a</a><a href=\"tel:+1\">b</a><a href=\"#c\">c</a><a href=\"/d\">d</a><a href=\"javascript:alert(1)\">e</a><a href=\"data:text/html,x\">f</a><a href=\"cid:x\">g</a><a name=h>h</a>",
    ),
    (
        "odd-urls",
        "<a href=\"https://\">a</a><a href=\"http:/b\">b</a><a href=\"https://[::1\">c</a><a href=\"https://exa mple.com/\">d</a><a href=\" https://example.com/ \">e</a><a href=\"https://user:pass@example.com:99999/\">f</a><a href=\"ht\ntps://example.com\">g</a>",
    ),
    ("international-url", "<a href=\"https://köln.example/straße?q=ü#ß\">x</a>"),
    ("encoded-url", "<a href=\"&#104;&#x74;tps&colon;//example.com/?a=1&amp;amp;b=2&copy=3\">x</a>"),
    ("entities", "&amp &lt;&nosuch; &#0; &#x110000; &#xD800; &#99999999999; &; &# &#x &AMP;&notin"),
    ("comments", "<!--><p>one</p>--><!--->two<!----><!-- -- > --!><p>three</p>"),
    (
        "conditional-comments",
        "<!--[if mso]><table><tr><td><![endif]--><p>x</p><!--[if mso]></td></tr></table><![endif]--><![if !mso]><p>y</p><![endif]>",
    ),
    ("cdata", "<p><![CDATA[ <b>not bold</b> ]]></p><svg><![CDATA[ <b>x</b> ]]></svg>"),
    ("processing-instruction", "<?xml version=\"1.0\"?><?php echo '>' ?><p>x</p>"),
    (
        "doctypes",
        "<!DOCTYPE html PUBLIC \"-//W3C//DTD XHTML 1.0 Transitional//EN\" \"http://www.w3.org/TR/xhtml1/DTD/xhtml1-transitional.dtd\"><!DOCTYPE html><html xmlns=\"http://www.w3.org/1999/xhtml\"><body/></html>",
    ),
    ("script-with-end", "<script>document.write('</scr' + 'ipt><p>')</script><p>x</p>"),
    ("script-in-comment", "<script><!-- <script> </script> --></script><p>x</p>"),
    (
        "svg-and-math",
        "<svg viewBox=\"0 0 1 1\"><a xlink:href=\"https://example.com/\"><text>x</text></a><style>a{}</style></svg><math><mi>x</mi></math>",
    ),
    ("template", "<template><a href=\"https://example.com/\">x</a></template><noscript><a href=\"https://example.com/\">y</a></noscript>"),
    ("plaintext", "<p>one</p><plaintext><a href=\"https://example.com/\">all text from here on"),
    ("table-foster", "<table><a href=\"https://example.com/\">x</a><tr>y<td>z</table>"),
    ("style-odd", "<style>p{}}}{{ @media{ @import url(; a[href=\"</p>\"] { } p:not( { x } /* never closed</style><p>x</p>"),
    (
        "style-broken-values",
        "<style>p { color:; width: calc(1px + ; background: url(\"x } b { : red } {} ;;; </style><p style=\"color:;;:red;\">x</p>",
    ),
    ("style-important", "<style>p { color: red !important } p { color: blue }</style><p style=\"color: green\">x</p>"),
    (
        "style-selectors",
        "<style>p::before{} a:hover{} *{} p>p+p~p{} :nth-child(2n+1 of p){} #a.b[c^=d]:is(e,f){} \\31 x{}</style><p id=a class=\"b c\">x</p>",
    ),
    (
        "style-font-face",
        "<style>@font-face { font-family: X; src: url(x.woff) } @keyframes x { from { top: 0 } } @charset \"utf-8\"; @namespace svg url(x);</style><p>x</p>",
    ),
    ("style-attribute-quotes", "<p style='font-family: \"A B\", sans-serif'>x</p><p style=\"font-family: 'A'\">y</p>"),
    (
        "style-media",
        "<style media=print>p{}</style><style type=text/less>@x: 1;</style><link rel=stylesheet href=\"https://example.com/x.css\"><p>x</p>",
    ),
    (
        "images",
        "<img src=\"https://example.com/x.gif\"><img srcset=\"a 1x, b 2x\"><img><picture><source srcset=c></picture><table background=\"https://example.com/b.gif\"><tr><td background=c></table>",
    ),
    ("forms", "<form action=\"https://example.com/\" method=post><input name=a><button formaction=\"x\">y</button></form>"),
    ("base", "<base href=\"https://example.com/a/\"><a href=\"b\">x</a>"),
    (
        "meta-refresh",
        "<meta http-equiv=refresh content=\"0; url=https://example.com/\"><meta http-equiv=Content-Type content=\"text/html; charset=utf-16\"><p>x</p>",
    ),
    (
        "amp",
        "<!doctype html><html ⚡4email><head><script async src=\"https://cdn.ampproject.org/v0.js\"></script></head><body>x</body></html>",
    ),
];

pub(super) fn fill(group: &mut Group) {
    for (name, page) in PAGES {
        group.sound(name, html(page));
    }
    group.sound("5000-links", html("<a href=\"https://example.com/\">x</a> ".repeat(5_000)));
    for count in [100, 1_000, 20_000] {
        group.sound(format!("{count}-divs-deep"), html(format!("{}x{}", "<div>".repeat(count), "</div>".repeat(count))));
    }
    group.sound("20000-bold-unclosed", html("<b>x".repeat(20_000)));
    group.sound("5000-tables-deep", html("<table><tr><td>".repeat(5_000)));
    // More of them than a message may have slots.
    group.broken("20000-links", html("<a href=\"https://example.com/\">x</a> ".repeat(20_000)));
    group.sound("20000-less-than", html("<".repeat(20_000)));
    group.sound("20000-ampersands", html("&".repeat(20_000)));
    group.sound("20000-open-comments", html("<!--".repeat(20_000)));
    group.sound("attribute-of-500000", html(format!("<p title=\"{}\">x</p>", "t".repeat(500_000))));
    group.sound("url-of-100000", html(format!("<a href=\"https://example.com/?{}\">x</a>", "q=1&amp;".repeat(12_500))));
    let attributes = numbered(10_000, |number, text| write!(text, " a{number}=\"{number}\""));
    group.sound("10000-attributes", html(format!("<p{attributes}>x</p>")));
    group.sound("tag-name-of-100000", html(format!("<{}>x", "t".repeat(100_000))));
    let rules = numbered(2_000, |number, text| writeln!(text, "p.c{number} > a[x=\"{number}\"] {{ color: #{number:06x} }}"));
    group.sound("2000-rules", html(format!("<style>{rules}</style><p class=c1><a x=1>x</a></p>")));
    group.sound("200-media-deep", html(format!("<style>{}p{{}}{}</style><p>x</p>", "@media all {".repeat(200), "}".repeat(200))));
    group.sound("10000-brackets-in-css", html(format!("<style>p {{ x: {} }}</style><p>x</p>", "(".repeat(10_000))));
    group.sound("10000-brackets-in-style", html(format!("<p style=\"x: {}\">x</p>", "[".repeat(10_000))));
    group.sound("selector-of-5000", html(format!("<style>{} {{ color: red }}</style><p>x</p>", "p ".repeat(5_000))));
    group.sound("not-not-not", html(format!("<style>{}p{} {{ color: red }}</style><p>x</p>", ":not(".repeat(500), ")".repeat(500))));
    group.sound("1000-styles", html("<style>p { color: red }</style>".repeat(1_000) + "<p>x</p>"));
    group.sound("50000-classes", html(format!("<style>.c{{color:red}}</style><p class=\"{}\">x</p>", "c ".repeat(50_000))));
}

fn numbered(count: u32, write: impl Fn(u32, &mut String) -> std::fmt::Result) -> String {
    let mut text = String::new();
    for number in 0..count {
        // Writing to a String cannot fail.
        let _ = write(number, &mut text);
    }
    text
}

fn html(page: impl AsRef<str>) -> Vec<u8> {
    message("Content-Type: text/html; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n", page.as_ref())
}
