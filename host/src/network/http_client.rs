//! Requests over HTTP/1.1 on somebody else's behalf: to addresses that were looked at first, within limits of time and size.
//!
//! The name is resolved once, and the connection goes to an address that was found fit, so that a name whose answer changes in between leads
//! nowhere else. Redirects are not followed, cookies not kept, proxies of the environment not asked.

use std::net::{IpAddr, SocketAddr};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::header::{
    CONNECTION, CONTENT_LENGTH, HOST, HeaderMap, HeaderName, HeaderValue, TE, TRAILER, TRANSFER_ENCODING, UPGRADE, USER_AGENT,
};
use hyper::{Method, Request};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::ServerName;
use url::{Host, Url};

use super::address::is_public;

/// Addresses of one name that are tried.
const ADDRESSES: usize = 4;
/// Names that are looked up at one moment.
const LOOKUPS: usize = 32;

/// What is asked.
#[derive(Clone, Debug)]
pub struct Outgoing {
    /// `GET`, `POST`, …
    pub method: String,
    /// Absolute, http or https.
    pub url: Url,
    /// Name and value of each field.
    pub headers: Vec<(String, String)>,
    /// The content.
    pub body: Bytes,
}

/// What comes back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Incoming {
    /// Three digits.
    pub status: u16,
    /// Name and value of each field; octets that are no UTF-8 are replaced.
    pub headers: Vec<(String, String)>,
    /// The content, decoded from its transfer coding only.
    pub body: Bytes,
}

/// How far a request may go.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// From the first look at the name to the last octet of the answer.
    pub time: Duration,
    /// Octets of the content of the answer.
    pub size: usize,
    /// Whether loopback and private addresses may be reached.
    pub private: bool,
}

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HttpError {
    /// The request is no request.
    #[error("{0}")]
    Invalid(String),
    /// The name leads to addresses that are not public.
    #[error("{0} leads to an address that is not public")]
    Private(String),
    /// It took too long.
    #[error("no answer in time")]
    Timeout,
    /// The answer has more octets than this.
    #[error("the answer has more than {0} octets")]
    TooLarge(u64),
    /// No connection, or it broke.
    #[error("{0}")]
    Unreachable(String),
}

/// Asks.
#[derive(Clone)]
pub struct HttpClient {
    /// A look at a name cannot be called off once the system has it; so many may be under way.
    lookups: Arc<Semaphore>,
    /// `None` where the system has no certification authorities: then https cannot be believed.
    tls: Option<TlsConnector>,
    agent: HeaderValue,
}

impl HttpClient {
    /// A client that believes `tls`, and calls itself Tubepost.
    pub fn new(tls: Option<TlsConnector>) -> Self {
        Self {
            lookups: Arc::new(Semaphore::new(LOOKUPS)),
            tls,
            agent: HeaderValue::from_static(concat!("Tubepost/", env!("CARGO_PKG_VERSION"))),
        }
    }

    /// Asks, and returns the whole answer, whatever its status.
    ///
    /// # Errors
    /// See [`HttpError`]; nothing is tried twice.
    pub async fn send(&self, what: Outgoing, bounds: Bounds) -> Result<Incoming, HttpError> {
        self.ask(what, bounds, None).await
    }

    /// As [`HttpClient::send`], where the caller has looked the name up.
    ///
    /// # Errors
    /// See [`HttpError`]; nothing is tried twice.
    pub async fn send_to(&self, what: Outgoing, bounds: Bounds, addresses: &[IpAddr]) -> Result<Incoming, HttpError> {
        self.ask(what, bounds, Some(addresses)).await
    }

    async fn ask(&self, what: Outgoing, bounds: Bounds, addresses: Option<&[IpAddr]>) -> Result<Incoming, HttpError> {
        let asking = async {
            let request = self.request(&what)?;
            let stream = self.connect(&what.url, bounds, addresses).await?;
            match what.url.scheme() {
                "https" => {
                    let tls = self.tls.as_ref().ok_or_else(|| unreachable(&"the system has no certification authorities to trust"))?;
                    let host = what.url.host_str().unwrap_or_default().trim_start_matches('[').trim_end_matches(']').to_owned();
                    let name = ServerName::try_from(host).map_err(|error| HttpError::Invalid(error.to_string()))?;
                    let stream = tls.connect(name, stream).await.map_err(|error| unreachable(&error))?;
                    exchange(TokioIo::new(stream), request, bounds.size).await
                }
                _ => exchange(TokioIo::new(stream), request, bounds.size).await,
            }
        };
        tokio::time::timeout(bounds.time, Box::pin(asking)).await.map_err(|_| HttpError::Timeout)?
    }

    fn request(&self, what: &Outgoing) -> Result<Request<Full<Bytes>>, HttpError> {
        let invalid = |reason: &str| HttpError::Invalid(reason.to_owned());
        if !matches!(what.url.scheme(), "http" | "https") || !what.url.has_host() {
            return Err(invalid("the URL must be absolute, http or https"));
        }
        if !what.url.username().is_empty() || what.url.password().is_some() {
            return Err(invalid("the URL must not hold a user name or a password"));
        }
        let method = Method::from_bytes(what.method.as_bytes()).ok().filter(|method| !matches!(*method, Method::CONNECT | Method::TRACE));
        let method = method.ok_or_else(|| invalid("there is no such method"))?;
        let mut headers = HeaderMap::new();
        for (name, value) in &what.headers {
            let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| invalid("a field's name is none"))?;
            // How the octets are framed, and to whom they go, is ours to say: two opinions on it are how requests are smuggled.
            if [HOST, CONTENT_LENGTH, TRANSFER_ENCODING, CONNECTION, TE, TRAILER, UPGRADE].contains(&name) {
                return Err(HttpError::Invalid(format!("the field {name} is set by the host")));
            }
            headers.append(name, HeaderValue::from_str(value).map_err(|_| invalid("a field's value holds what it must not"))?);
        }
        let authority = what.url.port().map_or_else(
            || what.url.host_str().unwrap_or_default().to_owned(),
            |port| format!("{}:{port}", what.url.host_str().unwrap_or_default()),
        );
        headers.insert(HOST, HeaderValue::from_str(&authority).map_err(|_| invalid("the URL's host is none"))?);
        headers.entry(USER_AGENT).or_insert_with(|| self.agent.clone());
        headers.insert(CONNECTION, HeaderValue::from_static("close"));
        let target = what.url.query().map_or_else(|| what.url.path().to_owned(), |query| format!("{}?{query}", what.url.path()));
        let mut request = Request::builder()
            .method(method)
            .uri(target)
            .body(Full::new(what.body.clone()))
            .map_err(|error| invalid(&error.to_string()))?;
        *request.headers_mut() = headers;
        Ok(request)
    }
}

fn unreachable(error: &impl ToString) -> HttpError {
    HttpError::Unreachable(error.to_string())
}

impl HttpClient {
    /// Looks a name up.
    async fn look_up(&self, name: &str, port: u16) -> Result<Vec<SocketAddr>, HttpError> {
        // Never closed.
        let permit = Arc::clone(&self.lookups).acquire_owned().await.ok();
        let name = name.to_owned();
        // In a task of its own, which ends when the system does, whether anybody still waits for it or not.
        let looking = tokio::spawn(async move {
            let found = tokio::net::lookup_host((name.as_str(), port)).await.map(Iterator::collect);
            drop(permit);
            found
        });
        looking.await.map_err(|error| unreachable(&error))?.map_err(|error| unreachable(&error))
    }

    /// Connects to the first address that is fit and answers. Where others follow, each has a part of the time: one that is dead leaves some to them.
    async fn connect(&self, url: &Url, bounds: Bounds, addresses: Option<&[IpAddr]>) -> Result<TcpStream, HttpError> {
        let port = url.port_or_known_default().ok_or_else(|| HttpError::Invalid("the URL has no port".to_owned()))?;
        let host = url.host().ok_or_else(|| HttpError::Invalid("the URL has no host".to_owned()))?;
        let found: Vec<SocketAddr> = match &host {
            Host::Ipv4(address) => vec![SocketAddr::new(IpAddr::V4(*address), port)],
            Host::Ipv6(address) => vec![SocketAddr::new(IpAddr::V6(*address), port)],
            Host::Domain(name) => match addresses {
                Some(addresses) => addresses.iter().map(|address| SocketAddr::new(*address, port)).collect(),
                None => self.look_up(name, port).await?,
            },
        };
        let fit: Vec<SocketAddr> =
            found.iter().copied().filter(|address| bounds.private || is_public(address.ip())).take(ADDRESSES).collect();
        if fit.is_empty() {
            let none = found.is_empty();
            return Err(if none { unreachable(&"the name has no address") } else { HttpError::Private(host.to_string()) });
        }
        let part = bounds.time / u32::try_from(fit.len() + 1).unwrap_or(u32::MAX);
        let mut last = unreachable(&"no address");
        for (place, address) in (1..).zip(&fit) {
            let time = if place == fit.len() { bounds.time } else { part };
            match tokio::time::timeout(time, TcpStream::connect(address)).await {
                Ok(Ok(stream)) => return Ok(stream),
                Ok(Err(error)) => last = unreachable(&error),
                Err(_) => last = HttpError::Timeout,
            }
        }
        Err(last)
    }
}

async fn exchange<S>(stream: S, request: Request<Full<Bytes>>, size: usize) -> Result<Incoming, HttpError>
where
    S: hyper::rt::Read + hyper::rt::Write + Send + Unpin + 'static,
{
    let (mut sender, connection) = hyper::client::conn::http1::handshake(stream).await.map_err(|error| unreachable(&error))?;
    let asking = async move {
        let response = sender.send_request(request).await.map_err(|error| unreachable(&error))?;
        let (head, body) = response.into_parts();
        let body = Limited::new(body, size).collect().await.map_err(|error| {
            let too_large = error.downcast_ref::<http_body_util::LengthLimitError>().is_some();
            if too_large { HttpError::TooLarge(u64::try_from(size).unwrap_or(u64::MAX)) } else { unreachable(&error) }
        })?;
        let text = |value: &HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
        Ok(Incoming {
            status: head.status.as_u16(),
            headers: head.headers.iter().map(|(name, value)| (name.as_str().to_owned(), text(value))).collect(),
            body: body.to_bytes(),
        })
    };
    let (mut asking, mut connection) = (pin!(asking), pin!(connection));
    // Both end here: what is dropped with this future closes the connection.
    tokio::select! {
        answer = &mut asking => answer,
        _ = &mut connection => asking.await,
    }
}

#[cfg(test)]
mod tests;
