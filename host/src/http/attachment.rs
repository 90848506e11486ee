//! Files in calls: base64 of all spellings, names, types, content ids.

use base64::Engine;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use bytes::Bytes;

use super::address_list::has_line_break;
use super::compose::Attachment;
use super::fields::{Fields, File};
use super::problem::Flaw;

/// With and without padding: clients do both.
const LENIENT: GeneralPurpose =
    GeneralPurpose::new(&alphabet::STANDARD, GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent));
/// What a file is when nobody says.
const UNKNOWN_TYPE: &str = "application/octet-stream";
/// Characters of a file's name that are kept.
const LONGEST_NAME: usize = 255;

/// Names of multipart parts whose files are attachments.
const FIELDS: [&str; 3] = ["attachments", "attachment", "attachments[]"];

/// Returns the files that came as parts of a multipart body. A file in any other field is refused: nobody would learn that it is missing.
pub fn uploaded(fields: &Fields) -> Result<Vec<Attachment>, Flaw> {
    let one = |file: &File| {
        if !FIELDS.contains(&file.field.to_ascii_lowercase().as_str()) {
            return Err(Flaw::new(&file.field, "no file is expected here"));
        }
        let name = file_name(&file.name).ok_or_else(|| Flaw::new(&file.field, "not a file name"))?;
        let content_type = file.content_type.as_deref().and_then(media_type).unwrap_or_else(|| type_of_name(Some(&name)));
        Ok(Attachment { name: Some(name), content_type, content_id: None, content: file.content.clone() })
    };
    fields.files.iter().map(one).collect()
}

/// Decodes base64; blanks, line ends and a `data:…;base64,` prefix are dropped.
pub fn decode_base64(text: &str) -> Option<Bytes> {
    let text = text.trim();
    let is_data_uri = text.get(..5).is_some_and(|start| start.eq_ignore_ascii_case("data:"));
    let encoded = if is_data_uri { text.split_once(";base64,")?.1 } else { text };
    let decoded = if encoded.bytes().any(|octet| octet.is_ascii_whitespace()) {
        let packed: Vec<u8> = encoded.bytes().filter(|octet| !octet.is_ascii_whitespace()).collect();
        LENIENT.decode(packed)
    } else {
        LENIENT.decode(encoded)
    };
    decoded.ok().map(Bytes::from)
}

/// Returns `type/subtype` in lower case, without parameters; `None` if it is none, or one that may not be encoded (RFC 2045 §6.4).
pub fn media_type(text: &str) -> Option<String> {
    let essence = text.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    let (kind, subtype) = essence.split_once('/')?;
    let is_token =
        |text: &str| !text.is_empty() && text.bytes().all(|octet| octet.is_ascii_alphanumeric() || b"!#$&-^_.+".contains(&octet));
    (is_token(kind) && is_token(subtype) && kind != "multipart" && kind != "message").then_some(essence)
}

/// Returns the type that a file's name tells.
pub fn type_of_name(name: Option<&str>) -> String {
    let extension = name.and_then(|name| name.rsplit_once('.')).map(|(_, extension)| extension.to_ascii_lowercase());
    match extension.as_deref().unwrap_or_default() {
        "csv" => "text/csv",
        "gif" => "image/gif",
        "htm" | "html" => "text/html",
        "ical" | "ics" => "text/calendar",
        "jpeg" | "jpg" => "image/jpeg",
        "json" => "application/json",
        "pdf" => "application/pdf",
        "png" => "image/png",
        "svg" => "image/svg+xml",
        "txt" => "text/plain",
        "webp" => "image/webp",
        "xml" => "application/xml",
        "zip" => "application/zip",
        _ => UNKNOWN_TYPE,
    }
    .to_owned()
}

/// Returns a name without its folders; `None` for a name with line breaks or without characters.
pub fn file_name(text: &str) -> Option<String> {
    if has_line_break(text) {
        return None;
    }
    let name = text.rsplit(['/', '\\']).next().unwrap_or_default().trim();
    (!name.is_empty() && name.chars().count() <= LONGEST_NAME && !name.chars().any(char::is_control)).then(|| name.to_owned())
}

/// Returns a content id bare: without blanks, `<>` and `cid:`; `None` if it has characters that no id has.
pub fn content_id(text: &str) -> Option<String> {
    let bare = text.trim().trim_start_matches('<').trim_end_matches('>').trim();
    let bare = if bare.get(..4).is_some_and(|start| start.eq_ignore_ascii_case("cid:")) { bare.get(4..)?.trim() } else { bare };
    let valid = |octet: u8| octet.is_ascii_graphic() && !b"<>()[]\\,;:\"".contains(&octet);
    (!bare.is_empty() && bare.len() <= LONGEST_NAME && bare.bytes().all(valid)).then(|| bare.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_has_many_spellings() {
        for text in ["aGk=", "aGk", " aG\r\nk= ", "data:image/png;base64,aGk="] {
            assert_eq!(decode_base64(text).as_deref(), Some(&b"hi"[..]), "{text:?}");
        }
        for text in ["a", "aG*k", "data:image/png,hi", "aGk=aGk=", "é"] {
            assert_eq!(decode_base64(text), None, "{text:?}");
        }
        assert_eq!(decode_base64("").as_deref(), Some(&b""[..]));
    }

    #[test]
    fn types_are_types() {
        assert_eq!(media_type("Image/PNG; name=x").as_deref(), Some("image/png"));
        for text in ["", "image", "image/", "multipart/mixed", "message/rfc822", "image/png\r\nX: y", "a b/c"] {
            assert_eq!(media_type(text), None, "{text:?}");
        }
        assert_eq!(type_of_name(Some("A.PDF")), "application/pdf");
        assert_eq!(type_of_name(None), UNKNOWN_TYPE);
    }

    #[test]
    fn names_have_no_folders() {
        assert_eq!(file_name("../../etc/passwd").as_deref(), Some("passwd"));
        assert_eq!(file_name("C:\\x\\übersicht.pdf").as_deref(), Some("übersicht.pdf"));
        for text in ["", " ", "a\r\nb", "a/", "a\u{7}"] {
            assert_eq!(file_name(text), None, "{text:?}");
        }
    }

    #[test]
    fn content_ids_are_bare() {
        for text in ["myimage.cid", "< myimage.cid>", "<myimage.cid>", "cid:myimage.cid", "CID:myimage.cid"] {
            assert_eq!(content_id(text).as_deref(), Some("myimage.cid"), "{text}");
        }
        for text in ["", "<>", "a b", "a>\r\nX: y", "é"] {
            assert_eq!(content_id(text), None, "{text:?}");
        }
    }
}
