//! A headless Chromium, told what to do over its pipe for debugging (the Chrome DevTools Protocol).
//!
//! Promises: it ends with its handle, and also when the test is killed; nothing of it is left on disk; all that its console
//! says is kept. Nothing waits without an end.

use std::collections::HashMap;
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use base64::Engine as _;
use serde_json::{Value, json};

use crate::player::browser::program;
use crate::support::PATIENCE;

/// Answers that somebody waits for, by number.
type Waiting = Arc<Mutex<HashMap<u64, Sender<Value>>>>;

pub struct Chromium {
    child: Child,
    /// Commands, each ended by a NUL.
    commands: ChildStdin,
    waiting: Waiting,
    events: Arc<Mutex<Vec<Value>>>,
    last_number: u64,
    /// The page's, once it is there.
    session: Option<String>,
    profile: tempfile::TempDir,
}

impl Chromium {
    /// Opens an empty page of this size.
    pub fn start(width: u32, height: u32) -> Self {
        let profile = tempfile::tempdir().unwrap();
        let mut command = Command::new("sh");
        // What it writes to its own output must not get among the answers.
        command.args(["-c", r#"exec "$@" 3<&0 4>&1 1>/dev/null"#, "sh"]).arg(program());
        command.args(["--headless=new", "--no-sandbox", "--disable-gpu", "--mute-audio", "--remote-debugging-pipe"]);
        command.args(["--disable-dev-shm-usage", "--autoplay-policy=no-user-gesture-required", "--hide-scrollbars"]);
        command.args(["--no-first-run", "--disable-background-networking", "--disable-component-update"]);
        command.args(["--disable-breakpad", "--disable-sync", "--disable-extensions"]);
        command.arg(format!("--window-size={width},{height}"));
        command.arg(format!("--user-data-dir={}", profile.path().join("profile").display())).arg("about:blank");
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).process_group(0);
        let mut child = command.spawn().unwrap();
        let (commands, told) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        let (waiting, events): (Waiting, Arc<Mutex<Vec<Value>>>) = Default::default();
        let (heard, kept) = (Arc::clone(&waiting), Arc::clone(&events));
        std::thread::spawn(move || {
            for message in BufReader::new(told).split(0).map_while(Result::ok) {
                let Ok(message) = serde_json::from_slice::<Value>(&message) else { continue };
                let asked = message["id"].as_u64().and_then(|number| heard.lock().unwrap().remove(&number));
                match asked {
                    // Who asked may have given up.
                    Some(asked) => drop(asked.send(message)),
                    None => kept.lock().unwrap().push(message),
                }
            }
        });
        let mut this = Self { child, commands, waiting, events, last_number: 0, session: None, profile };
        let page = this.tell("Target.createTarget", json!({ "url": "about:blank" }));
        let attach = json!({ "targetId": page["targetId"], "flatten": true });
        let attached = this.tell("Target.attachToTarget", attach);
        this.session = Some(attached["sessionId"].as_str().unwrap().to_owned());
        for domain in ["Page", "Runtime", "Log", "Network"] {
            this.tell(&format!("{domain}.enable"), json!({}));
        }
        let size = json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": false });
        this.tell("Emulation.setDeviceMetricsOverride", size);
        this
    }

    /// A command's answer.
    pub fn tell(&mut self, method: &str, params: Value) -> Value {
        self.last_number += 1;
        let mut command = json!({ "id": self.last_number, "method": method, "params": params });
        if let Some(session) = &self.session {
            command["sessionId"] = session.as_str().into();
        }
        let (answered, answer) = channel();
        self.waiting.lock().unwrap().insert(self.last_number, answered);
        let mut bytes = command.to_string().into_bytes();
        bytes.push(0);
        self.commands.write_all(&bytes).unwrap();
        let answer = answer.recv_timeout(PATIENCE).unwrap_or_else(|_| panic!("Chromium does not answer {method}"));
        assert!(answer.get("error").is_none(), "{method}: {}", answer["error"]);
        answer["result"].clone()
    }

    pub fn open(&mut self, url: &str) {
        self.tell("Page.navigate", json!({ "url": url }));
    }

    /// The value of an expression, awaited if it is a promise.
    pub fn value(&mut self, expression: &str) -> Value {
        let params = json!({ "expression": expression, "awaitPromise": true, "returnByValue": true });
        let answer = self.tell("Runtime.evaluate", params);
        assert!(answer.get("exceptionDetails").is_none(), "{expression}: {}", answer["exceptionDetails"]);
        answer["result"]["value"].clone()
    }

    /// Asks again until it holds.
    pub fn until(&mut self, expression: &str) {
        let end = Instant::now() + PATIENCE;
        while self.value(&format!("Boolean({expression})")) != true {
            if Instant::now() > end {
                let seen = self.value("document.body.innerText");
                panic!("waited in vain: {expression}\nthe page: {seen}\nthe console: {:#?}", self.said());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Presses a key, such as `k`, `Shift+ArrowLeft`, `Ctrl+z`.
    pub fn press(&mut self, name: &str) {
        let mut parts: Vec<&str> = name.split('+').collect();
        let key = parts.pop().unwrap();
        let modifiers = parts.iter().map(|part| match *part {
            "Alt" => 1,
            "Ctrl" => 2,
            "Shift" => 8,
            other => panic!("{other} is no modifier"),
        });
        let modifiers: u32 = modifiers.sum();
        let code = match key {
            "Tab" => 9,
            "Enter" => 13,
            "Escape" => 27,
            " " => 32,
            "End" => 35,
            "Home" => 36,
            "ArrowLeft" => 37,
            "ArrowUp" => 38,
            "ArrowRight" => 39,
            "ArrowDown" => 40,
            "Delete" => 46,
            one => u32::from(one.to_ascii_uppercase().as_bytes()[0]),
        };
        // Signs are typed, and Enter submits; with Ctrl or Alt nothing is typed.
        let text = match key {
            "Enter" => "\r",
            one if one.len() == 1 && modifiers & 3 == 0 => one,
            _ => "",
        };
        let kind = if text.is_empty() { "rawKeyDown" } else { "keyDown" };
        let key = if modifiers & 8 != 0 && key.len() == 1 { key.to_uppercase() } else { key.to_owned() };
        let mut event = json!({ "type": kind, "key": key, "modifiers": modifiers, "windowsVirtualKeyCode": code });
        if !text.is_empty() {
            event["text"] = text.into();
        }
        self.tell("Input.dispatchKeyEvent", event.clone());
        event["type"] = "keyUp".into();
        self.tell("Input.dispatchKeyEvent", event);
    }

    /// Types a text where the focus is.
    pub fn type_in(&mut self, text: &str) {
        self.tell("Input.insertText", json!({ "text": text }));
    }

    /// Chooses a file, as somebody does in the system's dialog.
    pub fn choose_file(&mut self, selector: &str, file: &Path) {
        let found =
            self.tell("Runtime.evaluate", json!({ "expression": format!("document.querySelector({selector:?})") }));
        let chosen = json!({ "files": [file], "objectId": found["result"]["objectId"] });
        self.tell("DOM.setFileInputFiles", chosen);
    }

    /// Where downloads go, each under its own name.
    pub fn downloads(&mut self) -> std::path::PathBuf {
        let dir = self.profile.path().join("downloads");
        std::fs::create_dir_all(&dir).unwrap();
        self.tell("Page.setDownloadBehavior", json!({ "behavior": "allow", "downloadPath": dir }));
        dir
    }

    /// How many bytes of what scripts made are held, after a collection: objects, closures, texts; not the code that was compiled of
    /// them, which grows for as long as the browser finds something to compile better.
    pub fn held_bytes(&mut self) -> u64 {
        self.tell("HeapProfiler.enable", json!({}));
        self.tell("HeapProfiler.takeHeapSnapshot", json!({ "reportProgress": false }));
        self.tell("HeapProfiler.disable", json!({}));
        let mut text = String::new();
        self.events.lock().unwrap().retain(|event| {
            let is_part = event["method"] == "HeapProfiler.addHeapSnapshotChunk";
            if is_part {
                text.push_str(event["params"]["chunk"].as_str().unwrap());
            }
            !is_part
        });
        // Nodes are rows of numbers, whose meaning the snapshot itself tells.
        let snapshot: Value = serde_json::from_str(&text).unwrap();
        let meta = &snapshot["snapshot"]["meta"];
        let fields = meta["node_fields"].as_array().unwrap();
        let place = |name: &str| fields.iter().position(|field| field == name).unwrap();
        let (kind, size) = (place("type"), place("self_size"));
        let kinds = meta["node_types"][kind].as_array().unwrap();
        let nodes = snapshot["nodes"].as_array().unwrap().chunks(fields.len());
        let number = |value: &Value| value.as_u64().unwrap();
        let of_scripts = nodes.filter(|node| {
            let kind = kinds[number(&node[kind]) as usize].as_str().unwrap();
            !["code", "native", "hidden", "synthetic", "object shape"].contains(&kind)
        });
        of_scripts.map(|node| number(&node[size])).sum()
    }

    /// Takes what was told of this kind, oldest first.
    pub fn take_events(&mut self, method: &str) -> Vec<Value> {
        let mut events = self.events.lock().unwrap();
        let (taken, left) = events.drain(..).partition(|event| event["method"] == method);
        *events = left;
        taken
    }

    /// Dark or light, as the system would say it.
    pub fn prefer(&mut self, scheme: &str) {
        let features = json!([{ "name": "prefers-color-scheme", "value": scheme }]);
        self.tell("Emulation.setEmulatedMedia", json!({ "features": features }));
    }

    /// What is on the screen, as PNG, for people.
    pub fn picture(&mut self, file: &Path) {
        let answer = self.tell("Page.captureScreenshot", json!({ "format": "png" }));
        let png = base64::engine::general_purpose::STANDARD.decode(answer["data"].as_str().unwrap()).unwrap();
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(file, png).unwrap();
    }

    /// Errors and warnings of the console, faults of scripts, refusals of the policy of content; with the time in ms since 1970.
    pub fn said(&self) -> Vec<(f64, String)> {
        let mut said = Vec::new();
        for event in self.events.lock().unwrap().iter() {
            let params = &event["params"];
            let told = match event["method"].as_str() {
                Some("Runtime.consoleAPICalled")
                    if matches!(params["type"].as_str(), Some("error" | "warning" | "assert")) =>
                {
                    Some((&params["timestamp"], &params["args"]))
                }
                Some("Runtime.exceptionThrown") => Some((&params["timestamp"], &params["exceptionDetails"])),
                Some("Log.entryAdded") if matches!(params["entry"]["level"].as_str(), Some("error" | "warning")) => {
                    Some((&params["entry"]["timestamp"], &params["entry"]))
                }
                _ => None,
            };
            said.extend(told.map(|(at, what)| (at.as_f64().unwrap_or_default(), what.to_string())));
        }
        said
    }
}

impl Drop for Chromium {
    fn drop(&mut self) {
        if let Some(group) = rustix::process::Pid::from_raw(self.child.id() as i32) {
            let _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
        }
        let _ = self.child.wait();
    }
}
