//! Messages to measure with.

use std::fmt::Write as _;

/// A message in two halves: before and behind its number, which stands in Message-ID and makes each one another.
#[derive(Clone, Debug)]
pub struct Sample {
    head: Vec<u8>,
    tail: Vec<u8>,
}

impl Sample {
    /// Plain text of about `octets` octets.
    pub fn text(octets: usize) -> Self {
        let mut tail = header("Plain text", "text/plain; charset=utf-8");
        let line = "The quick brown fox jumps over the lazy dog, and goes on its way through the woods.\r\n";
        while tail.len() + line.len() < octets {
            tail.push_str(line);
        }
        Self::new(tail)
    }

    /// A newsletter of about `octets` octets of HTML: tables, a style block, a link for every 500 octets.
    pub fn newsletter(octets: usize) -> Self {
        let mut tail = header("The newsletter", "text/html; charset=utf-8");
        tail.push_str("<!DOCTYPE html>\r\n<html><head><title>News</title><style>\r\n");
        for class in 0..30 {
            let _ = write!(tail, " .c{class} {{ color: #3366{:02x}; padding: {class}px; font-family: Georgia, serif }}\r\n", class * 8);
        }
        tail.push_str("td { vertical-align: top }\r\na { color: #336699; text-decoration: none }\r\na:hover { color: red }\r\n");
        tail.push_str("@media (max-width: 600px) { .c1 { font-size: 14px } }\r\n</style></head><body><table width=\"100%\">\r\n");
        let mut number = 0;
        while tail.len() + 500 < octets {
            let class = number % 30;
            let _ = write!(
                tail,
                "<tr><td class=\"c{class}\"><h2>Story number {number}</h2><p class=\"c{}\">What happened in the town this week was told by many, and \
                 written down by few: here is what they say, in order, with all that belongs to it.</p>\r\n<p>More of it, for those who \
                 read on, and a picture: <img src=\"https://img.example.com/{number}.png\" alt=\"\" width=\"100\"></p>\r\n\
                 <p><a href=\"https://www.example.com/stories/{number}?from=letter&amp;issue=12\">Read the story</a></p></td></tr>\r\n",
                (class + 7) % 30
            );
            number += 1;
        }
        tail.push_str("</table></body></html>\r\n");
        Self::new(tail)
    }

    fn new(tail: String) -> Self {
        let head = b"From: Sender <sender@example.com>\r\nTo: reader@example.net\r\nDate: Sat, 21 Nov 2026 10:00:00 +0000\r\nMessage-ID: <"
            .to_vec();
        Self { head, tail: tail.into_bytes() }
    }

    /// Appends message `number` and the line that ends DATA. No line of a sample begins with a dot.
    pub fn write(&self, number: u64, output: &mut Vec<u8>) {
        output.extend_from_slice(&self.head);
        output.extend_from_slice(number.to_string().as_bytes());
        output.extend_from_slice(&self.tail);
        output.extend_from_slice(b".\r\n");
    }

    /// Octets of one message, within the length of its number.
    pub fn size(&self) -> usize {
        self.head.len() + self.tail.len()
    }
}

fn header(subject: &str, kind: &str) -> String {
    format!(
        "@bench.example.com>\r\nSubject: {subject}\r\nMIME-Version: 1.0\r\nContent-Type: {kind}\r\nContent-Transfer-Encoding: 7bit\r\n\r\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_have_their_size_and_no_line_with_a_dot() {
        for (sample, octets) in
            [(Sample::text(1024), 1024), (Sample::text(100 * 1024), 100 * 1024), (Sample::newsletter(60 * 1024), 60 * 1024)]
        {
            let mut message = Vec::new();
            sample.write(7, &mut message);
            assert!(message.len().abs_diff(octets) < octets / 8 + 200, "{} for {octets}", message.len());
            assert!(!String::from_utf8_lossy(&message).trim_end_matches(".\r\n").contains("\n."));
        }
    }
}
