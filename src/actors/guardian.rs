//! Keeps the node's actors alive: builds them from factories, rebuilds the ones that died, and watches that each beats.
//!
//! actix's own Supervisor does not bring back an actor whose handler panicked. So each actor holds a `Sentinel`; when
//! the actor is dropped, for whatever reason, the sentinel tells the guardian, which builds a new one after a backoff.
//! An actor that lives but does not beat hangs with its arbiter; it is built anew on a fresh one.
//!
//! Promises: one actor's death touches no other; restarts are counted, and ever slower while they repeat.

use std::collections::HashMap;
use std::time::Duration;

use actix::prelude::*;
use slog::{Logger, error, info, warn};
use tokio::time::Instant;

use crate::health::{Health, Pulse};
use crate::metrics::Metrics;
use crate::model::ActorState;

const FIRST_BACKOFF: Duration = Duration::from_millis(100);
const LONGEST_BACKOFF: Duration = Duration::from_secs(30);
/// An actor that lived this long has recovered: its next death begins at the first backoff again.
const RECOVERED_AFTER: Duration = Duration::from_secs(60);
const LOOK_EVERY: Duration = Duration::from_secs(5);
const BEAT_EVERY: Duration = Duration::from_secs(1);
/// An actor that did not beat for this long hangs. Long enough for a machine that is short of CPU.
const HANGS_AFTER: Duration = Duration::from_secs(30);

/// Each kind once, so that none can be left out of `ALL`.
macro_rules! kinds {
    ($($kind:ident = $label:literal,)*) => {
        /// What an actor is; the label of its metrics.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum ActorKind {
            $($kind,)*
        }

        impl ActorKind {
            pub const ALL: &'static [ActorKind] = &[$(Self::$kind,)*];

            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$kind => $label,)*
                }
            }
        }
    };
}

kinds! {
    Downloader = "downloader",
    StreamWorker = "stream_worker",
    HourCache = "hour_cache",
    LiveEdges = "live_edges",
    MediaBook = "media_book",
    Registrar = "registrar",
    Retention = "retention",
    PeerBook = "peer_book",
    BountyBoard = "bounty_board",
    StoredFeed = "stored_feed",
    BackfillPeer = "backfill_peer",
    BackfillExtras = "backfill_extras",
    Scrubber = "scrubber",
    CoverageChecker = "coverage_checker",
    Cutter = "cutter",
}

/// Builds an actor on an arbiter, gives it the sentinel, and publishes its address.
pub type Factory = Box<dyn Fn(&ArbiterHandle, Sentinel) + Send>;

/// An actor to be kept alive.
pub struct Child {
    pub kind: ActorKind,
    /// Which one of its kind: a channel, a channel and quality.
    pub name: String,
    /// Actors of one group share an arbiter, and delay each other; groups do not.
    pub arbiter: String,
    pub factory: Factory,
}

struct Kept {
    child: Child,
    pulse: Pulse,
    generation: u64,
    deaths_in_a_row: u32,
    built_at: Instant,
    alive: bool,
    restarts: u32,
    /// When it ended last, and whether by a panic; `None` of one that hung, as nobody saw its end.
    ended: Option<(Instant, Option<bool>)>,
}

/// Held by an actor for as long as it lives.
pub struct Sentinel {
    guardian: Recipient<Died>,
    place: usize,
    generation: u64,
    pulse: Pulse,
}

impl Sentinel {
    /// Beats for the actor from now on, for as long as its arbiter turns.
    pub fn keep_beating<A: Actor<Context = Context<A>>>(&self, ctx: &mut Context<A>) {
        let pulse = self.pulse.clone();
        pulse.beat();
        ctx.run_interval(BEAT_EVERY, move |_, _| pulse.beat());
    }
}

#[cfg(test)]
impl Sentinel {
    /// For an actor that is tested alone: nobody hears of its end.
    pub fn unguarded() -> Self {
        struct Nobody;
        impl Actor for Nobody {
            type Context = Context<Self>;
        }
        impl Handler<Died> for Nobody {
            type Result = ();
            fn handle(&mut self, _: Died, _: &mut Self::Context) {}
        }
        let pulse = Health::default().pulse("alone");
        Self { guardian: Nobody.start().recipient(), place: 0, generation: 0, pulse }
    }
}

impl Drop for Sentinel {
    fn drop(&mut self) {
        let panicked = std::thread::panicking();
        self.guardian.do_send(Died { place: self.place, generation: self.generation, panicked });
    }
}

#[derive(Message)]
#[rtype(result = "()")]
pub struct Died {
    place: usize,
    generation: u64,
    panicked: bool,
}

/// Asks for another actor to be kept alive. One of the same kind and name that is there already stays as it is.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Keep(pub Child);

/// Asks an actor to begin nothing new; answered when what it had begun has ended.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Drain;

/// Asks for an actor to be built anew; answered with all that are, as those that share its arbiter are too: KIND NAME. None
/// where there is no such actor.
#[derive(Message)]
#[rtype(result = "Vec<String>")]
pub struct Restart {
    pub kind: String,
    pub name: String,
}

/// Asks how all of them are.
#[derive(Message)]
#[rtype(result = "Vec<ActorState>")]
pub struct TellActors;

/// The root of the actor tree.
pub struct Guardian {
    log: Logger,
    metrics: Metrics,
    health: Health,
    arbiters: HashMap<String, Arbiter>,
    waiting: Vec<Child>,
    kept: Vec<Kept>,
    draining: bool,
}

impl Guardian {
    pub fn new(log: Logger, metrics: Metrics, health: Health, children: Vec<Child>) -> Self {
        metrics.preregister_actors(ActorKind::ALL.iter().map(|kind| kind.as_str()));
        Self { log, metrics, health, arbiters: HashMap::new(), waiting: children, kept: Vec::new(), draining: false }
    }

    fn take(&mut self, child: Child, ctx: &mut Context<Self>) {
        let pulse = self.health.pulse(format!("{} {}", child.kind.as_str(), child.name).trim_end());
        let kept = Kept {
            child,
            pulse,
            generation: 0,
            deaths_in_a_row: 0,
            built_at: Instant::now(),
            alive: false,
            restarts: 0,
            ended: None,
        };
        self.kept.push(kept);
        self.build(self.kept.len() - 1, ctx);
    }

    fn build(&mut self, place: usize, ctx: &mut Context<Self>) {
        let kept = &mut self.kept[place];
        kept.generation += 1;
        kept.built_at = Instant::now();
        kept.alive = true;
        kept.pulse.beat();
        let sentinel = Sentinel {
            guardian: ctx.address().recipient(),
            place,
            generation: kept.generation,
            pulse: kept.pulse.clone(),
        };
        let arbiter = self.arbiters.entry(kept.child.arbiter.clone()).or_insert_with(Arbiter::new);
        (kept.child.factory)(&arbiter.handle(), sentinel);
    }

    fn rebuild_later(&mut self, place: usize, panicked: Option<bool>, ctx: &mut Context<Self>) -> Duration {
        let kept = &mut self.kept[place];
        kept.alive = false;
        kept.restarts = kept.restarts.saturating_add(1);
        kept.ended = Some((Instant::now(), panicked));
        if kept.built_at.elapsed() >= RECOVERED_AFTER {
            kept.deaths_in_a_row = 0;
        }
        let backoff = backoff_after(kept.deaths_in_a_row);
        kept.deaths_in_a_row += 1;
        self.metrics.actor_restarted(kept.child.kind.as_str());
        ctx.run_later(backoff, move |this, ctx| {
            if !this.draining && !this.kept[place].alive {
                this.build(place, ctx);
            }
        });
        backoff
    }

    fn look(&mut self, ctx: &mut Context<Self>) {
        for place in 0..self.kept.len() {
            let kept = &self.kept[place];
            if !kept.alive || kept.pulse.silent_for() < HANGS_AFTER {
                continue;
            }
            let silent_s = kept.pulse.silent_for().as_secs();
            error!(self.log, "actor hangs, building it anew on another thread";
                "actor" => kept.child.kind.as_str(), "name" => &kept.child.name, "silent_s" => silent_s);
            // The old arbiter's thread may never come back: forget it, and let it end if it does.
            if let Some(stuck) = self.arbiters.remove(&kept.child.arbiter) {
                stuck.stop();
            }
            self.rebuild_later(place, None, ctx);
        }
        ctx.run_later(LOOK_EVERY, Self::look);
    }
}

fn backoff_after(deaths_in_a_row: u32) -> Duration {
    FIRST_BACKOFF.saturating_mul(1 << deaths_in_a_row.min(16)).min(LONGEST_BACKOFF)
}

impl Actor for Guardian {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        for child in std::mem::take(&mut self.waiting) {
            self.take(child, ctx);
        }
        let own = self.health.pulse("guardian");
        own.beat();
        ctx.run_interval(BEAT_EVERY, move |_, _| own.beat());
        ctx.run_later(LOOK_EVERY, Self::look);
    }
}

impl Handler<Died> for Guardian {
    type Result = ();

    fn handle(&mut self, died: Died, ctx: &mut Self::Context) {
        let kept = &self.kept[died.place];
        // A hanging actor that was replaced may die later; that is no news.
        if self.draining || died.generation != kept.generation || !kept.alive {
            return;
        }
        let (kind, name) = (kept.child.kind.as_str(), kept.child.name.clone());
        let backoff = self.rebuild_later(died.place, Some(died.panicked), ctx);
        let backoff_ms = backoff.as_millis() as u64;
        if died.panicked {
            error!(self.log, "actor panicked, building it anew"; "actor" => kind, "name" => name, "backoff_ms" => backoff_ms);
        } else {
            warn!(self.log, "actor ended, building it anew"; "actor" => kind, "name" => name, "backoff_ms" => backoff_ms);
        }
    }
}

impl Handler<Keep> for Guardian {
    type Result = ();

    fn handle(&mut self, Keep(child): Keep, ctx: &mut Self::Context) {
        let is_there = |kept: &Kept| kept.child.kind == child.kind && kept.child.name == child.name;
        if !self.draining && !self.kept.iter().any(is_there) {
            self.take(child, ctx);
        }
    }
}

impl Handler<TellActors> for Guardian {
    type Result = MessageResult<TellActors>;

    fn handle(&mut self, _: TellActors, _: &mut Self::Context) -> Self::Result {
        let state = |kept: &Kept| ActorState {
            kind: kept.child.kind.as_str().to_owned(),
            name: kept.child.name.clone(),
            alive: kept.alive,
            silent_seconds: kept.pulse.silent_for().as_secs_f64(),
            restarts: kept.restarts,
            ended_seconds_ago: kept.ended.map(|(at, _)| at.elapsed().as_secs_f64()),
            panicked: kept.ended.and_then(|(_, panicked)| panicked),
        };
        MessageResult(self.kept.iter().map(state).collect())
    }
}

impl Handler<Restart> for Guardian {
    type Result = Vec<String>;

    fn handle(&mut self, wanted: Restart, _: &mut Self::Context) -> Self::Result {
        let is_wanted = |kept: &&Kept| kept.child.kind.as_str() == wanted.kind && kept.child.name == wanted.name;
        let Some(arbiter) = self.kept.iter().find(is_wanted).map(|kept| kept.child.arbiter.clone()) else {
            return Vec::new();
        };
        // With its arbiter an actor ends, in whatever state; each is built anew when its end is heard of.
        if let Some(arbiter) = self.arbiters.remove(&arbiter) {
            arbiter.stop();
        }
        let shared = self.kept.iter().filter(|kept| kept.alive && kept.child.arbiter == arbiter);
        shared.map(|kept| format!("{} {}", kept.child.kind.as_str(), kept.child.name)).collect()
    }
}

impl Handler<Drain> for Guardian {
    type Result = ();

    /// From here on nobody is rebuilt.
    fn handle(&mut self, _: Drain, _: &mut Self::Context) {
        self.draining = true;
        info!(self.log, "no actor is rebuilt from now on");
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;
    use crate::clock::Clock;
    use crate::log::DropCount;

    #[derive(Message)]
    #[rtype(result = "u64")]
    struct Which;

    #[derive(Message)]
    #[rtype(result = "()")]
    struct Panic;

    struct Mortal {
        number: u64,
        sentinel: Sentinel,
    }

    impl Actor for Mortal {
        type Context = Context<Self>;

        fn started(&mut self, ctx: &mut Self::Context) {
            self.sentinel.keep_beating(ctx);
        }
    }

    impl Handler<Which> for Mortal {
        type Result = u64;

        fn handle(&mut self, _: Which, _: &mut Self::Context) -> u64 {
            self.number
        }
    }

    impl Handler<Panic> for Mortal {
        type Result = ();

        fn handle(&mut self, _: Panic, _: &mut Self::Context) {
            panic!("on purpose");
        }
    }

    type Current = Arc<Mutex<Vec<Addr<Mortal>>>>;

    fn child(current: &Current, name: &str) -> Child {
        let current = Arc::clone(current);
        let factory = move |arbiter: &ArbiterHandle, sentinel| {
            let number = current.lock().unwrap().len() as u64;
            let address = Mortal::start_in_arbiter(arbiter, move |_| Mortal { number, sentinel });
            current.lock().unwrap().push(address);
        };
        Child { kind: ActorKind::HourCache, name: name.into(), arbiter: name.into(), factory: Box::new(factory) }
    }

    async fn newest(current: &Current, count: usize) -> Addr<Mortal> {
        for _ in 0..3000 {
            if let Some(address) = current.lock().unwrap().get(count - 1) {
                return address.clone();
            }
            actix_rt::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("actor number {count} was never built");
    }

    #[actix_rt::test]
    async fn an_actor_that_panicked_is_rebuilt_alone() {
        let (mortal, bystander) = (Current::default(), Current::default());
        let children = vec![child(&mortal, "mortal"), child(&bystander, "bystander")];
        let log = Logger::root(slog::Discard, slog::o!());
        let guardian =
            Guardian::new(log, Metrics::new(Clock::system(), DropCount::default()), Health::default(), children)
                .start();
        for life in 1..=3 {
            let address = newest(&mortal, life).await;
            assert_eq!(address.send(Which).await.unwrap(), life as u64 - 1);
            assert!(address.send(Panic).await.is_err());
        }
        let _last = newest(&mortal, 4).await;
        assert_eq!(bystander.lock().unwrap().len(), 1);
        assert_eq!(newest(&bystander, 1).await.send(Which).await.unwrap(), 0);
        let told = guardian.send(TellActors).await.unwrap();
        let of =
            |name: &str| told.iter().find(|actor| actor.name == name).map(|actor| (actor.restarts, actor.panicked));
        assert_eq!((of("mortal"), of("bystander")), (Some((3, Some(true))), Some((0, None))));
        let late = Current::default();
        for _ in 0..2 {
            guardian.send(Keep(child(&late, "late"))).await.unwrap();
        }
        assert!(newest(&late, 1).await.send(Panic).await.is_err());
        let _rebuilt = newest(&late, 2).await;
        guardian.send(Drain).await.unwrap();
        guardian.send(Keep(child(&late, "later"))).await.unwrap();
        assert_eq!(late.lock().unwrap().len(), 2);
        assert!(newest(&mortal, 4).await.send(Panic).await.is_err());
        actix_rt::time::sleep(Duration::from_millis(1200)).await;
        assert_eq!(mortal.lock().unwrap().len(), 4);
    }

    #[test]
    fn the_backoff_grows_to_its_bound() {
        assert_eq!(backoff_after(0), FIRST_BACKOFF);
        assert_eq!(backoff_after(3), FIRST_BACKOFF * 8);
        assert_eq!(backoff_after(60), LONGEST_BACKOFF);
    }
}
