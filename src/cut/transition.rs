//! How one range gives way to the next.
//!
//! Promises: a transition has a name from the table and a length within bounds; ffmpeg sees nothing else of what was asked.

use std::fmt;
use std::str::FromStr;

/// A kind of transition.
#[derive(Debug, PartialEq, Eq)]
pub struct TransitionKind {
    pub name: &'static str,
    /// For a menu, in a line.
    pub description: &'static str,
    pub(super) drawn: Drawn,
}

/// Who knows how to draw it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Drawn {
    /// ffmpeg's filter xfade, under the same name.
    ByXfade,
    /// xfade too, by an expression of ours for each value of each pixel: A and B are the old and the new one, P falls from 1
    /// to 0. No `st()`: threads that draw one picture share what it stores.
    ByExpression(&'static str),
}

const fn xfade(name: &'static str, description: &'static str) -> TransitionKind {
    TransitionKind { name, description, drawn: Drawn::ByXfade }
}

const fn own(name: &'static str, description: &'static str, expression: &'static str) -> TransitionKind {
    TransitionKind { name, description, drawn: Drawn::ByExpression(expression) }
}

/// All kinds: those of xfade that ffmpeg has had since 5.0, then our own.
pub const TRANSITIONS: [TransitionKind; 50] = [
    xfade("fade", "the old picture fades into the new one"),
    xfade("fadefast", "a fade that hurries where the pictures differ much"),
    xfade("fadeslow", "a fade that lingers where the pictures differ much"),
    xfade("fadeblack", "the old picture fades to black, and from black to the new one"),
    xfade("fadewhite", "the old picture fades to white, and from white to the new one"),
    xfade("fadegrays", "the old picture loses its colours, and the new one gains its own"),
    xfade("distance", "a fade that begins where the pictures are most alike"),
    xfade("dissolve", "the old picture gives way pixel by pixel, at random"),
    xfade("pixelize", "the picture goes coarse, changes, and goes fine again"),
    xfade("hblur", "the picture blurs sideways, changes, and gets sharp again"),
    xfade("wipeleft", "an upright edge moves to the left, the new picture behind it"),
    xfade("wiperight", "an upright edge moves to the right, the new picture behind it"),
    xfade("wipeup", "a level edge moves up, the new picture behind it"),
    xfade("wipedown", "a level edge moves down, the new picture behind it"),
    xfade("wipetl", "the old picture shrinks into the top left corner"),
    xfade("wipetr", "the old picture shrinks into the top right corner"),
    xfade("wipebl", "the old picture shrinks into the bottom left corner"),
    xfade("wipebr", "the old picture shrinks into the bottom right corner"),
    xfade("slideleft", "the new picture pushes the old one out to the left"),
    xfade("slideright", "the new picture pushes the old one out to the right"),
    xfade("slideup", "the new picture pushes the old one out at the top"),
    xfade("slidedown", "the new picture pushes the old one out at the bottom"),
    xfade("smoothleft", "a soft upright edge moves to the left"),
    xfade("smoothright", "a soft upright edge moves to the right"),
    xfade("smoothup", "a soft level edge moves up"),
    xfade("smoothdown", "a soft level edge moves down"),
    xfade("circlecrop", "a circle closes over the old picture, and opens on the new one"),
    xfade("rectcrop", "a rectangle closes over the old picture, and opens on the new one"),
    xfade("circleopen", "a soft circle opens from the middle on the new picture"),
    xfade("circleclose", "a soft circle closes to the middle on the old picture"),
    xfade("vertopen", "two soft upright edges part from the middle"),
    xfade("vertclose", "two soft upright edges meet in the middle"),
    xfade("horzopen", "two soft level edges part from the middle"),
    xfade("horzclose", "two soft level edges meet in the middle"),
    xfade("radial", "a soft hand turns about the middle"),
    xfade("diagtl", "a soft slanting edge moves to the top left corner"),
    xfade("diagtr", "a soft slanting edge moves to the top right corner"),
    xfade("diagbl", "a soft slanting edge moves to the bottom left corner"),
    xfade("diagbr", "a soft slanting edge moves to the bottom right corner"),
    xfade("hlslice", "upright strips turn over one by one, from the right to the left"),
    xfade("hrslice", "upright strips turn over one by one, from the left to the right"),
    xfade("vuslice", "level strips turn over one by one, from the bottom to the top"),
    xfade("vdslice", "level strips turn over one by one, from the top to the bottom"),
    xfade("squeezeh", "the old picture is squeezed to a level line"),
    xfade("squeezev", "the old picture is squeezed to an upright line"),
    xfade("zoomin", "the old picture comes nearer, and the new one shows through"),
    // The angle of a pixel, clockwise from the top.
    own(
        "clockwipe",
        "a hand goes once around the middle, clockwise from the top",
        "if(lt(mod(atan2(X-W/2,H/2-Y)+2*PI,2*PI),2*PI*(1-P)),B,A)",
    ),
    // The edge of a star of five points between a tip and the next notch is a straight line, at 72 degrees to the ray to the
    // tip where it meets that: r × 3.236 × cos(t - 72°), for t the angle from the nearest tip, is constant along it. The notches
    // lie at 0.382 of the tips' radius, and have to reach the corners of the picture: 1.31 of its diagonal.
    own(
        "starwipe",
        "a star of five points grows out of the middle",
        "if(lt(hypot(X-W/2,Y-H/2)*3.236*cos(abs(mod(atan2(X-W/2,H/2-Y)+2.2*PI,0.4*PI)-0.2*PI)-0.4*PI),1.31*hypot(W,H)*(1-P)),B,A)",
    ),
    own("diamond", "a diamond grows out of the middle", "if(lt(abs(X-W/2)/W+abs(Y-H/2)/H,1.01*(1-P)),B,A)"),
    own("blinds", "ten slats open downwards, the new picture behind them", "if(lt(mod(Y,H/10),H/10*(1-P)),B,A)"),
];

/// Shorter than a frame, there would be nothing to see.
const SHORTEST_MICROS: i64 = 20_000;
const LONGEST_MICROS: i64 = 60_000_000;

/// A kind of transition and how long it takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Transition {
    kind: &'static TransitionKind,
    micros: i64,
}

impl Transition {
    pub fn kind(self) -> &'static TransitionKind {
        self.kind
    }

    pub fn micros(self) -> i64 {
        self.micros
    }

    /// `1.5`, exactly.
    pub(super) fn seconds(self) -> String {
        let text = format!("{}.{:06}", self.micros / 1_000_000, self.micros % 1_000_000);
        text.trim_end_matches('0').trim_end_matches('.').to_owned()
    }
}

/// Why a text is no transition.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadTransition {
    #[error("write a transition as TYPE,SECONDS, or leave it empty for a hard cut")]
    Form,
    #[error("there is no transition {name:?}; there are {}", names())]
    Unknown { name: String },
    #[error("a transition takes 0.02 to 60 seconds")]
    Length,
}

fn names() -> String {
    TRANSITIONS.iter().map(|kind| kind.name).collect::<Vec<_>>().join(", ")
}

impl FromStr for Transition {
    type Err = BadTransition;

    fn from_str(text: &str) -> Result<Self, BadTransition> {
        let (name, seconds) = text.split_once(',').ok_or(BadTransition::Form)?;
        let kind = TRANSITIONS.iter().position(|kind| kind.name == name);
        let kind = kind.ok_or_else(|| BadTransition::Unknown { name: name.chars().take(32).collect() })?;
        let micros = seconds_as_micros(seconds).ok_or(BadTransition::Form)?;
        if !(SHORTEST_MICROS..=LONGEST_MICROS).contains(&micros) {
            return Err(BadTransition::Length);
        }
        // Of a constant, an element lives as long as the program only where it is behind a static reference.
        const TABLE: &[TransitionKind] = &TRANSITIONS;
        Ok(Self { kind: &TABLE[kind], micros })
    }
}

/// Plain digits with or without a fraction; digits after the sixth are dropped.
fn seconds_as_micros(text: &str) -> Option<i64> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
    let all_digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if !all_digits(whole) || !all_digits(fraction) || whole.len() > 9 {
        return None;
    }
    let fraction: i64 = format!("{fraction:0<6}")[..6].parse().ok()?;
    Some(whole.parse::<i64>().ok()? * 1_000_000 + fraction)
}

/// What lies between two ranges: a transition, or a hard cut, which is written as nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Joint(pub Option<Transition>);

impl FromStr for Joint {
    type Err = BadTransition;

    fn from_str(text: &str) -> Result<Self, BadTransition> {
        if text.is_empty() { Ok(Self(None)) } else { text.parse().map(|transition| Self(Some(transition))) }
    }
}

impl fmt::Display for Joint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(transition) => write!(f, "{},{}", transition.kind.name, transition.seconds()),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn a_transition_is_read_exactly_and_written_back() {
        for (text, micros) in [("fade,1", 1_000_000), ("clockwipe,0.5", 500_000), ("diagtl,59.9999999", 59_999_999)] {
            let transition: Transition = text.parse().unwrap();
            assert_eq!(transition.micros(), micros);
            assert!(text.starts_with(transition.kind().name));
        }
        for text in ["", "fade,1", "radial,0.25"] {
            assert_eq!(text.parse::<Joint>().unwrap().to_string(), text);
        }
        for (bad, refused) in [
            ("fade", BadTransition::Form),
            ("fade,", BadTransition::Form),
            ("fade,-1", BadTransition::Form),
            ("fade,1e3", BadTransition::Form),
            ("fade,1.2.3", BadTransition::Form),
            ("fade,0", BadTransition::Length),
            ("fade,61", BadTransition::Length),
            ("custom,1", BadTransition::Unknown { name: "custom".into() }),
            ("fade:expr=x,1", BadTransition::Unknown { name: "fade:expr=x".into() }),
        ] {
            assert_eq!(bad.parse::<Joint>(), Err(refused), "{bad}");
        }
    }

    #[test]
    fn names_are_there_once_and_described_in_a_line() {
        let names: BTreeSet<&str> = TRANSITIONS.iter().map(|kind| kind.name).collect();
        assert_eq!(names.len(), TRANSITIONS.len());
        assert!(TRANSITIONS.iter().all(|kind| !kind.description.is_empty() && !kind.description.contains('\n')));
    }
}
