//! HTML as a reader without HTML would want it.

use std::{cell::RefCell, rc::Rc};

use lol_html::{HtmlRewriter, OutputSink, Settings, doc_text, element, end_tag, html_content::TextType};

use super::{Error, Values as _};

/// What begins and ends a line.
const BLOCKS: &str = "address,article,aside,blockquote,dd,div,dl,dt,figure,footer,form,header,hr,li,main,nav,ol,section,table,tr,ul";
/// What has an empty line around it.
const PARAGRAPHS: &str = "p,h1,h2,h3,h4,h5,h6,pre";

/// The text of a page: paragraphs apart, list items with a hyphen, and links with their URL behind them where the text does not say it.
///
/// ```
/// let html = "<title>x</title><p>Hello&nbsp;<b>Ann</b>,<p>see <a href='https://example.com/'>this</a>:<ul><li>one<li>two</ul>";
/// assert_eq!(tubepost_plugin_sdk::html::to_text(html)?, "Hello Ann,\n\nsee this (https://example.com/):\n- one\n- two\n");
/// # Ok::<(), tubepost_plugin_sdk::html::Error>(())
/// ```
///
/// # Errors
/// The page is nested too deeply.
pub fn to_text(html: &str) -> Result<String, Error> {
    let writer = Rc::new(RefCell::new(Writer::default()));
    let mut settings = Settings::new().with_strict(false);
    for (selector, breaks) in [(BLOCKS, 1), (PARAGRAPHS, 2)] {
        let writer = Rc::clone(&writer);
        settings = settings.append_element_content_handler(element!(selector, move |block| {
            writer.borrow_mut().need(breaks);
            if block.tag_name() == "li" {
                writer.borrow_mut().push("- ");
            }
            if let Some(handlers) = block.end_tag_handlers() {
                let writer = Rc::clone(&writer);
                handlers.push(end_tag!(move |_| {
                    writer.borrow_mut().need(breaks);
                    Ok(())
                }));
            }
            Ok(())
        }));
    }
    settings = settings
        .append_element_content_handler(element!("br", |_| {
            writer.borrow_mut().line_break();
            Ok(())
        }))
        .append_element_content_handler(element!("td,th", |_| {
            writer.borrow_mut().collapse = true;
            Ok(())
        }))
        .append_element_content_handler(element!("img[alt]", |image| {
            writer.borrow_mut().text(&image.value("alt").unwrap_or_default());
            Ok(())
        }))
        .append_element_content_handler(element!("a[href]", |link| {
            let url = link.value("href").filter(|url| url.starts_with("http") || url.starts_with("mailto:"));
            if let (Some(url), Some(handlers)) = (url, link.end_tag_handlers()) {
                let start = writer.borrow().text.len();
                let writer = Rc::clone(&writer);
                handlers.push(end_tag!(move |_| {
                    writer.borrow_mut().link(start, &url);
                    Ok(())
                }));
            }
            Ok(())
        }))
        .append_document_content_handler(doc_text!(|chunk| {
            // Not titles, styles and scripts.
            if chunk.text_type() == TextType::Data {
                let mut writer = writer.borrow_mut();
                writer.node.push_str(chunk.as_str());
                if chunk.last_in_text_node() {
                    let node = std::mem::take(&mut writer.node);
                    writer.text(&htmlize::unescape(node));
                }
            }
            Ok(())
        }));
    let mut rewriter = HtmlRewriter::new(settings, Discard);
    rewriter.write(html.as_bytes())?;
    rewriter.end()?;
    let mut writer = writer.borrow_mut();
    let text = std::mem::take(&mut writer.text);
    Ok(if text.is_empty() { text } else { text.trim_end().to_owned() + "\n" })
}

/// Only read.
struct Discard;

impl OutputSink for Discard {
    fn handle_chunk(&mut self, _: &[u8]) {}
}

/// Text as it grows: blanks are collapsed, line breaks are made when something follows.
#[derive(Default)]
struct Writer {
    text: String,
    /// Text of the node that is being read.
    node: String,
    /// Line breaks to come before what follows.
    breaks: usize,
    /// A blank to come before what follows.
    collapse: bool,
}

impl Writer {
    fn need(&mut self, breaks: usize) {
        self.breaks = self.breaks.max(breaks);
        self.collapse = false;
    }

    fn line_break(&mut self) {
        self.breaks += 1;
        self.collapse = false;
    }

    fn text(&mut self, text: &str) {
        let is_blank = |character: char| character.is_ascii_whitespace() || character == '\u{a0}';
        for (place, word) in text.split(is_blank).enumerate() {
            self.collapse |= place > 0;
            if !word.is_empty() {
                self.push(word);
            }
        }
    }

    fn push(&mut self, word: &str) {
        if !self.text.is_empty() {
            let there = self.text.len() - self.text.trim_end_matches('\n').len();
            if self.breaks > there {
                self.text.extend(std::iter::repeat_n('\n', self.breaks - there));
            } else if self.collapse && self.breaks == 0 && !self.text.ends_with([' ', '\n']) {
                self.text.push(' ');
            }
        }
        self.breaks = 0;
        self.collapse = false;
        self.text.push_str(word);
    }

    fn link(&mut self, start: usize, url: &str) {
        let said = self.text.get(start..).unwrap_or_default().trim();
        let short = url.trim_start_matches("mailto:").trim_start_matches("https://").trim_start_matches("http://").trim_end_matches('/');
        if said.is_empty() || said.contains(short) {
            return;
        }
        self.collapse = true;
        self.push(&format!("({url})"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(html: &str, expected: &str) {
        assert_eq!(to_text(html).ok().as_deref(), Some(expected), "{html}");
    }

    #[test]
    fn blanks_are_collapsed_and_lines_kept() {
        check("", "");
        check("  a\n b<br>c <i> d</i>", "a b\nc d\n");
        check("<div><div>a</div></div><div>b</div>", "a\nb\n");
        check("<table><tr><td>a<td>b<tr><td>c</table>", "a b\nc\n");
        check("a<br><br>b", "a\n\nb\n");
    }

    #[test]
    fn what_is_not_shown_is_left_out() {
        check("<style>p{}</style><script>1</script><!-- c --><p>a &lt;b&gt; &copy;</p>", "a <b> ©\n");
    }

    #[test]
    fn links_say_where_they_go_once() {
        check("<a href='https://example.com/'>example.com</a>", "example.com\n");
        check("<a href='mailto:a@b.example'>a@b.example</a> <a href='#x'>up</a>", "a@b.example up\n");
        check("<a href='https://b.example/?x=1&amp;y=2'>b</a>.", "b (https://b.example/?x=1&y=2).\n");
    }
}
