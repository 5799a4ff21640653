//! What an operator with a shell on the node's machine may ask and change while it runs: `segvault admin`.
//!
//! A line of JSON, a list of words, is a command; a line of JSON answers it. The socket is for the node's own user and root.
//! Promises: lines, connections and waits are bounded; nothing here waits for the disk or the network, or holds up anybody;
//! what is changed is logged with who did it.

mod command;

use std::io;
use std::sync::Arc;
use std::time::Duration;

use actix::prelude::*;
use serde_json::{Value, json};
use slog::{Logger, info, warn};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Semaphore;
use tokio::time::timeout;

use crate::actors::{Guardian, Overview, Restart};
use crate::blocking::Blocking;
use crate::log::LevelSwitch;
use crate::metrics::Metrics;

pub use command::{Command, HELP};

const MAX_LINE_BYTES: u64 = 4096;
const AT_ONCE: usize = 8;
/// All that is asked answers within a second, or is told as unknown.
const ANSWERS_WITHIN: Duration = Duration::from_secs(5);
/// A console that somebody forgot.
const IDLE: Duration = Duration::from_secs(3600);
/// What is kept between requests: indexes, digests, what is known of encodings.
const CACHES: [&str; 2] = ["segvault_cache_", "segvault_media_"];

/// What commands are answered with. Cheap to clone.
#[derive(Clone)]
pub struct Admin {
    pub overview: Overview,
    pub guardian: Addr<Guardian>,
    pub level: LevelSwitch,
    pub metrics: Metrics,
    /// The doors to the disk, by who goes through them.
    pub doors: Vec<(&'static str, Blocking)>,
    /// Answers that are being sent.
    pub answers: Arc<dyn Fn() -> usize + Send + Sync>,
    pub log: Logger,
}

/// Answers whoever connects, for as long as the node lives.
pub async fn serve(listener: UnixListener, admin: Admin) {
    let places = Arc::new(Semaphore::new(AT_ONCE));
    loop {
        let place = Arc::clone(&places).acquire_owned().await.expect("the semaphore is never closed");
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                warn!(admin.log, "an operator cannot be heard"; "error" => %error);
                tokio::time::sleep(Duration::from_secs(1)).await;
                continue;
            }
        };
        let admin = admin.clone();
        actix_rt::spawn(async move {
            // Who hangs up early is gone.
            let _ = admin.converse(stream).await;
            drop(place);
        });
    }
}

impl Admin {
    async fn converse(&self, stream: UnixStream) -> io::Result<()> {
        let user = stream.peer_cred()?.uid();
        let own = rustix::process::geteuid().as_raw();
        let (read, mut write) = stream.into_split();
        let mut read = BufReader::new(read);
        let is_allowed = user == own || user == 0;
        loop {
            let mut line = String::new();
            let mut limited = (&mut read).take(MAX_LINE_BYTES);
            if timeout(IDLE, limited.read_line(&mut line)).await.is_err() || line.is_empty() {
                return Ok(());
            }
            let answer = match is_allowed {
                true => self.answer(&line, user).await,
                false => Err("only the node's own user and root may ask".to_owned()),
            };
            let answer = match answer {
                Ok(value) => json!({ "ok": value }),
                Err(why) => json!({ "error": why }),
            };
            timeout(ANSWERS_WITHIN, write.write_all(format!("{answer}\n").as_bytes())).await??;
            if !line.ends_with('\n') {
                return Ok(());
            }
        }
    }

    async fn answer(&self, line: &str, user: u32) -> Result<Value, String> {
        let words: Vec<String> =
            serde_json::from_str(line).map_err(|_| "a command is a JSON list of words".to_owned())?;
        let command = Command::parse(&words)?;
        timeout(ANSWERS_WITHIN, self.obey(command, user)).await.map_err(|_| "it takes too long".to_owned())?
    }

    async fn obey(&self, command: Command, user: u32) -> Result<Value, String> {
        match command {
            Command::Help => Ok(HELP.iter().map(|(usage, what)| json!({ "command": usage, "what": what })).collect()),
            Command::Node => Ok(json!(self.overview.look().await)),
            Command::Actors => Ok(json!(self.overview.look().await.actors)),
            Command::Peers => Ok(json!(self.overview.look().await.peers)),
            Command::Restart { kind, name } => {
                let restarted = self.guardian.send(Restart { kind: kind.clone(), name: name.clone() }).await;
                let restarted = restarted.map_err(|_| "who keeps the actors alive does not answer".to_owned())?;
                if restarted.is_empty() {
                    return Err(format!("there is no {kind} {name:?}; `actors` lists them"));
                }
                warn!(self.log, "an operator has actors built anew"; "uid" => user, "actor" => &kind, "name" => &name,
                    "all" => restarted.join(", "));
                Ok(json!({ "restarted": restarted }))
            }
            Command::Level => Ok(self.levels()),
            Command::SetLevel { module: None, level } => {
                self.level.set(level);
                info!(self.log, "an operator has set the level of the log"; "uid" => user, "level" => level.as_str());
                Ok(self.levels())
            }
            Command::SetLevel { module: Some(module), level } => {
                self.level.set_of(&module, Some(level)).map_err(|error| error.to_string())?;
                info!(self.log, "an operator has set the level of the log"; "uid" => user, "module" => module,
                    "level" => level.as_str());
                Ok(self.levels())
            }
            Command::ClearLevel { module } => {
                self.level.set_of(&module, None).map_err(|error| error.to_string())?;
                Ok(self.levels())
            }
            Command::InFlight => Ok(self.in_flight()),
            Command::Caches => Ok(self.samples(|name| CACHES.iter().any(|cache| name.starts_with(cache)))),
            Command::Metrics { words } => Ok(self.samples(|name| words.iter().all(|word| name.contains(word)))),
        }
    }

    fn levels(&self) -> Value {
        let modules: serde_json::Map<String, Value> =
            self.level.modules().into_iter().map(|(module, level)| (module, level.as_str().into())).collect();
        json!({ "level": self.level.get().as_str(), "modules": modules })
    }

    fn in_flight(&self) -> Value {
        let doors: Vec<Value> = self
            .doors
            .iter()
            .map(|(who, door)| json!({ "door": format!("disk: {who}"), "in_use": door.in_use(), "of": door.at_once() }))
            .collect();
        let ffmpeg =
            json!({ "door": "ffmpeg", "in_use": self.overview.ffmpeg.in_use(), "of": self.overview.ffmpeg.at_once() });
        let answers = json!({ "door": "answers under way", "in_use": (self.answers)(), "of": null });
        let held =
            json!({ "door": "bytes that wait for the disk", "in_use": self.overview.spool.held_bytes(), "of": null });
        [ffmpeg, answers, held].into_iter().chain(doors).collect()
    }

    /// Samples of the metrics whose names are wanted.
    fn samples(&self, is_wanted: impl Fn(&str) -> bool) -> Value {
        let text = self.metrics.render().1;
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        let of = |line: &str| {
            let (name, value) = line.rsplit_once(' ')?;
            is_wanted(name).then(|| json!({ "metric": name, "value": value.parse::<f64>().ok() }))
        };
        lines.filter_map(of).collect()
    }
}
