//! A headless Chromium that a test leads through the node's page: over the pipe for debugging, as there is no port to share.
//!
//! Promises: ends with its handle, and also when the test is killed; all that a console would show is kept.

use std::cell::Cell;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::CommandExt as _;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use serde_json::{Value, json};

use crate::player::browser::program;
use crate::support::{PATIENCE, eventually};

pub struct Chrome {
    child: Child,
    input: Option<ChildStdin>,
    answers: Receiver<Value>,
    complaints: Arc<Mutex<Vec<String>>>,
    next: Cell<u64>,
    session: String,
    _profile: tempfile::TempDir,
}

impl Chrome {
    /// With an empty page of this size, in px.
    pub fn start(width: u32, height: u32) -> Self {
        let profile = tempfile::tempdir().unwrap();
        let mut command = Command::new("sh");
        // What it prints must not get between its answers.
        command.args(["-c", r#"exec "$@" 3<&0 4>&1 </dev/null >/dev/null"#, "sh"]).arg(program());
        command.args(["--headless=new", "--no-sandbox", "--disable-gpu", "--mute-audio", "--remote-debugging-pipe"]);
        command.args(["--disable-dev-shm-usage", "--no-first-run", "--disable-background-networking"]);
        command.args(["--disable-component-update", "--disable-breakpad", "--disable-sync", "--disable-extensions"]);
        command.arg(format!("--user-data-dir={}", profile.path().display())).arg("about:blank");
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).process_group(0);
        let mut child = command.spawn().unwrap();
        let (input, output) = (child.stdin.take(), BufReader::new(child.stdout.take().unwrap()));
        let (told, answers) = channel();
        let complaints: Arc<Mutex<Vec<String>>> = Arc::default();
        let heard = Arc::clone(&complaints);
        std::thread::spawn(move || {
            for message in output.split(0).map_while(Result::ok) {
                let Ok(message) = serde_json::from_slice::<Value>(&message) else { continue };
                if message["id"].is_number() {
                    let _ = told.send(message);
                } else {
                    heard.lock().unwrap().extend(complaint(&message));
                }
            }
        });
        let mut chrome =
            Self { child, input, answers, complaints, next: Cell::new(0), session: String::new(), _profile: profile };
        let target = chrome.ask("Target.createTarget", json!({ "url": "about:blank" }));
        let attach = json!({ "targetId": target["targetId"], "flatten": true });
        chrome.session = chrome.ask("Target.attachToTarget", attach)["sessionId"].as_str().unwrap().to_owned();
        for domain in ["Runtime", "Log", "Page", "Accessibility"] {
            chrome.ask(&format!("{domain}.enable"), json!({}));
        }
        chrome.resize(width, height);
        // Whoever hears nothing can also be deaf.
        chrome.eval("console.error('a word')");
        eventually("the console is heard", || std::mem::take(&mut *chrome.complaints.lock().unwrap()).pop());
        chrome
    }

    pub fn resize(&mut self, width: u32, height: u32) {
        let size = json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": false });
        self.ask("Emulation.setDeviceMetricsOverride", size);
    }

    pub fn open(&mut self, url: &str) {
        self.ask("Page.navigate", json!({ "url": url }));
        self.until("the page is there", "document.readyState === 'complete'");
    }

    /// The value of an expression in the page.
    pub fn eval(&mut self, expression: &str) -> Value {
        let asked = json!({ "expression": expression, "awaitPromise": true, "returnByValue": true });
        let answer = self.ask("Runtime.evaluate", asked);
        assert!(answer["exceptionDetails"].is_null(), "{expression}: {answer}");
        answer["result"]["value"].clone()
    }

    pub fn text(&mut self, selector: &str) -> String {
        let asked = format!("[...document.querySelectorAll({selector:?})].map((one) => one.innerText).join('\\n')");
        self.eval(&asked).as_str().unwrap_or_default().to_owned()
    }

    pub fn until(&mut self, what: &str, expression: &str) {
        eventually(what, || (self.eval(expression) == json!(true)).then_some(()));
    }

    pub fn until_text(&mut self, selector: &str, part: &str) {
        let asked =
            format!("[...document.querySelectorAll({selector:?})].some((one) => one.innerText.includes({part:?}))");
        self.until(&format!("{part:?} in {selector}"), &asked);
    }

    /// Types into a field, as somebody at a keyboard does, in place of what stands there.
    pub fn type_into(&mut self, selector: &str, text: &str) {
        self.until(selector, &format!("document.querySelector({selector:?}) !== null"));
        self.eval(&format!("{{ const it = document.querySelector({selector:?}); it.focus(); it.select?.(); }}"));
        self.ask("Input.insertText", json!({ "text": text }));
    }

    /// By its text.
    pub fn press(&mut self, button: &str) {
        let find = format!(
            "[...document.querySelectorAll('button')].find((one) => one.innerText === {button:?} && one.checkVisibility())"
        );
        self.until(&format!("the button {button:?}"), &format!("{find} !== undefined && !{find}.disabled"));
        self.eval(&format!("{find}.click()"));
    }

    /// Roles of what can be used and has no name for those who hear the page.
    pub fn nameless(&mut self) -> Vec<String> {
        let tree = self.ask("Accessibility.getFullAXTree", json!({}));
        let usable =
            ["button", "link", "textbox", "searchbox", "combobox", "checkbox", "progressbar", "meter", "image"];
        let nodes = tree["nodes"].as_array().unwrap();
        let is_nameless = |node: &&Value| {
            node["ignored"] == false
                && usable.contains(&node["role"]["value"].as_str().unwrap_or_default())
                && node["name"]["value"].as_str().unwrap_or_default().trim().is_empty()
        };
        nodes.iter().filter(is_nameless).map(|node| node["role"]["value"].to_string()).collect()
    }

    /// All that the console has that is no mere talk.
    pub fn complaints(&self) -> Vec<String> {
        self.complaints.lock().unwrap().clone()
    }

    fn ask(&mut self, method: &str, params: Value) -> Value {
        let id = self.next.get() + 1;
        self.next.set(id);
        let mut message = json!({ "id": id, "method": method, "params": params });
        if !self.session.is_empty() && !method.starts_with("Target.") {
            message["sessionId"] = self.session.as_str().into();
        }
        let input = self.input.as_mut().unwrap();
        input.write_all(message.to_string().as_bytes()).unwrap();
        input.write_all(&[0]).unwrap();
        loop {
            let answer = self.answers.recv_timeout(PATIENCE).unwrap_or_else(|error| panic!("{method}: {error}"));
            if answer["id"] == id {
                assert!(answer["error"].is_null(), "{method}: {answer}");
                return answer["result"].clone();
            }
        }
    }
}

fn complaint(message: &Value) -> Option<String> {
    let params = &message["params"];
    match message["method"].as_str()? {
        "Runtime.exceptionThrown" => Some(params["exceptionDetails"].to_string()),
        "Runtime.consoleAPICalled" if ["error", "warning", "assert"].contains(&params["type"].as_str()?) => {
            Some(params["args"].to_string())
        }
        "Log.entryAdded" if ["error", "warning"].contains(&params["entry"]["level"].as_str()?) => {
            Some(params["entry"].to_string())
        }
        _ => None,
    }
}

impl Drop for Chrome {
    fn drop(&mut self) {
        // The end of its pipe is how it is told to go.
        drop(self.input.take());
        let end = Instant::now() + PATIENCE;
        while Instant::now() < end && self.child.try_wait().is_ok_and(|status| status.is_none()) {
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
        if let Some(group) = rustix::process::Pid::from_raw(self.child.id() as i32) {
            let _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
        }
        let _ = self.child.wait();
    }
}
