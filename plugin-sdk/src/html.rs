//! Rewriting of HTML, escaping, and HTML as text. Feature `html`.
//!
//! ```
//! use tubepost_plugin_sdk::{Failure, html::{self, Values as _}};
//!
//! let page = r#"<body><p>See <a href="https://example.com/a?b=1&amp;c=2">this</a></p></body>"#;
//! let edited = html::rewrite(page, |page| {
//!     page.on("a[href]", |link| {
//!         if let Some(url) = link.value("href") {
//!             link.set_value("href", &format!("{url}&utm_source=news"))?;
//!         }
//!         Ok(())
//!     })
//!     .append_to_body("<p>Bye</p>")
//! })?;
//! assert_eq!(edited, r#"<body><p>See <a href="https://example.com/a?b=1&amp;c=2&amp;utm_source=news">this</a></p><p>Bye</p></body>"#);
//! # Ok::<(), Failure>(())
//! ```
//!
//! The page is read once, and what no handler touches keeps every octet. Below is `lol_html`, whose [`Element`] handlers get.

use std::{
    cell::{Cell, RefCell},
    fmt,
    rc::Rc,
};

pub use lol_html::{HandlerResult, html_content::Element};
use lol_html::{
    HtmlRewriter, Selector, Settings, element, end, end_tag,
    errors::RewritingError,
    html_content::{ContentType, EndTag},
};

use crate::Failure;

mod text;

pub use text::to_text;

/// Why a page cannot be rewritten.
#[derive(Debug)]
pub struct Error(String);

impl fmt::Display for Error {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl std::error::Error for Error {}

impl From<RewritingError> for Error {
    fn from(error: RewritingError) -> Self {
        Self(error.to_string())
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::permanent(error)
    }
}

type Handler<'h> = Box<dyn FnMut(&mut Element<'_, '_>) -> HandlerResult + 'h>;

/// What is to be done with a page; see [`rewrite`].
#[derive(Default)]
pub struct Page<'h> {
    handlers: Vec<(String, Handler<'h>)>,
    head: String,
    end: String,
}

impl fmt::Debug for Page<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let selectors: Vec<_> = self.handlers.iter().map(|(selector, _)| selector).collect();
        formatter.debug_struct("Page").field("on", &selectors).field("head", &self.head).field("end", &self.end).finish()
    }
}

impl<'h> Page<'h> {
    /// Calls a handler for each element that a CSS selector names. An error of the handler ends the rewriting.
    #[must_use]
    pub fn on(mut self, selector: &str, handler: impl FnMut(&mut Element<'_, '_>) -> HandlerResult + 'h) -> Self {
        self.handlers.push((selector.to_owned(), Box::new(handler)));
        self
    }

    /// Puts HTML behind everything that is shown: before `</body>`, or where there is none before `</html>`, or at the end.
    #[must_use]
    pub fn append_to_body(mut self, html: &str) -> Self {
        self.end.push_str(html);
        self
    }

    /// Puts HTML at the beginning of `<head>`; where there is none, where a browser would open one.
    #[must_use]
    pub fn insert_in_head(mut self, html: &str) -> Self {
        self.head.push_str(html);
        self
    }
}

/// Rewrites a page in one pass, and returns it.
///
/// # Errors
/// A selector is not valid, a handler says no, or the page is nested too deeply.
pub fn rewrite<'h>(html: &str, say: impl FnOnce(Page<'h>) -> Page<'h>) -> Result<String, Error> {
    let page = say(Page::default());
    let mut settings = Settings::new().with_strict(false);
    for (selector, handler) in page.handlers {
        let parsed: Selector = selector.parse().map_err(|error| Error(format!("the selector {selector:?}: {error}")))?;
        let handlers = lol_html::ElementContentHandlers::default().element(handler);
        settings = settings.append_element_content_handler((std::borrow::Cow::Owned(parsed), handlers));
    }
    if !page.head.is_empty() {
        let head = RefCell::new(Some(page.head));
        settings = settings.append_element_content_handler(element!("*", move |first| {
            let tag = first.tag_name();
            if tag == "html" {
                return Ok(());
            }
            match head.take() {
                Some(content) if tag == "head" => first.prepend(&content, ContentType::Html),
                // A browser opens the head at the first thing that belongs there.
                Some(content) => first.before(&content, ContentType::Html),
                None => {}
            }
            Ok(())
        }));
    }
    if !page.end.is_empty() {
        let content = Rc::new(Cell::new(Some(page.end)));
        for tag in ["body", "html"] {
            let content = Rc::clone(&content);
            settings = settings.append_element_content_handler(element!(tag, move |opened| {
                let content = Rc::clone(&content);
                opened.on_end_tag(end_tag!(move |tag: &mut EndTag<'_>| {
                    if let Some(content) = content.take() {
                        tag.before(&content, ContentType::Html);
                    }
                    Ok(())
                }))
            }));
        }
        settings = settings.append_document_content_handler(end!(move |end| {
            if let Some(content) = content.take() {
                end.append(&content, ContentType::Html);
            }
            Ok(())
        }));
    }
    let mut octets = Vec::with_capacity(html.len() + html.len() / 8);
    let mut rewriter = HtmlRewriter::new(settings, |chunk: &[u8]| octets.extend_from_slice(chunk));
    rewriter.write(html.as_bytes())?;
    rewriter.end()?;
    String::from_utf8(octets).map_err(|error| Error(error.to_string()))
}

/// Attribute values as a reader's program takes them: character references decoded when they are read, and written where they are needed.
pub trait Values {
    /// The value of an attribute, decoded.
    fn value(&self, name: &str) -> Option<String>;

    /// Sets an attribute to a text.
    ///
    /// # Errors
    /// The name is not one of an attribute.
    fn set_value(&mut self, name: &str, value: &str) -> HandlerResult;
}

impl Values for Element<'_, '_> {
    fn value(&self, name: &str) -> Option<String> {
        self.get_attribute(name).map(|raw| htmlize::unescape_attribute(raw).into_owned())
    }

    fn set_value(&mut self, name: &str, value: &str) -> HandlerResult {
        // Quotes are the rewriter's own care.
        Ok(self.set_attribute(name, &value.replace('&', "&amp;"))?)
    }
}

/// Text as HTML: `&`, `<`, `>` and both quotes are written as character references.
///
/// ```
/// assert_eq!(tubepost_plugin_sdk::html::escape("a < \"b\" & c"), "a &lt; &quot;b&quot; &amp; c");
/// ```
pub fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len() + text.len() / 8);
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            other => escaped.push(other),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

    use super::*;

    fn with_end(html: &str) -> String {
        rewrite(html, |page| page.append_to_body("<i>")).unwrap()
    }

    #[test]
    fn the_end_is_where_readers_see_it() {
        assert_eq!(with_end("<html><body>x</BODY></html>\n"), "<html><body>x<i></BODY></html>\n");
        assert_eq!(with_end("<html><p>x</html>"), "<html><p>x<i></html>");
        assert_eq!(with_end("<p>x</p>"), "<p>x</p><i>");
        assert_eq!(with_end("<body>x"), "<body>x<i>");
        assert_eq!(with_end("<body>a</body><body>b</body>"), "<body>a<i></body><body>b</body>");
        assert_eq!(with_end("<!-- </body> --><body>x</body>"), "<!-- </body> --><body>x<i></body>");
        assert_eq!(with_end(""), "<i>");
    }

    #[test]
    fn the_head_is_found_or_opened() {
        let with_head = |html| rewrite(html, |page| page.insert_in_head("<meta>")).unwrap();
        assert_eq!(with_head("<!doctype html><html><head><title>x</title>"), "<!doctype html><html><head><meta><title>x</title>");
        assert_eq!(with_head("<html><body>x"), "<html><meta><body>x");
        assert_eq!(with_head("<!doctype html>\n<p>x"), "<!doctype html>\n<meta><p>x");
    }

    #[test]
    fn values_are_texts() {
        let edited = rewrite("<a title=\"a &amp; &quot;b&quot;\">", |page| {
            page.on("a", |link| {
                assert_eq!(link.value("title").as_deref(), Some("a & \"b\""));
                link.set_value("title", "c & \"d\" &amp;")
            })
        });
        assert_eq!(edited.unwrap(), "<a title=\"c &amp; &quot;d&quot; &amp;amp;\">");
    }

    #[test]
    fn mistakes_are_told() {
        assert!(rewrite("", |page| page.on("a[", |_| Ok(()))).unwrap_err().to_string().contains("a["));
        assert!(rewrite("<a>", |page| page.on("a", |_| Err("no".into()))).is_err());
        assert!(matches!(Failure::from(Error("x".to_owned())), Failure::Permanent(_)));
    }
}
