//! A node of the rehearsal's own, as it would be configured for its source.

use std::path::Path;

use anyhow::Context as _;
use url::Url;

use crate::clock::Clock;
use crate::config::Config;
use crate::log::Log;
use crate::model::Channel;
use crate::node::Node;
use crate::rehearsal::Stage;

pub struct OwnNode(Node);

impl OwnNode {
    pub async fn start(stage: &Stage, channel: &Channel, dir: &Path, log: &Log, clock: Clock) -> anyhow::Result<Self> {
        let qualities = &stage.scenario().qualities;
        let sets = [
            "node.name=rehearsal".to_owned(),
            format!("node.dir={}", dir.display()),
            "node.listen=127.0.0.1:0".to_owned(),
            format!("channel.0.name={channel}"),
            format!("channel.0.hls={}", stage.source().url()),
            format!("channel.0.qualities={qualities:?}"),
        ];
        let config = Config::load(None, &sets, std::iter::empty());
        let config = config.map_err(|faults| anyhow::anyhow!("{faults}"))?.config;
        Node::start(&config, log, clock).await.map(Self).context("cannot start a node")
    }

    pub fn url(&self) -> anyhow::Result<Url> {
        Url::parse(&format!("http://{}", self.0.address())).context("the node has no address")
    }

    pub async fn stop(self) {
        self.0.stop().await;
    }
}
