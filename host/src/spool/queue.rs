//! Names of queues: what decides where a copy goes next, so that copies of one name share connections.

use crate::config::Route;
use crate::mail::domain::Domain;
use crate::store::QueueName;

/// Returns the name of the queue where a copy for `domain` waits: `route/domain` where the domain decides where it goes, else the route alone.
pub fn name(route: &str, kind: &Route, domain: &Domain) -> QueueName {
    match kind {
        Route::Mx(_) => format!("{route}/{domain}").into(),
        Route::SmartHost(_) | Route::Capture => route.into(),
    }
}

/// Takes a queue's name apart: route and domain. Names of routes have no `/` in them.
pub fn split(queue: &str) -> (&str, Option<&str>) {
    queue.split_once('/').map_or((queue, None), |(route, domain)| (route, Some(domain)))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]
    use super::*;
    use crate::config::{MxRoute, OutgoingTls};

    #[test]
    fn queues_are_named_by_what_decides_where_mail_goes() {
        let domain = Domain::parse("b.example").unwrap();
        let mx = Route::Mx(MxRoute { tls: OutgoingTls::None, port: 25, nameservers: Vec::new(), allow_private: false });
        assert_eq!(&*name("direct", &mx, &domain), "direct/b.example");
        assert_eq!(split("direct/b.example"), ("direct", Some("b.example")));
        assert_eq!(&*name("box", &Route::Capture, &domain), "box");
        assert_eq!(split("box"), ("box", None));
    }
}
