//! The way from an exported function to the plugin's: options are parsed, errors become failures.

use crate::{__private, Event, Failure, Message, Plugin, Transaction, plugin::parse_config};

/// Serves the export `submit.process`.
pub fn submit<P: Plugin>(message: __private::WireMessage, config: &str) -> Result<__private::WireVerdict, __private::WireFailure> {
    let run = |mut message: Message| Ok(P::submit(&mut message, &parse_config(config)?)?.into());
    lease(message).and_then(run).map_err(Failure::into)
}

/// Serves the export `recipient.wanted`.
pub fn wanted<P: Plugin>(message: __private::WireMessage, config: &str) -> Result<bool, __private::WireFailure> {
    let run = |message: Message| P::wanted(&message, &parse_config(config)?);
    lease(message).and_then(run).map_err(Failure::into)
}

/// Serves the export `recipient.process`.
pub fn recipient<P: Plugin>(message: __private::WireMessage, config: &str) -> Result<__private::WireVerdict, __private::WireFailure> {
    let run = |mut message: Message| Ok(P::recipient(&mut message, &parse_config(config)?)?.into());
    lease(message).and_then(run).map_err(Failure::into)
}

/// Serves the export `rcpt.check`.
pub fn rcpt<P: Plugin>(
    forward_path: &str,
    within: __private::WireTransaction,
    config: &str,
) -> Result<__private::WireAnswer, __private::WireFailure> {
    explain_panics();
    let run = || Ok(P::rcpt(forward_path, &Transaction::from(within), &parse_config(config)?)?.into());
    run().map_err(Failure::into)
}

/// Serves the export `event.handle`.
pub fn event<P: Plugin>(events: Vec<__private::WireEvent>, config: &str) -> Result<(), __private::WireFailure> {
    explain_panics();
    let events: Vec<Event> = events.into_iter().map(Event::from).collect();
    let run = || P::event(&events, &parse_config(config)?);
    run().map_err(Failure::into)
}

/// A trap says where, but not why; the panic's own words go to the operator.
fn explain_panics() {
    #[cfg(target_arch = "wasm32")]
    std::panic::set_hook(Box::new(|panic| crate::log::error!("{panic}")));
}

#[cfg(target_arch = "wasm32")]
#[allow(clippy::unnecessary_wraps, reason = "elsewhere there is no host to lease from")]
fn lease(message: __private::WireMessage) -> Result<Message, Failure> {
    explain_panics();
    Ok(Message::new(message))
}

#[cfg(not(target_arch = "wasm32"))]
fn lease(message: __private::WireMessage) -> Result<Message, Failure> {
    // Its drop would call the host, and there is none.
    std::mem::forget(message);
    Err(Failure::permanent("a component runs in a host only"))
}
