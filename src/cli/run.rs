//! `segvault run`: a node, until a signal.

use anyhow::Context as _;
use slog::{info, warn};

use super::config::{ConfigArgs, EXIT_OK};
use super::{EXIT_FAILED, Failure};
use crate::clock::Clock;
use crate::log::Log;
use crate::node::Node;
use crate::shutdown::{Asked, Signals};

pub fn run(args: &ConfigArgs) -> Result<u8, Failure> {
    let config = args.load()?.config;
    let clock = Clock::system();
    let log = Log::start(config.log.format, config.log.level, clock.clone());
    log.bridge_libraries();
    log.report_panics();
    install_tls();
    actix::System::new().block_on(async {
        let mut signals = Signals::listen().context("cannot listen to signals")?;
        let node = Node::start(&config, &log, clock).await.context("cannot start the node")?;
        until_stop(&mut signals, &log).await;
        stop_at_once_on_a_second(signals, log.logger.clone());
        node.stop().await;
        Ok(EXIT_OK)
    })
}

/// awc's TLS takes its cryptography from the process's default.
pub fn install_tls() {
    // Fails only if it is installed already.
    let _ = rustls::crypto::ring::default_provider().install_default();
}

/// Returns at the first signal to stop; meanwhile the log's level follows the other signals.
pub async fn until_stop(signals: &mut Signals, log: &Log) {
    loop {
        let level = match signals.next().await {
            Asked::Stop => return,
            Asked::LogMore => log.level.more(),
            Asked::LogLess => log.level.less(),
        };
        // Critical in name only: it must be seen at every level.
        slog::crit!(log.logger, "log level changed"; "now" => level.as_str());
    }
}

/// Who asks twice does not want to wait.
pub fn stop_at_once_on_a_second(mut signals: Signals, log: slog::Logger) {
    info!(log, "a second signal stops at once");
    actix_rt::spawn(async move {
        while signals.next().await != Asked::Stop {}
        warn!(log, "stopped at once, by a second signal");
        // The log's thread gets a moment to write that down.
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        std::process::exit(i32::from(EXIT_FAILED));
    });
}
