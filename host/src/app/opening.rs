//! What is done with the rights that the process is started with, before it has threads: sockets are bound, the data folder is made, keys are read. Then the
//! rights are given up.

use anyhow::Result;

use super::inherited::Inherited;
use super::service_manager::ServiceManager;
use super::sockets::{self, Bound};
use super::{keys, privileges, process};
use crate::config::Config;
use crate::listener::tls::Certificate;

/// What a server is started with.
pub struct Opened {
    pub(super) bound: Bound,
    pub(super) certificate: Option<Certificate>,
    pub(super) manager: ServiceManager,
}

impl Opened {
    /// Opens what `config` names.
    ///
    /// # Errors
    /// An address is taken, a file cannot be read, or rights cannot be given up.
    pub fn new(config: &Config) -> Result<Self> {
        let environment = |name: &str| std::env::var(name).ok();
        let inherited = Inherited::take(&environment)?;
        let manager = ServiceManager::of(&environment);
        process::raise_file_limit(config);
        privileges::forbid_more();
        let identity = privileges::wanted(&config.server)?;
        match &identity {
            Some(identity) => identity.take_folder(&config.server.data)?,
            None => keys::make_folder(&config.server.data)?,
        }
        let bound = sockets::bind(config, inherited)?;
        let certificate = sockets::certificate(config)?;
        if let Some(identity) = identity {
            identity.assume()?;
            privileges::say_what_is_out_of_reach(config);
        }
        Ok(Self { bound, certificate, manager })
    }
}
