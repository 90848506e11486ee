//! Names of queues: what decides where a copy goes next, so that copies of one name share connections.

use std::sync::Arc;

use super::entry::TransportSecurity;
use crate::config::Route;
use crate::mail::domain::Domain;
use crate::store::QueueName;

/// What must not share a connection, though it goes to the same host.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lane {
    /// The source or pool from which it leaves.
    pub source: Option<Arc<str>>,
    /// How well it is to be protected.
    pub transport: TransportSecurity,
}

impl Lane {
    /// What follows the name of route and domain: `#source;requiretls`; nothing for mail without wishes.
    fn to_suffix(&self) -> String {
        let transport = match self.transport {
            TransportSecurity::AsConfigured => "",
            TransportSecurity::Required => REQUIRED,
            TransportSecurity::Optional => OPTIONAL,
        };
        match &self.source {
            None if transport.is_empty() => String::new(),
            source => format!("#{}{transport}", source.as_deref().unwrap_or_default()),
        }
    }
}

const REQUIRED: &str = ";requiretls";
const OPTIONAL: &str = ";tls-optional";

/// Returns the name of the queue where a copy for `domain` waits: `route/domain` where the domain decides where it goes, else the route alone; and what
/// keeps it apart from other mail of the same way.
pub fn name(route: &str, kind: &Route, domain: &Domain, lane: &Lane) -> QueueName {
    match kind {
        Route::Mx(_) => format!("{route}/{domain}{}", lane.to_suffix()).into(),
        Route::SmartHost(_) => format!("{route}{}", lane.to_suffix()).into(),
        Route::Capture => route.into(),
    }
}

/// Returns the queue of the same way for a message that asks for protection of its own.
pub fn protected(queue: QueueName, transport: TransportSecurity) -> QueueName {
    if transport == TransportSecurity::AsConfigured {
        return queue;
    }
    let lane = Lane { transport, ..lane(&queue) };
    let way = queue.split_once('#').map_or(&*queue, |(way, _)| way);
    format!("{way}{}", lane.to_suffix()).into()
}

/// Returns the name of the queue where copies wait whose route has left the configuration.
pub fn unrouted(route: &str, lane: &Lane) -> QueueName {
    format!("{route}{}", lane.to_suffix()).into()
}

/// Takes a queue's name apart: route and domain. Names of routes have no `/` and no `#` in them, and domains no `#`.
pub fn split(queue: &str) -> (&str, Option<&str>) {
    let way = queue.split_once('#').map_or(queue, |(way, _)| way);
    way.split_once('/').map_or((way, None), |(route, domain)| (route, Some(domain)))
}

/// Returns what keeps a queue's mail apart from other mail of the same way.
pub fn lane(queue: &str) -> Lane {
    let Some((_, lane)) = queue.split_once('#') else { return Lane::default() };
    let (source, transport) = if let Some(source) = lane.strip_suffix(REQUIRED) {
        (source, TransportSecurity::Required)
    } else if let Some(source) = lane.strip_suffix(OPTIONAL) {
        (source, TransportSecurity::Optional)
    } else {
        (lane, TransportSecurity::AsConfigured)
    };
    Lane { source: (!source.is_empty()).then(|| source.into()), transport }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]
    use super::*;
    use crate::config::{MxRoute, TlsLevel};

    #[test]
    fn queues_are_named_by_what_decides_where_mail_goes() {
        let domain = Domain::parse("b.example").unwrap();
        let mx = Route::Mx(MxRoute { tls: TlsLevel::None, port: 25, allow_private: false, ..MxRoute::default() });
        let plain = Lane::default();
        assert_eq!(&*name("direct", &mx, &domain, &plain), "direct/b.example");
        assert_eq!(split("direct/b.example"), ("direct", Some("b.example")));
        assert_eq!(&*name("box", &Route::Capture, &domain, &plain), "box");
        assert_eq!(split("box"), ("box", None));
    }

    #[test]
    fn lanes_keep_mail_apart() {
        let domain = Domain::parse("b.example").unwrap();
        let mx = Route::Mx(MxRoute { tls: TlsLevel::None, port: 25, allow_private: false, ..MxRoute::default() });
        for (source, transport, expected) in [
            (None, TransportSecurity::AsConfigured, "direct/b.example"),
            (Some("pool-1.a"), TransportSecurity::AsConfigured, "direct/b.example#pool-1.a"),
            (None, TransportSecurity::Required, "direct/b.example#;requiretls"),
            (Some("a"), TransportSecurity::Optional, "direct/b.example#a;tls-optional"),
        ] {
            let wanted = Lane { source: source.map(Into::into), transport };
            let queue = name("direct", &mx, &domain, &wanted);
            assert_eq!(&*queue, expected);
            assert_eq!(split(&queue), ("direct", Some("b.example")));
            assert_eq!(lane(&queue), wanted);
        }
        assert_eq!(split("up#a"), ("up", None));
        assert_eq!(&*protected("direct/b.example#a".into(), TransportSecurity::Required), "direct/b.example#a;requiretls");
        assert_eq!(&*protected("up".into(), TransportSecurity::Optional), "up#;tls-optional");
        assert_eq!(&*protected("up".into(), TransportSecurity::AsConfigured), "up");
    }
}
