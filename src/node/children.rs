//! The actors that a node has, as its guardian keeps them: each can be built again and again from what it was given.

use actix::prelude::*;

use crate::actors::{ActorKind, Addresses, Child, Downloader, HISTORY_PERMITS, Recording, Sentinel, StreamWorker};
use crate::config::{ChannelConfig, TitlePrefix};
use crate::ingest::{AdRules, SourceDeps, source_of};
use crate::model::Quality;

/// An actor of which a node has one, on an arbiter of its own.
pub(super) fn alone<A, P>(
    kind: ActorKind,
    arbiter: &str,
    published: &Addresses<(), A>,
    parts: P,
    build: fn(P, Sentinel) -> A,
) -> Child
where
    A: Actor<Context = Context<A>>,
    P: Clone + Send + 'static,
{
    let published = published.clone();
    let factory = move |arbiter: &ArbiterHandle, sentinel: Sentinel| {
        let parts = parts.clone();
        published.publish((), A::start_in_arbiter(arbiter, move |_| build(parts, sentinel)));
    };
    Child { kind, name: String::new(), arbiter: arbiter.to_owned(), factory: Box::new(factory) }
}

/// A channel's downloader and the workers of its qualities, on an arbiter of their own.
pub(super) fn recorders(recording: &Recording, deps: &SourceDeps, channel: &ChannelConfig) -> Vec<Child> {
    let bears = source_of(channel, deps).max_concurrent().saturating_sub(HISTORY_PERMITS).max(1);
    let recording = Recording { segment_permits: recording.segment_permits.min(bears), ..recording.clone() };
    let mut children = vec![downloader(&recording, deps, channel)];
    children.extend(channel.qualities.iter().map(|quality| stream_worker(&recording, channel, quality)));
    children
}

fn downloader(recording: &Recording, deps: &SourceDeps, config: &ChannelConfig) -> Child {
    let (directory, deps, config) = (recording.directory.clone(), deps.clone(), config.clone());
    let (channel, name) = (config.name.clone(), config.name.to_string());
    let factory = move |arbiter: &ArbiterHandle, sentinel: Sentinel| {
        let built = {
            let (config, deps) = (config.clone(), deps.clone());
            move |_: &mut Context<Downloader>| {
                let source = source_of(&config, &deps);
                Downloader::new(config.name, config.qualities, source, config.important, deps.log, sentinel)
            }
        };
        directory.downloaders.publish(channel.clone(), Downloader::start_in_arbiter(arbiter, built));
    };
    Child { kind: ActorKind::Downloader, arbiter: format!("record {name}"), name, factory: Box::new(factory) }
}

fn stream_worker(recording: &Recording, config: &ChannelConfig, quality: &Quality) -> Child {
    let (recording, channel, quality) = (recording.clone(), config.name.clone(), quality.clone());
    let ads = AdRules::new(config.advertisement_titles.iter().map(TitlePrefix::as_str));
    let (name, arbiter) = (format!("{channel} {quality}"), format!("record {channel}"));
    let factory = move |arbiter: &ArbiterHandle, sentinel: Sentinel| {
        let key = (channel.clone(), quality.clone());
        let (recording, channel, quality, ads) = (recording.clone(), channel.clone(), quality.clone(), ads.clone());
        let directory = recording.directory.clone();
        let built = move |_: &mut Context<StreamWorker>| StreamWorker::new(recording, channel, quality, ads, sentinel);
        directory.workers.publish(key, StreamWorker::start_in_arbiter(arbiter, built));
    };
    Child { kind: ActorKind::StreamWorker, name, arbiter, factory: Box::new(factory) }
}
