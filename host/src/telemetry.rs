//! Logs and metrics: what operators see of a running server.
//!
//! Logs go to standard error through `tracing`, for people or as JSON. Metrics are counted in [`metric::Metrics`], which is handed to
//! whoever counts; there is no global registry. Neither carries addresses, subjects, bodies or secrets.

mod delivery_metric;
mod histogram;
pub mod metric;
mod own_metric;
mod plugin_metric;

use std::io::{IsTerminal as _, stderr};

use tracing::Subscriber;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::ParseError;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::util::{SubscriberInitExt as _, TryInitError};

/// What is logged where nobody says otherwise: changes of state. The search index calls each of its commits one.
pub const DEFAULT_FILTER: &str = "info,tantivy=warn";

/// How a line of the log looks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogFormat {
    /// For people: one line each, in colours on a terminal unless `NO_COLOR` is set.
    #[default]
    Human,
    /// For programs: one JSON object each.
    Json,
}

/// Why logging could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// The filter is none; the error says where.
    #[error("not a log filter; write a level, such as \"debug\", or pairs, such as \"info,tubepost::delivery=debug\"")]
    Filter(#[from] ParseError),
    /// Somebody has set up logging before, in this process.
    #[error("logging is already set up")]
    Twice(#[from] TryInitError),
}

/// Sends the log of this process to standard error. `filter` is a level, or levels by module (`info,tubepost::smtp=trace`);
/// `None` is [`DEFAULT_FILTER`].
pub fn init(format: LogFormat, filter: Option<&str>) -> Result<(), TelemetryError> {
    subscriber(format, filter, stderr, stderr().is_terminal())?.try_init()?;
    Ok(())
}

fn subscriber<W>(
    format: LogFormat,
    filter: Option<&str>,
    writer: W,
    is_terminal: bool,
) -> Result<Box<dyn Subscriber + Send + Sync>, ParseError>
where
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    let filter = EnvFilter::try_new(filter.unwrap_or(DEFAULT_FILTER))?;
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(writer);
    Ok(match format {
        LogFormat::Json => Box::new(builder.json().flatten_event(true).with_current_span(false).with_span_list(true).finish()),
        // Left alone, the builder asks the environment whether colours are wanted.
        LogFormat::Human if is_terminal => Box::new(builder.finish()),
        LogFormat::Human => Box::new(builder.with_ansi(false).finish()),
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]
    use std::io;
    use std::sync::Arc;

    use parking_lot::Mutex;
    use tracing::subscriber::with_default;
    use tracing::{debug, info, info_span};

    use super::*;

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Lines {
        fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
            self.0.lock().extend_from_slice(octets);
            Ok(octets.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn logged(format: LogFormat, filter: Option<&str>) -> String {
        let lines = Lines::default();
        let writer = lines.clone();
        with_default(subscriber(format, filter, move || writer.clone(), false).unwrap(), || {
            let _span = info_span!("session", id = 7).entered();
            info!(wait_ms = 5, "deferred");
            debug!("a decision");
        });
        String::from_utf8(lines.0.lock().clone()).unwrap()
    }

    #[test]
    fn lines_are_for_people_or_for_programs() {
        let human = logged(LogFormat::Human, None);
        assert_eq!(human.lines().count(), 1, "{human}");
        assert!(human.contains("INFO session{id=7}: tubepost::telemetry::tests: deferred wait_ms=5"), "{human}");

        let json: serde_json::Value = serde_json::from_str(&logged(LogFormat::Json, None)).unwrap();
        assert_eq!(json.get("message").unwrap(), "deferred");
        assert_eq!(json.get("wait_ms").unwrap(), 5);
        assert_eq!(json.pointer("/spans/0/id").unwrap(), 7);
    }

    #[test]
    fn the_filter_decides() {
        assert_eq!(logged(LogFormat::Human, Some("debug")).lines().count(), 2);
        assert_eq!(logged(LogFormat::Human, Some("warn")), "");
        assert!(subscriber(LogFormat::Human, Some("info,=="), io::sink, false).is_err());
    }
}
