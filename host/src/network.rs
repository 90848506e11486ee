//! Reaching out: which addresses may be reached, whom to believe, and requests over HTTP.

pub mod address;
pub mod http_client;
pub mod proxy_header;
pub mod tls;
