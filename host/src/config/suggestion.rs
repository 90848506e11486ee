//! Guesses what was meant by a name that does not exist.

/// Returns the name nearest to `wrong`, if it is near enough to be what was meant.
fn nearest<'n>(wrong: &str, names: impl IntoIterator<Item = &'n str>) -> Option<&'n str> {
    // One slip in three letters: `templat` is `template`, `tls` is not `ses`.
    let tolerance = wrong.chars().count().div_ceil(3).min(4);
    names
        .into_iter()
        .map(|name| (distance(&wrong.to_lowercase(), &name.to_lowercase(), tolerance), name))
        .filter(|(distance, _)| *distance <= tolerance)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, name)| name)
}

/// Returns `; did you mean "x"?`, or nothing.
pub(crate) fn did_you_mean<'n>(wrong: &str, names: impl IntoIterator<Item = &'n str>) -> String {
    nearest(wrong, names).map(|name| format!("; did you mean \"{name}\"?")).unwrap_or_default()
}

/// Optimal string alignment: how many letters to add, drop, replace or swap with their neighbour. More than `limit` is not counted out.
fn distance(left: &str, right: &str, limit: usize) -> usize {
    let (left, right): (Vec<char>, Vec<char>) = (left.chars().collect(), right.chars().collect());
    if left.len().abs_diff(right.len()) > limit {
        return limit + 1;
    }
    // Three rows of the table: row[j] is the distance of the letters of `left` so far to the first j of `right`.
    let mut before: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=right.len()).collect();
    for (i, a) in left.iter().enumerate() {
        let mut row = vec![i + 1];
        for (j, b) in right.iter().enumerate() {
            let at = |row: &[usize], index: usize| row.get(index).copied().unwrap_or(usize::MAX / 2);
            let mut best = (at(&last, j) + usize::from(a != b)).min(at(&last, j + 1) + 1).min(at(&row, j) + 1);
            let swapped = i > 0 && j > 0 && left.get(i - 1) == Some(b) && right.get(j - 1) == Some(a);
            if swapped {
                best = best.min(at(&before, j - 1) + 1);
            }
            row.push(best);
        }
        (before, last) = (last, row);
    }
    last.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_names_are_suggested() {
        let names = ["template", "tags", "tracking", "inline-css", "list-unsubscribe"];
        for (wrong, right) in [
            ("templat", Some("template")),
            ("tgas", Some("tags")),
            ("Tags", Some("tags")),
            ("inline_css", Some("inline-css")),
            ("inlinecss", Some("inline-css")),
            ("listunsubscribe", Some("list-unsubscribe")),
            ("banana", None),
            ("", None),
        ] {
            assert_eq!(nearest(wrong, names), right, "{wrong}");
        }
    }
}
