//! Tubepost: a mail pipeline.
//!
//! Mail flows one way: ingress → chain → spool → chain → delivery → events. The modules stand in that order, and each uses only
//! what stands above it:
//!
//! | module | is |
//! |---|---|
//! | [`clock`], [`telemetry`] | the only readers of time and random numbers; logs and metrics |
//! | [`mail`] | the vocabulary: addresses, envelopes, ids, content, refusals |
//! | [`network`] | reaching out: addresses, TLS, requests over HTTP |
//! | [`smtp`] | the protocol without sockets: server and client as state machines |
//! | [`config`] | TOML in, checked values out |
//! | [`dns`] | what is asked of name servers |
//! | [`bounce`] | what mail says that comes back: DSNs, complaints, automatic answers, DMARC reports |
//! | [`store`] | the durable seam: queue, log, key-value |
//! | [`event`] | what happened, and the readers of the log |
//! | [`sending_domain`] | domains that mail is sent from: keys, policies, records |
//! | [`link`] | signed links on the public address |
//! | [`verp`] | signed addresses that bounces come back to |
//! | [`submission`] | what comes in, from whom, and what he may |
//! | [`plugin`] | WebAssembly components in a sandbox |
//! | [`chain`] | a login's plugins in order; rendering for one recipient |
//! | [`spool`] | accepted messages; the receipt that 250 is made of |
//! | [`suppression`] | whom mail is not sent to, and whom all the same |
//! | [`intake`] | the funnel: submission → chain → first rendering → spool |
//! | [`delivery`] | routes, attempts, outcomes, DSNs, DKIM |
//! | [`feedback`] | what follows from mail that comes back: events, forwarding, calls |
//! | [`inbound`] | mail from other servers for our own domains |
//! | [`archive`] | log and spool put together again, for those who look |
//! | [`observer`] | plugins told of what became of messages |
//! | [`listener`], [`http`] | sockets, TLS, SMTP sessions; REST, public links, dashboard |
//! | [`acme`] | certificates that are fetched by themselves |
//! | [`control`] | what the commands ask of a running server |
//! | [`app`], [`bench`], [`demo`], [`cli`] | wiring, start, drain; measuring; the demonstration; one file for each command |

pub mod clock;
pub mod telemetry;

pub mod mail;

pub mod network;

pub mod smtp;

pub mod config;

pub mod dns;

pub mod bounce;

pub mod store;

pub mod event;

pub mod link;

pub mod sending_domain;
pub mod verp;

pub mod submission;

pub mod plugin;

pub mod chain;

pub mod spool;

pub mod suppression;

pub mod intake;

pub mod delivery;

pub mod feedback;

pub mod inbound;

pub mod archive;

pub mod observer;

pub mod listener;

pub mod http;

pub mod acme;

pub mod control;

pub mod app;

pub mod bench;

pub mod demo;

pub mod cli;
