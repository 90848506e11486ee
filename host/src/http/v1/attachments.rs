//! `attachments`: `{data,name,type}`, with `cid` for inline files; parts of a multipart body with a file name.

use serde_json::Value;

use crate::http::attachment::{content_id, decode_base64, file_name, media_type, type_of_name, uploaded};
use crate::http::compose::Attachment;
use crate::http::fields::Fields;
use crate::http::problem::Flaw;

/// Returns the files of a call.
pub fn read(fields: &Fields) -> Result<Vec<Attachment>, Flaw> {
    let mut files = Vec::new();
    match fields.structured(&["attachments"])? {
        None => {}
        Some((name, Value::Array(elements))) => {
            for (place, element) in elements.iter().enumerate() {
                files.push(read_one(&format!("{name}[{place}]"), element)?);
            }
        }
        Some((name, object @ Value::Object(_))) => files.push(read_one(&name, &object)?),
        Some((name, _)) => return Err(Flaw::new(name, "an array of objects is expected")),
    }
    files.extend(uploaded(fields)?);
    Ok(files)
}

fn read_one(field: &str, value: &Value) -> Result<Attachment, Flaw> {
    let Value::Object(object) = value else { return Err(Flaw::new(field, "an object is expected")) };
    let get = |names: &[&str]| -> Result<Option<&str>, Flaw> {
        let found = object.iter().find(|(name, value)| names.contains(&name.to_ascii_lowercase().as_str()) && !value.is_null());
        match found {
            None => Ok(None),
            Some((_, Value::String(text))) => Ok(Some(text)),
            Some((name, _)) => Err(Flaw::new(format!("{field}.{name}"), "a text is expected")),
        }
    };
    let wrong = |name: &str, reason: &str| Flaw::new(format!("{field}.{name}"), reason);
    let Some(data) = get(&["data"])? else {
        return Err(match get(&["url"])? {
            Some(_) => wrong("url", "attachments by URL are not available in this version; send data"),
            None => wrong("data", "missing"),
        });
    };
    let content = decode_base64(data).ok_or_else(|| wrong("data", "not valid base64"))?;
    let name = match get(&["name", "filename"])? {
        None => None,
        Some(text) => Some(file_name(text).ok_or_else(|| wrong("name", "not a file name"))?),
    };
    let content_type = match get(&["type", "content_type"])? {
        None => type_of_name(name.as_deref()),
        Some(text) => media_type(text).ok_or_else(|| wrong("type", "not a media type that a file can have"))?,
    };
    let content_id = match get(&["cid", "content_id", "contentid"])? {
        None => None,
        Some(text) => Some(content_id(text).ok_or_else(|| wrong("cid", "not a content id"))?),
    };
    Ok(Attachment { name, content_type, content_id, content })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]
    use serde_json::json;

    use super::*;

    fn read_value(value: &Value) -> Result<Vec<String>, String> {
        let object = json!({ "attachments": value });
        let files = read(&Fields::from_object(object.as_object().unwrap().clone()).unwrap())
            .map_err(|flaw| format!("{}: {}", flaw.field, flaw.reason))?;
        let show = |file: Attachment| {
            format!(
                "{} {} {} {}",
                file.name.unwrap_or_default(),
                file.content_type,
                file.content_id.unwrap_or_default(),
                file.content.len()
            )
        };
        Ok(files.into_iter().map(show).collect())
    }

    #[test]
    fn files_are_read() {
        let value = json!([
            { "data": "aGk=", "name": "ü.pdf", "type": "application/pdf" },
            { "data": "aGk=", "name": "logo.png", "cid": "<logo>" },
            { "data": "" },
        ]);
        assert_eq!(read_value(&value).unwrap(), ["ü.pdf application/pdf  2", "logo.png image/png logo 2", " application/octet-stream  0"]);
        assert_eq!(read_value(&json!("[{\"data\":\"aGk=\"}]")).unwrap().len(), 1);
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (value, expected) in [
            (json!([{ "data": "aGk=" }, { "data": "*" }]), "attachments[1].data: not valid base64"),
            (json!([{ "url": "https://x/a" }]), "attachments[0].url: attachments by URL are not available in this version; send data"),
            (json!([{ "name": "a" }]), "attachments[0].data: missing"),
            (json!([{ "data": "aGk=", "name": "a\r\nb" }]), "attachments[0].name: not a file name"),
            (json!([{ "data": "aGk=", "type": "x\r\ny" }]), "attachments[0].type: not a media type that a file can have"),
            (json!([{ "data": "aGk=", "cid": "a>\r\nX: y" }]), "attachments[0].cid: not a content id"),
            (json!([{ "data": 7 }]), "attachments[0].data: a text is expected"),
            (json!(["x"]), "attachments[0]: an object is expected"),
            (json!("x"), "attachments: an array of objects is expected"),
        ] {
            assert_eq!(read_value(&value).unwrap_err(), expected);
        }
    }
}
