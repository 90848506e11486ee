//! The header in front of connections that a balancer passes on.

use tubepost::network::proxy_header::ProxyHeader;

/// Nothing behind a header is taken for a part of it, and reading it ends.
pub fn proxy_header(octets: &[u8]) {
    let mut read = 0;
    let behind = loop {
        match ProxyHeader::parse(octets.get(..read).unwrap_or_default()) {
            Ok(ProxyHeader::Needs(count)) => {
                read += count.get();
                assert!(read <= 16 + 4_096, "a header is longer than one may be");
                if read > octets.len() {
                    return;
                }
            }
            Ok(ProxyHeader::Whole(behind)) => break behind,
            Err(_) => return,
        }
    };
    // What was read is the header, and a header says the same whenever it is read.
    let header = octets.get(..read).unwrap_or_default();
    assert_eq!(ProxyHeader::parse(header), Ok(ProxyHeader::Whole(behind)));
    assert!(header.ends_with(b"\r\n") || header.starts_with(b"\r\n\r\n\0"));
}
