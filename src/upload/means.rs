//! What destinations need of their node, and share with those of other arbiters.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::QuotaBook;
use super::youtube::Quota;
use crate::blocking::Blocking;
use crate::clock::Clock;
use crate::config::{ByteSize, DestinationConfig, UploadConfig};
use crate::metrics::Metrics;
use crate::model::UploadLocation;
use crate::throttle::Throttle;

/// Cheap to clone; clones share the bounds of each location.
#[derive(Clone)]
pub struct Means {
    pub(super) blocking: Blocking,
    pub(super) clock: Clock,
    pub(super) metrics: Metrics,
    /// Where there is one.
    pub(super) quota_book: Option<Arc<dyn QuotaBook>>,
    bounds: Arc<BTreeMap<UploadLocation, Bounds>>,
}

/// What all uploads to a location share, from all arbiters.
#[derive(Debug, Clone, Default)]
pub(super) struct Bounds {
    pub throttle: Throttle,
    /// Of those that have one.
    pub quota: Option<Quota>,
}

impl Means {
    /// One for each node, with all of its locations.
    pub fn new(uploads: &[UploadConfig], blocking: Blocking, clock: Clock, metrics: Metrics) -> Self {
        let bounds = uploads.iter().map(|upload| (upload.location.clone(), Bounds::of(&upload.destination)));
        Self { blocking, clock, metrics, quota_book: None, bounds: Arc::new(bounds.collect()) }
    }

    /// The same, with what is spent of quotas written down here.
    pub fn noted_in(self, book: Arc<dyn QuotaBook>) -> Self {
        Self { quota_book: Some(book), ..self }
    }

    pub(super) fn bounds(&self, location: &UploadLocation) -> Bounds {
        self.bounds.get(location).cloned().unwrap_or_default()
    }
}

impl Bounds {
    fn of(destination: &DestinationConfig) -> Self {
        let paced = |rate: Option<ByteSize>| rate.map_or_else(Throttle::default, |rate| Throttle::new(rate.bytes()));
        match destination {
            DestinationConfig::Local(_) => Self::default(),
            DestinationConfig::S3(s3) => Self { throttle: paced(s3.bandwidth), quota: None },
            DestinationConfig::Youtube(youtube) => {
                let quota = Quota::new(youtube.uploads_per_day, youtube.units_per_day);
                Self { throttle: paced(youtube.bandwidth), quota: Some(quota) }
            }
        }
    }
}
