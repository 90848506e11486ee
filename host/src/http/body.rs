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
/// The part of it that those have together whom nobody knows yet.
const STRANGERS: u64 = 4;
/// Octets of one permit: there are fewer permits than octets.
const GRAIN: u64 = 1024;

/// Memory for the bodies of calls. Many large ones at once wait for each other, in the time that their requests have.
///
/// Room is taken as octets arrive, never for what is only announced: silence takes nothing.
#[derive(Clone)]
pub struct Room {
    /// For callers who have shown a token.
    known: Share,
    /// For those whose credentials stand in the body: they cannot keep the others out.
    unknown: Share,
    limit: u64,
}

#[derive(Clone)]
struct Share {
    permits: Arc<Semaphore>,
    /// One body that finds no room goes on all the same, or bodies that are half there would all wait for each other.
    passage: Arc<Semaphore>,
}

/// The room that one body takes, until it is dropped.
pub struct Place {
    share: Share,
    permits: Option<OwnedSemaphorePermit>,
    passage: Option<OwnedSemaphorePermit>,
}

impl Room {
    /// Makes room for bodies of up to `limit` octets.
    pub fn new(limit: u64) -> Self {
        let room = limit.saturating_mul(BODIES).max(LEAST_ROOM);
        Self { known: Share::new(room), unknown: Share::new(room / STRANGERS), limit }
    }

    /// Reads a body while there is room for it.
    pub async fn read(&self, headers: &HeaderMap, body: Body, is_known: bool) -> Result<(Bytes, Place), Problem> {
        let share = if is_known { &self.known } else { &self.unknown };
        let mut place = Place { share: share.clone(), permits: None, passage: None };
        let octets = collect(headers, body, self.limit, Some(&mut place)).await?;
        Ok((octets, place))
    }
}

impl Share {
    fn new(octets: u64) -> Self {
        let permits = usize::try_from(octets / GRAIN).unwrap_or(usize::MAX).min(Semaphore::MAX_PERMITS);
        Self { permits: Arc::new(Semaphore::new(permits)), passage: Arc::new(Semaphore::new(1)) }
    }
}

impl Place {
    /// Waits until there is room for `octets` in all.
    async fn grow(&mut self, octets: usize) -> Result<(), Problem> {
        let wanted = u64::try_from(octets).unwrap_or(u64::MAX).div_ceil(GRAIN);
        let taken = self.permits.as_ref().map_or(0, OwnedSemaphorePermit::num_permits);
        let missing = wanted.saturating_sub(u64::try_from(taken).unwrap_or(u64::MAX));
        if missing == 0 || self.passage.is_some() {
            return Ok(());
        }
        let more = self.share.permits.clone().acquire_many_owned(u32::try_from(missing).unwrap_or(u32::MAX));
        let closed = |_| Problem::Refused(Refusal::Overloaded);
        tokio::select! {
            biased;
            more = more => match (&mut self.permits, more.map_err(closed)?) {
                (Some(permits), more) => permits.merge(more),
                (none, more) => *none = Some(more),
            },
            passage = self.share.passage.clone().acquire_owned() => self.passage = Some(passage.map_err(closed)?),
        }
        Ok(())
    }
}

/// Reads all of a body; more than `limit` octets are a problem as soon as the client announces or sends them.
pub async fn read(headers: &HeaderMap, body: Body, limit: u64) -> Result<Bytes, Problem> {
    collect(headers, body, limit, None).await
}

async fn collect(headers: &HeaderMap, body: Body, limit: u64, mut place: Option<&mut Place>) -> Result<Bytes, Problem> {
    let announced: Option<u64> = headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok());
    if announced.is_some_and(|length| length > limit) {
        return Err(Problem::BodyTooLarge { limit });
    }
    let most = usize::try_from(announced.unwrap_or(limit)).unwrap_or(usize::MAX);
    let mut stream = body.into_data_stream();
    let mut first = Bytes::new();
    let mut octets = BytesMut::new();
    while let Some(chunk) = stream.next().await {
        let chunk = chunk.map_err(|_| Problem::BodyUnreadable("the request ended too early".into()))?;
        let length = first.len().saturating_add(octets.len()).saturating_add(chunk.len());
        if u64::try_from(length).unwrap_or(u64::MAX) > limit {
            return Err(Problem::BodyTooLarge { limit });
        }
        let is_first = first.is_empty() && octets.is_empty();
        if is_first || octets.capacity() < length {
            // Twice what is there: copied a few times in all, and what is not sent is not waited for.
            let room = if is_first { length } else { length.saturating_mul(2).min(most).max(length) };
            if let Some(place) = &mut place {
                place.grow(room).await?;
            }
            // A body that came in one piece is not copied.
            if is_first {
                first = chunk;
                continue;
            }
            octets.reserve(room - octets.len());
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

    /// A body of which `sent` octets come, and then nothing.
    fn stalled(announced: u64, sent: u64) -> (HeaderMap, Body) {
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_LENGTH, announced.into());
        let octets = Bytes::from(vec![b'x'; usize::try_from(sent).unwrap()]);
        let stream = futures_util::stream::once(async { Ok::<_, std::io::Error>(octets) }).chain(futures_util::stream::pending());
        (headers, Body::from_stream(stream))
    }

    /// A body that is all there.
    fn whole(length: u64) -> (HeaderMap, Body) {
        (HeaderMap::new(), Body::from(vec![b'x'; usize::try_from(length).unwrap()]))
    }

    const LARGE: u64 = 16 * 1024;

    fn small_room() -> Room {
        Room { known: Share::new(4 * LARGE), unknown: Share::new(2 * LARGE), limit: LARGE }
    }

    #[tokio::test]
    async fn silence_takes_no_room() {
        let room = small_room();
        let mut silent = Vec::new();
        for _ in 0..100 {
            for known in [true, false] {
                let (room, (headers, body)) = (room.clone(), stalled(LARGE, 0));
                let mut reading = Box::pin(async move { room.read(&headers, body, known).await.map(drop) });
                assert!(futures_util::poll!(reading.as_mut()).is_pending());
                silent.push(reading);
            }
        }
        for known in [true, false] {
            let (headers, body) = whole(LARGE);
            assert_eq!(room.read(&headers, body, known).await.unwrap().0.len() as u64, LARGE);
        }
    }

    #[tokio::test]
    async fn room_is_taken_and_given_back() {
        let room = small_room();
        let read = async |known| {
            let (headers, body) = whole(LARGE);
            room.read(&headers, body, known).await
        };
        let mut taken = Vec::new();
        // All that there is, and the one that may go on without.
        for _ in 0..5 {
            taken.push(read(true).await.unwrap());
        }
        let mut waiting = std::pin::pin!(read(true));
        assert!(futures_util::poll!(waiting.as_mut()).is_pending());
        // Strangers have room of their own, and less of it.
        let strangers = [read(false).await.unwrap(), read(false).await.unwrap(), read(false).await.unwrap()];
        assert!(futures_util::poll!(std::pin::pin!(read(false))).is_pending());
        drop(strangers);
        assert!(read(false).await.is_ok());
        taken.pop();
        assert!(waiting.await.is_ok());
    }

    #[tokio::test]
    async fn bodies_that_are_half_there_do_not_wait_for_each_other() {
        let room = small_room();
        let (senders, mut reading): (Vec<_>, Vec<_>) = (0..8)
            .map(|_| {
                let (sender, receiver) = tokio::sync::mpsc::channel::<Bytes>(1);
                let stream = futures_util::stream::unfold(receiver, async |mut receiver| {
                    Some((Ok::<_, std::io::Error>(receiver.recv().await?), receiver))
                });
                let room = room.clone();
                let read =
                    Box::pin(async move { room.read(&HeaderMap::new(), Body::from_stream(stream), true).await.map(|read| read.0.len()) });
                (sender, read)
            })
            .unzip();
        for part in 0..4 {
            for (sender, read) in senders.iter().zip(&mut reading) {
                // Who waits for room does not read on.
                let _ = sender.try_send(Bytes::from(vec![part; 4096]));
                assert!(futures_util::poll!(read.as_mut()).is_pending());
            }
        }
        drop(senders);
        let lengths: Vec<usize> = futures_util::future::join_all(reading).await.into_iter().map(Result::unwrap).collect();
        assert!(lengths.iter().all(|length| *length >= 4096), "{lengths:?}");
    }

    #[tokio::test]
    async fn too_much_is_refused_when_it_is_announced() {
        let (headers, body) = stalled(LARGE + 1, 0);
        assert!(matches!(small_room().read(&headers, body, true).await, Err(Problem::BodyTooLarge { .. })));
    }
}
