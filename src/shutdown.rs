//! Signals from outside, as values.

use tokio::signal::unix::{Signal, SignalKind, signal};

/// What an operator or the platform asks of the process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asked {
    /// SIGTERM or SIGINT.
    Stop,
    /// SIGUSR1.
    LogMore,
    /// SIGUSR2.
    LogLess,
}

/// The signals that we listen to; from its making on they no longer end the process by themselves.
pub struct Signals {
    terminate: Signal,
    interrupt: Signal,
    more: Signal,
    less: Signal,
}

impl Signals {
    pub fn listen() -> std::io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            more: signal(SignalKind::user_defined1())?,
            less: signal(SignalKind::user_defined2())?,
        })
    }

    pub async fn next(&mut self) -> Asked {
        tokio::select! {
            _ = self.terminate.recv() => Asked::Stop,
            _ = self.interrupt.recv() => Asked::Stop,
            _ = self.more.recv() => Asked::LogMore,
            _ = self.less.recv() => Asked::LogLess,
        }
    }
}
