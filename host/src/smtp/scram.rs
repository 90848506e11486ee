//! SCRAM-SHA-256 (RFC 5802, RFC 7677), the server's side: what is kept of a password, and the two messages that prove that a client knows it.
//!
//! The password itself never comes over the wire, and what is kept does not let anybody log in who steals it. SCRAM-SHA-256-PLUS ties the proof to the TLS that
//! it goes over (`tls-exporter`, RFC 9266): who ends TLS in between, with whatever certificate, cannot pass the proof on.

use std::collections::BTreeSet;
use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

/// Rounds of the hash for new verifiers. A client computes them at each login, so they are no more than small ones can bear (RFC 7677 §4: at least 4096).
pub const ITERATIONS: u32 = 10_000;

/// Rounds that a verifier may have: fewer are too weak, and clients give up on more.
const RANGE: std::ops::RangeInclusive<u32> = 4096..=10_000_000;

/// How a verifier begins.
const PREFIX: &str = "SCRAM-SHA-256$";

/// Octets of a salt.
const SALT: std::ops::RangeInclusive<usize> = 8..=64;

/// Shapes that verifiers of users who are not there may have.
const MOST_SHAPES: usize = 16;

/// The one kind of channel binding that there is.
const EXPORTER: &str = "p=tls-exporter";

/// Octets of a message of the exchange; longer ones come from nobody who means well.
const LONGEST_MESSAGE: usize = 4096;

/// What is kept of a password: `SCRAM-SHA-256$ITERATIONS:SALT$STORED_KEY:SERVER_KEY`, the last three in base64.
#[derive(Clone, PartialEq, Eq)]
pub struct Verifier {
    iterations: u32,
    salt: Vec<u8>,
    stored_key: [u8; 32],
    server_key: [u8; 32],
}

impl fmt::Debug for Verifier {
    /// Shows nothing: whoever has it can guess passwords, and pose as the server.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Verifier")
    }
}

/// What a client sees of a verifier before it has proven anything, but for the salt itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Shape {
    iterations: u32,
    salt_octets: usize,
}

/// The shapes of the verifiers that there are: what users look like who are not there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Shapes(BTreeSet<Shape>);

impl Shapes {
    /// Adds that of `verifier`; of very many different ones the first count.
    pub fn add(&mut self, verifier: &Verifier) {
        if self.0.len() < MOST_SHAPES {
            self.0.insert(Shape { iterations: verifier.iterations, salt_octets: verifier.salt.len() });
        }
    }

    /// Chooses one for a user name: always the same, but for few names when one is added.
    fn choose(&self, key: &[u8; 32], username: &str) -> Shape {
        let weight = |shape: &&Shape| {
            let Shape { iterations, salt_octets } = shape;
            mac(key, &[b"shape", &iterations.to_be_bytes(), &salt_octets.to_be_bytes(), username.as_bytes()])
        };
        self.0.iter().max_by_key(weight).copied().unwrap_or(Shape { iterations: ITERATIONS, salt_octets: 16 })
    }
}

impl Verifier {
    /// Makes one of a password, which must be printable ASCII: others would have to be prepared (RFC 4013) as each client does it.
    pub fn new(password: &str, salt: [u8; 16], iterations: u32) -> Self {
        let salted = salted_password(password.as_bytes(), &salt, iterations);
        let client_key = mac(&salted, &[b"Client Key"]);
        Self { iterations, salt: salt.to_vec(), stored_key: Sha256::digest(client_key).into(), server_key: mac(&salted, &[b"Server Key"]) }
    }

    /// Makes one that no password fits, always the same for one `key` and user name: what strangers ask for looks like what is there, which is of `shapes`.
    pub fn pretended(key: &[u8; 32], username: &str, shapes: &Shapes) -> Self {
        let part = |what: &[u8]| mac(key, &[what, username.as_bytes()]);
        let Shape { iterations, salt_octets } = shapes.choose(key, username);
        let mut salt = [part(b"salt"), part(b"more salt")].concat();
        salt.truncate(salt_octets);
        Self { iterations, salt, stored_key: part(b"stored"), server_key: part(b"server") }
    }

    /// Reads what [`Verifier::text`] writes.
    pub fn parse(text: &str) -> Option<Self> {
        let (numbers, keys) = text.strip_prefix(PREFIX)?.split_once('$')?;
        let (iterations, salt) = numbers.split_once(':')?;
        let (stored_key, server_key) = keys.split_once(':')?;
        let octets = |text: &str| STANDARD.decode(text).ok();
        let iterations = iterations.parse().ok().filter(|iterations| RANGE.contains(iterations))?;
        let salt = octets(salt).filter(|salt| SALT.contains(&salt.len()))?;
        Some(Self { iterations, salt, stored_key: octets(stored_key)?.try_into().ok()?, server_key: octets(server_key)?.try_into().ok()? })
    }

    /// Returns it as it is kept.
    pub fn text(&self) -> String {
        let Self { iterations, salt, stored_key, server_key } = self;
        format!("{PREFIX}{iterations}:{}${}:{}", STANDARD.encode(salt), STANDARD.encode(stored_key), STANDARD.encode(server_key))
    }

    /// Whether it is the one whose stored key a client has proven to fit.
    pub fn is_proven_by(&self, stored_key: &[u8; 32]) -> bool {
        bool::from(self.stored_key.ct_eq(stored_key))
    }
}

/// Why an exchange does not go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ScramError {
    /// A message is not what the mechanism expects.
    #[error("not a message of SCRAM-SHA-256")]
    Malformed,
    /// The client would have bound the exchange to its channel, and believes that we cannot: somebody has changed what we offer (RFC 5802 §6).
    #[error("channel binding is offered, and was hidden from the client")]
    Downgraded,
}

/// What both ends of a TLS connection have, and nobody between them (RFC 9266): the key material that TLS exports for this purpose.
#[derive(Clone, PartialEq, Eq)]
pub struct Channel(pub [u8; 32]);

impl fmt::Debug for Channel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Channel")
    }
}

impl Channel {
    /// The label that TLS exports it under; the context is of no octets.
    pub const LABEL: &[u8] = b"EXPORTER-Channel-Binding";
}

/// Which of the two mechanisms is spoken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Binding {
    /// SCRAM-SHA-256, where the other one is not offered.
    Impossible,
    /// SCRAM-SHA-256, where the other one is offered.
    Unused,
    /// SCRAM-SHA-256-PLUS: the proof holds on this channel alone.
    To(Channel),
}

/// The client's first message: `n,,n=USER,r=NONCE`, or `p=tls-exporter,,n=USER,r=NONCE`.
#[derive(Clone, PartialEq, Eq)]
pub struct ClientFirst {
    username: String,
    nonce: String,
    /// The message without the part about channel binding; that part, and what it binds to.
    bare: String,
    binding: Vec<u8>,
}

impl fmt::Debug for ClientFirst {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ClientFirst")
    }
}

impl ClientFirst {
    /// Parses it.
    ///
    /// # Errors
    /// It is none, asks for another channel binding or an extension, or wants to act for somebody else; or the client was lied to.
    pub fn parse(message: &str, binding: &Binding) -> Result<Self, ScramError> {
        let malformed = ScramError::Malformed;
        if message.len() > LONGEST_MESSAGE || message.chars().any(char::is_control) {
            return Err(malformed);
        }
        let (flag, rest) = message.split_once(',').ok_or(malformed)?;
        let (authorization, bare) = rest.split_once(',').ok_or(malformed)?;
        let channel: &[u8] = match (binding, flag) {
            (Binding::Impossible, "n" | "y") | (Binding::Unused, "n") => &[],
            (Binding::Unused, "y") => return Err(ScramError::Downgraded),
            (Binding::To(channel), EXPORTER) => &channel.0,
            (Binding::Impossible | Binding::Unused | Binding::To(_), _) => return Err(malformed),
        };
        let mut attributes = bare.split(',');
        let mut attribute = |name: &str| attributes.next().and_then(|text| text.strip_prefix(name)).ok_or(ScramError::Malformed);
        // "m=" would stand here: an extension that we must know.
        let username = unescape(attribute("n=")?)?;
        let nonce = attribute("r=")?.to_owned();
        let is_printable = |text: &str| text.bytes().all(|octet| octet.is_ascii_graphic());
        if nonce.is_empty() || !is_printable(&nonce) || username.is_empty() {
            return Err(ScramError::Malformed);
        }
        if !authorization.is_empty() && unescape(authorization.strip_prefix("a=").ok_or(ScramError::Malformed)?)? != username {
            return Err(ScramError::Malformed);
        }
        let binding = [format!("{flag},{authorization},").as_bytes(), channel].concat();
        Ok(Self { username, nonce, bare: bare.to_owned(), binding })
    }

    /// Returns whose password is to be proven.
    pub fn username(&self) -> &str {
        &self.username
    }

    /// Returns the challenge; `nonce` is printable ASCII without commas, and never the same twice.
    pub fn challenge(self, verifier: Verifier, nonce: &str) -> Challenge {
        let nonce = format!("{}{nonce}", self.nonce);
        let server_first = format!("r={nonce},s={},i={}", STANDARD.encode(&verifier.salt), verifier.iterations);
        Challenge { client: self, nonce, server_first, verifier }
    }
}

/// `=2C` and `=3D` stand for comma and equals sign.
fn unescape(text: &str) -> Result<String, ScramError> {
    let mut parts = text.split('=');
    let mut name = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let (sign, rest) = match (part.strip_prefix("2C"), part.strip_prefix("3D")) {
            (Some(rest), _) => (',', rest),
            (None, Some(rest)) => ('=', rest),
            (None, None) => return Err(ScramError::Malformed),
        };
        name.push(sign);
        name.push_str(rest);
    }
    Ok(name)
}

/// A challenge that waits for the client's proof.
#[derive(Clone, PartialEq, Eq)]
pub struct Challenge {
    client: ClientFirst,
    nonce: String,
    server_first: String,
    verifier: Verifier,
}

impl fmt::Debug for Challenge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Challenge")
    }
}

/// A proof that fits.
#[derive(Clone, PartialEq, Eq)]
pub struct Proven {
    /// The stored key that it was checked against.
    pub stored_key: [u8; 32],
    /// The message that proves to the client that we know it.
    pub server_final: String,
}

impl Challenge {
    /// Returns the message for the client.
    pub fn message(&self) -> &str {
        &self.server_first
    }

    /// Returns whose password is to be proven.
    pub fn username(&self) -> &str {
        &self.client.username
    }

    /// Checks the client's final message; `None` where its proof is wrong.
    ///
    /// # Errors
    /// It is none, or belongs to another exchange.
    pub fn check(&self, message: &str) -> Result<Option<Proven>, ScramError> {
        if message.len() > LONGEST_MESSAGE {
            return Err(ScramError::Malformed);
        }
        let (unproven, proof) = message.rsplit_once(",p=").ok_or(ScramError::Malformed)?;
        let proof: [u8; 32] = STANDARD.decode(proof).map_err(|_| ScramError::Malformed)?.try_into().map_err(|_| ScramError::Malformed)?;
        let mut attributes = unproven.split(',');
        let binding = attributes.next().and_then(|text| text.strip_prefix("c=")).ok_or(ScramError::Malformed)?;
        let nonce = attributes.next().and_then(|text| text.strip_prefix("r=")).ok_or(ScramError::Malformed)?;
        if STANDARD.decode(binding).map_err(|_| ScramError::Malformed)? != self.client.binding || nonce != self.nonce {
            return Err(ScramError::Malformed);
        }
        let authentication = format!("{},{},{unproven}", self.client.bare, self.server_first);
        let signature = mac(&self.verifier.stored_key, &[authentication.as_bytes()]);
        let mut client_key = proof;
        client_key.iter_mut().zip(signature).for_each(|(octet, other)| *octet ^= other);
        let stored_key: [u8; 32] = Sha256::digest(client_key).into();
        if !self.verifier.is_proven_by(&stored_key) {
            return Ok(None);
        }
        let server_signature = mac(&self.verifier.server_key, &[authentication.as_bytes()]);
        Ok(Some(Proven { stored_key, server_final: format!("v={}", STANDARD.encode(server_signature)) }))
    }
}

/// The `Hi` of RFC 5802 §2.2: PBKDF2 with one block.
fn salted_password(password: &[u8], salt: &[u8], iterations: u32) -> [u8; 32] {
    let keyed = Hmac::<Sha256>::new_from_slice(password).expect("HMAC takes keys of any length");
    let round = |parts: &[&[u8]]| -> [u8; 32] {
        let mut mac = keyed.clone();
        for part in parts {
            mac.update(part);
        }
        mac.finalize().into_bytes().into()
    };
    let mut block = round(&[salt, &1_u32.to_be_bytes()]);
    let mut result = block;
    for _ in 1..iterations {
        block = round(&[&block]);
        result.iter_mut().zip(block).for_each(|(octet, other)| *octet ^= other);
    }
    result
}

fn mac(key: &[u8; 32], parts: &[&[u8]]) -> [u8; 32] {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes keys of any length");
    for part in parts {
        mac.update(part);
    }
    mac.finalize().into_bytes().into()
}

/// What the fuzz target and the property tests share: no message breaks anything, and only who knows the password proves it.
#[doc(hidden)]
pub fn check_messages(first: &str, last: &str) {
    let verifier = Verifier::pretended(&[7; 32], "user", &Shapes::default());
    assert_eq!(Verifier::parse(&verifier.text()).as_ref(), Some(&verifier), "what is written is read");
    if let Some(parsed) = Verifier::parse(first) {
        assert_eq!(Verifier::parse(&parsed.text()), Some(parsed));
    }
    for binding in [Binding::Impossible, Binding::Unused, Binding::To(Channel([9; 32]))] {
        if let Ok(client) = ClientFirst::parse(first, &binding) {
            let challenge = client.challenge(verifier.clone(), "servernonce");
            assert!(challenge.message().split(',').count() >= 3);
            assert!(!matches!(challenge.check(last), Ok(Some(_))), "nobody proves what nobody knows");
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]
    use proptest::prelude::*;

    use super::*;

    /// The exchange of RFC 7677 §3.
    #[test]
    fn the_example_of_the_rfc() {
        let salt: [u8; 16] = STANDARD.decode("W22ZaJ0SNY7soEsUEjb6gQ==").unwrap().try_into().unwrap();
        let verifier = Verifier::new("pencil", salt, 4096);
        assert_eq!(Verifier::parse(&verifier.text()), Some(verifier.clone()));
        let first = ClientFirst::parse("n,,n=user,r=rOprNGfwEbeRWgbNEkqO", &Binding::Impossible).unwrap();
        assert_eq!(first.username(), "user");
        let challenge = first.challenge(verifier.clone(), "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0");
        assert_eq!(challenge.message(), "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096");
        let last = "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=";
        let proven = challenge.check(last).unwrap().unwrap();
        assert_eq!(proven.server_final, "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=");
        assert!(verifier.is_proven_by(&proven.stored_key));
        assert!(challenge.check(&last.replace("dHzb", "dHzc")).unwrap().is_none());
        assert!(challenge.check(&last.replace("biws", "eSws")).is_err(), "another binding than at the beginning");
        assert!(challenge.check(&last.replace("$k0", "$k1")).is_err(), "another nonce");
    }

    #[test]
    fn what_is_no_first_message_is_seen() {
        for bad in [
            "",
            "n",
            "n,,",
            "n,,n=u",
            "n,,r=x,n=u",
            "p=tls-exporter,,n=u,r=x",
            "n,,m=x,n=u,r=x",
            "n,a=v,n=u,r=x",
            "n,,n=,r=x",
            "n,,n=a=b,r=x",
            "n,,n=u,r=",
        ] {
            assert_eq!(ClientFirst::parse(bad, &Binding::Impossible), Err(ScramError::Malformed), "{bad}");
            assert_eq!(ClientFirst::parse(bad, &Binding::Unused), Err(ScramError::Malformed), "{bad}");
        }
        assert_eq!(ClientFirst::parse("y,a=a=2Cb,n=a=2Cb,r=x", &Binding::Impossible).unwrap().username(), "a,b");
    }

    #[test]
    fn a_client_that_was_lied_to_about_channel_binding_is_told_from_one_that_does_without() {
        let parse = |message: &str, binding: &Binding| ClientFirst::parse(message, binding).map(drop);
        assert_eq!(parse("y,,n=u,r=x", &Binding::Unused), Err(ScramError::Downgraded));
        assert_eq!(parse("y,,n=u,r=x", &Binding::Impossible), Ok(()));
        assert_eq!(parse("n,,n=u,r=x", &Binding::Unused), Ok(()));
        let bound = Binding::To(Channel([1; 32]));
        assert_eq!(parse("p=tls-exporter,,n=u,r=x", &bound), Ok(()));
        for other in ["n,,n=u,r=x", "y,,n=u,r=x", "p=tls-unique,,n=u,r=x", "p=,,n=u,r=x", "p,,n=u,r=x"] {
            assert_eq!(parse(other, &bound), Err(ScramError::Malformed), "{other}");
        }
    }

    #[test]
    fn a_proof_holds_on_its_channel_alone() {
        let verifier = Verifier::new("pencil", [5; 16], 4096);
        let first = "p=tls-exporter,,n=user,r=abc";
        let challenge = |octet: u8| {
            let client = ClientFirst::parse(first, &Binding::To(Channel([octet; 32]))).unwrap();
            client.challenge(verifier.clone(), "def")
        };
        // As a client computes it that is at the other end of the channel [1; 32].
        let salted = salted_password(b"pencil", &[5; 16], 4096);
        let client_key = mac(&salted, &[b"Client Key"]);
        let bound = STANDARD.encode([b"p=tls-exporter,,".as_slice(), &[1; 32]].concat());
        let unproven = format!("c={bound},r=abcdef");
        let authentication = format!("n=user,r=abc,{},{unproven}", challenge(1).message());
        let stored_key: [u8; 32] = Sha256::digest(client_key).into();
        let signature = mac(&stored_key, &[authentication.as_bytes()]);
        let proof: Vec<u8> = client_key.iter().zip(signature).map(|(one, other)| one ^ other).collect();
        let last = format!("{unproven},p={}", STANDARD.encode(proof));
        assert!(challenge(1).check(&last).unwrap().is_some());
        assert!(matches!(challenge(2).check(&last), Err(ScramError::Malformed)), "passed on by who stands between");
    }

    #[test]
    fn unknown_users_look_like_those_there_are() {
        let mut shapes = Shapes::default();
        let shown = |shapes: &Shapes, name: &str| {
            let verifier = Verifier::pretended(&[1; 32], name, shapes);
            (verifier.iterations, verifier.salt.len())
        };
        assert_eq!(shown(&shapes, "a"), (ITERATIONS, 16));
        for (iterations, octets) in [(4096, 8), (20_000, 64)] {
            shapes.add(&Verifier { iterations, salt: vec![1; octets], stored_key: [0; 32], server_key: [0; 32] });
        }
        let names: Vec<String> = (0..64).map(|number| format!("user{number}")).collect();
        let seen: BTreeSet<_> = names.iter().map(|name| shown(&shapes, name)).collect();
        assert_eq!(seen, BTreeSet::from([(4096, 8), (20_000, 64)]));
        // A shape more changes how few of them look.
        let before: Vec<_> = names.iter().map(|name| shown(&shapes, name)).collect();
        shapes.add(&Verifier::new("x", [1; 16], 5000));
        let others = names.iter().zip(before).filter(|(name, before)| shown(&shapes, name) != *before && shown(&shapes, name).0 != 5000);
        assert_eq!(others.count(), 0);
    }

    #[test]
    fn unknown_users_always_look_the_same() {
        let pretended = |name: &str| Verifier::pretended(&[1; 32], name, &Shapes::default());
        assert_eq!(pretended("a"), pretended("a"));
        assert_ne!(pretended("a"), pretended("b"));
    }

    #[test]
    fn verifiers_that_are_none_are_seen() {
        let good = Verifier::new("x", [1; 16], 4096).text();
        for bad in [
            "",
            "SCRAM-SHA-256$",
            &good.replace("4096", "4095"),
            &good.replace("4096", "99999999"),
            &good.replace('$', ":"),
            &good[..good.len() - 4],
        ] {
            assert_eq!(Verifier::parse(bad), None, "{bad}");
        }
    }

    proptest! {
        #[test]
        fn no_message_breaks_anything(first in "((n|y|p=tls-exporter),,n=[a-z=2CD]{0,8},r=\\PC{0,8})|(\\PC{0,64})", last in "(c=biws,r=\\PC{0,24},p=\\PC{0,48})|(\\PC{0,64})") {
            check_messages(&first, &last);
        }

        #[test]
        fn every_password_is_proven_by_itself_alone(password in "[ -~]{1,20}", other in "[ -~]{1,20}") {
            let verifier = Verifier::new(&password, [3; 16], 2);
            let again = Verifier::new(&other, [3; 16], 2);
            prop_assert_eq!(password == other, verifier == again);
        }
    }
}
