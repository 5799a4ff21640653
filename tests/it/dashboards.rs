//! The dashboards of deploy/grafana, of which this is the source: `make dashboards` writes them, the tests compare.
//!
//! A new panel: a line in `OVERVIEW` or `NODE`.

use std::collections::BTreeSet;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use crate::replicate::plant_segment;
use crate::support::{NodeProcess, eventually, small_spec, source};

/// A title, a unit as Grafana knows it, and what is shown: PromQL and legend.
struct Panel {
    title: &'static str,
    unit: &'static str,
    shown: &'static [(&'static str, &'static str)],
}

const fn panel(title: &'static str, unit: &'static str, shown: &'static [(&'static str, &'static str)]) -> Panel {
    Panel { title, unit, shown }
}

/// Of all nodes: does anything need somebody?
const OVERVIEW: &[Panel] = &[
    panel("Nodes that answer", "none", &[("up{job=\"segvault\"}", "{{instance}}")]),
    panel(
        "Seconds lost within five minutes",
        "s",
        &[(
            "sum by (instance, channel, quality, cause) (increase(segvault_record_lost_seconds_total[5m])) > 0",
            "{{instance}} {{channel}}/{{quality}} {{cause}}",
        )],
    ),
    panel(
        "Since the newest segment",
        "s",
        &[("max by (instance, channel) (segvault_record_lag_seconds)", "{{instance}} {{channel}}")],
    ),
    panel(
        "Lost in the last hour and not filled",
        "s",
        &[("segvault_coverage_lost_seconds{window=\"hour\"}", "{{instance}} {{channel}}/{{quality}}")],
    ),
    panel(
        "Missing in the last day, breaks of the channel included",
        "s",
        &[("segvault_coverage_missing_seconds{window=\"day\"}", "{{instance}} {{channel}}/{{quality}}")],
    ),
    panel("Disk free", "percentunit", &[("segvault_store_free_bytes / segvault_store_size_bytes", "{{instance}}")]),
    panel(
        "Disk full in",
        "s",
        &[("segvault_store_free_bytes / clamp_min(-deriv(segvault_store_free_bytes[6h]), 1)", "{{instance}}")],
    ),
    panel("Recorded", "Bps", &[("sum by (instance) (rate(segvault_record_bytes_total[5m]))", "{{instance}}")]),
    panel(
        "Behind a peer",
        "s",
        &[("max by (instance, peer) (segvault_backfill_lag_seconds)", "{{instance}} behind {{peer}}")],
    ),
    panel("Peers that answer", "none", &[("segvault_backfill_peer_up", "{{instance}} to {{peer}}")]),
    panel(
        "Copied from peers",
        "Bps",
        &[("sum by (instance, peer) (rate(segvault_backfill_bytes_total[5m]))", "{{instance}} from {{peer}}")],
    ),
    panel("Clocks of peers", "s", &[("segvault_backfill_peer_clock_skew_seconds", "{{peer}} for {{instance}}")]),
    panel("Events to be cut or published", "none", &[("max by (state) (segvault_jobs_entries)", "{{state}}")]),
    panel("The oldest of them", "s", &[("max by (state) (segvault_jobs_oldest_age_seconds)", "{{state}}")]),
    panel(
        "Jobs that ended within an hour",
        "none",
        &[("sum by (location, outcome) (increase(segvault_jobs_ended_total[1h]))", "{{location}} {{outcome}}")],
    ),
    panel(
        "Sent to places for videos",
        "Bps",
        &[("sum by (instance, location) (rate(segvault_upload_sent_bytes_total[5m]))", "{{instance}} to {{location}}")],
    ),
    panel("Database", "none", &[("segvault_database_up", "{{instance}}")]),
    panel("Requests", "reqps", &[("sum by (instance) (rate(segvault_http_requests_total[5m]))", "{{instance}}")]),
    panel("Versions", "none", &[("count by (version) (segvault_build_info)", "{{version}}")]),
];

/// Of one node: why?
const NODE: &[Panel] = &[
    panel(
        "Segments saved",
        "ops",
        &[(
            "sum by (channel, quality, kind) (rate(segvault_record_segments_total{instance=\"$instance\"}[5m]))",
            "{{channel}}/{{quality}} {{kind}}",
        )],
    ),
    panel(
        "Time to fetch a segment",
        "s",
        &[
            (
                "histogram_quantile(0.5, sum by (le, channel) (rate(segvault_record_fetch_duration_seconds_bucket{instance=\"$instance\"}[5m])))",
                "{{channel}} half",
            ),
            (
                "histogram_quantile(0.99, sum by (le, channel) (rate(segvault_record_fetch_duration_seconds_bucket{instance=\"$instance\"}[5m])))",
                "{{channel}} 99 of 100",
            ),
        ],
    ),
    panel(
        "Fetches that failed",
        "ops",
        &[(
            "sum by (channel, quality, reason) (rate(segvault_record_fetch_errors_total{instance=\"$instance\"}[5m]))",
            "{{channel}}/{{quality}} {{reason}}",
        )],
    ),
    panel(
        "Polls of playlists",
        "ops",
        &[(
            "sum by (channel, outcome) (rate(segvault_record_playlist_polls_total{instance=\"$instance\"}[5m]))",
            "{{channel}} {{outcome}}",
        )],
    ),
    panel(
        "Seconds lost within five minutes",
        "s",
        &[(
            "sum by (channel, quality, cause) (increase(segvault_record_lost_seconds_total{instance=\"$instance\"}[5m]))",
            "{{channel}}/{{quality}} {{cause}}",
        )],
    ),
    panel(
        "Advertisements kept out",
        "ops",
        &[(
            "sum by (channel, quality) (rate(segvault_record_advertisement_segments_total{instance=\"$instance\"}[5m]))",
            "{{channel}}/{{quality}}",
        )],
    ),
    panel(
        "Holes",
        "none",
        &[("segvault_coverage_holes_entries{instance=\"$instance\"}", "{{channel}}/{{quality}} {{window}}")],
    ),
    panel(
        "Asked of peers at once",
        "s",
        &[(
            "sum by (channel, outcome) (increase(segvault_backfill_bounty_seconds_total{instance=\"$instance\"}[5m]))",
            "{{channel}} {{outcome}}",
        )],
    ),
    panel(
        "Files of peers",
        "ops",
        &[(
            "sum by (peer, outcome) (rate(segvault_backfill_files_total{instance=\"$instance\"}[5m]))",
            "{{peer}} {{outcome}}",
        )],
    ),
    panel(
        "Store",
        "none",
        &[
            ("segvault_store_writable{instance=\"$instance\"}", "writable"),
            ("segvault_retention_stuck{instance=\"$instance\"}", "stuck: nothing may be deleted"),
        ],
    ),
    panel("Held in memory for the disk", "bytes", &[("segvault_store_spool_bytes{instance=\"$instance\"}", "spool")]),
    panel(
        "Deleted by retention",
        "Bps",
        &[("sum by (cause) (rate(segvault_retention_deleted_bytes_total{instance=\"$instance\"}[1h]))", "{{cause}}")],
    ),
    panel(
        "Scrubbing",
        "bytes",
        &[
            ("segvault_scrub_round_bytes{instance=\"$instance\"}", "read in this round"),
            ("segvault_scrub_left_bytes{instance=\"$instance\"}", "left"),
        ],
    ),
    panel(
        "Files that went bad within an hour",
        "none",
        &[("sum by (cause) (increase(segvault_scrub_bad_files_total{instance=\"$instance\"}[1h]))", "{{cause}}")],
    ),
    panel(
        "Requests",
        "reqps",
        &[(
            "sum by (route, status) (rate(segvault_http_requests_total{instance=\"$instance\"}[5m]))",
            "{{route}} {{status}}",
        )],
    ),
    panel(
        "Time to answer, 99 of 100",
        "s",
        &[(
            "histogram_quantile(0.99, sum by (le, route) (rate(segvault_http_request_duration_seconds_bucket{instance=\"$instance\"}[5m])))",
            "{{route}}",
        )],
    ),
    panel(
        "Cuts within an hour",
        "none",
        &[(
            "sum by (type, outcome) (increase(segvault_cut_cuts_total{instance=\"$instance\"}[1h]))",
            "{{type}} {{outcome}}",
        )],
    ),
    panel(
        "Uploads, act by act, within an hour",
        "none",
        &[(
            "sum by (location, act, outcome) (increase(segvault_upload_acts_total{instance=\"$instance\"}[1h]))",
            "{{location}} {{act}} {{outcome}}",
        )],
    ),
    panel("ffmpeg in use", "none", &[("segvault_cut_ffmpeg_in_use_processes{instance=\"$instance\"}", "processes")]),
    panel(
        "Hours found in memory",
        "percentunit",
        &[(
            "rate(segvault_cache_hour_hits_total{instance=\"$instance\"}[5m]) / (rate(segvault_cache_hour_hits_total{instance=\"$instance\"}[5m]) + rate(segvault_cache_hour_misses_total{instance=\"$instance\"}[5m]))",
            "hits",
        )],
    ),
    panel("Followers", "none", &[("segvault_http_followers_connections{instance=\"$instance\"}", "connections")]),
    panel(
        "Actors rebuilt within an hour",
        "none",
        &[("sum by (actor) (increase(segvault_actors_restarts_total{instance=\"$instance\"}[1h]))", "{{actor}}")],
    ),
    panel(
        "Processor",
        "percentunit",
        &[("rate(process_cpu_seconds_total{instance=\"$instance\"}[5m])", "of one core")],
    ),
    panel("Memory", "bytes", &[("process_resident_memory_bytes{instance=\"$instance\"}", "resident")]),
    panel("Open files", "none", &[("process_open_fds{instance=\"$instance\"}", "files and connections")]),
    panel(
        "Log lines that were dropped",
        "none",
        &[("increase(segvault_log_dropped_lines_total{instance=\"$instance\"}[1h])", "lines")],
    ),
];

const COLUMNS: usize = 3;
const PANEL_SIZE: (usize, usize) = (8, 7);

fn dashboard(uid: &str, title: &str, of_one_node: bool, panels: &[Panel]) -> Value {
    let datasource = || json!({ "type": "prometheus", "uid": "${datasource}" });
    let panels: Vec<Value> = panels
        .iter()
        .enumerate()
        .map(|(at, panel)| {
            let targets: Vec<Value> = panel
                .shown
                .iter()
                .zip('A'..)
                .map(|((expr, legend), id)| {
                    json!({ "refId": id.to_string(), "expr": expr, "legendFormat": legend, "datasource": datasource() })
                })
                .collect();
            let (width, height) = PANEL_SIZE;
            json!({
                "id": at + 1,
                "type": "timeseries",
                "title": panel.title,
                "datasource": datasource(),
                "gridPos": { "x": at % COLUMNS * width, "y": at / COLUMNS * height, "w": width, "h": height },
                "fieldConfig": { "defaults": { "unit": panel.unit, "min": null }, "overrides": [] },
                "options": { "legend": { "displayMode": "list", "placement": "bottom" }, "tooltip": { "mode": "multi" } },
                "targets": targets,
            })
        })
        .collect();
    let mut variables =
        vec![json!({ "name": "datasource", "label": "Prometheus", "type": "datasource", "query": "prometheus" })];
    if of_one_node {
        variables.push(json!({
            "name": "instance",
            "label": "Node",
            "type": "query",
            "datasource": datasource(),
            "query": { "query": "label_values(segvault_build_info, instance)", "refId": "instances" },
            "refresh": 2,
            "sort": 1,
        }));
    }
    json!({
        "uid": uid,
        "title": title,
        "tags": ["segvault"],
        "schemaVersion": 39,
        "editable": true,
        "refresh": "30s",
        "time": { "from": "now-6h", "to": "now" },
        "timezone": "utc",
        "templating": { "list": variables },
        "panels": panels,
    })
}

fn dashboards() -> [(PathBuf, Value); 2] {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/grafana");
    [
        (dir.join("overview.json"), dashboard("segvault-overview", "segvault: all nodes", false, OVERVIEW)),
        (dir.join("node.json"), dashboard("segvault-node", "segvault: one node", true, NODE)),
    ]
}

#[test]
fn dashboards_are_what_their_source_makes() {
    let write = std::env::var_os("WRITE_DASHBOARDS").is_some();
    for (path, made) in dashboards() {
        let text = serde_json::to_string_pretty(&made).unwrap() + "\n";
        if write {
            std::fs::write(&path, &text).unwrap();
        }
        let committed = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(committed == text, "{} is stale: make dashboards", path.display());
    }
}

fn all_shown() -> impl Iterator<Item = &'static str> {
    OVERVIEW.iter().chain(NODE).flat_map(|panel| panel.shown).map(|(expr, _)| *expr)
}

fn metrics_of(expr: &str) -> BTreeSet<&str> {
    let is_of_a_name = |letter: char| letter.is_ascii_lowercase() || letter == '_';
    expr.split(|letter: char| !is_of_a_name(letter))
        .filter(|word| word.starts_with("segvault_") || word.starts_with("process_"))
        .collect()
}

/// Prometheus itself reads the expressions, where it is installed.
#[test]
fn every_panel_asks_what_prometheus_understands() {
    let dir = tempfile::tempdir().unwrap();
    let rules: Vec<Value> = all_shown()
        .enumerate()
        .map(|(at, expr)| json!({ "record": format!("panel:{at}"), "expr": expr.replace("$instance", "alpha:8000") }))
        .collect();
    let file = dir.path().join("panels.json");
    std::fs::write(&file, json!({ "groups": [{ "name": "panels", "rules": rules }] }).to_string()).unwrap();
    match Command::new("promtool").args(["check", "rules"]).arg(&file).output() {
        Ok(output) => assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr)),
        Err(error) => eprintln!("promtool is not installed ({error}): not checked"),
    }
}

/// A node that records, with a peer that it copies from, has something for every panel but for what goes wrong.
#[test]
fn no_panel_is_without_data() {
    /// Appear when such a thing first happens.
    const WHEN_IT_HAPPENS: &[&str] = &[
        "segvault_actors_restarts_total",
        "segvault_backfill_bounty_seconds_total",
        "segvault_cut_cuts_total",
        "segvault_retention_deleted_bytes_total",
    ];
    let live = source(&small_spec(), 30, 1);
    let dir = tempfile::tempdir().unwrap();
    let qualities = ["source", "90p"];
    plant_segment(&dir.path().join("peer/ch/source/2026-01-02T03"), "00:00.0", "full", b"only the peer's");
    let peer = NodeProcess::start(&dir.path().join("peer"), &[("ch", &live.url(), &qualities)]);
    let more = format!(
        "[[channel]]\nname = \"ch\"\nhls = {:?}\nqualities = {qualities:?}\n[backfill]\npeers = [{:?}]\ninterval = \"1s\"\n\
         [coverage]\ninterval = \"1s\"\n[upload.local]\ntype = \"local\"\npath = {:?}\nurl_prefix = \"http://videos.test/\"\n",
        live.url(),
        peer.url(),
        dir.path().join("videos")
    );
    let node = NodeProcess::start_with(&dir.path().join("node"), &more, |_| {});
    let wanted: BTreeSet<&str> =
        all_shown().flat_map(metrics_of).filter(|name| !WHEN_IT_HAPPENS.contains(name)).collect();
    let has = |text: &str, name: &str| {
        text.lines().any(|line| line.strip_prefix(name).is_some_and(|rest| rest.starts_with(['{', ' '])))
    };
    let mut missing = Vec::new();
    let all_there = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        eventually("every panel has something to show", || {
            let text = node.get("/metrics").text();
            missing = wanted.iter().filter(|name| !has(&text, name)).copied().collect();
            missing.is_empty().then_some(())
        });
    }));
    assert!(all_there.is_ok(), "nothing of {missing:?}");
    passes_promtool(&node.get("/metrics").text());
    node.stop();
    peer.stop();
}

/// Names, units and help as Prometheus wants them.
fn passes_promtool(metrics: &str) {
    let child =
        Command::new("promtool").args(["check", "metrics"]).stdin(Stdio::piped()).stderr(Stdio::piped()).spawn();
    match child {
        Ok(mut child) => {
            child.stdin.take().unwrap().write_all(metrics.as_bytes()).unwrap();
            let output = child.wait_with_output().unwrap();
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        }
        Err(error) => eprintln!("promtool is not installed ({error}): not checked"),
    }
}
