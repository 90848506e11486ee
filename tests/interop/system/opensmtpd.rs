//! `OpenSMTPD`.

use anyhow::Result;

use super::{Next, Role, SECRET, SIZE_LIMIT, Tls, USER};
use crate::root::{Root, Running};

pub(super) fn start(root: &Root, role: &Role<'_>) -> Result<Running> {
    let relay = match &role.next {
        Next::Sink(sink) => format!("relay host \"smtp+notls://{}:{}\"", sink.ip(), sink.port()),
        Next::Submission { port, tls, user, password, .. } => {
            root.write("/etc/secrets", &format!("us {user}:{password}\n"))?;
            root.shell("chmod 640 /etc/secrets && chgrp opensmtpd /etc/secrets")?;
            let scheme = match tls {
                Tls::None => "smtp",
                Tls::Upgraded => "smtp+tls",
                Tls::Implicit => "smtps",
            };
            format!("relay host \"{scheme}://us@localhost:{port}\" auth <secrets>")
        }
    };
    let hash = root.shell(&format!("smtpctl encrypt '{SECRET}'"))?;
    root.write("/etc/credentials", &format!("{USER} {}\n", hash.trim()))?;
    let tables = if matches!(role.next, Next::Sink(_)) { "" } else { "table secrets file:/etc/secrets\n" };
    root.write(
        "/etc/smtpd.conf",
        &format!(
            "pki peer cert \"/etc/peer.pem\"\n\
             pki peer key \"/etc/peer.key\"\n\
             table credentials file:/etc/credentials\n\
             {tables}\
             smtp max-message-size {SIZE_LIMIT}\n\
             listen on 127.0.0.1 port {port} tls pki peer hostname opensmtpd.peer.example auth-optional <credentials>\n\
             action \"next\" {relay}\n\
             match from any for rcpt-to \"nobody@example.net\" reject\n\
             match from any for any action \"next\"\n",
            port = role.port,
        ),
    )?;
    root.shell(
        "cp /scenario/peer.pem /scenario/peer.key /etc/ && chown root /etc/peer.* && chmod 600 /etc/peer.key && \
         chmod 640 /etc/credentials && chgrp opensmtpd /etc/credentials; hostname > /etc/mailname; \
         rm -rf /var/spool/smtpd/queue/*; cp /scenario/cert.pem /etc/ssl/certs/ca-certificates.crt; smtpd -n",
    )?;
    root.spawn(&role.scenario.join("opensmtpd.log"), "smtpd", &["-d"])
}
