//! `segvault tombstone add|list|status|purge`: hide segments, see what is hidden and where, delete its bytes. Works on the
//! directory, beside a running node or without one.

mod add;
mod list;
mod purge;
mod status;

use anyhow::Context as _;

use super::Failure;
use crate::model::{Channel, Hour, Quality, Span, Timestamp};
use crate::store::{self, Layout};

#[derive(Debug, clap::Subcommand)]
pub enum TombstoneCommand {
    /// Hide segments: from this moment no listing, playlist, cut or download has them. The bytes stay on disk.
    Add(add::AddArgs),
    /// Print what is hidden, and why.
    List(list::ListArgs),
    /// Print of each tombstone which nodes have it, and which still hold the bytes.
    Status(status::StatusArgs),
    /// Delete the bytes of what is hidden, on this node, once every other node has the tombstone. Tombstones stay.
    Purge(purge::PurgeArgs),
}

pub fn run(command: &TombstoneCommand) -> Result<u8, Failure> {
    match command {
        TombstoneCommand::Add(args) => add::run(args),
        TombstoneCommand::List(args) => list::run(args),
        TombstoneCommand::Status(args) => status::run(args),
        TombstoneCommand::Purge(args) => purge::run(args),
    }
}

// No doc comment: clap would show it in place of the command's own description.
#[derive(Debug, clap::Args)]
struct WhichArgs {
    /// Only of this channel.
    channel: Option<Channel>,
    /// Only of this quality.
    #[arg(long)]
    quality: Option<Quality>,
    /// Only of what is at this time (UTC) or later.
    #[arg(long, value_name = "T")]
    from: Option<Timestamp>,
    /// Only of what is earlier than this time.
    #[arg(long, value_name = "T")]
    to: Option<Timestamp>,
}

/// The tombstones of one hour of a quality.
struct Hidden {
    channel: Channel,
    quality: Quality,
    hour: Hour,
    /// Names of tombstones, in order; not empty.
    names: Vec<String>,
}

impl Hidden {
    fn path_text(&self, name: &str) -> String {
        format!("{}/{}/{}/{name}", self.channel, self.quality, self.hour)
    }
}

impl WhichArgs {
    /// In order of channel, quality and time.
    fn find(&self, layout: &Layout) -> Result<Vec<Hidden>, Failure> {
        let within = span_of(self.from, self.to)?;
        let mut found = Vec::new();
        for (channel, quality) in streams(layout, self.channel.as_ref(), self.quality.as_ref())? {
            let all = store::tombstones(layout, &channel, &quality, within).context("cannot read the record")?;
            for one in all.into_iter().filter(|one| within.is_none_or(|span| store::touches(one.hour, &one.name, span)))
            {
                let same_hour =
                    |last: &&mut Hidden| last.hour == one.hour && last.quality == quality && last.channel == channel;
                match found.last_mut().filter(same_hour) {
                    Some(last) => last.names.push(one.name),
                    None => found.push(Hidden {
                        channel: channel.clone(),
                        quality: quality.clone(),
                        hour: one.hour,
                        names: vec![one.name],
                    }),
                }
            }
        }
        Ok(found)
    }
}

/// `None` if neither is given.
fn span_of(from: Option<Timestamp>, to: Option<Timestamp>) -> Result<Option<Span>, Failure> {
    if from.is_none() && to.is_none() {
        return Ok(None);
    }
    let (first, last) = (Timestamp::from_micros(i64::MIN / 2), Timestamp::from_micros(i64::MAX / 2));
    let span = Span::new(from.unwrap_or(first), to.unwrap_or(last));
    span.map(Some).map_err(|error| Failure::Usage(error.to_string()))
}

/// Every quality that is there, in the record or in quarantine, chat too. One that is named must be there: a mistyped
/// name should not look like an empty answer.
fn streams(
    layout: &Layout,
    channel: Option<&Channel>,
    quality: Option<&Quality>,
) -> Result<Vec<(Channel, Quality)>, Failure> {
    let mut found = Vec::new();
    let channels = store::channels_to_hide(layout).context("cannot read the directory")?;
    for channel in channels.into_iter().filter(|one| channel.is_none_or(|wanted| wanted == one)) {
        let qualities = store::qualities_to_hide(layout, &channel).context("cannot read the directory")?;
        let wanted = qualities.into_iter().filter(|one| quality.is_none_or(|wanted| wanted == one));
        found.extend(wanted.map(|quality| (channel.clone(), quality)));
    }
    match (channel, quality) {
        (None, None) => Ok(found),
        _ if !found.is_empty() => Ok(found),
        (channel, quality) => {
            let what = [channel.map(Channel::as_str), quality.map(Quality::as_str)];
            let what: Vec<&str> = what.into_iter().flatten().collect();
            Err(Failure::Usage(format!("there is no {} in {}", what.join("/"), layout.base().display())))
        }
    }
}
