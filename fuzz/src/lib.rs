//! What must hold whatever octets come in.
//!
//! One function for each fuzz target: it takes any octets, and panics where a promise is broken. `fuzz_targets/` gives them to libFuzzer;
//! the test [`replay`] gives them the corpora and mutations of these with plain cargo. Promises are those of the property tests in the
//! modules themselves, on their public functions.

#![expect(clippy::missing_panics_doc, reason = "to panic is how a target says that a promise is broken")]

mod bounce;
mod composition;
mod configuration;
mod dns_answer;
mod dns_question;
mod draft;
mod inbound;
mod input;
mod mail;
mod mta_sts;
mod proxy;
#[cfg(test)]
mod replay;
mod rest;
mod search;
mod smtp;
mod smtp_client;
mod spool;
mod store;
mod template;
mod tls_record;

pub use bounce::{aggregate, bounce, verp};
pub use composition::composition;
pub use configuration::configuration;
pub use dns_answer::dns_answer;
pub use dns_question::dns_question;
pub use draft::draft;
pub use inbound::inbound_header;
pub use mail::{address, header, link};
pub use mta_sts::mta_sts;
pub use proxy::proxy_header;
pub use rest::rest;
pub use search::search;
pub use smtp::{scram, smtp_command, smtp_data, smtp_session};
pub use smtp_client::{smtp_client, smtp_reply};
pub use spool::{event, spool_record};
pub use store::{store_frame, store_recovery};
pub use template::template;
pub use tls_record::tls_record;

/// A fuzz target.
pub type Target = fn(&[u8]);

/// All targets by the name of their file in `fuzz_targets/` and of their folder in `corpus/`.
pub const TARGETS: [(&str, Target); 28] = [
    ("address", address),
    ("aggregate", aggregate),
    ("bounce", bounce),
    ("composition", composition),
    ("configuration", configuration),
    ("dns_answer", dns_answer),
    ("dns_question", dns_question),
    ("draft", draft),
    ("event", event),
    ("header", header),
    ("inbound_header", inbound_header),
    ("link", link),
    ("mta_sts", mta_sts),
    ("proxy_header", proxy_header),
    ("rest", rest),
    ("scram", scram),
    ("search", search),
    ("smtp_client", smtp_client),
    ("smtp_command", smtp_command),
    ("smtp_data", smtp_data),
    ("smtp_reply", smtp_reply),
    ("smtp_session", smtp_session),
    ("spool_record", spool_record),
    ("store_frame", store_frame),
    ("store_recovery", store_recovery),
    ("template", template),
    ("tls_record", tls_record),
    ("verp", verp),
];

/// The whole of a file in `fuzz_targets/`: gives a target to libFuzzer; without it, a program that runs the target on the files that it is given.
#[macro_export]
macro_rules! target {
    ($name:ident) => {
        #[cfg(fuzzing)]
        libfuzzer_sys::fuzz_target!(|octets: &[u8]| $crate::$name(octets));

        #[cfg(not(fuzzing))]
        fn main() -> std::io::Result<()> {
            for path in std::env::args_os().skip(1) {
                $crate::$name(&std::fs::read(path)?);
            }
            Ok(())
        }
    };
}
