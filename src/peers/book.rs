//! Where the names of peers come from, beside the configuration: a file, DNS and the database. What each said last is kept
//! on disk, for when it says nothing.
//!
//! Promises: a source that fails keeps its last answer, also over a restart. Blocks on the disk and on the resolver.

use std::io;
use std::net::{IpAddr, ToSocketAddrs};
use std::path::{Path, PathBuf};

use super::srv::Resolver;
use crate::model::PeerUrl;
use crate::store::{self, Layout, StoreError};

/// More is no list of nodes.
const MAX_FILE_BYTES: usize = 1 << 20;

/// What else than the configuration says who the peers are.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum PeerSource {
    /// An address on each line; what follows a `#` is for people.
    File(PathBuf),
    /// Every address that the host's name has is a peer's: a headless service of Kubernetes. Of a service's name (RFC 2782)
    /// every host with its port is.
    Dns(PeerUrl),
    /// The table of nodes, which somebody else reads.
    Database,
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
}

impl PeerSource {
    /// Under which its last answer is kept.
    fn label(&self) -> &'static str {
        match self {
            Self::File(_) => "file",
            Self::Dns(_) => "dns",
            Self::Database => "database",
        }
    }

    /// Who the peers are now. `None` of the database, which says so by itself.
    pub fn ask(&self) -> Result<Option<Vec<PeerUrl>>, BookError> {
        match self {
            Self::File(path) => read_file(path).map(Some),
            Self::Dns(service) => resolve(service).map(Some),
            Self::Database => Ok(None),
        }
    }

    /// Keeps an answer, if it is news.
    pub fn keep(&self, layout: &Layout, peers: &[PeerUrl]) -> Result<(), StoreError> {
        if self.last(layout) == peers {
            return Ok(());
        }
        let lines: String = peers.iter().map(|peer| format!("{peer}\n")).collect();
        store::write_peers(layout, self.label(), &lines)
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
    if service.names_service() {
        let found = Resolver::of_this_machine().services(service.host()).map_err(failed)?;
        return Ok(found.into_iter().filter_map(|(host, port)| service.on(&host, port)).collect());
    }
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
        let ask = || source.ask().inspect(|peers| source.keep(&layout, peers.as_ref().unwrap()).unwrap());
        assert!(matches!(ask(), Err(BookError::File { .. })));
        assert!(source.last(&layout).is_empty());
        std::fs::write(&path, "# ours\nhttp://beta:8000/ # in the cellar\n\nhttp://gamma\n").unwrap();
        let expected = ["http://beta:8000", "http://gamma"];
        assert_eq!(texts(&ask().unwrap().unwrap()), expected);
        std::fs::write(&path, "http://beta:8000\nfile:///etc/passwd\n").unwrap();
        assert!(matches!(ask(), Err(BookError::Line { line: 2, .. })));
        assert_eq!(texts(&source.last(&layout)), expected);
    }

    #[test]
    fn a_name_stands_for_all_its_addresses() {
        let found = PeerSource::Dns("http://localhost:8000".parse().unwrap()).ask().unwrap().unwrap();
        assert!(texts(&found).contains(&"http://127.0.0.1:8000".to_owned()), "{found:?}");
        let nowhere = PeerSource::Dns("http://nowhere.invalid:8000".parse().unwrap());
        assert!(matches!(nowhere.ask(), Err(BookError::Dns { .. })));
    }
}
