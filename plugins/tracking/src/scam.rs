//! Whether a link says where it goes.
//!
//! Mail programs warn of links whose text shows one address while they lead to another, which every tracked link of this kind
//! does.

/// Whether the text of a link names its target.
///
/// Both are compared without scheme, leading "www.", trailing slash and case of the host. A text that is the host alone, or that
/// breaks off with an ellipsis, names the target too.
pub(crate) fn names_target(text: &str, url: &str) -> bool {
    let text = htmlize::unescape(text);
    let text = text.trim();
    if text.is_empty() || text.contains(char::is_whitespace) {
        return false;
    }
    let (shown, target) = (Address::of(text), Address::of(url));
    if shown.host.is_empty() {
        return false;
    }
    if shown == target || (shown.rest.is_empty() && shown.host == target.host) {
        return true;
    }
    let elided = shown.rest.strip_suffix('…').or_else(|| shown.rest.strip_suffix("..."));
    elided.is_some_and(|start| shown.host == target.host && target.rest.starts_with(start))
}

/// An address as it is compared.
#[derive(Debug, PartialEq, Eq)]
struct Address<'a> {
    host: String,
    rest: &'a str,
}

impl<'a> Address<'a> {
    fn of(text: &'a str) -> Self {
        let without_scheme = ["https://", "http://"]
            .iter()
            .find_map(|scheme| {
                let start = text.get(..scheme.len())?;
                start.eq_ignore_ascii_case(scheme).then(|| text.get(scheme.len()..))?
            })
            .unwrap_or(text);
        let end = without_scheme.find(['/', '?', '#']).unwrap_or(without_scheme.len());
        let (host, rest) = without_scheme.split_at(end);
        let host = host.to_lowercase();
        let host = host.strip_prefix("www.").unwrap_or(&host).trim_end_matches('.').to_owned();
        Self { host, rest: rest.strip_suffix('/').unwrap_or(rest) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_out_does_not_matter() {
        for text in ["www.example.com", "example.com", "http://www.example.com/", " HTTPS://Example.COM ", "Example.com/"] {
            assert!(names_target(text, "http://www.example.com"), "{text}");
        }
    }

    #[test]
    fn the_path_counts_unless_it_is_left_out() {
        let url = "https://example.com/a/b?x=1&y=2";
        for text in ["example.com", "example.com/a/b?x=1&amp;y=2", "example.com/a…", "https://example.com/a/..."] {
            assert!(names_target(text, url), "{text}");
        }
        for text in ["example.com/a", "other.com/a/b?x=1&y=2", "example.com/c…", "example.com.evil/…"] {
            assert!(!names_target(text, url), "{text}");
        }
    }

    #[test]
    fn words_are_no_addresses() {
        for text in ["", "click here", "example", "/", "…"] {
            assert!(!names_target(text, "http://example.com"), "{text}");
        }
    }
}
