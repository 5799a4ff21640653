//! A real Prometheus over real nodes, with the node's own rules in a smaller time: an hour in four minutes.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::Value;

use crate::support::{eventually, free_address, try_get};

/// How much faster than life it goes.
const FASTER: u64 = 15;
/// Where this is no word of a time, it is one of seconds.
const SECONDS: [(&str, u64); 2] = [("3600", 3600), ("1800", 1800)];
/// What is looked back on or waited for.
const SPANS: [&str; 3] = ["for: ", "[", "offset "];

/// Rules whose spans, and thresholds in hours, are so much shorter. Thresholds in days and in single seconds stay.
pub fn faster(rules: &str) -> String {
    let mut text = rules.to_owned();
    for (word, seconds) in SECONDS {
        text = text.replace(word, &(seconds / FASTER).to_string());
    }
    for before in SPANS {
        let mut done = String::new();
        let mut rest = text.as_str();
        while let Some(at) = rest.find(before) {
            let (head, tail) = rest.split_at(at + before.len());
            done.push_str(head);
            let digits = tail.len() - tail.trim_start_matches(|c: char| c.is_ascii_digit()).len();
            let unit = tail[digits..].chars().next().and_then(|unit| match unit {
                's' => Some(1),
                'm' => Some(60),
                'h' => Some(3600),
                _ => None,
            });
            rest = match (tail[..digits].parse::<u64>(), unit) {
                (Ok(number), Some(unit)) => {
                    let _ = write!(done, "{}ms", number * unit * 1000 / FASTER);
                    &tail[digits + 1..]
                }
                _ => tail,
            };
        }
        text = done + rest;
    }
    text
}

/// A node as Prometheus sees it.
pub struct Target {
    pub name: &'static str,
    pub address: String,
    pub over_tls: bool,
}

/// A running server; stopped when dropped.
pub struct Prometheus {
    child: Child,
    address: String,
}

/// Names of alerts, and of which node. Some are of no node.
pub type Alerts = BTreeSet<(String, String)>;

fn named(labels: &Value) -> (String, String) {
    let label = |name: &str| labels[name].as_str().unwrap_or_default().to_owned();
    (label("alertname"), label("instance"))
}

impl Prometheus {
    /// One that asks all targets, and then looks at its rules, every so many seconds.
    pub fn start(dir: &Path, rules: &str, targets: &[Target], seconds: u64) -> Self {
        std::fs::write(dir.join("rules.yaml"), rules).unwrap();
        let mut config = format!(
            "global: {{scrape_interval: {seconds}s, evaluation_interval: {seconds}s}}\nrule_files: [rules.yaml]\nscrape_configs:\n"
        );
        // Each is a job of its own, as each has its own scheme; the rules know one job.
        for target in targets {
            let scheme = if target.over_tls { "https" } else { "http" };
            let _ = write!(
                config,
                "- job_name: {0}\n  scheme: {scheme}\n  tls_config: {{insecure_skip_verify: true}}\n  static_configs:\n\
                 \x20 - targets: [\"{1}\"]\n    labels: {{instance: {0}, job: segvault}}\n",
                target.name, target.address
            );
        }
        let file = dir.join("prometheus.yaml");
        std::fs::write(&file, config).unwrap();
        let address = free_address();
        let child = Command::new("prometheus")
            .arg(format!("--config.file={}", file.display()))
            .arg(format!("--storage.tsdb.path={}", dir.join("prometheus").display()))
            .arg(format!("--web.listen-address={address}"))
            .stdin(Stdio::null())
            .stderr(std::fs::File::create(dir.join("prometheus.log")).unwrap())
            .spawn()
            .expect("this test needs Prometheus (Debian's package of that name)");
        let server = Self { child, address };
        eventually("Prometheus is ready", || try_get(&server.address, "/-/ready").filter(|reply| reply.status == 200));
        server
    }

    pub fn firing(&self) -> Alerts {
        self.alerts("firing")
    }

    /// What fires unless it passes soon.
    pub fn pending(&self) -> Alerts {
        self.alerts("pending")
    }

    fn alerts(&self, state: &str) -> Alerts {
        let told: Value = try_get(&self.address, "/api/v1/alerts").unwrap().json();
        let alerts = told["data"]["alerts"].as_array().unwrap().iter().filter(|alert| alert["state"] == state);
        alerts.map(|alert| named(&alert["labels"])).collect()
    }

    /// All that has ever fired, also between two looks.
    pub fn fired(&self) -> Alerts {
        let ever = utf8_percent_encode("max_over_time(ALERTS{alertstate=\"firing\"}[1d])", NON_ALPHANUMERIC);
        let told: Value = try_get(&self.address, &format!("/api/v1/query?query={ever}")).unwrap().json();
        told["data"]["result"].as_array().unwrap().iter().map(|series| named(&series["metric"])).collect()
    }

    /// The names of all rules. Each can be worked out: one that cannot is silent, too.
    pub fn rules(&self) -> BTreeSet<String> {
        let told: Value = try_get(&self.address, "/api/v1/rules").unwrap().json();
        let groups = told["data"]["groups"].as_array().unwrap().iter();
        let rules = groups.flat_map(|group| group["rules"].as_array().unwrap());
        rules
            .map(|rule| {
                assert!(rule["health"] != "err", "{rule}");
                rule["name"].as_str().unwrap().to_owned()
            })
            .collect()
    }

    /// How many targets answered when they were asked last.
    pub fn healthy(&self) -> usize {
        let told: Value = try_get(&self.address, "/api/v1/targets").unwrap().json();
        told["data"]["activeTargets"].as_array().unwrap().iter().filter(|target| target["health"] == "up").count()
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        // Gone already, if it failed.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn spans_and_thresholds_are_shortened_and_nothing_else() {
    let rules = "for: 10m\nexpr: rate(a[2h]) > 0.5 * b[90s] offset 5m > 6 * 3600 and c > 45 * 86400\nx: [a, b]\n";
    let expected = "for: 40000ms\nexpr: rate(a[480000ms]) > 0.5 * b[6000ms] offset 20000ms > 6 * 240 and c > 45 * 86400\nx: [a, b]\n";
    assert_eq!(faster(rules), expected);
}
