//! What goes wrong, and for how long: the faults of a fake source, as plain data.
//!
//! Promises: a bounded fault spoils exactly as many answers as it says, then is gone.
//! Never: answers a request (that is `source`).

use std::time::Duration;

use crate::model::Quality;

/// What a path leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PathKind {
    Master,
    Media,
    Segment,
    Map,
}

/// How a body that is cut short had announced itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    /// With the Content-Length of the whole.
    Length,
    /// In chunks, the last of which never comes.
    Chunked,
}

/// One way to answer wrongly. The last three change only media playlists, and spoil no other answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// This status with a short text; what is no status of HTTP becomes 500.
    Status(u16),
    /// 200 with an HTML page, as captive portals and error pages do.
    Html,
    /// The connection closes after so many bytes of the body. A shorter body is sent whole.
    Truncated { after_bytes: usize, framing: Framing },
    /// After so many bytes of the body nothing more comes, and the connection stays open. A shorter body is sent whole.
    Stalled { after_bytes: usize },
    /// The answer begins this much later.
    Delayed(Duration),
    /// The connection closes without an answer.
    Dropped,
    /// The playlist has no PROGRAM-DATE-TIME.
    WithoutDateTimes,
    /// The playlist is as it was this many segments ago, as from a stale edge server.
    Stale { segments: usize },
    /// The playlist says ENDLIST, though the stream goes on.
    FalseEnd,
}

/// How long a rule stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lasts {
    /// For this many answers that it spoils.
    Requests(u32),
    UntilCleared,
}

/// Which answers are spoilt, how, and for how long. `None` means all of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    pub kind: Option<PathKind>,
    /// Never matches the master playlist when set.
    pub quality: Option<Quality>,
    /// Matches only the segment with this number when set.
    pub media_sequence: Option<u64>,
    pub fault: Fault,
    pub lasts: Lasts,
}

impl Rule {
    /// Every answer of one kind, until cleared.
    pub fn on(kind: PathKind, fault: Fault) -> Self {
        Self { kind: Some(kind), quality: None, media_sequence: None, fault, lasts: Lasts::UntilCleared }
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

    fn matches(&self, target: &Target<'_>) -> bool {
        let for_playlists = match self.fault {
            Fault::WithoutDateTimes | Fault::Stale { .. } | Fault::FalseEnd => true,
            Fault::Status(_)
            | Fault::Html
            | Fault::Truncated { .. }
            | Fault::Stalled { .. }
            | Fault::Delayed(_)
            | Fault::Dropped => false,
        };
        (!for_playlists || target.kind == PathKind::Media)
            && self.kind.is_none_or(|kind| kind == target.kind)
            && self.quality.as_ref().is_none_or(|quality| target.quality == Some(quality))
            && self.media_sequence.is_none_or(|sequence| target.media_sequence == Some(sequence))
    }
}

/// What a request asks for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Target<'a> {
    pub kind: PathKind,
    pub quality: Option<&'a Quality>,
    pub media_sequence: Option<u64>,
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
}

impl Script {
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

    /// What befalls this request; counts it against the rules that apply.
    pub(super) fn take(&mut self, target: &Target<'_>) -> Plan {
        let mut plan = Plan::default();
        for (_, rule) in self.rules.iter_mut().filter(|(_, rule)| rule.matches(target)) {
            plan.add(&rule.fault);
            if let Lasts::Requests(left) = &mut rule.lasts {
                *left = left.saturating_sub(1);
            }
        }
        self.rules.retain(|(_, rule)| rule.lasts != Lasts::Requests(0));
        plan
    }
}

/// All that goes wrong with one answer.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Plan {
    pub delay: Duration,
    /// Instead of the true answer.
    pub instead: Option<Instead>,
    pub cut: Option<Cut>,
    pub without_date_times: bool,
    pub stale_segments: usize,
    pub false_end: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Instead {
    Status(u16),
    Html,
    Nothing,
}

/// Where a body stops.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cut {
    Truncated { after_bytes: usize, framing: Framing },
    Stalled { after_bytes: usize },
}

impl Plan {
    fn add(&mut self, fault: &Fault) {
        match *fault {
            Fault::Status(status) => self.put_instead(Instead::Status(status)),
            Fault::Html => self.put_instead(Instead::Html),
            Fault::Dropped => self.put_instead(Instead::Nothing),
            Fault::Truncated { after_bytes, framing } => self.put_cut(Cut::Truncated { after_bytes, framing }),
            Fault::Stalled { after_bytes } => self.put_cut(Cut::Stalled { after_bytes }),
            Fault::Delayed(delay) => self.delay += delay,
            Fault::WithoutDateTimes => self.without_date_times = true,
            Fault::Stale { segments } => self.stale_segments = self.stale_segments.max(segments),
            Fault::FalseEnd => self.false_end = true,
        }
    }

    fn put_instead(&mut self, instead: Instead) {
        self.instead.get_or_insert(instead);
    }

    fn put_cut(&mut self, cut: Cut) {
        self.cut.get_or_insert(cut);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(kind: PathKind) -> Target<'static> {
        Target { kind, quality: None, media_sequence: None }
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
            let target = Target { kind: PathKind::Segment, quality: Some(quality), media_sequence: Some(sequence) };
            script.take(&target).instead.is_some()
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
}
