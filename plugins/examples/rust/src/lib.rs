//! Marks the mail of a campaign: a header field, a tag, the campaign's name in links, and a footer.

use serde::Deserialize;
use tubepost_plugin_sdk::{Description, Failure, Message, Plugin, Verdict, log, register};

/// The plugin.
#[derive(Debug)]
pub struct Campaign;

/// The options of the plugin.
#[derive(Debug, Deserialize)]
pub struct Options {
    /// Name of the campaign.
    pub campaign: String,
    /// Whose links get it.
    pub domain: String,
    /// Ends the text and the HTML.
    #[serde(default)]
    pub footer: String,
}

const SCHEMA: &str = r#"{
    "type": "object",
    "properties": {
        "campaign": { "type": "string", "minLength": 1, "maxLength": 64, "description": "Name of the campaign: letters, digits, - and _" },
        "domain": { "type": "string", "minLength": 1, "description": "Whose links get the name of the campaign" },
        "footer": { "type": "string", "description": "Ends the text and the HTML" }
    },
    "required": ["campaign", "domain"],
    "additionalProperties": false
}"#;

impl Plugin for Campaign {
    type Config = Options;

    fn describe(description: Description) -> Description {
        description.schema(SCHEMA)
    }

    fn submit(message: &mut Message, options: &Options) -> Result<Verdict, Failure> {
        if !options.campaign.bytes().all(|octet| octet.is_ascii_alphanumeric() || octet == b'-' || octet == b'_') {
            return Err(Failure::config("campaign: letters, digits, - and _ only"));
        }
        if message.header("Subject").is_none() {
            return Ok(Verdict::reject_content("a campaign's mail needs a subject"));
        }
        message.set_header("X-Campaign", &options.campaign)?;
        message.add_tag(&options.campaign)?;
        let mut links = 0;
        if let Some(html) = message.html() {
            let marked;
            (marked, links) = mark_links(&html, options);
            message.set_html(&with_footer(marked, &options.footer))?;
        }
        if let Some(text) = message.text().filter(|_| !options.footer.is_empty()) {
            message.set_text(&format!("{text}\r\n{}\r\n", options.footer))?;
        }
        log::info!("campaign {}: {links} links", options.campaign);
        Ok(Verdict::Next)
    }
}

/// Adds `utm_campaign` to the links of the domain that have none; returns how many that were.
fn mark_links(html: &str, options: &Options) -> (String, usize) {
    let mut marked = String::with_capacity(html.len() + 1024);
    let mut links = 0;
    let mut pieces = html.split_inclusive("href=\"");
    marked.push_str(pieces.next().unwrap_or_default());
    for piece in pieces {
        match mark(piece, options) {
            Some((before, sign, after)) => {
                links += 1;
                marked.extend([before, sign, "utm_campaign=", &options.campaign, after]);
            }
            None => marked.push_str(piece),
        }
    }
    (marked, links)
}

/// What stands before the campaign's name and behind it, where the text begins with such a link.
fn mark<'a>(piece: &'a str, options: &Options) -> Option<(&'a str, &'static str, &'a str)> {
    let (link, _) = piece.split_once('"')?;
    let url = link.split_once('#').map_or(link, |(url, _)| url);
    let rest = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://"))?;
    let host = rest.split(['/', '?']).next()?;
    if host != options.domain || url.contains("utm_campaign=") {
        return None;
    }
    let (before, after) = piece.split_at(url.len());
    Some((before, if url.contains('?') { "&amp;" } else { "?" }, after))
}

/// Puts the footer at the end of the body.
fn with_footer(mut html: String, footer: &str) -> String {
    if !footer.is_empty() {
        let at = html.rfind("</body>").unwrap_or(html.len());
        let footer = footer.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
        html.insert_str(at, &format!("<p>{footer}</p>\r\n"));
    }
    html
}

register!(Campaign: submit);
