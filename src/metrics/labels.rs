//! The values that labels may have, beyond names from the configuration.
//!
//! Promises: finite; a stranger's text cannot become a time series.

use std::time::Duration;

macro_rules! label {
    ($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident = $text:literal,)+ }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $name {
            $($(#[$variant_doc])* $variant,)+
        }

        impl $name {
            pub const ALL: &'static [$name] = &[$($name::$variant,)+];

            pub const fn as_str(self) -> &'static str {
                match self {
                    $($name::$variant => $text,)+
                }
            }
        }
    };
}

label!(
    /// Why a segment could not be fetched, this time.
    FetchReason {
        /// The server could not be reached.
        Connect = "connect",
        /// It did not answer, or stopped in the middle, for too long.
        Timeout = "timeout",
        /// It says that the segment is not there: 403, 404 or 410.
        Gone = "gone",
        /// It answered with another status than 200.
        Status = "status",
        /// The body ended before its announced end.
        CutShort = "cut_short",
        /// The body is no segment: empty, too large, or a page of text.
        Content = "content",
        /// The bytes came and could not be kept.
        Disk = "disk",
        Other = "other",
    }
);

label!(
    /// What looking at a segment for its encoding led to.
    LookOutcome {
        Known = "known",
        /// Its bytes are not media that we can read.
        Unreadable = "unreadable",
        /// The disk did not give them.
        Failed = "failed",
    }
);

label!(
    /// What became of a file that a peer has.
    CopyOutcome {
        Copied = "copied",
        /// It came from elsewhere meanwhile, or was hidden by a tombstone.
        NotNeeded = "not_needed",
        /// Another peer was giving it.
        UnderWay = "under_way",
        /// Another peer took it over, as this one is slow.
        Yielded = "yielded",
        /// The peer does not have it any more.
        Gone = "gone",
        /// What came are not the bytes of the name.
        WrongBytes = "wrong_bytes",
        /// It did not come, or not whole.
        Failed = "failed",
        /// It could not be written.
        Disk = "disk",
    }
);

label!(
    /// What has become of seconds that peers are asked for.
    BountyOutcome {
        Opened = "opened",
        /// Full segments show them by now, wherever those came from.
        Filled = "filled",
        /// They are no more asked for one by one; comparisons with peers go on.
        GivenUp = "given_up",
    }
);

label!(
    /// What is wrong with a stored file.
    Damage {
        /// It has other bytes than its name says.
        WrongBytes = "wrong_bytes",
        /// It has none, and should have some: so file systems leave what a power cut took.
        Empty = "empty",
        /// The disk does not give its bytes.
        Unreadable = "unreadable",
    }
);

label!(
    /// What asking for a media playlist led to.
    PollOutcome {
        /// It lists something new.
        Fresh = "fresh",
        Unchanged = "unchanged",
        /// It is older than one seen before.
        Stale = "stale",
        /// The source began anew.
        Reset = "reset",
        /// It says that the stream has ended.
        Ended = "ended",
        /// The answer is no playlist.
        Malformed = "malformed",
        /// No answer, or a refusal.
        Failed = "failed",
    }
);

label!(
    /// What is asked of a place for videos.
    UploadAct {
        Begin = "begin",
        Held = "held",
        Send = "send",
        Transcoding = "transcoding",
        Modify = "modify",
        Discard = "discard",
    }
);

label!(
    /// How that ended.
    UploadOutcome {
        Done = "done",
        /// The event was taken back meanwhile.
        Withdrawn = "withdrawn",
        /// It may have happened: what is there has to be asked.
        Unsure = "unsure",
        /// It may succeed later.
        Failed = "failed",
        /// A person is needed.
        Refused = "refused",
        /// Whoever waited for it has gone.
        Dropped = "dropped",
    }
);

label!(
    /// What became of an event that a node claimed.
    JobOutcome {
        Published = "published",
        /// It failed, and is tried again.
        Retried = "retried",
        /// It failed, and an editor is needed.
        GivenUp = "given_up",
        /// The node stopped, or the destination has nothing of it: it waits for the next node.
        GivenBack = "given_back",
        /// An editor took it back, or another node did.
        TakenAway = "taken_away",
        /// The destination cannot be asked from here what it has.
        InDoubt = "in_doubt",
    }
);

label!(
    /// Why a file was deleted.
    DeleteCause {
        /// It was older than the bound.
        Age = "age",
        /// Too little of the disk was free.
        Space = "space",
        /// It was in quarantine, and older than that's bound.
        Quarantine = "quarantine",
    }
);

label!(
    /// Of how long it is asked what is missing.
    CoverageWindow {
        Hour = "hour",
        Day = "day",
        All = "all",
    }
);

impl CoverageWindow {
    /// Back from now; `None` is as far as the record reaches.
    pub fn length(self) -> Option<Duration> {
        match self {
            Self::Hour => Some(Duration::from_secs(3600)),
            Self::Day => Some(Duration::from_secs(24 * 3600)),
            Self::All => None,
        }
    }
}
