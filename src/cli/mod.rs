//! The command line: one file per subcommand. Exit codes: 0 done, 1 failed, 64 wrong usage or configuration.

mod admin;
mod backfill;
pub mod config;
mod coverage;
mod cut;
pub mod db;
mod demo;
mod drain_check;
mod events;
mod health;
mod link;
mod losses;
mod man;
mod node_token;
mod nodes;
mod pin;
mod place;
mod quarantine;
mod rehearse;
mod retention;
mod run;
mod scrub;
mod select;
mod tombstone;
mod users;

use std::fmt;
use std::io::{self, Write as _};
use std::process::ExitCode;

use anyhow::Context as _;
use clap::{CommandFactory, Parser, Subcommand};

use crate::config::Faults;
use config::{ConfigArgs, EXIT_OK, EXIT_USAGE};

const EXIT_FAILED: u8 = 1;

/// Records live HLS streams, replays any moment of them, and cuts exact videos out of the record.
#[derive(Debug, Parser)]
#[command(name = "segvault", version, max_term_width = 100)]
struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run a node: record, serve, cut.
    Run(ConfigArgs),
    /// Try it: a live test source and a node that records it, on this machine.
    Demo(demo::DemoArgs),
    /// Play a scripted bad day to a node, and say what was lost of it and why.
    Rehearse(rehearse::RehearseArgs),
    /// Print the segments that show a range, and its holes.
    Select(select::SelectArgs),
    /// Cut a video out of the record, to the frame.
    Cut(cut::CutArgs),
    /// Copy from another node what a directory lacks.
    Backfill(backfill::BackfillArgs),
    /// Compare what is stored with its names; what went bad leaves the record, and may be fetched anew.
    Scrub(scrub::ScrubArgs),
    /// Check or show the configuration.
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Prepare the database, or see how it is.
    #[command(subcommand)]
    Db(db::DbCommand),
    /// See and change events: what is to be cut, and what became of it.
    #[command(subcommand)]
    Events(events::EventsCommand),
    /// See and change who may do what.
    #[command(subcommand)]
    Users(users::UsersCommand),
    /// Print how much is there, hour by hour, and what is missing; draw a map of it.
    Coverage(coverage::CoverageArgs),
    /// Print what was lost, and why.
    Losses(losses::LossesArgs),
    /// List what is kept out of the record, or put it back.
    #[command(subcommand)]
    Quarantine(quarantine::QuarantineCommand),
    /// Hide segments for good, see what is hidden and where, delete its bytes.
    #[command(subcommand)]
    Tombstone(tombstone::TombstoneCommand),
    /// Print an address that plays a channel until it expires, for players that have no token.
    Link(link::LinkArgs),
    /// Ask the node that runs on a directory whether it lives.
    Health(health::HealthArgs),
    /// Ask the node that runs on a directory how it is, have a part of it built anew, or change how much it logs.
    Admin(admin::AdminArgs),
    /// Write manual pages into a directory, one for each command.
    Man(man::ManArgs),
    /// Keep ranges that retention would delete.
    #[command(subcommand)]
    Pin(pin::PinCommand),
    /// Print what the running node would delete now, as too old or to make room.
    Retention(retention::RetentionArgs),
    /// Print what only this node holds; exit code 0 if it may be stopped for good.
    DrainCheck(drain_check::DrainCheckArgs),
    /// Print a completion script for a shell.
    Completions { shell: clap_complete::Shell },
}

#[derive(Debug, Subcommand)]
enum ConfigCommand {
    /// Print ok, or every fault of the configuration with its place.
    Check(ConfigArgs),
    /// Print the configuration in force, and where each value came from.
    Show(ConfigArgs),
}

/// How a command failed.
#[derive(Debug)]
enum Failure {
    /// The configuration has faults.
    Config(Faults),
    /// The arguments do not fit together.
    Usage(String),
    Other(anyhow::Error),
}

impl From<Faults> for Failure {
    fn from(faults: Faults) -> Self {
        Self::Config(faults)
    }
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        Self::Other(error)
    }
}

/// Parses the arguments and runs the command.
pub fn main() -> ExitCode {
    let args = match Args::try_parse() {
        Ok(args) => args,
        Err(error) => {
            let is_answer = !error.use_stderr();
            // A reader who has gone needs no help text.
            let _ = error.print();
            return ExitCode::from(if is_answer { EXIT_OK } else { EXIT_USAGE });
        }
    };
    ExitCode::from(match dispatch(args.command) {
        Ok(code) => code,
        Err(Failure::Config(faults)) => {
            eprint!("{faults}");
            EXIT_USAGE
        }
        Err(Failure::Usage(why)) => {
            eprintln!("segvault: {why}");
            EXIT_USAGE
        }
        Err(Failure::Other(error)) if is_broken_pipe(&error) => EXIT_OK,
        Err(Failure::Other(error)) => {
            eprintln!("segvault: {error:#}");
            EXIT_FAILED
        }
    })
}

fn dispatch(command: Command) -> Result<u8, Failure> {
    match command {
        Command::Run(args) => run::run(&args),
        Command::Demo(args) => demo::run(args),
        Command::Rehearse(args) => rehearse::run(&args),
        Command::Select(args) => select::run(&args),
        Command::Cut(args) => cut::run(&args),
        Command::Backfill(args) => backfill::run(&args),
        Command::Scrub(args) => scrub::run(&args),
        Command::Config(ConfigCommand::Check(args)) => {
            Ok(config::check(&args, &mut io::stdout(), &mut io::stderr()).map_err(anyhow::Error::from)?)
        }
        Command::Config(ConfigCommand::Show(args)) => {
            Ok(config::show(&args, &mut io::stdout(), &mut io::stderr()).map_err(anyhow::Error::from)?)
        }
        Command::Db(command) => {
            Ok(db::run(&command, &mut io::stdout(), &mut io::stderr()).map_err(anyhow::Error::from)?)
        }
        Command::Events(command) => events::run(command),
        Command::Users(command) => users::run(command),
        Command::Coverage(args) => coverage::run(&args),
        Command::Losses(args) => losses::run(&args),
        Command::Quarantine(command) => quarantine::run(&command),
        Command::Admin(args) => admin::run(&args),
        Command::Link(args) => link::run(&args),
        Command::Health(args) => health::run(&args),
        Command::Man(args) => man::run(&args),
        Command::Tombstone(command) => tombstone::run(&command),
        Command::Pin(command) => pin::run(&command),
        Command::Retention(args) => retention::run(&args),
        Command::DrainCheck(args) => drain_check::run(&args),
        Command::Completions { shell } => {
            clap_complete::generate(shell, &mut Args::command(), "segvault", &mut io::stdout());
            Ok(EXIT_OK)
        }
    }
}

/// A line on standard output. `println!` would panic where its reader has left.
fn print_line(line: impl fmt::Display) -> anyhow::Result<()> {
    writeln!(io::stdout(), "{line}").context("cannot print")
}

/// `segvault select … | head` ends well.
fn is_broken_pipe(error: &anyhow::Error) -> bool {
    let is_it = |cause: &(dyn std::error::Error + 'static)| {
        cause.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
    };
    error.chain().any(is_it)
}
