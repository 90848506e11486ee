//! What is found in a page: links with their text, remote images, and the end of the body.

use std::{cell::RefCell, ops::Range, rc::Rc};

use lol_html::{HtmlRewriter, OutputSink, Settings, element, end_tag, errors::RewritingError, html_content::Element, text};

use crate::{Options, url::web_url};

/// The most characters of a link's text that are kept: no URL that is shown is longer.
const LONGEST_TEXT: usize = 4096;

/// A link to another page.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Link {
    /// Where the value of `href` stands, without its quotes.
    pub(crate) value: Range<usize>,
    /// Where the link goes.
    pub(crate) url: String,
    /// What the reader sees, as it stands in the HTML, without tags.
    pub(crate) text: String,
}

/// An image that a reader's program loads from elsewhere.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Image {
    /// Where the value of `src` stands, without its quotes.
    pub(crate) value: Range<usize>,
    /// Where the image is loaded from.
    pub(crate) url: String,
}

/// What is looked for: each kind costs time on every page.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sought {
    /// Links.
    links: bool,
    /// Their texts.
    texts: bool,
    /// Images, and the end of the body.
    images: bool,
}

impl Sought {
    pub(crate) fn by(options: &Options) -> Self {
        Self { links: options.clicks, texts: options.clicks && options.prevent_scam, images: options.opens }
    }
}

/// A page, as far as it matters here.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Page {
    /// The http and https links, in order; the index is the link's position.
    pub(crate) links: Vec<Link>,
    /// The http and https images, in order.
    pub(crate) images: Vec<Image>,
    /// Where something can be put behind everything else that is shown.
    pub(crate) body_end: usize,
}

impl Page {
    /// Scans a page for what is sought; of the rest, nothing is found.
    pub(crate) fn scan(html: &str, sought: Sought) -> Result<Self, RewritingError> {
        let page = RefCell::new(Self { body_end: html.len(), ..Self::default() });
        // An end tag's handler outlives this function's borrows as far as types can tell.
        let body_end = Rc::new(RefCell::new(None));
        // The text that follows belongs to the link that was seen last, unless that one is not tracked at all.
        let current = RefCell::new(None);
        let link = |element: &mut Element<'_, '_>| {
            let mut page = page.borrow_mut();
            *current.borrow_mut() = web_value(element, "href").map(|(value, url)| {
                page.links.push(Link { value, url, text: String::new() });
                page.links.len() - 1
            });
            Ok(())
        };
        let image = |element: &mut Element<'_, '_>| {
            if let Some((value, url)) = web_value(element, "src") {
                page.borrow_mut().images.push(Image { value, url });
            }
            Ok(())
        };
        let mut settings = Settings::new().with_strict(false);
        if sought.links {
            settings = settings
                .append_element_content_handler(element!("a[href]", link))
                .append_element_content_handler(element!("area[href]", link));
        }
        if sought.texts {
            settings = settings.append_element_content_handler(text!("a[href]", |chunk| {
                let mut page = page.borrow_mut();
                let link = current.borrow().and_then(|index: usize| page.links.get_mut(index));
                if let Some(link) = link.filter(|link| link.text.len() < LONGEST_TEXT) {
                    link.text.push_str(chunk.as_str());
                }
                Ok(())
            }));
        }
        if sought.images {
            settings = settings.append_element_content_handler(element!("img[src]", image)).append_element_content_handler(element!(
                "body",
                |element| {
                    let body_end = Rc::clone(&body_end);
                    element.on_end_tag(end_tag!(move |tag| {
                        body_end.borrow_mut().get_or_insert(tag.source_location().bytes().start);
                        Ok(())
                    }))
                }
            ));
        }
        let mut rewriter = HtmlRewriter::new(settings, Discard);
        rewriter.write(html.as_bytes())?;
        rewriter.end()?;
        let mut page = page.into_inner();
        if let Some(end) = body_end.take() {
            page.body_end = end;
        }
        Ok(page)
    }
}

/// The place and the URL of an attribute that names an http or https URL.
fn web_value(element: &Element<'_, '_>, name: &str) -> Option<(Range<usize>, String)> {
    // The first of two attributes of the same name counts.
    let attribute = element.attributes().iter().find(|attribute| attribute.name() == name)?;
    Some((attribute.value_source_location()?.bytes(), web_url(&attribute.value())?))
}

/// The page is only scanned.
struct Discard;

impl OutputSink for Discard {
    fn handle_chunk(&mut self, _: &[u8]) {}
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests fail by panicking")]

    use super::*;

    const ALL: Sought = Sought { links: true, texts: true, images: true };

    #[test]
    fn only_what_is_sought_is_found() {
        let html = "<body><a href=http://a>text</a><img src=http://c></body>";
        let page = Page::scan(html, Sought { texts: false, images: false, ..ALL }).unwrap();
        assert_eq!((page.links.len(), page.links[0].text.as_str(), page.images.len()), (1, "", 0));
        let page = Page::scan(html, Sought { links: false, texts: false, ..ALL }).unwrap();
        assert_eq!((page.links.len(), page.images.len(), &html[page.body_end..]), (0, 1, "</body>"));
    }

    #[test]
    fn values_are_found_where_they_stand() {
        let html = "<p>é<A class=x HREF='http://a/?x=1&amp;y'>t<b>ex</b>t</A><area href=https://b><img src=\"http://c/i.png\"></p>";
        let page = Page::scan(html, ALL).unwrap();
        assert_eq!(page.links.len(), 2);
        assert_eq!(&html[page.links[0].value.clone()], "http://a/?x=1&amp;y");
        assert_eq!((page.links[0].url.as_str(), page.links[0].text.as_str()), ("http://a/?x=1&y", "text"));
        assert_eq!(&html[page.links[1].value.clone()], "https://b");
        assert_eq!(&html[page.images[0].value.clone()], "http://c/i.png");
        assert_eq!(page.body_end, html.len());
    }

    #[test]
    fn text_belongs_to_its_own_link() {
        let page = Page::scan("<a href=http://a>one</a>two<a href=mailto:b@x>three</a><a href=http://c>four", ALL).unwrap();
        let texts: Vec<_> = page.links.iter().map(|link| link.text.as_str()).collect();
        assert_eq!(texts, ["one", "four"]);
    }

    #[test]
    fn the_end_of_the_body_is_before_its_tag() {
        let html = "<html><body><p>x</p></BODY></html>\n";
        assert_eq!(&html[Page::scan(html, ALL).unwrap().body_end..], "</BODY></html>\n");
    }

    #[test]
    fn comments_and_scripts_are_no_page() {
        let html = "<!--<a href=http://a>--><script>'<a href=http://b>'</script><textarea><a href=http://c></textarea>";
        assert_eq!(Page::scan(html, ALL).unwrap().links, []);
    }
}
