//! The states of an event, and the steps between them (FORMATS §5).
//!
//! `UNEDITED → EDITED → CLAIMED → FINALIZING → TRANSCODING → DONE ⇄ MODIFIED`
//!
//! Promises: [`EventState::after`] is the only way from one state to another, and knows legal steps alone.

use std::fmt;
use std::str::FromStr;

/// Where an event is on its way to a published video.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum EventState {
    /// Nobody has said what to cut; or it was cancelled, or failed with an error for a person.
    Unedited,
    /// Ready to be cut.
    Edited,
    /// A node cuts and uploads it.
    Claimed,
    /// The upload is being made final: from here on the video may exist.
    Finalizing,
    /// Uploaded; the destination still works on it.
    Transcoding,
    /// Published.
    Done,
    /// Published, with changes that the destination does not have yet.
    Modified,
}

/// What moves an event on, or back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum EventStep {
    /// An editor says what to cut.
    Edit,
    /// An editor keeps what there is so far.
    Draft,
    /// An editor takes it back.
    Cancel,
    /// A node begins.
    Claim,
    /// A node gives it back, to be tried again.
    Retry,
    /// A node gives it up: a person is needed.
    Fail,
    /// The upload is about to be made final.
    Finalize,
    /// The destination has it, and still works on it.
    Transcode,
    /// The video is there.
    Finish,
    /// An editor changes what is said about a published video.
    Modify,
    /// The destination has those changes.
    Push,
    /// The video was published by hand.
    Link,
    /// An operator forgets what became of it, whatever that was.
    Reset,
}

/// A step that may not be taken from where the event is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{state} does not allow the step {step}")]
pub struct IllegalStep {
    pub state: EventState,
    pub step: EventStep,
}

/// Not a state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a state is UNEDITED, EDITED, CLAIMED, FINALIZING, TRANSCODING, DONE or MODIFIED")]
pub struct BadState;

impl EventState {
    pub const ALL: [Self; 7] =
        [Self::Unedited, Self::Edited, Self::Claimed, Self::Finalizing, Self::Transcoding, Self::Done, Self::Modified];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Unedited => "UNEDITED",
            Self::Edited => "EDITED",
            Self::Claimed => "CLAIMED",
            Self::Finalizing => "FINALIZING",
            Self::Transcoding => "TRANSCODING",
            Self::Done => "DONE",
            Self::Modified => "MODIFIED",
        }
    }

    /// The state after a step.
    pub fn after(self, step: EventStep) -> Result<Self, IllegalStep> {
        use EventState as S;
        use EventStep as T;
        match (self, step) {
            (S::Unedited | S::Edited | S::Claimed, T::Edit) => Ok(S::Edited),
            (S::Unedited | S::Edited | S::Claimed, T::Draft | T::Cancel) => Ok(S::Unedited),
            (S::Edited, T::Claim) => Ok(S::Claimed),
            (S::Claimed | S::Finalizing, T::Retry) => Ok(S::Edited),
            // An event that nobody may cut fails before anybody claims it.
            (S::Edited | S::Claimed | S::Finalizing, T::Fail) => Ok(S::Unedited),
            (S::Claimed, T::Finalize) => Ok(S::Finalizing),
            (S::Finalizing, T::Transcode) => Ok(S::Transcoding),
            (S::Finalizing | S::Transcoding, T::Finish) => Ok(S::Done),
            (S::Done | S::Modified, T::Modify) => Ok(S::Modified),
            (S::Modified, T::Push) => Ok(S::Done),
            (S::Unedited, T::Link) => Ok(S::Done),
            (_, T::Reset) => Ok(S::Unedited),
            (state, step) => Err(IllegalStep { state, step }),
        }
    }

    /// Whether a node works on it under a lease.
    pub const fn is_leased(self) -> bool {
        matches!(self, Self::Claimed | Self::Finalizing)
    }
}

impl EventStep {
    pub const ALL: [Self; 13] = [
        Self::Edit,
        Self::Draft,
        Self::Cancel,
        Self::Claim,
        Self::Retry,
        Self::Fail,
        Self::Finalize,
        Self::Transcode,
        Self::Finish,
        Self::Modify,
        Self::Push,
        Self::Link,
        Self::Reset,
    ];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Edit => "edit",
            Self::Draft => "draft",
            Self::Cancel => "cancel",
            Self::Claim => "claim",
            Self::Retry => "retry",
            Self::Fail => "fail",
            Self::Finalize => "finalize",
            Self::Transcode => "transcode",
            Self::Finish => "finish",
            Self::Modify => "modify",
            Self::Push => "push",
            Self::Link => "link",
            Self::Reset => "reset",
        }
    }
}

impl fmt::Display for EventState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Display for EventStep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for EventState {
    type Err = BadState;

    fn from_str(text: &str) -> Result<Self, BadState> {
        Self::ALL.into_iter().find(|state| state.as_str() == text).ok_or(BadState)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn states_survive_their_names() {
        for state in EventState::ALL {
            assert_eq!(state.as_str().parse(), Ok(state));
        }
        assert_eq!("edited".parse::<EventState>(), Err(BadState));
    }

    #[test]
    fn what_may_exist_at_a_destination_is_not_cancelled_unseen() {
        use EventState as S;
        for state in [S::Finalizing, S::Transcoding, S::Done, S::Modified] {
            for step in [EventStep::Cancel, EventStep::Edit, EventStep::Draft, EventStep::Claim, EventStep::Link] {
                assert_eq!(state.after(step), Err(IllegalStep { state, step }));
            }
        }
    }

    proptest! {
        /// Whatever is tried: only a node that claimed it publishes an event, unless a person says that it is published;
        /// and what is published stays so until a reset.
        #[test]
        fn nothing_is_published_without_a_claim_or_a_link(tried in prop::collection::vec(0..EventStep::ALL.len(), 0..60)) {
            let (mut state, mut claimed, mut linked, mut finalized) = (EventState::Unedited, false, false, false);
            for step in tried.into_iter().map(|at| EventStep::ALL[at]) {
                let before = state;
                let Ok(after) = state.after(step) else { continue };
                state = after;
                match step {
                    EventStep::Claim => claimed = true,
                    EventStep::Finalize => finalized = claimed,
                    EventStep::Link => linked = true,
                    EventStep::Reset | EventStep::Cancel | EventStep::Draft | EventStep::Edit | EventStep::Retry
                    | EventStep::Fail => (claimed, linked, finalized) = (false, false, false),
                    EventStep::Transcode | EventStep::Finish | EventStep::Modify | EventStep::Push => {}
                }
                if state >= EventState::Transcoding {
                    prop_assert!(finalized || linked, "{before} {step}");
                }
                if before >= EventState::Transcoding && state < before && step != EventStep::Push {
                    prop_assert_eq!(step, EventStep::Reset);
                }
                prop_assert!(!state.is_leased() || claimed);
            }
        }
    }
}
