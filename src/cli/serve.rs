//! `keywheel serve`: the service.
//!
//! Invariant: what goes wrong is said once, in the log or on stderr, and in the exit code.

use std::net::SocketAddr;

use clap::Args;

use super::{Exit, Globals, block_on, failed, load};
use crate::app::{self, Log};

/// Run the service
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  keywheel serve --listen 127.0.0.1:7421")]
pub(super) struct Serve {
    /// Address and port; instead of server.listen
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<SocketAddr>,
}

impl Serve {
    pub(super) fn run(self, globals: &Globals) -> Result<Exit, Exit> {
        let listen = self.listen.iter();
        let flags = listen.map(|listen| ("server.listen".to_owned(), listen.to_string()));
        let inputs = globals.inputs(flags.collect());
        let loaded = load(&inputs)?;
        let log = Log::start(&loaded.settings.log).map_err(|error| failed(&error))?;
        block_on(app::serve(&inputs, loaded, &log))?.map_err(|error| failed(&error))?;
        Ok(Exit::Done)
    }
}
