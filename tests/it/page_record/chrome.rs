//! The browser of the page's tests, with the gestures that forms and lists take.

use serde_json::{Value, json};

use crate::page::chromium::Chromium;
use crate::page::kept_in;
use crate::support::eventually;

const AXE: &str = include_str!("../page/vendor/axe-core/axe.min.js");

pub struct Chrome {
    chromium: Chromium,
    /// What its console had said before there was a page.
    before: usize,
}

impl Chrome {
    /// With an empty page of this size, in px.
    pub fn start(width: u32, height: u32) -> Self {
        let mut chromium = Chromium::start(width, height);
        chromium.tell("Accessibility.enable", json!({}));
        // Whoever hears nothing can also be deaf.
        chromium.value("console.error('a word')");
        let before = eventually("the console is heard", || Some(chromium.said().len()).filter(|said| *said > 0));
        Self { chromium, before }
    }

    pub fn resize(&mut self, width: u32, height: u32) {
        let size = json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": false });
        self.chromium.tell("Emulation.setDeviceMetricsOverride", size);
    }

    pub fn open(&mut self, url: &str) {
        self.chromium.open(url);
        self.until("document.readyState === 'complete'");
    }

    /// The value of an expression in the page.
    pub fn eval(&mut self, expression: &str) -> Value {
        self.chromium.value(expression)
    }

    pub fn text(&mut self, selector: &str) -> String {
        let asked = format!("[...document.querySelectorAll({selector:?})].map((one) => one.innerText).join('\\n')");
        self.eval(&asked).as_str().unwrap_or_default().to_owned()
    }

    pub fn until(&mut self, expression: &str) {
        self.chromium.until(expression);
    }

    pub fn until_text(&mut self, selector: &str, part: &str) {
        self.until(&format!(
            "[...document.querySelectorAll({selector:?})].some((one) => one.innerText.includes({part:?}))"
        ));
    }

    /// Types into a field, in place of what stands there.
    pub fn type_into(&mut self, selector: &str, text: &str) {
        self.until(&format!("document.querySelector({selector:?}) !== null"));
        self.eval(&format!("{{ const it = document.querySelector({selector:?}); it.focus(); it.select?.(); }}"));
        self.chromium.type_in(text);
    }

    /// By its text.
    pub fn press(&mut self, button: &str) {
        let find = format!(
            "[...document.querySelectorAll('button')].find((one) => one.innerText === {button:?} && one.checkVisibility())"
        );
        self.until(&format!("{find} !== undefined && !{find}.disabled"));
        self.eval(&format!("{find}.click()"));
    }

    /// Dark and light: what axe-core finds serious, and what can be used and has no name. Leaves pictures for people.
    pub fn assert_open_to_all(&mut self, name: &str) {
        for scheme in ["dark", "light"] {
            self.chromium.prefer(scheme);
            self.eval(AXE);
            let found = self.eval(
                "axe.run(document, { resultTypes: ['violations'] }).then(({ violations }) => violations\
                 .filter(({ impact }) => impact === 'serious' || impact === 'critical')\
                 .map(({ id, nodes }) => `${id}: ${nodes.map(({ html }) => html).join(' ')}`))",
            );
            assert_eq!(found, json!([]), "{name}, {scheme}");
            assert_eq!(self.nameless(), Vec::<String>::new(), "{name}, {scheme}");
            self.chromium.picture(&kept_in().join(format!("{name}-{scheme}.png")));
        }
    }

    /// Roles of what can be used and has no name for those who hear the page.
    fn nameless(&mut self) -> Vec<String> {
        let tree = self.chromium.tell("Accessibility.getFullAXTree", json!({}));
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

    pub fn assert_silent(&self) {
        let said = self.chromium.said();
        assert!(said.len() == self.before, "the console: {:#?}", &said[self.before..]);
    }
}
