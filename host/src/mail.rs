//! The vocabulary of mail: what every other module speaks in.
//!
//! Values are made by the one constructor that there is, from input, at the border; behind it nothing checks again. No IO.

pub mod address;
pub mod content;
pub mod domain;
pub mod enhanced_status;
pub mod envelope;
pub mod header;
pub mod message_id;
pub mod refusal;
pub mod slot;
pub mod tag;
