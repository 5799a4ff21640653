//! `segvault link`: an address that plays a channel for whoever has it, until it expires.

use std::time::Duration;

use anyhow::anyhow;

use super::config::{ConfigArgs, EXIT_OK};
use super::{Failure, print_line};
use crate::auth::LinkKey;
use crate::clock::Clock;
use crate::config::parse_duration;
use crate::model::{Channel, PeerUrl, Quality, Timestamp};

// No doc comment: it stands on the command.
#[derive(Debug, clap::Args)]
pub struct LinkArgs {
    /// The channel, such as gdq.
    channel: Channel,
    /// Only this quality, such as source.
    quality: Option<Quality>,
    /// For how long it is good, such as 30m or 7d.
    #[arg(long = "for", value_name = "DURATION", value_parser = parse_duration, default_value = "12h")]
    lasts: Duration,
    /// Where the playlist begins (UTC). The link is good for all of the channel nevertheless.
    #[arg(long, value_name = "TIME")]
    start: Option<Timestamp>,
    /// Where it ends.
    #[arg(long, value_name = "TIME")]
    end: Option<Timestamp>,
    /// Where players reach the node; without it node.url of the configuration.
    #[arg(long, value_name = "URL")]
    at: Option<PeerUrl>,
    #[command(flatten)]
    config: ConfigArgs,
}

pub fn run(args: &LinkArgs) -> Result<u8, Failure> {
    let config = args.config.load()?.config;
    let Some(secret) = &config.auth.link_key else {
        return Err(Failure::Other(anyhow!("no key signs links; make one and name it as auth.link_key_file")));
    };
    let at = args.at.clone().or(config.node.url);
    let at =
        at.ok_or_else(|| Failure::Usage("where do players reach the node? Say it with --at, or node.url".into()))?;
    let lasts_micros = i64::try_from(args.lasts.as_micros()).unwrap_or(i64::MAX);
    let until = Clock::system().now().plus_micros(lasts_micros);
    let link = LinkKey::new(secret).sign(&args.channel, args.quality.as_ref(), until);
    let mut url = match &args.quality {
        None => at.join(["playlist", &format!("{}.m3u8", args.channel)]),
        Some(quality) => at.join(["playlist", args.channel.as_str(), &format!("{quality}.m3u8")]),
    };
    let times = [("start", args.start), ("end", args.end)];
    let times = times.iter().filter_map(|(key, time)| time.map(|time| format!("{key}={time}Z&")));
    url.set_query(Some(&format!("{}{}", times.collect::<String>(), link.parameters())));
    print_line(url)?;
    Ok(EXIT_OK)
}
