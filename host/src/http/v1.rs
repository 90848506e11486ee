//! The native API below `/v1`: a superset of SMTPeter's, with its fields, answers and errors.

pub mod attachments;
pub mod notification;
pub mod recipients;
pub mod send;
pub mod switches;
pub mod template;
pub mod timing;
