//! The URL that an attribute value stands for.

/// The absolute http or https URL of an `href` or `src` value as it stands in the HTML; nothing where it is of another kind.
///
/// Character references are decoded, and blanks removed where a browser ignores them (WHATWG URL, "basic URL parser"): at both ends,
/// and line breaks and tabs anywhere. A blank inside becomes `%20`, as a browser would send it.
pub(crate) fn web_url(value: &str) -> Option<String> {
    let decoded = htmlize::unescape_attribute(value);
    let trimmed = decoded.trim_matches(|character: char| character <= ' ');
    let scheme = trimmed.split(':').next()?.to_ascii_lowercase();
    let rest = trimmed.get(scheme.len() + 1..)?;
    if !matches!(scheme.as_str(), "http" | "https") || !rest.starts_with("//") {
        return None;
    }
    let mut url = String::with_capacity(trimmed.len());
    for character in trimmed.chars() {
        match character {
            '\t' | '\n' | '\r' => {}
            ' ' => url.push_str("%20"),
            _ => url.push(character),
        }
    }
    let host = url.get(scheme.len() + 3..)?;
    (!host.is_empty() && !host.starts_with(['/', '?', '#'])).then_some(url)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(value: &str, url: Option<&str>) {
        assert_eq!(web_url(value).as_deref(), url, "{value:?}");
    }

    #[test]
    fn references_are_decoded_as_in_attributes() {
        check("https://x/p?a=1&amp;b=2#f", Some("https://x/p?a=1&b=2#f"));
        check("https://x/?a=1&b=2", Some("https://x/?a=1&b=2"));
        // A reference without a semicolon that a letter or `=` follows is text, in attributes alone.
        check("https://x/?a=1&copy=2", Some("https://x/?a=1&copy=2"));
        check("https&#58;//x/&#x2f;&eacute;", Some("https://x//é"));
    }

    #[test]
    fn blanks_go_where_browsers_ignore_them() {
        check(" \n HTTP://x/a b\t", Some("HTTP://x/a%20b"));
        check("https://x/\n  y", Some("https://x/%20%20y"));
    }

    #[test]
    fn other_kinds_are_left_alone() {
        for value in
            ["", "#top", "mailto:a@x", "tel:+31", "/path", "//x/y", "javascript:x", "SLOT0", "https:", "https://", "http:x", "cid:a"]
        {
            check(value, None);
        }
    }
}
