//! Where a domain wants its reports (RFC 8460 §3).
//!
//! ```text
//! _smtp._tls.example.net.  TXT  "v=TLSRPTv1; rua=mailto:reports@example.net,https://reports.example.net/v1/tlsrpt"
//! ```

use percent_encoding::percent_decode_str;
use url::Url;

use crate::mail::address::EmailAddress;

/// Those who get a report, at most; those behind are left out.
pub const DESTINATIONS: usize = 8;

/// Who gets a report.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Destination {
    /// By mail.
    Mail(EmailAddress),
    /// By POST.
    Web(Url),
}

/// Returns who gets the reports of a domain that publishes these texts: of the one record that begins with `v=TLSRPTv1;`. More than one are none.
pub fn destinations(texts: &[String]) -> Vec<Destination> {
    let is_record = |text: &&String| text.strip_prefix("v=TLSRPTv1").is_some_and(|rest| rest.trim_start().starts_with(';'));
    let mut records = texts.iter().filter(is_record);
    let Some(record) = records.next().filter(|_| records.next().is_none()) else { return Vec::new() };
    let rua = record.split(';').find_map(|field| field.trim().strip_prefix("rua").map(str::trim_start)?.strip_prefix('='));
    rua.into_iter().flat_map(|list| list.split(',')).filter_map(|text| destination(text.trim())).take(DESTINATIONS).collect()
}

fn destination(text: &str) -> Option<Destination> {
    let (scheme, rest) = text.split_once(':')?;
    if scheme.eq_ignore_ascii_case("mailto") {
        // What it says of the header is not ours to write.
        let address = rest.split('?').next().unwrap_or_default();
        let address = percent_decode_str(address).decode_utf8().ok()?;
        return EmailAddress::parse(&address).ok().map(Destination::Mail);
    }
    if !scheme.eq_ignore_ascii_case("https") {
        return None;
    }
    // `,`, `;` and `!` inside of it are written with `%`.
    let url = Url::parse(text).ok().filter(|url| url.has_host() && url.username().is_empty() && url.password().is_none())?;
    Some(Destination::Web(url))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]
    use proptest::prelude::*;

    use super::*;

    fn read(texts: &[&str]) -> Vec<String> {
        let texts: Vec<String> = texts.iter().map(|text| (*text).to_owned()).collect();
        let text = |destination| match destination {
            Destination::Mail(address) => address.to_string(),
            Destination::Web(url) => url.to_string(),
        };
        destinations(&texts).into_iter().map(text).collect()
    }

    #[test]
    fn records_say_who_gets_reports() {
        for (texts, expected) in [
            (&["v=TLSRPTv1; rua=mailto:reports@example.com"][..], &["reports@example.com"][..]),
            (&["v=TLSRPTv1;rua=https://reporting.example.com/v1/tlsrpt"], &["https://reporting.example.com/v1/tlsrpt"]),
            (
                &["v=TLSRPTv1; rua = mailto:a%2Bb@x.example?subject=hi , https://x.example/%2c;"],
                &["a+b@x.example", "https://x.example/%2c"],
            ),
            (&["v=spf1 -all", "v=TLSRPTv1 ; rua=mailto:a@x.example"], &["a@x.example"]),
            (&["v=TLSRPTv1; rua=http://x.example/,ftp://y,mailto:nobody,https://u:p@x.example/"], &[]),
            (&["v=TLSRPTv1; rua=mailto:a@x.example", "v=TLSRPTv1; rua=mailto:b@x.example"], &[]),
            (&["v=TLSRPTv10; rua=mailto:a@x.example"], &[]),
            (&["v=TLSRPTv1"], &[]),
            (&[], &[]),
        ] {
            assert_eq!(read(texts), expected, "{texts:?}");
        }
    }

    proptest! {
        #[test]
        fn nothing_panics(text in "(v=TLSRPTv1;)?(rua=)?[ -~]{0,80}") {
            prop_assert!(destinations(&[text]).len() <= DESTINATIONS);
        }
    }
}
