//! DKIM signatures checked as RFC 6376 says, `relaxed/relaxed`, with a public key in the hand in the place of one in DNS.

use anyhow::{Context as _, Result, ensure};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use ring::digest::{SHA256, digest};
use ring::signature::{ED25519, RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey};

/// A signature that was found good.
#[derive(Clone, Debug)]
pub struct Signature {
    /// `a=`.
    pub algorithm: String,
    /// `d=`.
    pub domain: String,
    /// `s=`.
    pub selector: String,
    /// `h=`, in lower case.
    pub fields: Vec<String>,
}

/// Checks the signature with this selector; `key` is the public key: 32 octets for Ed25519, PKCS#1 for RSA.
///
/// # Errors
/// If there is none, or it is not good.
pub fn verify(message: &[u8], selector: &str, key: &[u8]) -> Result<Signature> {
    let text = String::from_utf8_lossy(message);
    let (header, body) = text.split_once("\r\n\r\n").context("no empty line")?;
    let fields = fields(header);
    let of_selector = |field: &&(String, String)| field.0 == "dkim-signature" && tag(&field.1, "s").as_deref() == Some(selector);
    let (_, value) = fields.iter().find(of_selector).with_context(|| format!("no signature of selector {selector}"))?;
    let get = |name: &str| tag(value, name).with_context(|| format!("no {name}= in {value}"));
    ensure!(get("v")? == "1" && get("c")? == "relaxed/relaxed", "not what is checked here: {value}");
    ensure!(tag(value, "l").is_none(), "a signature of a part of the body is none");
    ensure!(get("bh")? == BASE64_STANDARD.encode(digest(&SHA256, relaxed_body(body).as_bytes())), "the body is not what was signed");

    let names: Vec<String> = get("h")?.split(':').map(str::to_ascii_lowercase).collect();
    let mut data = String::new();
    // Fields of one name are taken from the last to the first; one that is not there (any more) is nothing (§5.4.2).
    let mut rest: Vec<_> = fields.iter().collect();
    for name in &names {
        if let Some(place) = rest.iter().rposition(|(known, _)| known == name) {
            let (name, value) = rest.remove(place);
            data.push_str(&format!("{name}:{}\r\n", relaxed(value)));
        }
    }
    // Its own field last, without the value of b= and without a line end (§3.7).
    let (before, signature) = value.rsplit_once("b=").context("no b=")?;
    ensure!(!signature.contains(';'), "b= is expected last");
    data.push_str(&format!("dkim-signature:{}", relaxed(&format!("{before}b="))));

    let signature = BASE64_STANDARD.decode(get("b")?)?;
    let algorithm = get("a")?;
    let good = match algorithm.as_str() {
        "rsa-sha256" => UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, key).verify(data.as_bytes(), &signature),
        // It is the hash that is signed (RFC 8463 §3).
        "ed25519-sha256" => UnparsedPublicKey::new(&ED25519, key).verify(digest(&SHA256, data.as_bytes()).as_ref(), &signature),
        other => anyhow::bail!("no such algorithm: {other}"),
    };
    good.ok().with_context(|| format!("the signature is wrong for what is in the header:\n{data}"))?;
    Ok(Signature { algorithm, domain: get("d")?, selector: get("s")?, fields: names })
}

/// Fields as lower-case names and values as they stand, folded.
fn fields(header: &str) -> Vec<(String, String)> {
    let mut fields: Vec<(String, String)> = Vec::new();
    for line in header.split("\r\n") {
        if let (true, Some((_, value))) = (line.starts_with([' ', '\t']), fields.last_mut()) {
            value.push_str("\r\n");
            value.push_str(line);
        } else if let Some((name, value)) = line.split_once(':') {
            fields.push((name.trim_end().to_ascii_lowercase(), value.to_owned()));
        }
    }
    fields
}

/// The value of a tag, without any white space.
fn tag(field: &str, name: &str) -> Option<String> {
    let bare: String = field.chars().filter(|c| !c.is_ascii_whitespace()).collect();
    bare.split(';').find_map(|tag| tag.split_once('=').filter(|(known, _)| *known == name).map(|(_, value)| value.to_owned()))
}

/// §3.4.2 for a value: unfolded, white space made one blank, none at the ends.
fn relaxed(value: &str) -> String {
    value.split([' ', '\t', '\r', '\n']).filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ")
}

/// §3.4.4: white space made one blank, none at the ends of lines, no empty lines at the end.
fn relaxed_body(body: &str) -> String {
    let line = |line: &str| {
        let words = line.split([' ', '\t']).filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ");
        if line.starts_with([' ', '\t']) && !words.is_empty() { format!(" {words}") } else { words }
    };
    let relaxed: Vec<String> = body.split("\r\n").map(line).collect();
    let text = relaxed.join("\r\n");
    let text = text.trim_end_matches("\r\n");
    if text.is_empty() { String::new() } else { format!("{text}\r\n") }
}
