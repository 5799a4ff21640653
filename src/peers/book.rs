//! Where the names of peers come from, beside the configuration: a file and DNS. What each said last is kept on disk, for
//! when it says nothing.
//!
//! Promises: a source that fails keeps its last answer, also over a restart. Blocks on the disk and on the resolver.

use std::io;
use std::net::{IpAddr, ToSocketAddrs};
use std::path::{Path, PathBuf};

use crate::model::PeerUrl;
use crate::store::{self, Layout, StoreError};

/// More is no list of nodes.
const MAX_FILE_BYTES: usize = 1 << 20;

/// What else than the configuration says who the peers are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PeerSource {
    /// An address on each line; what follows a `#` is for people.
    File(PathBuf),
    /// Every address that the host's name has is a peer's: a headless service of Kubernetes.
    Dns(PeerUrl),
}

/// Why a source does not say.
#[derive(Debug, thiserror::Error)]
pub enum BookError {
    #[error("cannot read the list of peers {}", path.display())]
    File { path: PathBuf, source: io::Error },
    #[error("line {line} of {} is no address of a node", path.display())]
    Line { path: PathBuf, line: usize },
    #[error("cannot resolve {service}")]
    Dns { service: PeerUrl, source: io::Error },
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl PeerSource {
    /// Under which its last answer is kept.
    fn label(&self) -> &'static str {
        match self {
            Self::File(_) => "file",
            Self::Dns(_) => "dns",
        }
    }

    /// Who the peers are now. An answer that is news is kept.
    pub fn ask(&self, layout: &Layout) -> Result<Vec<PeerUrl>, BookError> {
        let peers = match self {
            Self::File(path) => read_file(path)?,
            Self::Dns(service) => resolve(service)?,
        };
        if self.last(layout) != peers {
            let lines: String = peers.iter().map(|peer| format!("{peer}\n")).collect();
            store::write_peers(layout, self.label(), &lines)?;
        }
        Ok(peers)
    }

    /// Who they were when it last said; none if it never did.
    pub fn last(&self, layout: &Layout) -> Vec<PeerUrl> {
        let text = store::read_peers(layout, self.label()).unwrap_or_default();
        text.lines().filter_map(|line| line.parse().ok()).collect()
    }
}

fn read_file(path: &Path) -> Result<Vec<PeerUrl>, BookError> {
    let failed = |source| BookError::File { path: path.to_owned(), source };
    let text = std::fs::read_to_string(path).map_err(failed)?;
    if text.len() > MAX_FILE_BYTES {
        return Err(failed(io::Error::other("it is too long")));
    }
    let lines = text.lines().enumerate().map(|(at, line)| (at + 1, line.split('#').next().unwrap_or_default().trim()));
    let parse = |(line, text): (usize, &str)| text.parse().map_err(|_| BookError::Line { path: path.to_owned(), line });
    lines.filter(|(_, text)| !text.is_empty()).map(parse).collect()
}

fn resolve(service: &PeerUrl) -> Result<Vec<PeerUrl>, BookError> {
    let failed = |source| BookError::Dns { service: service.clone(), source };
    let found = (service.host(), service.port()).to_socket_addrs().map_err(failed)?;
    let mut addresses: Vec<IpAddr> = found.map(|address| address.ip()).collect();
    addresses.sort_unstable();
    addresses.dedup();
    Ok(addresses.into_iter().filter_map(|address| service.at(address)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(peers: &[PeerUrl]) -> Vec<String> {
        peers.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_file_that_fails_keeps_its_last_answer() {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::new(dir.path());
        std::fs::create_dir_all(layout.own_dir()).unwrap();
        let path = dir.path().join("peers");
        let source = PeerSource::File(path.clone());
        assert!(matches!(source.ask(&layout), Err(BookError::File { .. })));
        assert!(source.last(&layout).is_empty());
        std::fs::write(&path, "# ours\nhttp://beta:8000/ # in the cellar\n\nhttp://gamma\n").unwrap();
        let expected = ["http://beta:8000", "http://gamma"];
        assert_eq!(texts(&source.ask(&layout).unwrap()), expected);
        std::fs::write(&path, "http://beta:8000\nfile:///etc/passwd\n").unwrap();
        assert!(matches!(source.ask(&layout), Err(BookError::Line { line: 2, .. })));
        assert_eq!(texts(&source.last(&layout)), expected);
    }

    #[test]
    fn a_name_stands_for_all_its_addresses() {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::new(dir.path());
        std::fs::create_dir_all(layout.own_dir()).unwrap();
        let found = PeerSource::Dns("http://localhost:8000".parse().unwrap()).ask(&layout).unwrap();
        assert!(texts(&found).contains(&"http://127.0.0.1:8000".to_owned()), "{found:?}");
        let nowhere = PeerSource::Dns("http://nowhere.invalid:8000".parse().unwrap());
        assert!(matches!(nowhere.ask(&layout), Err(BookError::Dns { .. })));
        assert_eq!(nowhere.last(&layout), found, "the last answer of DNS, whatever the name was");
    }
}
