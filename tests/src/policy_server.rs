//! A web server that has one answer to everything, over HTTPS: where domains publish their MTA-STS policies.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;

use anyhow::Result;

use crate::wait::PATIENCE;

/// A listening server; it goes on until the test ends.
pub struct PolicyServer {
    address: SocketAddr,
}

impl PolicyServer {
    /// Listens on a free port of loopback; `answer` is asked for the text that a host has, by the name in the request, and what is none is answered 404.
    ///
    /// # Errors
    /// If there is no port.
    pub fn start(tls: Arc<rustls::ServerConfig>, answer: impl Fn(&str) -> Option<String> + Send + Sync + 'static) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let address = listener.local_addr()?;
        let answer = Arc::new(answer);
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let (tls, answer) = (tls.clone(), answer.clone());
                std::thread::spawn(move || serve(stream, tls, &*answer));
            }
        });
        Ok(Self { address })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

fn serve(stream: TcpStream, tls: Arc<rustls::ServerConfig>, answer: &dyn Fn(&str) -> Option<String>) -> Result<()> {
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut stream = rustls::StreamOwned::new(rustls::ServerConnection::new(tls)?, stream);
    let mut request = Vec::new();
    let mut buffer = [0; 1024];
    while !request.windows(4).any(|end| end == b"\r\n\r\n") {
        let length = stream.read(&mut buffer)?;
        if length == 0 {
            return Ok(());
        }
        request.extend_from_slice(buffer.get(..length).unwrap_or_default());
    }
    let request = String::from_utf8_lossy(&request).to_ascii_lowercase();
    let host = request.lines().find_map(|line| line.strip_prefix("host:")).unwrap_or_default().trim();
    let host = host.split(':').next().unwrap_or_default();
    let is_policy = request.starts_with("get /.well-known/mta-sts.txt ");
    let (status, body) = answer(host).filter(|_| is_policy).map_or(("404 Not Found", String::new()), |body| ("200 OK", body));
    let length = body.len();
    write!(stream, "HTTP/1.1 {status}\r\nContent-Type: text/plain\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}")?;
    stream.flush()?;
    stream.conn.send_close_notify();
    Ok(stream.flush()?)
}
