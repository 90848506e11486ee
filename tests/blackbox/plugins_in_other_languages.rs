//! The example plugins: the same one in four languages does the same to the same mail, octet for octet.
//!
//! `cargo xtask test` builds them and names their folder in `TUBEPOST_EXAMPLES`; without it there is nothing to do.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use tubepost_tests::client::Client;
use tubepost_tests::host::Host;
use tubepost_tests::peer::Peer;
use tubepost_tests::plugins::plugin;
use tubepost_tests::setup::{PASSWORD, config, login};
use tubepost_tests::wait::wait_for;

const LANGUAGES: [&str; 4] = ["rust", "typescript", "python", "c"];
const OPTIONS: &str = r#"campaign = "spring-26", domain = "shop.example.com", footer = "Shop & Sons <shop@example.com>, Zürich""#;
/// What each is given, and how many links of it are marked; where none are counted, it is refused.
const MESSAGES: [(&str, Option<u32>); 4] = [("text", Some(0)), ("alternative", Some(4)), ("html", Some(2)), ("no-subject", None)];

#[test]
fn they_all_do_the_same() -> Result<()> {
    let Some(folder) = std::env::var_os("TUBEPOST_EXAMPLES").map(PathBuf::from) else {
        return say("skipped: TUBEPOST_EXAMPLES is not set; `cargo xtask test` builds the plugins and sets it");
    };
    let (mut more, mut chains, mut files) = (String::new(), String::from("[chains]\n"), Vec::new());
    for language in LANGUAGES {
        let Ok(component) = std::fs::read(folder.join(format!("{language}.wasm"))) else {
            say(&format!("{language} is skipped: it was not built"))?;
            continue;
        };
        // Time enough for a machine that is busy with other tests.
        writeln!(more, "[plugins.{language}]\nsource = \"{language}.wasm\"\nlimits = {{ time = \"10s\" }}")?;
        more.push_str(&login(language, &format!("route = \"peer\"\nchain = \"{language}\"")));
        writeln!(chains, "{language} = [ {{ use = \"{language}\", {OPTIONS} }} ]")?;
        files.push((language, format!("{language}.wasm"), component));
    }
    let peer = Peer::start()?;
    let text = config(peer.address(), &more).replace("[chains]\n", &chains);
    let contents: Vec<(&str, &[u8])> = files.iter().map(|(_, name, octets)| (name.as_str(), octets.as_slice())).collect();
    let host = Host::start(&text, &contents)?;
    let mut sent = 0;
    for (language, ..) in &files {
        for (name, links) in MESSAGES {
            let mut client = Client::login(host.address("smtp none"), language, PASSWORD)?;
            let (message, expected) = (golden(&format!("{name}.eml"))?, golden(&format!("{name}.out"))?);
            let Some(links) = links else {
                let reply = client.submit("news@example.com", &["ann@example.net"], &message)?;
                assert_eq!(format!("{} {}\r\n", reply.code, reply.text()).as_bytes(), expected, "{language}, {name}");
                continue;
            };
            let id = client.deliver("news@example.com", &["ann@example.net"], &message)?;
            sent += 1;
            let mail = peer.wait(sent)?.pop().unwrap();
            assert_eq!(without_received(&mail.text()), String::from_utf8_lossy(&expected), "{language}, {name}");
            let trace = host.say(&["message", "trace", &id])?;
            assert!(trace.contains(&format!("info: campaign spring-26: {links} links")), "{language}, {name}:\n{trace}");
        }
    }
    wait_for("the tag of all messages", || {
        (host.json(&["message", "search", "tag:spring-26"]).ok()?.get("total")?.as_u64()? == u64::try_from(sent).ok()?).then_some(())
    })?;
    Ok(())
}

/// The corpus of odd messages, in the sandbox: no trap, no lost message, in no language.
#[test]
fn they_all_stand_the_corpus() -> Result<()> {
    let Some(folder) = std::env::var_os("TUBEPOST_EXAMPLES").map(PathBuf::from) else {
        return say("skipped: TUBEPOST_EXAMPLES is not set; `cargo xtask test` builds the plugins and sets it");
    };
    let empty = tempfile::TempDir::new()?;
    let options = r#"{"campaign": "spring-26", "domain": "shop.example.com", "footer": "Shop & Sons"}"#;
    for language in LANGUAGES {
        let component = folder.join(format!("{language}.wasm"));
        if component.exists() {
            let said = plugin(empty.path(), &["test", &component.to_string_lossy(), "--options", options, "--time", "60s", "--json"])?;
            let tested: serde_json::Value = serde_json::from_str(&said)?;
            assert_eq!(tested["ok"], true, "{language}: {tested}");
            assert!(tested["corpus"]["messages"].as_u64() >= Some(300), "{language}: {tested}");
        }
    }
    Ok(())
}

/// A file of the examples, which has the line ends of mail whatever the checkout made of them.
fn golden(name: &str) -> Result<Vec<u8>> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../plugins/examples/golden").join(name);
    let text = std::fs::read_to_string(&path).with_context(|| path.display().to_string())?;
    Ok(text.replace("\r\n", "\n").replace('\n', "\r\n").into_bytes())
}

/// The message without the field that we added, which has id and date in it.
fn without_received(content: &str) -> String {
    let mut fields = content.split_inclusive("\r\n").peekable();
    while fields.next_if(|line| line.starts_with("Received:") || line.starts_with(['\t', ' '])).is_some() {}
    fields.collect()
}

fn say(text: &str) -> Result<()> {
    Ok(std::io::Write::write_all(&mut std::io::stderr(), format!("{text}\n").as_bytes())?)
}
