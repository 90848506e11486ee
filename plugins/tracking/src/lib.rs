//! Makes clicks and openings visible.
//!
//! Every http or https link (`<a href>`, `<area href>`) becomes a signed link of each recipient that goes to exactly the URL it
//! stood for, and every remote image a signed address that goes to that image; where a mail shows no remote image, a pixel is put
//! at its end. The HTML is scanned once and only these attribute values are replaced: every other octet stays. What stands in
//! comments, conditional ones included, is not touched; nor are mailto, tel and `#` links, slots of other plugins, and URLs with a
//! slot in them, which could not be filled in any more once it is signed.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tubepost_plugin_sdk::{Description, EditError, Failure, Message, Plugin, Verdict, log, register};

mod edit;
mod page;
mod scam;
mod url;

use edit::Edits;
use page::{Page, Sought};

/// The plugin.
#[derive(Debug)]
pub struct Tracking;

/// The options of the plugin.
#[derive(Debug, Deserialize, Serialize, JsonSchema)]
#[serde(default)]
pub struct Options {
    /// Replaces links, so that clicks are seen.
    pub clicks: bool,
    /// Replaces images or adds a pixel, so that openings are seen.
    pub opens: bool,
    /// Leaves a link alone whose visible text names its target: readers are warned of links that go elsewhere than they say.
    pub prevent_scam: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self { clicks: true, opens: true, prevent_scam: false }
    }
}

impl Plugin for Tracking {
    type Config = Options;

    fn describe(description: Description) -> Description {
        description
            .header("X-SMTPeter-TrackClicks", "clicks")
            .header("X-SMTPeter-TrackOpens", "opens")
            .header("X-SMTPeter-PreventScam", "prevent_scam")
    }

    fn submit(message: &mut Message, options: &Options) -> Result<Verdict, Failure> {
        if !options.clicks && !options.opens {
            return Ok(Verdict::Next);
        }
        let Some(html) = message.html() else {
            return Ok(Verdict::Next);
        };
        let page = Page::scan(&html, Sought::by(options)).map_err(Failure::permanent)?;
        if let Some(edited) = rewrite(&html, &page, options, message)? {
            message.set_html(&edited)?;
        }
        Ok(Verdict::Next)
    }
}

/// What signs links: the message, or a stand-in.
trait Links {
    /// A link that goes to `url` and is seen as a click on link `position`.
    fn click(&mut self, url: &str, position: u32) -> Result<String, EditError>;
    /// The source of an image whose loading is seen as an opening.
    fn open(&mut self, image: Option<&str>) -> Result<String, EditError>;
}

impl Links for Message {
    fn click(&mut self, url: &str, position: u32) -> Result<String, EditError> {
        self.click_link(url, position)
    }

    fn open(&mut self, image: Option<&str>) -> Result<String, EditError> {
        self.open_link(image)
    }
}

/// The edited HTML, or nothing where it stays as it is.
fn rewrite(html: &str, page: &Page, options: &Options, links: &mut impl Links) -> Result<Option<String>, Failure> {
    let mut edits = Edits::default();
    if options.clicks {
        for (position, link) in (0..).zip(&page.links) {
            if options.prevent_scam && scam::names_target(&link.text, &link.url) {
                continue;
            }
            if let Some(signed) = accepted(&link.url, links.click(&link.url, position))? {
                edits.replace(link.value.clone(), signed);
            }
        }
    }
    if options.opens {
        let mut remote = false;
        for image in &page.images {
            if let Some(signed) = accepted(&image.url, links.open(Some(&image.url)))? {
                edits.replace(image.value.clone(), signed);
                remote = true;
            }
        }
        if !remote {
            edits.insert(page.body_end, pixel(&links.open(None)?));
        }
    }
    Ok((!edits.is_empty()).then(|| edits.apply(html)))
}

/// What the host made of a URL; nothing where it finds the URL not worth a link, which then stays as it is.
fn accepted(url: &str, link: Result<String, EditError>) -> Result<Option<String>, Failure> {
    match link {
        Ok(link) => Ok(Some(link)),
        Err(EditError::Invalid(reason)) => {
            log::warn!("a URL of {} characters stays as it is: {reason}", url.chars().count());
            Ok(None)
        }
        Err(error @ (EditError::Denied(_) | EditError::TooLarge(_) | EditError::NoSuchPart)) => Err(error.into()),
    }
}

/// The image that is loaded where there is no other; without `alt` a reader that shows no images would show its name.
fn pixel(source: &str) -> String {
    format!(r#"<img src="{source}" width="1" height="1" alt="" style="display:block;width:1px;height:1px;border:0">"#)
}

register!(Tracking: submit);

#[cfg(test)]
mod tests;
