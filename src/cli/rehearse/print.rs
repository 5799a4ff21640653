//! What a rehearsal says, as text and as JSON.

use std::io::{self, Write as _};

use serde_json::json;

use super::RehearseArgs;
use crate::rehearsal::{Micros, QualityReport, Stage, seconds};

/// How many names of wrong segments are shown; JSON has them all.
const NAMES_SHOWN: usize = 3;

/// On standard error: standard output holds only the answer.
pub fn print_beginning(args: &RehearseArgs, stage: &Stage, is_own: bool) {
    let (scenario, url) = (stage.scenario(), stage.source().url());
    eprintln!("{}: {} s, {} faults.", args.scenario.display(), scenario.length.as_secs(), scenario.faults());
    if is_own {
        eprintln!("Playing it to a node of its own …");
        return;
    }
    eprintln!(
        "It begins when the node asks for it. Let it record\n\n\
         \x20   [[channel]]\n\
         \x20   name = {:?}\n\
         \x20   hls = {url:?}\n\
         \x20   qualities = {:?}\n",
        args.channel.as_str(),
        scenario.qualities,
    );
}

pub fn print(args: &RehearseArgs, reports: &[QualityReport]) -> io::Result<()> {
    let mut out = io::stdout().lock();
    if args.json {
        let answer = json!({
            "scenario": args.scenario.display().to_string(),
            "channel": args.channel.as_str(),
            "nothing_avoidable_lost": reports.iter().all(QualityReport::is_good),
            "as_expected": reports.iter().all(|report| report.as_expected),
            "qualities": reports,
        });
        return writeln!(out, "{answer}");
    }
    writeln!(
        out,
        "\n{:<12} {:>10} {:>10} {:>10} {:>10} {:>10} {:>10}  why",
        "quality", "available", "recorded", "suspect", "partial", "lost", "avoidable"
    )?;
    for report in reports {
        let columns =
            [report.available, report.recorded, report.suspect, report.partial, report.lost, report.avoidable];
        write!(out, "{:<12}", report.quality)?;
        for Micros(micros) in columns {
            write!(out, " {:>10}", seconds(micros))?;
        }
        writeln!(out, "  {}", why(report))?;
    }
    writeln!(out)?;
    for report in reports {
        print_notes(&mut out, report)?;
    }
    let is_good = reports.iter().all(QualityReport::is_good);
    writeln!(
        out,
        "{}",
        if is_good { "Nothing was lost that could be had." } else { "Something was lost that could be had." }
    )
}

fn why(report: &QualityReport) -> String {
    match &report.causes {
        None => "not told".to_owned(),
        Some(causes) if causes.is_empty() => "–".to_owned(),
        Some(causes) => {
            let told: Vec<String> =
                causes.iter().map(|(cause, micros)| format!("{cause} {}", seconds(micros.0))).collect();
            told.join(", ")
        }
    }
}

fn print_notes(out: &mut impl io::Write, report: &QualityReport) -> io::Result<()> {
    let quality = &report.quality;
    if !report.wrongly_full.is_empty() {
        let shown = report.wrongly_full.iter().take(NAMES_SHOWN).map(String::as_str).collect::<Vec<_>>().join(", ");
        writeln!(out, "{quality}: wrongly full: {} ({shown})", report.wrongly_full.len())?;
    }
    if report.fetched_twice > 0 {
        writeln!(out, "{quality}: fetched more than once: {}", report.fetched_twice)?;
    }
    if report.time_error > Micros(0) {
        writeln!(out, "{quality}: mistimed by up to {}", seconds(report.time_error.0))?;
    }
    for what in &report.unexpected {
        writeln!(out, "{quality}: not as the scenario expects: {what}")?;
    }
    Ok(())
}
