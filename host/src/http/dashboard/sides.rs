//! Two texts side by side: equal lines beside each other, and in lines that were changed the words that are others.

use std::fmt::Write;
use std::ops::Range;
use std::time::Duration;

use similar::{ChangeTag, DiffTag, TextDiff};

use super::page::Text;

/// Lines around a change.
const AROUND: usize = 3;
/// Rows that are shown.
const MOST_ROWS: usize = 2_000;
/// Characters of a line that are shown.
const LONGEST_LINE: usize = 2_000;
/// How long the comparison looks for the shortest way to say it.
const LOOKING_TIME: Duration = Duration::from_millis(300);
/// How long it looks at the words of one line.
const WORDS_TIME: Duration = Duration::from_millis(5);
/// Two lines are one that was changed if this much of them is the same.
const ALIKE: f32 = 0.5;

/// Returns a table of two columns, "" where the texts are the same.
pub(super) fn sides(before: &str, after: &str) -> String {
    if before == after {
        return String::new();
    }
    let difference = TextDiff::configure().timeout(LOOKING_TIME).diff_lines(before, after);
    let (old, new) = (difference.old_slices(), difference.new_slices());
    let mut table =
        Table { html: String::from("<table class=\"sides\"><thead><tr><th>Before</th><th>After</th></tr></thead><tbody>"), rows: 0 };
    for (number, group) in difference.grouped_ops(AROUND).iter().enumerate() {
        if number > 0 {
            table.gap("⋯");
        }
        for op in group {
            let (left, right) = (lines(old, op.old_range()), lines(new, op.new_range()));
            match op.tag() {
                DiffTag::Equal => left.iter().zip(&right).for_each(|(left, right)| table.row("", &escaped(left), "", &escaped(right))),
                DiffTag::Delete | DiffTag::Insert | DiffTag::Replace => table.changed(&left, &right),
            }
            if table.rows > MOST_ROWS {
                table.gap("and more");
                return table.end();
            }
        }
    }
    table.end()
}

fn lines<'a>(all: &[&'a str], range: Range<usize>) -> Vec<&'a str> {
    all.get(range).unwrap_or_default().iter().map(|line| line.trim_end_matches('\n')).collect()
}

fn shortened(line: &str) -> &str {
    line.char_indices().nth(LONGEST_LINE).map_or(line, |(end, _)| line.get(..end).unwrap_or(line))
}

fn escaped(line: &str) -> String {
    Text(shortened(line)).to_string()
}

struct Table {
    html: String,
    rows: usize,
}

impl Table {
    fn row(&mut self, left_class: &str, left: &str, right_class: &str, right: &str) {
        self.rows += 1;
        // Writing to a String cannot fail.
        let _ = write!(self.html, "<tr><td class=\"{left_class}\">{left}</td><td class=\"{right_class}\">{right}</td></tr>");
    }

    fn gap(&mut self, text: &str) {
        let _ = write!(self.html, "<tr class=\"gap\"><td colspan=\"2\">{text}</td></tr>");
    }

    fn changed(&mut self, left: &[&str], right: &[&str]) {
        for number in 0..left.len().max(right.len()) {
            match (left.get(number), right.get(number)) {
                (Some(left), Some(right)) => {
                    let (left, right) = marked(shortened(left), shortened(right));
                    self.row("old", &left, "new", &right);
                }
                (Some(left), None) => self.row("old", &escaped(left), "none", ""),
                (None, Some(right)) => self.row("none", "", "new", &escaped(right)),
                (None, None) => {}
            }
            if self.rows > MOST_ROWS {
                return;
            }
        }
    }

    fn end(mut self) -> String {
        self.html.push_str("</tbody></table>");
        self.html
    }
}

/// Returns both lines with the words marked that are others, where enough of them is the same.
fn marked(left: &str, right: &str) -> (String, String) {
    let (old_words, new_words) = (words(left), words(right));
    let words = TextDiff::configure().timeout(WORDS_TIME).diff_slices(&old_words, &new_words);
    if words.ratio() < ALIKE {
        return (escaped(left), escaped(right));
    }
    let (mut old, mut new) = (String::new(), String::new());
    for change in words.iter_all_changes() {
        let word = Text(change.value());
        let _ = match change.tag() {
            ChangeTag::Equal => write!(old, "{word}").and_then(|()| write!(new, "{word}")),
            ChangeTag::Delete => write!(old, "<del>{word}</del>"),
            ChangeTag::Insert => write!(new, "<ins>{word}</ins>"),
        };
    }
    // What stands side by side is one mark.
    (old.replace("</del><del>", ""), new.replace("</ins><ins>", ""))
}

/// Cuts a line into words, blanks, and single other characters: of markup, too, only what is another is marked.
fn words(line: &str) -> Vec<&str> {
    let kind = |c: char| if c.is_alphanumeric() { 0 } else { 1 + u8::from(!c.is_whitespace()) };
    let mut words = Vec::new();
    let mut start = 0;
    let mut last = None;
    for (place, c) in line.char_indices() {
        let kind = kind(c);
        if place > start && (last != Some(kind) || kind == 2) {
            words.extend(line.get(start..place));
            start = place;
        }
        last = Some(kind);
    }
    words.extend(line.get(start..).filter(|rest| !rest.is_empty()));
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changed_words_are_marked_in_both_columns() {
        let html = sides(
            "Subject: s\nsee <a href=\"x\">our shop</a> today\nend\n",
            "X-New: 1\nSubject: s\nsee <a href=\"y\">our shop</a> today\n",
        );
        assert!(html.contains("<td class=\"none\"></td><td class=\"new\">X-New: 1</td>"), "{html}");
        assert!(html.contains("<td class=\"\">Subject: s</td><td class=\"\">Subject: s</td>"), "{html}");
        assert!(html.contains("<td class=\"old\">see &lt;a href=&quot;<del>x</del>&quot;&gt;our shop&lt;/a&gt; today</td>"), "{html}");
        assert!(html.contains("href=&quot;<ins>y</ins>&quot;"), "{html}");
        assert!(html.contains("<td class=\"old\">end</td><td class=\"none\"></td>"), "{html}");
        assert_eq!(sides("a", "a"), "");
    }

    #[test]
    fn lines_that_have_nothing_in_common_are_not_marked() {
        assert!(!sides("one two three\n", "<b>four</b> five six\n").contains("<del>"));
        assert_eq!(words("<p>Grün, 2 x"), ["<", "p", ">", "Grün", ",", " ", "2", " ", "x"]);
    }

    #[test]
    fn huge_differences_are_cut() {
        let long = |c: &str| (0..9_000).map(|n| format!("{c}{n}")).collect::<Vec<_>>().join("\n");
        let html = sides(&long("a"), &long("b"));
        assert!(html.contains("and more</td></tr></tbody></table>"));
        assert!(html.len() < 400_000, "{}", html.len());
    }
}
