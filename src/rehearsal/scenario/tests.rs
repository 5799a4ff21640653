use super::*;
use crate::model::LossCause;
use crate::rehearsal::{Change, During, Fault, Lasts, PathKind, Percent};

fn load(text: &str) -> Result<Scenario, String> {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), text).unwrap();
    Scenario::load(file.path()).map_err(|faults| faults.to_string())
}

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

#[test]
fn an_empty_file_is_a_good_day() {
    let day = load("").unwrap();
    assert_eq!((day.length, day.segment, day.window_segments, day.seed), (seconds(40), seconds(1), 15, 1));
    assert_eq!(day.qualities.iter().map(Quality::as_str).collect::<Vec<_>>(), ["source", "90p"]);
    assert!(day.rules.is_empty() && day.turns.is_empty() && day.expectations.is_empty());
}

#[test]
fn faults_of_answers_and_of_the_programme_are_told_apart() {
    let day = load(
        "[rehearsal]\nlength = \"30s\"\n\
         [[fault]]\nkind = \"truncate\"\non = \"segment\"\nquality = \"90p\"\nfrom = \"5s\"\nuntil = \"9s\"\n\
         share = \"20%\"\ncount = 3\nafter = 700\nframing = \"chunked\"\n\
         [[fault]]\nkind = \"clock-skew\"\nskew = \"-400ms\"\nfrom = \"2s\"\n\
         [[expect]]\ncause = \"source_down\"\nlost = \"3s\"\ntolerance = \"1s\"\n",
    )
    .unwrap();
    let rule = Rule {
        quality: Some("90p".parse().unwrap()),
        during: During { from: seconds(5), until: Some(seconds(9)) },
        share: Percent::new(20).unwrap(),
        lasts: Lasts::Requests(3),
        ..Rule::on(
            PathKind::Segment,
            Fault::Truncated { after_bytes: 700, framing: crate::rehearsal::Framing::Chunked },
        )
    };
    assert_eq!(day.rules, [rule]);
    assert_eq!(day.turns[0].change, Change::Skew { micros: -400_000 });
    assert_eq!(day.turns[0].during, During { from: seconds(2), until: None });
    let told = &day.expectations[0];
    assert_eq!((told.cause, told.lost, told.tolerance), (Cause::Of(LossCause::SourceDown), seconds(3), seconds(1)));
}

#[test]
fn every_fault_of_a_file_is_told_at_once_with_its_line() {
    let said = load(
        "[rehearsal]\nlenght = \"30s\"\n\
         [[fault]]\nkind = \"statsu\"\n\
         [[fault]]\nkind = \"html\"\nafter = 3\n\
         [[fault]]\nkind = \"no-dates\"\non = \"segment\"\n\
         [[fault]]\nkind = \"stall\"\nfrom = \"9s\"\nuntil = \"9s\"\nshare = \"0%\"\nquality = \"none\"\n\
         [[fault]]\nkind = \"sequence-reset\"\nuntil = \"9s\"\nshare = \"20%\"\n\
         [[fault]]\n\
         [[expect]]\ncause = \"bad luck\"\n\
         [extra]\n",
    )
    .unwrap_err();
    for part in [
        ":2:1: rehearsal.lenght: unknown; did you mean length?",
        ":4:8: fault.0.kind: \"statsu\" is no kind of fault; write status, html,",
        ":7:1: fault.1.after: unknown",
        ":10:6: fault.2.on: segment answers cannot be spoilt like this",
        ":14:9: fault.3.until: it ends before it begins",
        ":15:9: fault.3.share: \"0%\" is not from 1% to 100%",
        ":16:11: fault.3.quality: it is not among rehearsal.qualities",
        ":19:1: fault.4.until: unknown",
        ":20:1: fault.4.share: unknown",
        "fault.5.kind: missing",
        ":23:9: expect.0.cause: \"bad luck\" is no cause of a loss",
        "extra: unknown",
    ] {
        assert!(said.contains(part), "{part} is not in\n{said}");
    }
    assert_eq!(said.lines().count(), 12, "{said}");
}

#[test]
fn the_other_encoding_is_one_that_can_be_made() {
    for container in ["mpegts", "fmp4"] {
        let day = load(&format!("[rehearsal]\ncontainer = \"{container}\"\n")).unwrap();
        assert!(day.reel_spec().check().is_ok() && day.other_spec().check().is_ok());
        assert_ne!(day.reel_spec(), day.other_spec());
    }
}
