//! Where the start tags of a page are.
//!
//! A scanner, not a parser: it knows comments, quotes and the elements whose content is text, which is enough to find tags and
//! their attributes. Where it takes something for a tag that a browser does not, nothing is found for that tag later, and it stays.

use std::ops::Range;

/// Elements whose content holds no tags (WHATWG HTML, "raw text" and "escapable raw text").
const TEXT_ELEMENTS: [&str; 7] = ["style", "script", "textarea", "title", "xmp", "iframe", "noembed"];

/// An attribute of a start tag, as ranges of the page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Attribute {
    pub(crate) name: Range<usize>,
    /// Without quotes; empty behind the name where there is none.
    pub(crate) value: Range<usize>,
    /// Name, value and quotes.
    pub(crate) whole: Range<usize>,
}

/// A start tag, as ranges of the page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct StartTag {
    pub(crate) name: Range<usize>,
    pub(crate) attributes: Vec<Attribute>,
    /// From `<` to behind `>`.
    pub(crate) whole: Range<usize>,
    /// The text of an element that holds nothing but text.
    pub(crate) text: Option<Range<usize>>,
}

impl StartTag {
    /// The first attribute of that name, which is the one that counts.
    pub(crate) fn attribute(&self, page: &str, name: &str) -> Option<&Attribute> {
        self.attributes.iter().find(|attribute| slice(page, &attribute.name).eq_ignore_ascii_case(name))
    }

    pub(crate) fn is(&self, page: &str, name: &str) -> bool {
        slice(page, &self.name).eq_ignore_ascii_case(name)
    }
}

/// The text at a range; nothing where there is none.
pub(crate) fn slice<'a>(page: &'a str, range: &Range<usize>) -> &'a str {
    page.get(range.clone()).unwrap_or_default()
}

/// The start tags of a page, in order.
pub(crate) fn start_tags(page: &str) -> Scanner<'_> {
    Scanner { page, position: 0 }
}

/// Walks through a page from tag to tag.
pub(crate) struct Scanner<'p> {
    page: &'p str,
    position: usize,
}

impl<'p> Scanner<'p> {
    fn rest(&self) -> &'p str {
        self.page.get(self.position..).unwrap_or_default()
    }

    /// Goes behind the next `needle`, or to the end.
    fn skip_past(&mut self, needle: &str) {
        self.position = self.rest().find(needle).map_or(self.page.len(), |place| self.position + place + needle.len());
    }

    /// Goes on while octets belong. What does not belong is ASCII, so no character is cut.
    fn skip_while(&mut self, belongs: impl Fn(u8) -> bool) -> Range<usize> {
        let start = self.position;
        let end = self.rest().bytes().position(|octet| !belongs(octet));
        self.position = end.map_or(self.page.len(), |length| start + length);
        start..self.position
    }

    fn skip_blanks(&mut self) {
        self.skip_while(|octet| octet.is_ascii_whitespace());
    }

    /// Reads a tag whose `<` stands at `start`, and its name behind that; nothing where the page ends inside it.
    fn tag(&mut self, start: usize) -> Option<StartTag> {
        let name = self.skip_while(|octet| !octet.is_ascii_whitespace() && !matches!(octet, b'/' | b'>'));
        let mut attributes = Vec::new();
        loop {
            self.skip_while(|octet| octet.is_ascii_whitespace() || octet == b'/');
            match self.rest().bytes().next()? {
                b'>' => {
                    self.position += 1;
                    return Some(StartTag { name, attributes, whole: start..self.position, text: None });
                }
                _ => attributes.push(self.attribute()?),
            }
        }
    }

    fn attribute(&mut self) -> Option<Attribute> {
        let start = self.position;
        // A name may begin with `=`, which is an error that browsers forgive.
        self.position += self.rest().chars().next()?.len_utf8();
        let rest = self.skip_while(|octet| !octet.is_ascii_whitespace() && !matches!(octet, b'/' | b'>' | b'='));
        let name = start..rest.end;
        let behind_name = self.position;
        self.skip_blanks();
        if !self.rest().starts_with('=') {
            self.position = behind_name;
            return Some(Attribute { value: name.end..name.end, whole: name.clone(), name });
        }
        self.position += 1;
        self.skip_blanks();
        let first = self.rest().chars().next()?;
        let value = match first {
            '"' | '\'' => {
                let start = self.position + 1;
                let length = self.page.get(start..)?.find(first)?;
                self.position = start + length + 1;
                start..start + length
            }
            _ => self.skip_while(|octet| !octet.is_ascii_whitespace() && octet != b'>'),
        };
        Some(Attribute { name, value, whole: start..self.position })
    }

    /// Reads the text of an element that holds nothing else, up to its end tag.
    fn text(&mut self, name: &str) -> Range<usize> {
        let start = self.position;
        while let Some(place) = self.rest().find("</") {
            let end = self.position + place;
            self.position = end + 2;
            let rest = self.rest();
            let behind = rest.get(name.len()..).and_then(|rest| rest.chars().next());
            if rest.get(..name.len()).is_some_and(|found| found.eq_ignore_ascii_case(name))
                && behind.is_none_or(|behind| behind.is_ascii_whitespace() || matches!(behind, '/' | '>'))
            {
                return start..end;
            }
        }
        self.position = self.page.len();
        start..self.position
    }
}

impl Iterator for Scanner<'_> {
    type Item = StartTag;

    fn next(&mut self) -> Option<StartTag> {
        loop {
            let start = self.position + self.rest().find('<')?;
            self.position = start + 1;
            let rest = self.rest();
            if let Some(comment) = rest.strip_prefix("!--") {
                // `<!-->` and `<!--->` are whole comments.
                self.position += "!--".len();
                match ["->", ">"].iter().find(|end| comment.starts_with(**end)) {
                    Some(end) => self.position += end.len(),
                    None => self.skip_past("-->"),
                }
                continue;
            }
            if rest.starts_with(|first: char| first.is_ascii_alphabetic()) {
                let mut tag = self.tag(start)?;
                let name = slice(self.page, &tag.name).to_owned();
                if TEXT_ELEMENTS.iter().any(|element| element.eq_ignore_ascii_case(&name)) {
                    tag.text = Some(self.text(&name));
                }
                return Some(tag);
            }
            if rest.starts_with(['!', '?', '/']) {
                self.skip_past(">");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests fail by panicking")]

    use super::*;

    fn names(page: &str) -> Vec<&str> {
        start_tags(page).map(|tag| &page[tag.name]).collect()
    }

    #[test]
    fn tags_are_found_and_nothing_else() {
        assert_eq!(names("<!DOCTYPE html><p>a < b</p><BR/><a-b c><1>"), ["p", "BR", "a-b"]);
        assert_eq!(names("<!--<p>--><b><!--[if mso]><p><![endif]--><i><!--><u><!-- - -- <p> --><s>"), ["b", "i", "u", "s"]);
        assert_eq!(names("<style>a<p></styles><p></STYLE ><b><script>'<p>'</script><title><p></title>"), ["style", "b", "script", "title"]);
        assert_eq!(names("<p title='<b>' x=\"<i>\" y=<u>z"), ["p"]);
        assert_eq!(names("<p title='"), Vec::<&str>::new());
        assert_eq!(names("<style>unfinished"), ["style"]);
    }

    #[test]
    fn attributes_are_found_with_and_without_quotes() {
        let page = "<td Style='a:b' class = \"x y\" nowrap width=1/ height=2 =q=r/>";
        let tag = start_tags(page).next().unwrap();
        let found: Vec<_> =
            tag.attributes.iter().map(|a| (&page[a.name.clone()], &page[a.value.clone()], &page[a.whole.clone()])).collect();
        assert_eq!(
            found,
            [
                ("Style", "a:b", "Style='a:b'"),
                ("class", "x y", "class = \"x y\""),
                ("nowrap", "", "nowrap"),
                ("width", "1/", "width=1/"),
                ("height", "2", "height=2"),
                ("=q", "r/", "=q=r/"),
            ]
        );
        assert_eq!(&page[tag.attribute(page, "style").unwrap().value.clone()], "a:b");
        assert_eq!(tag.whole, 0..page.len());
    }
}
