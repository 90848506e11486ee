//! The interoperability matrix: mail programs and mail servers of others on both sides, on loopback, printed as three tables.
//!
//! `cargo xtask interop` runs it. Servers live in roots of their own below `TUBEPOST_INTEROP`; without it there is nothing to do, as under plain `cargo test`.
#![allow(clippy::print_stdout, reason = "it prints tables")]

mod clients;
mod hops;
mod matrix;
mod root;
mod signatures;
mod system;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use matrix::Matrix;

/// Whether a row is asked for: all are, unless some are named on the command line.
fn is_wanted(name: &str) -> bool {
    let mut named = std::env::args().skip(1).filter(|argument| !argument.starts_with('-')).peekable();
    named.peek().is_none() || named.any(|wanted| wanted.eq_ignore_ascii_case(name))
}

fn main() -> ExitCode {
    let Some(store) = std::env::var_os("TUBEPOST_INTEROP").map(PathBuf::from) else {
        println!("interoperability: `cargo xtask interop` runs this");
        return ExitCode::SUCCESS;
    };
    if let Some(obstacle) = root::Root::obstacle() {
        println!("interoperability: other servers cannot be installed here: {obstacle}");
        return ExitCode::SUCCESS;
    }
    let result: Result<Vec<Matrix>> = [clients::matrix, hops::matrix, signatures::matrix]
        .into_iter()
        .map(|matrix| {
            let matrix = matrix(&store)?;
            println!("{matrix}");
            Ok(matrix)
        })
        .collect();
    match result {
        Ok(matrices) => {
            let failures: Vec<String> = matrices.iter().flat_map(Matrix::failures).collect();
            for failure in &failures {
                println!("FAILS: {failure}\n");
            }
            if failures.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
        Err(error) => {
            println!("interoperability: {error:#}");
            ExitCode::FAILURE
        }
    }
}
