//! Other TOML files of ours (scenarios of a rehearsal), read with the manners of the configuration.
//!
//! Promises: every fault is reported at once, with its line and key; a key that is not asked for is a fault.
//! Never: lays anything over the file: no environment, no `--set`.

use std::path::Path;

use super::fault::Faults;
use super::reader::Reader;
use super::sources::{self, Machine};
use super::tree::Table;

/// Reads the file, and has `read` walk over it. `read` answers `None` only where it has reported a fault.
pub(crate) fn read_document<T>(path: &Path, read: impl FnOnce(&mut Reader, &Table) -> Option<T>) -> Result<T, Faults> {
    let mut faults = Vec::new();
    let root = sources::read_file(path, &mut faults);
    let current_dir = Machine::this().current_dir;
    let mut reader = Reader {
        miss: faults.is_empty(),
        faults,
        effective: Vec::new(),
        file_dir: current_dir.join(path.parent().unwrap_or(path)),
        current_dir,
    };
    let value = read(&mut reader, &root);
    match (value, Faults::from_list(reader.faults)) {
        (Some(value), None) => Ok(value),
        (None, None) => unreachable!("a value is missing only where a fault says why"),
        (_, Some(faults)) => Err(faults),
    }
}
