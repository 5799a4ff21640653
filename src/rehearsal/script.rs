//! Which answers go wrong, and for how long: the rules of a fake source, as plain data.
//!
//! Promises: a bounded fault spoils exactly as many answers as it says, then is gone.
//! Never: answers a request (that is `answer`).

use std::time::Duration;

use sha2::{Digest as _, Sha256};

use super::fault::{Fault, PathKind, Spoils};
use super::plan::Plan;
use crate::model::Quality;

/// How long a rule stands, once its time has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lasts {
    /// For this many answers that it spoils.
    Requests(u32),
    UntilCleared,
}

/// A part of the programme, in time since it began: half-open, without an end where `until` is none.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct During {
    pub from: Duration,
    pub until: Option<Duration>,
}

impl During {
    pub fn holds(&self, at: Duration) -> bool {
        self.from <= at && self.until.is_none_or(|until| at < until)
    }
}

/// How many of a hundred requests, 1 to 100.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Percent(u8);

impl Percent {
    pub const ALL: Self = Self(100);

    /// `None` beyond 1 to 100.
    pub fn new(percent: u8) -> Option<Self> {
        (1..=100).contains(&percent).then_some(Self(percent))
    }

    pub fn get(self) -> u8 {
        self.0
    }
}

/// Which answers are spoilt, how, and for how long. `None` means all of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    pub kind: Option<PathKind>,
    /// Never matches the master playlist when set.
    pub quality: Option<Quality>,
    /// Matches only the segment with this number when set.
    pub media_sequence: Option<u64>,
    pub during: During,
    /// Which requests it is does not depend on their order: the nth one for a path meets the same fate in every run.
    pub share: Percent,
    pub fault: Fault,
    pub lasts: Lasts,
}

impl Rule {
    /// Every answer of one kind, until cleared.
    pub fn on(kind: PathKind, fault: Fault) -> Self {
        Self {
            kind: Some(kind),
            quality: None,
            media_sequence: None,
            during: During::default(),
            share: Percent::ALL,
            fault,
            lasts: Lasts::UntilCleared,
        }
    }

    /// 404 everywhere, until cleared; the stream goes on behind it.
    pub fn off_air() -> Self {
        Self { kind: None, ..Self::on(PathKind::Master, Fault::Status(404)) }
    }

    pub fn of_quality(self, quality: Quality) -> Self {
        Self { quality: Some(quality), ..self }
    }

    pub fn of_segment(self, media_sequence: u64) -> Self {
        Self { media_sequence: Some(media_sequence), ..self }
    }

    pub fn for_requests(self, count: u32) -> Self {
        Self { lasts: Lasts::Requests(count), ..self }
    }

    /// Whether it is about such a request, whenever it comes.
    pub(super) fn is_about(&self, kind: PathKind, quality: Option<&Quality>) -> bool {
        let can_be = match self.fault.spoils() {
            Spoils::Anything => true,
            Spoils::Playlists => matches!(kind, PathKind::Master | PathKind::Media),
            Spoils::MediaPlaylists => kind == PathKind::Media,
        };
        can_be
            && self.kind.is_none_or(|wanted| wanted == kind)
            && self.quality.as_ref().is_none_or(|wanted| quality == Some(wanted))
    }

    fn matches(&self, target: &Target<'_>) -> bool {
        self.is_about(target.kind, target.quality)
            && self.media_sequence.is_none_or(|sequence| target.media_sequence == Some(sequence))
            && self.during.holds(target.at)
            && self.strikes(target)
    }

    /// Faults that depend on what the request brings.
    fn strikes(&self, target: &Target<'_>) -> bool {
        if let Some(after) = self.fault.token_lifetime() {
            let is_fresh = |issued: Duration| target.at.saturating_sub(issued) < after;
            // The master playlist is where tokens come from.
            return target.kind != PathKind::Master && !target.token.is_some_and(is_fresh);
        }
        self.fault != Fault::Redirected || !target.redirected
    }
}

/// What a request asks for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Target<'a> {
    pub kind: PathKind,
    pub quality: Option<&'a Quality>,
    pub media_sequence: Option<u64>,
    pub path: &'a str,
    /// How many requests for this path have come before.
    pub nth: u64,
    /// When, since the programme began.
    pub at: Duration,
    /// When the token that its address holds was handed out.
    pub token: Option<Duration>,
    /// It has followed a redirection of ours.
    pub redirected: bool,
}

/// Names a rule, to take it back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RuleId(u64);

/// The rules that stand, oldest first. All that match a request apply to it together; where two say different
/// things, the older one wins.
#[derive(Debug, Clone, Default)]
pub struct Script {
    rules: Vec<(RuleId, Rule)>,
    next_id: u64,
    seed: u32,
}

impl Script {
    /// Nothing goes wrong yet. The seed decides which requests a share of them is.
    pub fn seeded(seed: u32) -> Self {
        Self { seed, ..Self::default() }
    }

    pub fn add(&mut self, rule: Rule) -> RuleId {
        let id = RuleId(self.next_id);
        self.next_id += 1;
        self.rules.push((id, rule));
        id
    }

    /// Does nothing where the rule has run out.
    pub fn remove(&mut self, id: RuleId) {
        self.rules.retain(|(other, _)| *other != id);
    }

    pub fn clear(&mut self) {
        self.rules.clear();
    }

    /// The rules that still stand.
    pub fn rules(&self) -> impl Iterator<Item = (RuleId, &Rule)> {
        self.rules.iter().map(|(id, rule)| (*id, rule))
    }

    /// Whether master playlists hand out tokens.
    pub(super) fn has_tokens(&self) -> bool {
        self.rules.iter().any(|(_, rule)| rule.fault.token_lifetime().is_some())
    }

    /// What befalls this request; counts it against the rules that apply.
    pub(super) fn take(&mut self, target: &Target<'_>) -> Plan {
        let (mut plan, seed) = (Plan::default(), self.seed);
        for (id, rule) in self.rules.iter_mut().filter(|(_, rule)| rule.matches(target)) {
            if !is_among(rule.share, seed, *id, target) {
                continue;
            }
            plan.add(&rule.fault, rule.during);
            if let Lasts::Requests(left) = &mut rule.lasts {
                *left = left.saturating_sub(1);
            }
        }
        self.rules.retain(|(_, rule)| rule.lasts != Lasts::Requests(0));
        plan
    }
}

/// Whether this request is one of the share: by a hash, so that it is the same one in every run.
fn is_among(share: Percent, seed: u32, rule: RuleId, target: &Target<'_>) -> bool {
    if share == Percent::ALL {
        return true;
    }
    let digest = Sha256::digest(format!("{seed} {} {} {}", rule.0, target.nth, target.path));
    let drawn = u32::from_be_bytes([digest[0], digest[1], digest[2], digest[3]]);
    drawn % 100 < u32::from(share.get())
}

#[cfg(test)]
mod tests {
    use super::super::plan::Instead;
    use super::*;

    fn target(kind: PathKind) -> Target<'static> {
        let (path, at) = ("/x", Duration::ZERO);
        Target { kind, quality: None, media_sequence: None, path, nth: 0, at, token: None, redirected: false }
    }

    fn media_at(seconds: u64) -> Target<'static> {
        Target { at: Duration::from_secs(seconds), ..target(PathKind::Media) }
    }

    #[test]
    fn a_bounded_rule_spoils_so_many_answers_and_is_gone() {
        let mut script = Script::default();
        script.add(Rule::on(PathKind::Media, Fault::Status(500)).for_requests(2));
        assert_eq!(script.take(&target(PathKind::Segment)), Plan::default());
        for _ in 0..2 {
            assert_eq!(script.take(&target(PathKind::Media)).instead, Some(Instead::Status(500)));
        }
        assert_eq!(script.take(&target(PathKind::Media)), Plan::default());
        assert_eq!(script.rules().count(), 0);
    }

    #[test]
    fn rules_apply_together_and_the_older_wins() {
        let mut script = Script::default();
        let html = script.add(Rule::on(PathKind::Media, Fault::Html));
        script.add(Rule::off_air());
        script.add(Rule::on(PathKind::Media, Fault::Delayed(Duration::from_secs(1))));
        let plan = script.take(&target(PathKind::Media));
        assert_eq!((plan.instead, plan.delay), (Some(Instead::Html), Duration::from_secs(1)));
        script.remove(html);
        assert_eq!(script.take(&target(PathKind::Media)).instead, Some(Instead::Status(404)));
        script.clear();
        assert_eq!(script.take(&target(PathKind::Media)), Plan::default());
    }

    #[test]
    fn a_rule_keeps_to_its_quality_and_its_segment() {
        let (source, low): (Quality, Quality) = ("source".parse().unwrap(), "low".parse().unwrap());
        let mut script = Script::default();
        script.add(Rule::on(PathKind::Segment, Fault::Dropped).of_quality(low.clone()).of_segment(7));
        let mut hit = |quality, sequence| {
            let (quality, media_sequence) = (Some(quality), Some(sequence));
            script.take(&Target { quality, media_sequence, ..target(PathKind::Segment) }).instead.is_some()
        };
        assert!(hit(&low, 7));
        assert!(!hit(&low, 8) && !hit(&source, 7));
    }

    #[test]
    fn a_fault_of_playlists_leaves_other_answers_alone_and_is_not_used_up_by_them() {
        let mut script = Script::default();
        script.add(Rule { kind: None, ..Rule::on(PathKind::Media, Fault::FalseEnd) }.for_requests(1));
        assert_eq!(script.take(&target(PathKind::Segment)), Plan::default());
        assert!(script.take(&target(PathKind::Media)).false_end);
    }

    #[test]
    fn a_rule_stands_in_its_time_alone() {
        let mut script = Script::default();
        let during = During { from: Duration::from_secs(5), until: Some(Duration::from_secs(7)) };
        script.add(Rule { during, ..Rule::on(PathKind::Media, Fault::Html) });
        let struck: Vec<u64> = (0..10).filter(|at| script.take(&media_at(*at)).instead.is_some()).collect();
        assert_eq!(struck, [5, 6]);
    }

    #[test]
    fn a_share_is_as_large_as_it_says_and_the_same_in_every_run() {
        let run = |seed| -> Vec<u64> {
            let mut script = Script::seeded(seed);
            script.add(Rule { share: Percent::new(20).unwrap(), ..Rule::on(PathKind::Media, Fault::Html) });
            let struck = |nth: &u64| script.take(&Target { nth: *nth, ..target(PathKind::Media) }).instead.is_some();
            (0..10_000).filter(struck).collect()
        };
        let struck = run(1);
        assert!((1_900..2_100).contains(&struck.len()), "{}", struck.len());
        assert_eq!(struck, run(1));
        assert_ne!(struck, run(2));
    }

    #[test]
    fn a_token_opens_until_it_is_old() {
        let mut script = Script::default();
        assert!(!script.has_tokens());
        let expires = Fault::TokenExpires { after: Duration::from_secs(10) };
        script.add(Rule { kind: None, ..Rule::on(PathKind::Media, expires) });
        assert!(script.has_tokens());
        let mut status = |kind, token: Option<u64>| {
            let token = token.map(Duration::from_secs);
            script.take(&Target { kind, token, ..media_at(12) }).instead
        };
        assert_eq!(status(PathKind::Media, Some(3)), None);
        for stale in [None, Some(2)] {
            assert_eq!(status(PathKind::Media, stale), Some(Instead::Status(403)));
        }
        assert_eq!(status(PathKind::Master, None), None);
    }

    #[test]
    fn a_redirection_leads_to_the_answer_and_a_loop_does_not() {
        let mut script = Script::default();
        let followed = Target { redirected: true, ..target(PathKind::Media) };
        let rule = script.add(Rule::on(PathKind::Media, Fault::Redirected));
        assert_eq!(script.take(&target(PathKind::Media)).instead, Some(Instead::Redirect));
        assert_eq!(script.take(&followed), Plan::default());
        script.remove(rule);
        script.add(Rule::on(PathKind::Media, Fault::RedirectLoop));
        assert_eq!(script.take(&followed).instead, Some(Instead::RedirectLoop));
    }
}
