//! Errors, as people read them.

use super::{EXAMPLE, Folder, LEAST};
use std::fmt::Write as _;

/// Cases that add something to [`LEAST`].
const ADDED: &[(&str, &str)] = &[
    ("unknown section", "[stor]\nkind = \"embedded\""),
    ("unknown key with nothing near", "[store]\nfoo = 1"),
    ("several unknown keys", "[smtp]\nmesage_size = 1\nrecipient = 2\nbanana = 3"),
    ("wrong types", "[smtp]\nmessage_size = true\nrecipients = \"many\"\nerrors = 1.5\ncommand_time = 5\nsession_time = [\"1h\"]"),
    (
        "numbers out of range",
        "[smtp]\nrecipients = 0\nerrors = -1\nconnections = 99999999999999999999\nsession_time = \"0s\"\nmessage_size = \"0B\"",
    ),
    ("units", "[smtp]\nmessage_size = \"10 M\"\ncommand_time = \"5min\"\n[delivery]\nidle_time = \"99999999999999999999s\""),
    ("limits that let nothing in", "[smtp]\nline_size = \"80B\"\nmemory = \"1MiB\""),
    ("store of another kind", "[store]\nkind = \"postgres\""),
    ("sizes out of range", "[store]\nsegment_size = \"2GiB\"\n[search]\nmemory = \"1MiB\"\nrest = -1"),
    ("section of the wrong type", "[[http]]\nconnections = 1"),
    ("retries", "[delivery]\nretry_first = \"5h\""),
    ("looks that come too often", "[queue]\nsuspension_look = \"59s\""),
    ("looks that come too seldom", "[queue]\nsuspension_look = \"721h\""),
    ("times that leave no time", "[delivery]\ngive_up = \"5m\"\nlease = \"5m\""),
    ("tls files", "[tls]\ncertificate = \"none.pem\"\nkey = \"empty\""),
    ("tls without a key", "[tls]\ncertificate = \"empty\""),
    ("tls pair that is none", "[tls]\ncertificate = \"cert.pem\"\nkey = \"other-key.pem\""),
    ("listener without tls", "[[listen]]\nkind = \"smtp\"\naddress = \"0.0.0.0:587\"\ntls = \"starttls\""),
    ("passwords in the clear", "[[listen]]\nkind = \"smtp\"\naddress = \"0.0.0.0:587\"\ntls = \"none\""),
    (
        "listener for incoming mail",
        "[tls]\ncertificate = \"cert.pem\"\nkey = \"key.pem\"\n[[listen]]\nkind = \"mx\"\naddress = \"0.0.0.0:25\"\ntls = \"implicit\"",
    ),
    ("limits of incoming mail", "[mx]\nmemory = \"1MiB\"\npostmaster = \"ops\"\nroute = \"sandbx\"\nmessages_per_hour = 0"),
    ("postmaster without a way", "[mx]\npostmaster = \"ops@example.com\""),
    (
        "incoming mail",
        "[[inbound]]\ndomain = \"[192.0.2.1]\"\nrecipients = [\"a@b\", \"\", \"a*b\", \"x%y\"]\naction = \"keep\"\ndmarc = \"quarantine\"\n[[inbound]]\ndomain = \"example.com\"\naction = \"forward\"\n[[inbound]]\naction = \"bounce\"",
    ),
    (
        "incoming mail twice",
        "[[inbound]]\ndomain = \"example.com\"\nrecipients = [\"*\"]\naction = \"keep\"\n[[inbound]]\ndomain = \"Example.com\"\nrecipients = [\"info\", \"*\"]\naction = \"keep\"",
    ),
    ("a login of this name", "[[logins]]\nname = \"@inbound\"\nusername = \"b\"\npassword = \"${HASH}\"\nroute = \"sandbox\""),
    ("a login of the reports on TLS", "[[logins]]\nname = \"tls-reports\"\nusername = \"b\"\npassword = \"${HASH}\"\nroute = \"sandbox\""),
    ("listener words", "[[listen]]\nkind = \"smpt\"\naddress = \"localhost:25\"\ntls = \"start-tls\""),
    ("listener without anything", "[[listen]]"),
    (
        "listener twice",
        "[[listen]]\nkind = \"http\"\naddress = \"127.0.0.1:80\"\ntls = \"none\"\n[[listen]]\nkind = \"http\"\naddress = \"127.0.0.1:80\"\ntls = \"none\"",
    ),
    (
        "starttls for http",
        "[tls]\ncertificate = \"cert.pem\"\nkey = \"key.pem\"\n[[listen]]\nkind = \"http\"\naddress = \"127.0.0.1:80\"\ntls = \"starttls\"",
    ),
    ("plugin without source", "[plugins.trackin]\non_error = \"skip\""),
    ("plugin file that is missing", "[plugins.greet]\nsource = \"greet.wsm\""),
    ("plugin that is a folder", "[plugins.greet]\nsource = \".\""),
    ("plugin limits", "[plugins.tags]\nlimits = { time = \"fast\", memory = \"1KiB\", cpu = 1 }\non_error = \"ignore\""),
    ("plugin name", "[plugins.\"a b\"]\nsource = \"greet.wasm\""),
    ("unknown plugin in a chain", "[chains]\nmarketing = [\n  \"tags\",\n  \"templat\",\n  { use = \"trackng\", clicks = true },\n]"),
    (
        "chain steps",
        "[chains]\na = \"tags\"\nb = [1, { when = \"always\" }, { use = \"tags\", when = \"asked\", locked = 1 }]\nc = [{ use = \"tags\", limit = inf }]",
    ),
    ("chain that uses a plugin with an error", "[plugins.greet]\n[chains]\na = [\"greet\"]"),
    (
        "login references",
        "[chains]\nmarketing = []\n[[logins]]\nname = \"b\"\ntoken = \"sha256:00\"\nchain = \"markting\"\nroute = \"sandbx\"",
    ),
    ("login without credentials", "[[logins]]\nname = \"b\"\nroute = \"sandbox\""),
    ("login with half its credentials", "[[logins]]\nname = \"b\"\nusername = \"b\"\nroute = \"sandbox\""),
    ("password in the clear", "[[logins]]\nname = \"b\"\nusername = \"b\"\npassword = \"s3cret\"\nroute = \"sandbox\""),
    (
        "logins that share",
        "[[logins]]\nname = \"app\"\nusername = \"u\"\npassword = \"${HASH}\"\ntoken = \"sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad\"\nroute = \"sandbox\"\n[[logins]]\nname = \"c\"\nusername = \"u\"\npassword = \"${HASH}\"\nroute = \"sandbox\"",
    ),
    (
        "senders",
        "[[logins]]\nname = \"b\"\nusername = \"b\"\npassword = \"${HASH}\"\nroute = \"sandbox\"\nsenders = [\n  \"example.com\",\n  \"*@\",\n  \"news*@example.com\",\n  \"*@*.-x\",\n  5,\n]",
    ),
    (
        "login limits",
        "[[logins]]\nname = \"b\"\nusername = \"b\"\npassword = \"${HASH}\"\nroute = \"sandbox\"\nbounces = \"trace\"\nlimits = { messages_per_hour = 0, recipients_per_message = 5000, message_size = \"1GiB\", per_day = 1 }",
    ),
    (
        "token that is empty",
        "[[logins]]\nname = \"b\"\nroute = \"sandbox\"\ntoken = \"sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855\"",
    ),
    ("login without a name", "[[logins]]\ntoken = 5"),
    (
        "environment",
        "[[logins]]\nname = \"b\"\nusername = \"b\"\npassword = \"${NO_SUCH_VARIABLE}\"\nroute = \"sandbox\"\n[dashboard]\npassword = \"file:no-such-file\"",
    ),
    ("route of no kind", "[routes.a]\nhost = \"x\"\n[routes.b]\nkind = \"smtp\"\nhost = \"x\""),
    (
        "a TLS rule for a smart host",
        "[[tls_rules]]\nname = \"r\"\nroute = \"sandbox\"\ntls = \"dane\"\n[[tls_rules]]\nname = \"s\"\nroute = \"sandbx\"\ntls = \"dane\"",
    ),
    ("dane for an address", "[routes.a]\nkind = \"smarthost\"\nhost = \"[192.0.2.1]\"\ntls = \"dane\""),
    ("route keys", "[routes.a]\nkind = \"mx\"\nhost = \"x\"\nport = 70000\ntls = \"always\"\nnameservers = [\"ns.example.com\"]"),
    (
        "smart host",
        "[routes.a]\nkind = \"smarthost\"\ntls = \"none\"\nimplicit_tls = true\nca = \"empty\"\nusername = \"u\"\n[routes.b]\nkind = \"smarthost\"\nhost = \"not a host\"",
    ),
    (
        "dkim",
        "[[dkim]]\ndomain = \"[192.0.2.1]\"\nselector = \"a b\"\nkey = \"file:empty\"\n[[dkim]]\ndomain = \"example.com\"\nselector = \"s\"\nkey = \"file:key.pem\"",
    ),
    (
        "dkim twice",
        "[[dkim]]\ndomain = \"example.com\"\nselector = \"s\"\nkey = \"file:dkim.pem\"\n[[dkim]]\ndomain = \"Example.com\"\nselector = \"s\"\nkey = \"file:dkim.pem\"",
    ),
    ("syntax", "[store\nkind = embedded\n[smtp]\nerrors = 3\nerrors = 4"),
    ("columns count letters", "[chains]\n\"jö\" = [\"täg\", \"tögs\"]"),
];

/// Cases that replace a part of [`LEAST`].
const REPLACED: &[(&str, &str, &str)] = &[
    ("public_url that is none", "\"http://127.0.0.1:8025\"", "\"t.example.com\""),
    ("public_url of another scheme", "\"http://127.0.0.1:8025\"", "\"ftp://t.example.com\""),
    ("public_url with a query", "\"http://127.0.0.1:8025\"", "\"https://t.example.com/?a=b\""),
    ("host name", "\"mail.example.com\"", "\"mail example\""),
    ("proxies", "data = \"data\"", "data = \"\"\ntrusted_proxies = [\"10.0.0.0/8\", \"10.0.0.0/40\"]"),
];

#[test]
fn errors_name_place_key_and_remedy() {
    let folder = Folder::new();
    let mut report = String::new();
    for (name, added) in ADDED {
        writeln!(report, "## {name}\n{}\n", folder.errors(&format!("{}\n{added}", &LEAST[1..]))).unwrap();
    }
    for (name, from, to) in REPLACED {
        writeln!(report, "## {name}\n{}\n", folder.errors(&LEAST[1..].replace(from, to))).unwrap();
    }
    writeln!(report, "## nothing at all\n{}\n", folder.errors("")).unwrap();
    insta::assert_snapshot!(report);
}

/// What the contract names and this version does not have is let pass, and said.
#[test]
fn what_is_not_there_yet_is_a_warning() {
    let text =
        EXAMPLE.replace("http = [], kv = false", "http = [\"https://api.example.com/\"], kv = true").replace("\"return\"", "\"track\"");
    let config = Folder::new().parse(&text).unwrap();
    let warnings: Vec<_> = config.warnings.iter().map(ToString::to_string).collect();
    insta::assert_snapshot!(warnings.join("\n"));
}

#[test]
fn links_without_https_are_a_warning_unless_they_stay_on_the_machine() {
    let warnings = |url: &str| {
        let config = Folder::new().parse(&LEAST[1..].replace("http://127.0.0.1:8025", url)).unwrap();
        let told = config.warnings.iter().map(ToString::to_string);
        told.filter(|text| text.contains("server: public_url: has no https")).count()
    };
    for url in ["https://t.example.com", "http://127.0.0.1:8025", "http://localhost/mail", "http://[::1]:8025"] {
        assert_eq!(warnings(url), 0, "{url}");
    }
    for url in ["http://t.example.com", "http://192.0.2.1", "http://localhost.example.com"] {
        assert_eq!(warnings(url), 1, "{url}");
    }
}
