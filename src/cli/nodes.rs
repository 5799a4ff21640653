//! The other nodes, for commands that ask them: named by `--peer`, by the configuration, or by what a node kept of its own
//! sources.

use std::time::Duration;

use anyhow::Context as _;
use tokio::task::LocalSet;

use super::Failure;
use super::place::PlaceArgs;
use super::run::install_tls;
use crate::causes::chain;
use crate::model::PeerUrl;
use crate::peers::{Found, Peer, PeerAccess, Standing, find_nodes};
use crate::store::{self, Layout, Volume};

/// Disk work that has begun gets so long to end.
const LAST_WORK: Duration = Duration::from_secs(2);

// No doc comment: clap would show it in place of the command's own description.
#[derive(Debug, clap::Args)]
pub struct NodeArgs {
    /// The other nodes, such as http://beta:8000; without it those of the configuration, and those that a node here has
    /// found by its file, DNS or database. This node may be among them. Repeatable.
    #[arg(long, value_name = "URL")]
    peer: Vec<PeerUrl>,
}

/// The other nodes, as they answer now.
pub struct Nodes {
    pub there: Vec<Peer>,
    /// Who does not answer, and why.
    pub silent: Vec<(PeerUrl, String)>,
}

impl NodeArgs {
    pub fn known(&self, place: &PlaceArgs, layout: &Layout) -> Result<Vec<PeerUrl>, Failure> {
        let mut known = self.peer.clone();
        if known.is_empty() {
            return Ok(known_nodes(place.config()?.backfill.peers, layout));
        }
        known.sort_unstable();
        known.dedup();
        Ok(known)
    }
}

/// Those of the configuration, and those that a node here has found.
pub fn known_nodes(mut known: Vec<PeerUrl>, layout: &Layout) -> Vec<PeerUrl> {
    known.extend(store::kept_peers(layout));
    known.sort_unstable();
    known.dedup();
    known
}

impl Nodes {
    /// Asks all of them who they are. This node itself is left out.
    pub async fn ask(known: Vec<PeerUrl>, layout: &Layout, access: &PeerAccess) -> Self {
        let mut nodes = Self { there: Vec::new(), silent: Vec::new() };
        for Standing { url, found } in find_nodes(known, Volume::node_under(layout), access).await {
            match found {
                Found::Node(peer) => nodes.there.push(peer),
                Found::Ourselves | Found::Again => {}
                Found::Silent(error) => nodes.silent.push((url, chain(&error))),
            }
        }
        nodes
    }

    /// On standard error.
    pub fn tell_silent(&self) {
        for (url, why) in &self.silent {
            eprintln!("segvault: {url} cannot be reached: {why}");
        }
    }

    pub fn count(&self) -> usize {
        self.there.len() + self.silent.len()
    }
}

/// Runs what waits for the network, on this thread.
pub fn block_on<T>(work: impl Future<Output = anyhow::Result<T>>) -> Result<T, Failure> {
    install_tls();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("cannot start")?;
    let done = LocalSet::new().block_on(&runtime, work);
    runtime.shutdown_timeout(LAST_WORK);
    Ok(done?)
}
