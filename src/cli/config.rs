//! `segvault config check|show`, and the arguments that every command with a configuration shares.
//!
//! Promises: standard output holds only the answer, standard error only the faults and warnings.

use std::ffi::OsString;
use std::io::{self, Write};
use std::path::PathBuf;

use crate::config::{self, Config, Faults, Loaded};

/// Names the configuration file where no `--config` does.
const FILE_VARIABLE: &str = "SEGVAULT_CONFIG";

/// How a command ends when there is nothing to complain about.
pub const EXIT_OK: u8 = 0;
/// How a command ends when its arguments or configuration are at fault (EX_USAGE of sysexits).
pub const EXIT_USAGE: u8 = 64;

// Where the configuration comes from. No doc comment: clap would show it in place of the command's own description.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct ConfigArgs {
    /// The configuration file (TOML); without it the one that SEGVAULT_CONFIG names, or none.
    ///
    /// Every key can be overridden by the environment as SEGVAULT_SECTION__KEY, and by --set.
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,

    /// Set one key, over the file and the environment: --set log.level=debug, --set channel.0.hls=URL. Repeatable.
    ///
    /// The value is TOML, or else a text as it stands.
    #[arg(long, value_name = "KEY=VALUE")]
    pub set: Vec<String>,
}

impl ConfigArgs {
    /// Loads and checks the configuration. Blocks.
    pub fn load(&self) -> Result<Loaded, Faults> {
        self.load_from(std::env::var_os(FILE_VARIABLE), config::environment())
    }

    fn load_from(
        &self,
        file_variable: Option<OsString>,
        environment: impl Iterator<Item = (String, String)>,
    ) -> Result<Loaded, Faults> {
        let from_environment = || file_variable.filter(|file| !file.is_empty()).map(PathBuf::from);
        let file = self.config.clone().or_else(from_environment);
        Config::load(file.as_deref(), &self.set, environment)
    }
}

/// `config check`: prints `ok`, or every fault on `err`; programs that are not installed are no fault, but told on `err`.
/// Returns the exit code.
pub fn check(args: &ConfigArgs, out: &mut dyn Write, err: &mut dyn Write) -> io::Result<u8> {
    let loaded = args.load();
    for absent in loaded.iter().flat_map(|loaded| loaded.config.absent_programs()) {
        writeln!(err, "warning: {absent}")?;
    }
    report(loaded, |_| "ok\n".into(), out, err)
}

/// `config show`: prints the effective configuration with the origin of each value, or every fault on `err`. Returns
/// the exit code.
pub fn show(args: &ConfigArgs, out: &mut dyn Write, err: &mut dyn Write) -> io::Result<u8> {
    report(args.load(), Loaded::show, out, err)
}

fn report(
    loaded: Result<Loaded, Faults>,
    answer: impl Fn(&Loaded) -> String,
    out: &mut dyn Write,
    err: &mut dyn Write,
) -> io::Result<u8> {
    match loaded {
        Ok(loaded) => {
            out.write_all(answer(&loaded).as_bytes())?;
            out.flush()?;
            Ok(EXIT_OK)
        }
        Err(faults) => {
            writeln!(err, "{faults}")?;
            Ok(EXIT_USAGE)
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    #[command(about = "the command's own description")]
    struct Command {
        #[command(flatten)]
        args: ConfigArgs,
    }

    fn args(words: &[&str]) -> ConfigArgs {
        Command::parse_from(std::iter::once("segvault").chain(words.iter().copied())).args
    }

    fn check_with(words: &[&str], file_variable: Option<&str>) -> (u8, String, String) {
        let loaded = args(words).load_from(file_variable.map(OsString::from), std::iter::empty());
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let code = report(loaded, |_| "ok\n".into(), &mut out, &mut err).unwrap();
        (code, String::from_utf8(out).unwrap(), String::from_utf8(err).unwrap())
    }

    #[test]
    fn the_shared_arguments_leave_the_description_alone() {
        use clap::CommandFactory;
        assert_eq!(Command::command().get_about().unwrap().to_string(), "the command's own description");
    }

    #[test]
    fn a_good_configuration_is_ok() {
        assert_eq!(
            check_with(&["--set", "node.name=a", "--set", "log.level=debug"], None),
            (0, "ok\n".into(), "".into())
        );
    }

    #[test]
    fn faults_go_to_standard_error_and_exit_64() {
        let (code, out, err) = check_with(&["--set", "node.nmae=a", "--set=log.level=x"], None);
        assert_eq!((code, out.as_str()), (64, ""));
        assert_eq!(err.lines().count(), 2, "{err}");
    }

    #[test]
    fn a_variable_names_the_file_unless_an_argument_does() {
        let (code, _, err) = check_with(&[], Some("/nonexistent/variable.toml"));
        assert_eq!(code, 64);
        assert!(err.starts_with("/nonexistent/variable.toml: cannot be read: "), "{err}");
        let (_, _, err) = check_with(&["--config", "/nonexistent/argument.toml"], Some("/nonexistent/variable.toml"));
        assert!(err.starts_with("/nonexistent/argument.toml: "), "{err}");
        assert_eq!(check_with(&[], Some("")).0, 0);
    }

    #[test]
    fn show_prints_toml() {
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let words = ["--set", "node.name=shown"];
        assert_eq!(
            report(args(&words).load_from(None, std::iter::empty()), Loaded::show, &mut out, &mut err).unwrap(),
            0
        );
        assert!(String::from_utf8(out).unwrap().starts_with("[node]\nname = \"shown\" "));
    }
}
