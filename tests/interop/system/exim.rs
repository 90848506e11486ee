//! `Exim`.

use anyhow::Result;

use super::{Next, Role, SECRET, SIZE_LIMIT, Tls, USER};
use crate::root::{Root, Running};

pub(super) fn start(root: &Root, role: &Role<'_>) -> Result<Running> {
    let (route, transport, client) = match &role.next {
        Next::Sink(sink) => (format!("{}::{}", sink.ip(), sink.port()), "  hosts_avoid_tls = *\n".to_owned(), String::new()),
        Next::Submission { port, tls, mechanism, user, password } => {
            let tls = match tls {
                Tls::None => "  hosts_avoid_tls = *\n".to_owned(),
                Tls::Upgraded | Tls::Implicit => {
                    let protocol = if *tls == Tls::Implicit { "  protocol = smtps\n" } else { "  hosts_require_tls = *\n" };
                    format!(
                        "{protocol}  tls_verify_certificates = /scenario/cert.pem\n  tls_verify_hosts = *\n  tls_verify_cert_hostnames = *\n"
                    )
                }
            };
            let mechanism = mechanism.unwrap_or("PLAIN");
            let send = if mechanism == "PLAIN" { format!("^{user}^{password}") } else { format!(": {user} : {password}") };
            let client = format!("client:\n  driver = plaintext\n  public_name = {mechanism}\n  client_send = {send}\n");
            (format!("localhost::{port}"), format!("  hosts_require_auth = *\n{tls}"), client)
        }
    };
    root.write(
        "/etc/exim4/exim4.conf",
        &format!(
            "primary_hostname = exim.peer.example\n\
         qualify_domain = peer.example\n\
         local_interfaces = 127.0.0.1\n\
         disable_ipv6 = true\n\
         daemon_smtp_ports = {port}\n\
         log_file_path = /var/log/exim4/%slog\n\
         keep_environment =\n\
         message_size_limit = {SIZE_LIMIT}\n\
         accept_8bitmime = true\n\
         smtputf8_advertise_hosts = *\n\
         dsn_advertise_hosts = *\n\
         chunking_advertise_hosts = *\n\
         pipelining_advertise_hosts = *\n\
         tls_advertise_hosts = *\n\
         tls_certificate = /etc/exim4/peer.pem\n\
         tls_privatekey = /etc/exim4/peer.key\n\
         auth_advertise_hosts = *\n\
         host_lookup =\n\
         rfc1413_query_timeout = 0s\n\
         acl_smtp_rcpt = rcpt\n\
         acl_smtp_data = accepted\n\
         acl_smtp_mime = accepted\n\
         begin acl\n\
         rcpt:\n\
         \x20 defer local_parts = later\n\
         \x20       message = 4.7.1 greylisted\n\
         \x20 deny local_parts = nobody\n\
         \x20       message = 5.1.1 who?\n\
         \x20 accept\n\
         accepted:\n\
         \x20 accept\n\
         begin routers\n\
         all:\n\
         \x20 driver = manualroute\n\
         \x20 route_list = * {route}\n\
         \x20 transport = next\n\
         \x20 self = send\n\
         begin transports\n\
         next:\n\
         \x20 driver = smtp\n{transport}\
         begin retry\n\
         * * F,1h,2s\n\
         begin authenticators\n\
         plain:\n\
         \x20 driver = plaintext\n\
         \x20 public_name = PLAIN\n\
         \x20 server_prompts = :\n\
         \x20 server_condition = ${{if and{{{{eq{{$auth2}}{{{USER}}}}}{{eq{{$auth3}}{{{SECRET}}}}}}}}}\n\
         \x20 server_set_id = $auth2\n\
         {client}",
            port = role.port,
        ),
    )?;
    root.shell(
        "cp /scenario/peer.pem /scenario/peer.key /etc/exim4/ && chgrp Debian-exim /etc/exim4/peer.* && chmod 640 /etc/exim4/peer.* && rm -rf /var/spool/exim4/input/* && exim4 -bV > /dev/null",
    )?;
    root.spawn(&role.scenario.join("exim.log"), "exim4", &["-bdf", "-q2s"])
}
