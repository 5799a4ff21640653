//! The token that a node is shown which a command asks over HTTP.
//!
//! Never: prints it, or takes it as an argument, where other users of the machine could read it.

use std::path::PathBuf;

use super::Failure;
use crate::config::{Secret, read_secret};

const VARIABLE: &str = "SEGVAULT_TOKEN";

// No doc comment: clap would show it in place of the command's own description.
#[derive(Debug, Default, clap::Args)]
pub struct TokenArgs {
    /// With --url: the file that holds the token for that node; without it the environment's SEGVAULT_TOKEN, or none.
    #[arg(long, value_name = "FILE", requires = "url")]
    token_file: Option<PathBuf>,
}

impl TokenArgs {
    /// The value of `Authorization`, if there is a token. Blocks.
    pub fn authorization(&self) -> Result<Option<Secret>, Failure> {
        let token = match &self.token_file {
            Some(file) => Some(read_secret(file).map_err(Failure::Usage)?),
            None => std::env::var(VARIABLE).ok().filter(|text| !text.is_empty()).map(|text| Secret::new(&text)),
        };
        if token.as_ref().is_some_and(|token| token.expose().chars().any(|letter| !letter.is_ascii_graphic())) {
            return Err(Failure::Usage("a token is letters, digits and signs, without blanks".into()));
        }
        Ok(token.map(|token| Secret::new(&format!("Bearer {}", token.expose()))))
    }
}
