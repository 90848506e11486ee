//! `Postfix`.

use anyhow::Result;

use super::{Next, Role, SECRET, SIZE_LIMIT, Tls, USER};
use crate::root::{Root, Running};

pub(super) fn start(root: &Root, role: &Role<'_>) -> Result<Running> {
    let port = role.port;
    let mut settings = vec![
        ("compatibility_level", "3.6".to_owned()),
        ("myhostname", "postfix.peer.example".to_owned()),
        ("mydestination", String::new()),
        ("inet_interfaces", "127.0.0.1".to_owned()),
        ("inet_protocols", "ipv4".to_owned()),
        ("disable_dns_lookups", "yes".to_owned()),
        ("mynetworks", "127.0.0.0/8".to_owned()),
        ("maillog_file", "/var/log/postfix.log".to_owned()),
        ("message_size_limit", SIZE_LIMIT.to_string()),
        ("queue_run_delay", "2s".to_owned()),
        ("minimal_backoff_time", "2s".to_owned()),
        ("maximal_backoff_time", "4s".to_owned()),
        ("smtpd_tls_cert_file", "/scenario/peer.pem".to_owned()),
        ("smtpd_tls_key_file", "/scenario/peer.key".to_owned()),
        ("smtpd_tls_security_level", "may".to_owned()),
        ("smtpd_tls_received_header", "yes".to_owned()),
        ("smtpd_sasl_auth_enable", "yes".to_owned()),
        ("smtpd_sasl_authenticated_header", "yes".to_owned()),
        ("smtpd_sasl_local_domain", "peer.example".to_owned()),
        ("cyrus_sasl_config_path", "/etc/postfix/sasl".to_owned()),
        (
            "smtpd_recipient_restrictions",
            "check_recipient_access inline:{{later@example.net=450 4.7.1 greylisted} {nobody@example.net=550 5.1.1 who?}}, permit_mynetworks, reject"
                .to_owned(),
        ),
    ];
    match &role.next {
        Next::Sink(sink) => {
            settings.push(("relayhost", format!("[{}]:{}", sink.ip(), sink.port())));
            settings.push(("smtp_tls_security_level", "none".to_owned()));
            settings.push(("smtp_tls_wrappermode", "no".to_owned()));
            settings.push(("smtp_sasl_auth_enable", "no".to_owned()));
        }
        Next::Submission { port, tls, mechanism, user, password } => {
            settings.push(("relayhost", format!("[localhost]:{port}")));
            settings.push(("smtp_tls_CAfile", "/scenario/cert.pem".to_owned()));
            settings.push(("smtp_tls_security_level", if *tls == Tls::None { "none" } else { "secure" }.to_owned()));
            settings.push(("smtp_tls_secure_cert_match", "nexthop".to_owned()));
            settings.push(("smtp_tls_wrappermode", if *tls == Tls::Implicit { "yes" } else { "no" }.to_owned()));
            settings.push(("smtp_host_lookup", "native".to_owned()));
            settings.push(("smtp_sasl_auth_enable", "yes".to_owned()));
            settings.push(("smtp_sasl_security_options", "noanonymous".to_owned()));
            settings.push(("smtp_sasl_password_maps", format!("inline:{{{{[localhost]:{port}={user}:{password}}}}}")));
            settings.push(("smtp_sasl_mechanism_filter", mechanism.unwrap_or("plain").to_lowercase()));
        }
    }
    for (name, value) in settings {
        let output = root.command("postconf", &["-e", &format!("{name}={value}")]).output()?;
        anyhow::ensure!(output.status.success(), "postconf {name}: {}", String::from_utf8_lossy(&output.stderr));
    }
    root.write("/etc/postfix/sasl/smtpd.conf", "pwcheck_method: auxprop\nauxprop_plugin: sasldb\nmech_list: PLAIN LOGIN\n")?;
    root.shell(&format!(
        "printf %s '{SECRET}' | saslpasswd2 -p -c -u peer.example {USER} && chgrp postfix /etc/sasldb2 && chmod 640 /etc/sasldb2; \
         postconf -MX smtp/inet 2>/dev/null; postconf -F '*/*/chroot=n'; \
         postconf -M {port}/inet='127.0.0.1:{port} inet n - n - - smtpd'; newaliases; postsuper -d ALL; : > /var/log/postfix.log"
    ))?;
    root.spawn(&role.scenario.join("postfix.log"), "postfix", &["start-fg"])
}
