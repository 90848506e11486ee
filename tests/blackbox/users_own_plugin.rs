//! A plugin made, built and configured as the README says, in a folder outside of the repository.

use anyhow::Result;
use tubepost_tests::client::Client;
use tubepost_tests::host::Host;
use tubepost_tests::peer::Peer;
use tubepost_tests::plugins::plugin;
use tubepost_tests::setup::{PASSWORD, PASSWORD_HASH, config, message};

#[test]
fn it_changes_the_mail_of_one_login_and_of_no_other() -> Result<()> {
    let folder = tempfile::TempDir::new()?;
    plugin(folder.path(), &["new", "greet"])?;
    plugin(folder.path(), &["build", "greet"])?;
    let built = std::fs::read(folder.path().join("greet.wasm"))?;
    assert!(!folder.path().join("greet").join("greet.wasm").exists(), "it is written once, where one stands");
    std::fs::write(folder.path().join("sample.eml"), message("sample"))?;
    let shown = plugin(folder.path(), &["run", "greet.wasm", "--message", "sample.eml"])?;
    assert!(shown.contains("X-Greeting"), "the difference is shown:\n{shown}");

    let peer = Peer::start()?;
    let more = format!(
        "[plugins.greet]\nsource = \"greet.wasm\"\n[[logins]]\nname = \"greeting\"\nusername = \"greeting\"\npassword = \"{PASSWORD_HASH}\"\nroute = \"peer\"\nchain = \"greeting\"\n"
    );
    let text = config(peer.address(), &more).replace("[chains]\n", "[chains]\ngreeting = [ \"greet\" ]\n");
    let host = Host::start(&text, &[("greet.wasm", &built)])?;
    for login in ["greeting", "plain"] {
        Client::login(host.address("smtp none"), login, PASSWORD)?.deliver(
            "sender@example.com",
            &[&format!("{login}@example.net")],
            &message(login),
        )?;
    }
    for mail in peer.wait(2)? {
        assert_eq!(mail.header("X-Greeting").is_some(), mail.to == ["greeting@example.net"], "{}", mail.text());
    }
    Ok(())
}
