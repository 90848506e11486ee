//! Bodies of requests: read up to a limit, then taken apart by their type.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{DefaultBodyLimit, FromRequest, Multipart, Request};
use axum::http::{HeaderMap, header};
use bytes::{Bytes, BytesMut};
use futures_util::StreamExt;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::fields::{Fields, File};
use super::json::{self, JsonError};
use super::problem::Problem;
use crate::mail::refusal::Refusal;

/// Fields of a form, or parts of a multipart body, that are read.
const MOST_FIELDS: usize = 10_000;

/// Times the largest body that fit into memory together.
const BODIES: u64 = 8;
/// Octets that fit in any case.
const LEAST_ROOM: u64 = 128 * 1024 * 1024;
/// Octets of one permit: there are fewer permits than octets.
const GRAIN: u64 = 1024;

/// Memory for the bodies of calls. Many large ones at once wait for each other, in the time that their requests have.
#[derive(Clone)]
pub struct Room {
    /// For callers who have shown a token.
    known: Arc<Semaphore>,
    /// For those whose credentials stand in the body: they cannot keep the others out.
    unknown: Arc<Semaphore>,
    limit: u64,
}

impl Room {
    /// Makes room for bodies of up to `limit` octets.
    pub fn new(limit: u64) -> Self {
        let permits = limit.saturating_mul(BODIES).max(LEAST_ROOM) / GRAIN;
        let semaphore = || Arc::new(Semaphore::new(usize::try_from(permits).unwrap_or(usize::MAX).min(Semaphore::MAX_PERMITS)));
        Self { known: semaphore(), unknown: semaphore(), limit }
    }

    /// Reads a body when there is room for what its header announces. The room is taken until the permit is dropped.
    pub async fn read(&self, headers: &HeaderMap, body: Body, is_known: bool) -> Result<(Bytes, OwnedSemaphorePermit), Problem> {
        let octets = announced(headers).unwrap_or(self.limit);
        if octets > self.limit {
            return Err(Problem::BodyTooLarge { limit: self.limit });
        }
        let semaphore = if is_known { &self.known } else { &self.unknown };
        let permits = u32::try_from(octets / GRAIN).unwrap_or(u32::MAX).saturating_add(1);
        let permit = semaphore.clone().acquire_many_owned(permits).await.map_err(|_| Problem::Refused(Refusal::Overloaded))?;
        Ok((read(headers, body, octets.max(GRAIN).min(self.limit)).await?, permit))
    }
}

fn announced(headers: &HeaderMap) -> Option<u64> {
    headers.get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// Reads all of a body; more than `limit` octets are a problem as soon as the client announces or sends them.
pub async fn read(headers: &HeaderMap, body: Body, limit: u64) -> Result<Bytes, Problem> {
    let announced = announced(headers);
    if announced.is_some_and(|length| length > limit) {
        return Err(Problem::BodyTooLarge { limit });
    }
    let mut stream = body.into_data_stream();
    let mut first = Bytes::new();
    let mut octets = BytesMut::new();
    while let Some(chunk) = stream.next().await {
        let chunk = chunk.map_err(|_| Problem::BodyUnreadable("the request ended too early".into()))?;
        let length = first.len().saturating_add(octets.len()).saturating_add(chunk.len());
        if u64::try_from(length).unwrap_or(u64::MAX) > limit {
            return Err(Problem::BodyTooLarge { limit });
        }
        // A body that came in one piece is not copied.
        if first.is_empty() && octets.is_empty() {
            first = chunk;
            continue;
        }
        if octets.is_empty() {
            octets.reserve(usize::try_from(announced.unwrap_or(0)).unwrap_or(0).max(length));
            octets.extend_from_slice(&std::mem::take(&mut first));
        }
        octets.extend_from_slice(&chunk);
    }
    Ok(if octets.is_empty() { first } else { octets.freeze() })
}

/// Takes a body apart.
///
/// A JSON body, or a field that holds JSON, has at most `json_values` values.
pub async fn fields(headers: &HeaderMap, body: Bytes, json_values: u32) -> Result<Fields, Problem> {
    let content_type = content_type(headers);
    let fields = match Form::of(content_type, &body)? {
        Form::Json => return json(&body, json_values),
        Form::Urlencoded => urlencoded(&body)?,
        Form::Multipart => multipart(content_type, body).await?,
    };
    Ok(fields.with_json_values(json_values))
}

/// Looks for two texts at the top of a body: for callers whom nobody knows yet, from whom nothing is unfolded in memory.
pub async fn pair(headers: &HeaderMap, body: &Bytes, names: [&str; 2]) -> Result<Option<(String, String)>, Problem> {
    let [first, second] = match Form::of(content_type(headers), body)? {
        Form::Json => json::texts(body, names)?,
        Form::Urlencoded | Form::Multipart => {
            let fields = fields(headers, body.clone(), 0).await?;
            names.map(|name| fields.text(&[name]).ok().flatten())
        }
    };
    Ok(first.zip(second))
}

/// Takes a JSON object apart; anything else is a problem that names the place.
pub fn json(body: &[u8], json_values: u32) -> Result<Fields, Problem> {
    Ok(Fields::from_object(json::object(body, json_values)?).with_json_values(json_values))
}

impl From<JsonError> for Problem {
    fn from(error: JsonError) -> Self {
        Self::BodyUnreadable(error.to_string())
    }
}

fn content_type(headers: &HeaderMap) -> &str {
    headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default()
}

/// How the fields stand in a body.
enum Form {
    Json,
    Urlencoded,
    Multipart,
}

impl Form {
    /// Without a content type, and with curl's default one, a body that opens with `{` is JSON.
    fn of(content_type: &str, body: &[u8]) -> Result<Self, Problem> {
        let essence = content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
        let looks_like_json = body.iter().find(|octet| !octet.is_ascii_whitespace()) == Some(&b'{');
        match essence.as_str() {
            "application/x-www-form-urlencoded" | "application/x-www-form-encoded" | "" if looks_like_json => Ok(Self::Json),
            "application/x-www-form-urlencoded" | "application/x-www-form-encoded" | "" => Ok(Self::Urlencoded),
            "multipart/form-data" => Ok(Self::Multipart),
            "application/json" | "text/json" => Ok(Self::Json),
            other if other.starts_with("application/") && other.ends_with("+json") => Ok(Self::Json),
            _ => Err(Problem::MediaType),
        }
    }
}

/// Takes a urlencoded form apart.
pub fn urlencoded(body: &[u8]) -> Result<Fields, Problem> {
    let mut fields = Fields::default();
    for (count, (name, value)) in form_urlencoded::parse(body).enumerate() {
        if count >= MOST_FIELDS {
            return Err(too_many());
        }
        fields.add_text(&name, value.into_owned());
    }
    Ok(fields)
}

async fn multipart(content_type: &str, body: Bytes) -> Result<Fields, Problem> {
    let unreadable = || Problem::BodyUnreadable("the body is no multipart/form-data".into());
    let mut request = Request::builder().header(header::CONTENT_TYPE, content_type).body(Body::from(body)).map_err(|_| unreadable())?;
    // It was limited when it was read.
    DefaultBodyLimit::disable().apply(&mut request);
    let mut parts = Multipart::from_request(request, &()).await.map_err(|_| unreadable())?;
    let mut fields = Fields::default();
    let mut count = 0;
    while let Some(part) = parts.next_field().await.map_err(|_| unreadable())? {
        count += 1;
        if count > MOST_FIELDS {
            return Err(too_many());
        }
        let name = part.name().unwrap_or_default().to_owned();
        let file_name = part.file_name().map(str::to_owned);
        let content_type = part.content_type().map(str::to_owned);
        let content = part.bytes().await.map_err(|_| unreadable())?;
        if let Some(file_name) = file_name {
            fields.files.push(File { field: name, name: file_name, content_type, content });
        } else {
            let text = String::from_utf8(content.into()).map_err(|_| Problem::BodyUnreadable(format!("{name}: not UTF-8")))?;
            fields.add_text(&name, text);
        }
    }
    Ok(fields)
}

fn too_many() -> Problem {
    Problem::BodyUnreadable(format!("the body has more than {MOST_FIELDS} fields"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]
    use super::*;

    fn typed(content_type: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_TYPE, content_type.parse().unwrap());
        headers
    }

    async fn subject(content_type: &str, body: &str) -> Result<Option<String>, Problem> {
        let fields = fields(&typed(content_type), Bytes::from(body.to_owned()), 10).await?;
        Ok(fields.text(&["subject"]).unwrap())
    }

    #[tokio::test]
    async fn the_same_fields_in_all_forms() {
        let multipart = "--b\r\nContent-Disposition: form-data; name=\"subject\"\r\n\r\nGrüße & mehr\r\n--b--\r\n";
        for (content_type, body) in [
            ("application/json; charset=utf-8", "{\"subject\":\"Grüße & mehr\"}"),
            ("application/x-www-form-urlencoded", "{\"subject\":\"Grüße & mehr\"}"),
            ("application/x-www-form-urlencoded", "subject=Gr%C3%BC%C3%9Fe+%26+mehr"),
            ("application/x-www-form-encoded", "subject=Gr%C3%BC%C3%9Fe%20%26%20mehr"),
            ("multipart/form-data; boundary=b", multipart),
        ] {
            assert_eq!(subject(content_type, body).await, Ok(Some("Grüße & mehr".into())), "{content_type} {body}");
        }
    }

    #[tokio::test]
    async fn files_keep_their_octets() {
        let body = b"--b\r\nContent-Disposition: form-data; name=\"attachments\"; filename=\"a.bin\"\r\nContent-Type: image/png\r\n\r\n\xff\0\r\n\r\n--b--\r\n";
        let fields = fields(&typed("multipart/form-data; boundary=b"), Bytes::from_static(body), 1).await.unwrap();
        let file = File {
            field: "attachments".into(),
            name: "a.bin".into(),
            content_type: Some("image/png".into()),
            content: Bytes::from_static(b"\xff\0\r\n"),
        };
        assert_eq!(fields.files, [file]);
    }

    #[tokio::test]
    async fn broken_bodies_name_the_place() {
        let error = subject("application/json", "{\n  \"a\": 1\n  \"b\": 2\n}").await.unwrap_err();
        assert_eq!(error, Problem::BodyUnreadable("the body is no JSON: expected `,` or `}` at line 3 column 3".into()));
        assert!(matches!(subject("application/json", "[1]").await, Err(Problem::BodyUnreadable(_))));
        assert!(matches!(subject("multipart/form-data; boundary=b", "--b\r\nnonsense").await, Err(Problem::BodyUnreadable(_))));
        assert!(matches!(subject("multipart/form-data", "").await, Err(Problem::BodyUnreadable(_))));
        assert_eq!(subject("text/plain", "x").await, Err(Problem::MediaType));
        assert!(fields(&HeaderMap::new(), Bytes::from_static(b"{}"), 1).await.is_ok());
    }

    #[tokio::test]
    async fn what_unfolds_in_memory_has_a_limit() {
        let values = |count: usize| format!("{{\"subject\":\"s\",\"x\":[{}]}}", vec!["0"; count].join(","));
        assert!(subject("application/json", &values(7)).await.is_ok());
        let error = Problem::BodyUnreadable("the JSON has more than 10 values".into());
        assert_eq!(subject("application/json", &values(8)).await, Err(error));
        // A form may hold JSON too.
        let form = Bytes::from(format!("data={}", values(8)));
        let fields = fields(&typed("application/x-www-form-urlencoded"), form, 10).await.unwrap();
        assert_eq!(fields.object(&["data"]).unwrap_err().reason, "the JSON has more than 10 values");
    }

    #[tokio::test]
    async fn a_pair_is_found_without_the_rest() {
        let multipart = "--b\r\nContent-Disposition: form-data; name=\"authuser\"\r\n\r\nu\r\n\
                         --b\r\nContent-Disposition: form-data; name=\"authpass\"\r\n\r\np\r\n--b--\r\n";
        for (content_type, body) in [
            ("application/json", format!("{{\"x\":[{}0],\"authuser\":\"u\",\"AUTHPASS\":\"p\"}}", "0,".repeat(1_000_000))),
            ("application/x-www-form-urlencoded", "authuser=u&authpass=p&x=y".to_owned()),
            ("multipart/form-data; boundary=b", multipart.to_owned()),
        ] {
            let found = pair(&typed(content_type), &Bytes::from(body), ["authuser", "authpass"]).await;
            assert_eq!(found, Ok(Some(("u".to_owned(), "p".to_owned()))), "{content_type}");
        }
        let half = Bytes::from_static(b"{\"authuser\":\"u\"}");
        assert_eq!(pair(&HeaderMap::new(), &half, ["authuser", "authpass"]).await, Ok(None));
    }

    #[tokio::test]
    async fn bodies_have_a_limit() {
        let chunks = |n: usize| {
            let chunk = |_| Ok::<_, std::io::Error>(Bytes::from_static(b"12345"));
            Body::from_stream(futures_util::stream::iter((0..n).map(chunk)))
        };
        assert_eq!(read(&HeaderMap::new(), chunks(2), 10).await.unwrap(), "1234512345");
        assert_eq!(read(&HeaderMap::new(), chunks(3), 10).await, Err(Problem::BodyTooLarge { limit: 10 }));
        let mut announced = HeaderMap::new();
        announced.insert(header::CONTENT_LENGTH, "11".parse().unwrap());
        assert_eq!(read(&announced, Body::empty(), 10).await, Err(Problem::BodyTooLarge { limit: 10 }));
    }

    #[tokio::test]
    async fn room_is_taken_and_given_back() {
        let room = Room::new(LEAST_ROOM / 2);
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_LENGTH, (LEAST_ROOM / 2).into());
        let mut taken = Vec::new();
        for _ in 0..BODIES - 1 {
            taken.push(room.read(&headers, Body::empty(), true).await.unwrap());
        }
        let mut waiting = std::pin::pin!(room.read(&headers, Body::empty(), true));
        assert!(futures_util::poll!(waiting.as_mut()).is_pending());
        assert!(room.read(&headers, Body::empty(), false).await.is_ok());
        taken.pop();
        assert!(waiting.await.is_ok());
        let mut too_large = HeaderMap::new();
        too_large.insert(header::CONTENT_LENGTH, (LEAST_ROOM / 2 + 1).into());
        assert!(matches!(room.read(&too_large, Body::empty(), true).await, Err(Problem::BodyTooLarge { .. })));
    }
}
