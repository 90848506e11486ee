#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

use std::fmt::Write as _;
use std::io::Write as _;

use bytes::Bytes;
use flate2::Compression;
use flate2::write::{DeflateEncoder, GzEncoder};
use proptest::prelude::*;

use super::*;

const XML: &str = r#"<?xml version="1.0" encoding="UTF-8" ?>
<feedback>
  <version>1.0</version>
  <report_metadata>
    <org_name>Receiver &amp; Sons</org_name><email>dmarc@receiver.example</email><report_id>r-1</report_id>
    <date_range><begin>1764028800</begin><end>1764115199</end></date_range>
  </report_metadata>
  <policy_published><domain>Example.com</domain><adkim>r</adkim><p>none</p><sp>none</sp><pct>100</pct></policy_published>
  <record>
    <row><source_ip>192.0.2.1</source_ip><count>10</count>
      <policy_evaluated><disposition>none</disposition><dkim>pass</dkim><spf>fail</spf></policy_evaluated></row>
    <identifiers><header_from>example.com</header_from></identifiers>
    <auth_results><dkim><domain>example.com</domain><result>pass</result></dkim><spf><domain>x.example</domain><result>pass</result></spf></auth_results>
  </record>
  <record>
    <row><source_ip>2001:db8::1</source_ip><count>3</count>
      <policy_evaluated><disposition>reject</disposition><dkim>fail</dkim><spf>fail</spf></policy_evaluated></row>
    <identifiers><header_from>example.com</header_from><envelope_from>evil.example</envelope_from></identifiers>
  </record>
</feedback>
"#;

fn file(content: impl Into<Bytes>) -> Attachment {
    Attachment { filename: String::new(), content: content.into() }
}

fn gzip(octets: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(octets).unwrap();
    encoder.finish().unwrap()
}

fn zip(octets: &[u8]) -> Vec<u8> {
    let mut encoder = DeflateEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(octets).unwrap();
    let packed = encoder.finish().unwrap();
    let (name, length) = (b"r.xml", u32::try_from(packed.len()).unwrap());
    let common = |archive: &mut Vec<u8>| {
        // Flags, method, time, date; checksum; lengths; length of the name; extra field.
        archive.extend_from_slice(&[0, 0, 8, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        archive.extend_from_slice(&length.to_le_bytes());
        archive.extend_from_slice(&u32::try_from(octets.len()).unwrap().to_le_bytes());
        archive.extend_from_slice(&[5, 0, 0, 0]);
    };
    let mut archive = b"PK\x03\x04\x14\x00".to_vec();
    common(&mut archive);
    archive.extend_from_slice(name);
    archive.extend_from_slice(&packed);
    let directory = u32::try_from(archive.len()).unwrap();
    archive.extend_from_slice(b"PK\x01\x02\x14\x00\x14\x00");
    common(&mut archive);
    archive.extend_from_slice(&[0; 14]);
    archive.extend_from_slice(name);
    archive.extend_from_slice(b"PK\x05\x06\x00\x00\x00\x00\x01\x00\x01\x00\x33\x00\x00\x00");
    archive.extend_from_slice(&directory.to_le_bytes());
    archive.extend_from_slice(&[0, 0]);
    archive
}

#[test]
fn g14_a_report_is_read_plain_in_gzip_and_in_zip() {
    let report = Aggregate::read(&file(XML), Limits::default()).unwrap();
    assert_eq!(report, Aggregate::read(&file(gzip(XML.as_bytes())), Limits::default()).unwrap());
    assert_eq!(report, Aggregate::read(&file(zip(XML.as_bytes())), Limits::default()).unwrap());
    assert_eq!((report.organisation.as_str(), report.id.as_str(), report.domain.as_str()), ("Receiver & Sons", "r-1", "example.com"));
    assert_eq!((report.begin.as_millis(), report.end.as_millis()), (1_764_028_800_000, 1_764_115_199_000));
    assert_eq!((report.messages, report.failed_spf, report.failed_dkim, report.failed), (13, 13, 3, 3));
    assert_eq!(report.records.len(), 2);
    assert_eq!(report.records.last().unwrap().envelope_from, "evil.example");
    assert_eq!(report.records.first().map(|record| (record.dkim, record.spf)), Some((true, false)));
}

#[test]
fn g14_bombs_are_refused() {
    let zeros = vec![b' '; 20 * 1024 * 1024];
    for bomb in [gzip(&zeros), zip(&zeros)] {
        assert!(bomb.len() < 100_000);
        assert_eq!(expand(&file(bomb.clone()), Limits::default()), Err(AggregateError::Bomb(200)));
        let limits = Limits { size: 1024 * 1024, records: 1 };
        assert_eq!(expand(&file(bomb), limits), Err(AggregateError::TooLarge(1024 * 1024)));
    }
    let twice = gzip(&gzip(&zeros));
    assert_eq!(Aggregate::read(&file(twice), Limits::default()), Err(AggregateError::Xml));
}

#[test]
fn g14_entities_and_depth_are_refused() {
    let read = |xml: &str| Aggregate::parse(xml, Limits::default());
    let laughs = XML.replace("<feedback>", "<!DOCTYPE x [<!ENTITY a \"ha\"><!ENTITY b \"&a;&a;\">]><feedback>").replace("r-1", "&b;");
    assert_eq!(read(&laughs), Err(AggregateError::DocumentType));
    assert_eq!(read(&XML.replace("r-1", "&file;")), Err(AggregateError::DocumentType));
    assert_eq!(read(&XML.replace("r-1", "&#x1;r&#49;")).unwrap().id, "r1");
    let deep = "<a>".repeat(100_000);
    assert_eq!(read(&deep), Err(AggregateError::Depth));
    for broken in ["", "<feedback>", "<a></b>", "<feedback></feedback>", "hello"] {
        assert!(read(broken).is_err(), "{broken}");
    }
}

#[test]
fn records_have_a_limit_and_are_counted() {
    let mut xml = "<feedback><report_metadata><org_name>o</org_name></report_metadata><policy_published><domain>d.example</domain></policy_published>".to_owned();
    for count in 0..50 {
        let _ = write!(xml, "<record><row><count>{count}</count></row></record>");
    }
    xml.push_str("<record><row><count>18446744073709551615</count></row></record></feedback>");
    let report = Aggregate::parse(&xml, Limits { records: 10, ..Limits::default() }).unwrap();
    assert_eq!((report.records.len(), report.record_count, report.messages), (10, 51, u64::MAX));
}

proptest! {
    #[test]
    fn nothing_panics(octets in proptest::collection::vec(any::<u8>(), 0..300), start in 0_usize..4) {
        let starts: [&[u8]; 4] = [b"", &[0x1f, 0x8b, 8, 0], b"PK\x03\x04", b"<feedback>"];
        let octets = [starts.get(start).copied().unwrap_or_default(), &octets].concat();
        let _ = Aggregate::read(&file(octets), Limits { size: 100_000, records: 10 });
    }

    #[test]
    fn broken_archives_do_no_harm(at in 0_usize..2_000, octet in any::<u8>(), cut in 0_usize..2_000) {
        let mut archive = zip(XML.as_bytes());
        if let Some(changed) = archive.get_mut(at) {
            *changed = octet;
        }
        archive.truncate(cut.max(4));
        let _ = Aggregate::read(&file(archive), Limits::default());
    }
}
