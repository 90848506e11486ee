//! What the process asks of the system: files enough for its connections.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tracing::{debug, warn};

use crate::config::Config;

/// Open files beside connections: those of the spool, of the search index and of the name servers, about.
const OTHERS: u64 = 256;

/// Lifts the limit on open files as far as we may, and says where that is not enough for all connections that the configuration allows.
pub(super) fn raise_file_limit(config: &Config) {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let limit = match setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }) {
        Ok(()) => maximum,
        Err(error) => {
            debug!(%error, "the limit on open files stays as it is");
            current
        }
    };
    let needed = needed(config);
    if let Some(limit) = limit.filter(|limit| *limit < needed) {
        warn!(limit, needed, "the system lets us have fewer files open than the limits on connections may need");
    }
}

fn needed(config: &Config) -> u64 {
    let served = [config.smtp.connections, config.mx.sessions.connections, config.http.connections];
    served.into_iter().chain([config.delivery.connections]).map(u64::from).sum::<u64>() + OTHERS
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]
    use std::path::Path;

    use super::*;

    #[test]
    fn the_limit_is_lifted_as_far_as_it_goes() {
        let text = "[server]\nhostname = \"mail.example.com\"\ndata = \"data\"\npublic_url = \"http://127.0.0.1:1\"\n\
            [[listen]]\nkind = \"smtp\"\naddress = \"127.0.0.1:0\"\ntls = \"none\"\n\
            [[logins]]\nname = \"app\"\ntoken = \"sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad\"\nroute = \"sandbox\"\n\
            [routes.sandbox]\nkind = \"capture\"\n[smtp]\nconnections = 7\n";
        let config = crate::config::parse(text, "t", Path::new("."), &|_| None).unwrap();
        assert_eq!(needed(&config), 7 + 200 + 1000 + 500 + OTHERS);
        raise_file_limit(&config);
        let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
        assert_eq!(current, maximum);
    }
}
