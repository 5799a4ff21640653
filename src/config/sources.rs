//! Fetches what a configuration is made of: the file, the environment, the machine's own facts.
//!
//! Promises: a source that cannot be read is a fault that names it; a file larger than any configuration is refused.
//! Never: says what a key means.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::fault::{Fault, Origin};
use super::overrides::{self, ENV_PREFIX};
use super::reader::Effective;
use super::tree::{self, Table};
use super::values::Secret;

/// A thousand channels take a tenth of this.
const LARGEST_FILE_BYTES: u64 = 1 << 20;
/// libpq itself stops at 1 KiB of password in a service file; this is generous.
const LARGEST_SECRET_BYTES: u64 = 4096;

/// What the machine says of itself, for defaults and relative paths.
#[derive(Debug, Clone)]
pub(super) struct Machine {
    pub host_name: String,
    pub cores: u32,
    pub current_dir: PathBuf,
}

impl Machine {
    pub fn this() -> Self {
        Self {
            host_name: rustix::system::uname().nodename().to_string_lossy().into_owned(),
            cores: std::thread::available_parallelism().map_or(1, |cores| cores.get().try_into().unwrap_or(u32::MAX)),
            // A process whose directory was removed can still be told absolute paths.
            current_dir: std::env::current_dir().unwrap_or_else(|_| "/".into()),
        }
    }
}

/// The variables of this process that could be ours. A value that is not UTF-8 keeps its replacement characters, which
/// the overrides refuse.
pub fn environment() -> impl Iterator<Item = (String, String)> {
    std::env::vars_os().filter_map(|(name, value)| {
        let name = name.into_string().ok().filter(|name| name.starts_with(ENV_PREFIX))?;
        Some((name, value.to_string_lossy().into_owned()))
    })
}

/// All layers, laid over each other.
pub(super) struct Sources {
    pub root: Table,
    pub file_dir: PathBuf,
    /// What kept a layer from being read in full.
    faults: Vec<Fault>,
    /// Whether the file was understood in full, so that what is missing was not swallowed by a syntax fault.
    pub file_is_whole: bool,
    stray_names: Vec<String>,
}

impl Sources {
    pub fn gather(
        machine: &Machine,
        path: Option<&Path>,
        sets: &[String],
        environment: impl Iterator<Item = (String, String)>,
        sections: &[&str],
    ) -> Self {
        let mut faults = Vec::new();
        let (mut root, file_dir) = match path {
            Some(path) => (read_file(path, &mut faults), directory_of(&machine.current_dir.join(path))),
            None => (Table::new(), machine.current_dir.clone()),
        };
        let file_is_whole = faults.is_empty();
        let (from_environment, stray_names) = overrides::from_environment(environment, sections);
        overrides::lay(&mut root, from_environment, &mut faults);
        let from_sets = overrides::from_sets(sets, &mut faults);
        overrides::lay(&mut root, from_sets, &mut faults);
        Self { root, file_dir, faults, file_is_whole, stray_names }
    }

    /// Adds the reader's faults to those of the layers, and the variables that are a slip of a known key.
    pub fn all_faults(self, from_reader: Vec<Fault>, effective: &[Effective]) -> Vec<Fault> {
        let mut faults = self.faults;
        // What is half read at a syntax fault is not worth a second fault.
        let broken: Vec<(Arc<str>, usize)> = faults.iter().filter_map(|fault| line_of(&fault.at)).collect();
        faults.extend(
            from_reader.into_iter().filter(|fault| line_of(&fault.at).is_none_or(|line| !broken.contains(&line))),
        );
        faults.extend(self.stray_names.iter().filter_map(|name| slip(name, effective)));
        faults
    }
}

fn line_of(origin: &Origin) -> Option<(Arc<str>, usize)> {
    match origin {
        Origin::Line { file, line, .. } => Some((file.clone(), *line)),
        Origin::Default | Origin::File(_) | Origin::Env(_) | Origin::Set(_) => None,
    }
}

/// `SEGVAULT_NODE_DIR` has one underscore too few, and would otherwise be ignored without a word. Only exact slips are
/// faults: an orchestrator puts `SEGVAULT_SERVICE_HOST` and its like into the environment by itself.
fn slip(name: &str, effective: &[Effective]) -> Option<Fault> {
    let body = name.strip_prefix(ENV_PREFIX)?.to_lowercase();
    let meant = effective.iter().find(|one| format!("{}_{}", one.section.replace('.', "_"), one.key) == body)?;
    let meant = format!("{ENV_PREFIX}{}__{}", meant.section.replace('.', "__"), meant.key).to_uppercase();
    Some(Fault {
        at: Origin::Env(name.into()),
        key: String::new(),
        problem: format!("unknown; two underscores go between section and key: {meant}"),
    })
}

fn directory_of(file: &Path) -> PathBuf {
    file.parent().unwrap_or(file).to_owned()
}

pub(super) fn read_file(path: &Path, faults: &mut Vec<Fault>) -> Table {
    let name: Arc<str> = path.display().to_string().into();
    let mut fault = |problem| faults.push(Fault { at: Origin::File(name.clone()), key: String::new(), problem });
    let bytes = match read_bounded(path, LARGEST_FILE_BYTES) {
        Ok(bytes) => bytes,
        Err(err) => {
            fault(format!("cannot be read: {err}"));
            return Table::new();
        }
    };
    match String::from_utf8(bytes) {
        Ok(text) => {
            let (table, syntax) = tree::parse_file(&name, &text);
            faults.extend(syntax);
            table
        }
        Err(err) => {
            let before = &err.as_bytes()[..err.utf8_error().valid_up_to()];
            let line = before.iter().filter(|byte| **byte == b'\n').count() + 1;
            fault(format!("not UTF-8, in line {line}"));
            Table::new()
        }
    }
}

/// Reads the file's one line as a password or token, or says why not. Blocks.
pub fn read_secret(path: &Path) -> Result<Secret, String> {
    let failed = |why: String| format!("{} cannot be read: {why}", path.display());
    let bytes = read_bounded(path, LARGEST_SECRET_BYTES).map_err(|err| failed(err.to_string()))?;
    let text = String::from_utf8(bytes).map_err(|_| failed("not UTF-8".into()))?;
    let text = text.strip_suffix('\n').unwrap_or(&text);
    let text = text.strip_suffix('\r').unwrap_or(text);
    match text {
        "" => Err(format!("{} is empty", path.display())),
        text if text.chars().any(char::is_control) => Err(format!("{} holds more than one line", path.display())),
        text => Ok(Secret::new(text)),
    }
}

/// Reads a file that is a secret as a whole, or says why not. Blocks.
pub fn read_secret_text(path: &Path) -> Result<Secret, String> {
    let failed = |why: String| format!("{} cannot be read: {why}", path.display());
    let bytes = read_bounded(path, LARGEST_SECRET_BYTES).map_err(|err| failed(err.to_string()))?;
    String::from_utf8(bytes).map(|text| Secret::new(&text)).map_err(|_| failed("not UTF-8".into()))
}

fn read_bounded(path: &Path, largest_bytes: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(largest_bytes + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > largest_bytes {
        return Err(io::Error::other(format!("larger than {largest_bytes} bytes")));
    }
    Ok(bytes)
}
