//! Inlining without a new serialisation: what css-inline finds out is carried back to the page as it came.
//!
//! css-inline parses a page and writes it anew, which moves what stands between table rows, adds elements, and drops how things were
//! written. So each start tag gets a mark, the marked page is inlined, and the marks tell which element got which style. In
//! the page itself only `style` attributes are written, and, if asked for, the rules of `<style>` taken out that are inlined.

use std::{fmt::Write as _, ops::Range};

use css_inline::{CSSInliner, InlineError, InlineOptions};

use tubepost_plugin_sdk::log;

use crate::{
    markup::{StartTag, slice, start_tags},
    nesting::is_too_deep,
};

/// The mark; a name that no style sheet selects.
const MARK: &str = "tubepost-mark";
/// What tells css-inline to leave an element alone.
const IGNORE: &str = "data-css-inline=\"ignore\" ";
/// Media that every mail is read on.
const EVERY_MEDIUM: [&str; 3] = ["", "all", "screen"];

/// The page with styles inlined, or nothing where there is nothing to inline, or nothing that can be read.
pub(crate) fn inline(page: &str, remove_inlined: bool) -> Option<String> {
    let tags: Vec<StartTag> = start_tags(page).collect();
    let is_sheet = |tag: &&StartTag| tag.is(page, "style") && for_every_medium(page, tag);
    if !tags.iter().any(|tag| is_sheet(&tag)) {
        return None;
    }
    if is_too_deep(page, &tags) {
        log::warn!("no styles are inlined: elements are nested too deeply");
        return None;
    }
    let sloppy: Vec<bool> = tags.iter().map(|tag| own_style(page, tag).is_some_and(|style| !is_declarations(&style))).collect();
    let inlined = run(page, &tags, &sloppy, remove_inlined).or_else(|_| {
        // css-inline is stricter than we thought: then no element with a style of its own is touched.
        let styled: Vec<bool> = tags.iter().map(|tag| own_style(page, tag).is_some()).collect();
        run(page, &tags, &styled, remove_inlined)
    });
    let after = match inlined {
        Ok(after) => after,
        Err(error) => {
            log::warn!("no styles are inlined: {error}");
            return None;
        }
    };
    let found = found(&after, tags.len());
    let mut edits = Vec::new();
    for (tag, found) in tags.iter().zip(&found) {
        let Some(found) = found else {
            continue;
        };
        if let Some(style) = found.style {
            edits.extend(style_edit(page, tag, style));
        }
        if let (true, Some(before), Some(after)) = (remove_inlined && is_sheet(&tag), &tag.text, found.text)
            && slice(page, before).trim() != after.trim()
        {
            edits.push((before.clone(), after.to_owned()));
        }
    }
    (!edits.is_empty()).then(|| apply(page, &edits))
}

/// Inlines a page; elements that are `ignored`, by the number of their tags, keep their styles as they are.
fn run(page: &str, tags: &[StartTag], ignored: &[bool], remove_inlined: bool) -> Result<String, InlineError> {
    let count = ignored.iter().filter(|ignored| **ignored).count();
    if count > 0 {
        log::warn!("{count} elements keep their styles as they are: what they have already cannot be read");
    }
    let inliner = CSSInliner::new(InlineOptions {
        keep_style_tags: true,
        keep_link_tags: true,
        load_remote_stylesheets: false,
        // A rule that was not inlined everywhere is still needed.
        remove_inlined_selectors: remove_inlined && count == 0,
        ..InlineOptions::default()
    });
    inliner.inline(&mark(page, tags, ignored))
}

/// The text of an element's `style` attribute.
fn own_style(page: &str, tag: &StartTag) -> Option<String> {
    tag.attribute(page, "style").map(|attribute| unescape(slice(page, &attribute.value)))
}

/// Whether a style is a list of declarations, which is what css-inline wants. Browsers forgive much more (`color`, `*zoom:1`), and mail has it.
fn is_declarations(style: &str) -> bool {
    let is_name = |name: &str| {
        let mut letters = name.trim_start_matches('-').chars();
        letters.next().is_some_and(|first| first.is_alphabetic() || first == '_')
            && letters.all(|letter| letter.is_alphanumeric() || matches!(letter, '-' | '_'))
    };
    pieces(style).all(|piece| {
        let piece = piece.trim();
        piece.is_empty() || piece.split_once(':').is_some_and(|(name, _)| is_name(name.trim_end()))
    })
}

/// What stands between the semicolons that end a declaration: not those in texts and brackets.
fn pieces(style: &str) -> impl Iterator<Item = &str> {
    let mut quote = None;
    let mut depth = 0_u32;
    style.split(move |letter: char| {
        match (quote, letter) {
            (Some(open), _) if open == letter => quote = None,
            (None, '"' | '\'') => quote = Some(letter),
            (None, '(' | '[' | '{') => depth += 1,
            (None, ')' | ']' | '}') => depth = depth.saturating_sub(1),
            (None, ';') => return depth == 0,
            _ => {}
        }
        false
    })
}

/// Whether a style element is meant for every reader; one for print is not inlined.
fn for_every_medium(page: &str, tag: &StartTag) -> bool {
    let medium = tag.attribute(page, "media").map_or("", |attribute| slice(page, &attribute.value).trim());
    EVERY_MEDIUM.iter().any(|known| known.eq_ignore_ascii_case(medium))
}

/// The page with the number of each start tag in an attribute.
fn mark(page: &str, tags: &[StartTag], ignored: &[bool]) -> String {
    let mut marked = String::with_capacity(page.len() + tags.len() * (MARK.len() + 10));
    let mut done = 0;
    for (index, (tag, ignored)) in tags.iter().zip(ignored).enumerate() {
        marked.push_str(slice(page, &(done..tag.name.end)));
        // Writing to a string cannot fail.
        let _ = write!(marked, " {MARK}=\"{index}\" ");
        if *ignored || tag.is(page, "style") && !for_every_medium(page, tag) {
            marked.push_str(IGNORE);
        }
        done = tag.name.end;
    }
    marked.push_str(slice(page, &(done..page.len())));
    marked
}

/// What became of a tag.
struct Found<'p> {
    /// The value of its style attribute, escaped for double quotes.
    style: Option<&'p str>,
    /// The text of a style element.
    text: Option<&'p str>,
}

/// What became of the marked tags, by number.
fn found(after: &str, count: usize) -> Vec<Option<Found<'_>>> {
    let mut all: Vec<Option<Found<'_>>> = (0..count).map(|_| None).collect();
    for tag in start_tags(after) {
        let number = tag.attribute(after, MARK).and_then(|mark| slice(after, &mark.value).parse::<usize>().ok());
        // A parser repeats elements that are not closed where they should be; the first stands where the tag did.
        if let Some(place @ None) = number.and_then(|number| all.get_mut(number)) {
            *place = Some(Found {
                style: tag.attribute(after, "style").map(|style| slice(after, &style.value)),
                text: tag.text.as_ref().map(|text| slice(after, text)),
            });
        }
    }
    all
}

/// What to write where for a tag to have this style; nothing where it has it already.
fn style_edit(page: &str, tag: &StartTag, style: &str) -> Option<(Range<usize>, String)> {
    match tag.attribute(page, "style") {
        Some(attribute) if unescape(slice(page, &attribute.value)) == unescape(style) => None,
        Some(attribute) => Some((attribute.whole.clone(), format!("style=\"{style}\""))),
        None => Some((tag.name.end..tag.name.end, format!(" style=\"{style}\""))),
    }
}

/// The value as it is compared: css-inline writes references its own way.
fn unescape(value: &str) -> String {
    let references = [
        ("&quot;", "\""),
        ("&#34;", "\""),
        ("&#39;", "'"),
        ("&apos;", "'"),
        ("&nbsp;", "\u{a0}"),
        ("&lt;", "<"),
        ("&gt;", ">"),
        ("&amp;", "&"),
    ];
    if !value.contains('&') {
        return value.to_owned();
    }
    references.iter().fold(value.to_owned(), |value, (reference, text)| value.replace(reference, text))
}

/// The page with edits that are in order and do not overlap.
fn apply(page: &str, edits: &[(Range<usize>, String)]) -> String {
    let mut result = String::with_capacity(page.len() + edits.iter().map(|(_, text)| text.len()).sum::<usize>());
    let mut done = 0;
    for (range, text) in edits {
        result.push_str(slice(page, &(done..range.start)));
        result.push_str(text);
        done = range.end;
    }
    result.push_str(slice(page, &(done..page.len())));
    result
}

#[cfg(test)]
mod tests;
