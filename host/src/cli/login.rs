//! `tubepost login`: secrets for the configuration.

use std::io::{BufRead as _, IsTerminal as _};
use std::process::ExitCode;

use anyhow::{Context as _, Result, ensure};
use clap::Subcommand;

use super::output::{complain, line};
use crate::clock::Entropy;
use crate::config::secret::{hash_password, hash_token, new_token};

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Reads a secret on standard input and prints its hash for `password`, or, with --token, for `token`.
    Hash {
        /// The secret is an API token.
        #[arg(long)]
        token: bool,
    },
    /// Makes a new API token: prints it, and its hash for `token`. It is shown this once.
    Token,
}

pub(super) fn run(command: &Command) -> Result<ExitCode> {
    let entropy = Entropy::system();
    match command {
        Command::Hash { token } => {
            let secret = read_secret()?;
            line(if *token { hash_token(&secret) } else { hash_password(&secret, &entropy) });
        }
        Command::Token => {
            let token = new_token(&entropy);
            line(format!("token = {token}"));
            line(format!("hash  = {}", hash_token(&token)));
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// One line, without its end.
fn read_secret() -> Result<String> {
    let input = std::io::stdin();
    if input.is_terminal() {
        complain("type the secret and press Enter (it is shown as you type; `tubepost login hash < file` hides it)");
    }
    let mut secret = String::new();
    input.lock().read_line(&mut secret).context("standard input cannot be read")?;
    let secret = secret.trim_end_matches(['\r', '\n']);
    ensure!(!secret.is_empty(), "the secret is empty");
    Ok(secret.to_owned())
}
