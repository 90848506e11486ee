//! How deep the elements of a page are nested.
//!
//! css-inline walks a page by recursion, and a component has half a megabyte of stack: a page that nests deeper than any
//! mail does is left alone, where it would end in a trap.

use crate::markup::{StartTag, slice};

/// The most elements inside each other, of those that are counted. Rows and bodies of tables are not, so that a level of the page
/// counts for up to four levels of the tree.
const DEEPEST: usize = 100;
/// Elements without content.
const VOID: [&str; 14] = ["area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "param", "source", "track", "wbr"];
/// Elements that others of their kind end, or that stand between counted ones.
const NOT_COUNTED: [&str; 8] = ["p", "tr", "tbody", "thead", "tfoot", "option", "colgroup", "dt"];
/// Elements that end the one before them if that is of the same kind.
const ITEMS: [&str; 4] = ["td", "th", "li", "dd"];

/// Whether a page with these tags nests deeper than a mail may.
pub(crate) fn is_too_deep(page: &str, tags: &[StartTag]) -> bool {
    let mut open: Vec<&str> = Vec::new();
    let mut done = 0;
    for tag in tags {
        close(slice(page, &(done..tag.whole.start)), &mut open);
        done = tag.text.as_ref().map_or(tag.whole.end, |text| text.end);
        let name = slice(page, &tag.name);
        let among = |names: &[&str]| names.iter().any(|known| known.eq_ignore_ascii_case(name));
        if among(&VOID) || among(&NOT_COUNTED) {
            continue;
        }
        if among(&ITEMS) && open.last().is_some_and(|last| last.eq_ignore_ascii_case(name)) {
            open.pop();
        }
        open.push(name);
        if open.len() > DEEPEST {
            return true;
        }
    }
    false
}

/// Takes from `open` what the end tags between two start tags end.
fn close(between: &str, open: &mut Vec<&str>) {
    for (index, _) in between.match_indices("</") {
        let rest = between.get(index + 2..).unwrap_or_default();
        let end = rest.find(|character: char| character.is_ascii_whitespace() || matches!(character, '/' | '>'));
        let name = rest.get(..end.unwrap_or(rest.len())).unwrap_or_default();
        if let Some(place) = open.iter().rposition(|known| known.eq_ignore_ascii_case(name)) {
            open.truncate(place);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::markup::start_tags;

    fn deep(page: &str) -> bool {
        is_too_deep(page, &start_tags(page).collect::<Vec<_>>())
    }

    #[test]
    fn only_what_is_nested_counts() {
        assert!(!deep(&"<div><p>x<br></div>".repeat(1000)));
        assert!(!deep(&format!("<table>{}</table>", "<tr><td>x<td><font>y</tr>".repeat(40))));
        assert!(!deep(&format!("<ul>{}</ul>", "<li>x".repeat(1000))));
        assert!(!deep(&"<td><font>x</td>".repeat(1000)));
        assert!(!deep(&"<table><tr><td>".repeat(30)));
        assert!(deep(&"<div>".repeat(101)));
        assert!(deep(&"<table><tr><td>".repeat(60)));
    }
}
