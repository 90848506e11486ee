//! A tantivy index of messages, built from the event log off the hot path; it can be thrown away and is built again.
