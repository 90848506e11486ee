//! The configuration that most tests start from.

use std::net::SocketAddr;

/// Password of every login that [`config`] makes.
pub const PASSWORD: &str = "secret";
/// Its hash, with parameters that cost nothing.
pub const PASSWORD_HASH: &str = "$argon2id$v=19$m=64,t=1,p=1$Pr/xGlRlhiU7tDo5veyXpA$TAXT+tHTZ9dS94CcyyEKMJ5f/JYvUe4uE7Ek3R8H/Xs";
/// API token of the login `plain`.
pub const TOKEN: &str = "token-of-the-test-suite";
/// Its hash.
pub const TOKEN_HASH: &str = "sha256:bf2024640e250071323787ea2bea0db76d76293d67d959571bd061dd834f889a";
/// Another API token, for a login that a test makes.
pub const SECOND_TOKEN: &str = "second-token-of-the-test-suite";
/// Its hash.
pub const SECOND_TOKEN_HASH: &str = "sha256:cd6826d9c3f753b87805a82cea292ec4c7ec4ca3d6de18baa6452553e02dfedd";

/// A server on loopback with SMTP in all three TLS modes and plain HTTP; logins `plain` (no plugins, with the token), `marketing` (all five
/// plugins), both with the smart host `peer`, and `sandbox` (captured). `more` is put behind it.
pub fn config(peer: SocketAddr, more: &str) -> String {
    let (host, port) = (peer.ip(), peer.port());
    format!(
        r#"
[server]
hostname = "mail.example.com"
data = "data"
public_url = "http://links.example.com"

[tls]
certificate = "cert.pem"
key = "key.pem"

[[listen]]
kind = "smtp"
address = "127.0.0.1:0"
tls = "none"

[[listen]]
kind = "smtp"
address = "127.0.0.1:0"
tls = "starttls"

[[listen]]
kind = "smtp"
address = "127.0.0.1:0"
tls = "implicit"

[[listen]]
kind = "http"
address = "127.0.0.1:0"
tls = "none"

[chains]
marketing = [
  "tags",
  "template",
  "inline-css",
  {{ use = "tracking", clicks = true, opens = true, prevent_scam = true }},
  "list-unsubscribe",
]

[[logins]]
name = "plain"
username = "plain"
password = "{PASSWORD_HASH}"
token = "{TOKEN_HASH}"
route = "peer"

[[logins]]
name = "marketing"
username = "marketing"
password = "{PASSWORD_HASH}"
chain = "marketing"
route = "peer"

[[logins]]
name = "sandbox"
username = "sandbox"
password = "{PASSWORD_HASH}"
route = "sandbox"

[routes.peer]
kind = "smarthost"
host = "{host}"
port = {port}
tls = "none"

[routes.sandbox]
kind = "capture"
{more}
"#
    )
}

/// A login more, with the password of all; `keys` are its other lines.
pub fn login(name: &str, keys: &str) -> String {
    format!("[[logins]]\nname = \"{name}\"\nusername = \"{name}\"\npassword = \"{PASSWORD_HASH}\"\n{keys}\n")
}

/// A small message with everything that a message has.
pub fn message(subject: &str) -> Vec<u8> {
    format!(
        "From: Sender <sender@example.com>\r\nTo: reader@example.net\r\nSubject: {subject}\r\nDate: Sat, 21 Nov 2026 10:00:00 +0000\r\n\
         Message-ID: <{}@example.com>\r\n\r\nHello.\r\n",
        subject.replace(' ', ".")
    )
    .into_bytes()
}
