//! Signing in by an issuer's own page, where an action needs it.

use std::time::UNIX_EPOCH;

use serde_json::json;

use super::chromium::Chromium;
use super::kept_in;
use crate::auth::issuer::{Issuer, Key};
use crate::auth::oidc::{claims, section};
use crate::events::send;
use crate::support::{NodeProcess, eventually};

const IN_DIALOG: &str = "document.activeElement?.closest('dialog.sign')";

#[test]
fn an_issuers_own_page_signs_somebody_in_and_what_is_typed_waits_for_it() {
    let key = Key::p256("key");
    let issuer = Issuer::start(&[&key]);
    let dir = tempfile::tempdir().unwrap();
    let more = section(&issuer, "people = [\"ann@example.org editor\"]\n");
    let node = NodeProcess::start_with(&dir.path().join("base"), &more, |_| {});
    let ways = eventually("the issuer has told", || {
        let ways = node.get("/api/v1/sign-in").json();
        (ways["issuers"][0].is_object()).then_some(ways)
    });
    let own = json!({
        "issuer": issuer.url, "client_id": "segvault-editors", "authorization_endpoint": format!("{}/login", issuer.url),
    });
    assert_eq!(ways, json!({ "mode": "oidc", "signed_in": "/ui/signed-in.html", "issuers": [own] }));
    let ann = key.token(&claims(&issuer, "ann@example.org"));
    let noted = eventually("the database is there", || {
        let noted = send(&node, "POST", "/api/v1/events", Some(&ann), &json!({ "id": "e1", "description": "A run" }));
        (noted.status != 503).then_some(noted)
    });
    assert_eq!(noted.status, 201, "{}", noted.text());
    // First somebody's else, then one that has ended, then one that is good.
    let mut said = claims(&issuer, "ann@example.org");
    issuer.log_in(move |nth, nonce| {
        let now = UNIX_EPOCH.elapsed().unwrap().as_secs();
        said["nonce"] = if nth == 0 { json!("another") } else { json!(nonce) };
        said["exp"] = json!(if nth == 1 { now - 120 } else { now + 3600 });
        key.token(&said)
    });

    let mut chromium = Chromium::start(1300, 900);
    // A window that is opened takes the focus otherwise.
    chromium.tell("Emulation.setFocusEmulationEnabled", json!({ "enabled": true }));
    chromium.open(&format!("{}/#/jobs?event=e1", node.url()));
    chromium.until("document.querySelector('.event h2')?.textContent === 'A run'");
    chromium
        .until("document.querySelector('#sign').textContent === 'Sign in' && !document.querySelector('#sign').hidden");
    chromium.value("window.stays = true; document.querySelector('input[name=video_title]').focus()");
    chromium.type_in("Mine");
    chromium.press("Enter");
    chromium.until(&format!("{IN_DIALOG} && document.activeElement.textContent.startsWith('Sign in with 127.0.0.1:')"));
    chromium.picture(&kept_in().join("sign-in.png"));
    chromium.press("Enter");
    chromium.until("document.querySelector('dialog.sign')?.textContent.includes('was not made for this sign-in')");
    assert_eq!(node.get("/api/v1/events/e1").json()["version"], 1, "nothing was taken");
    chromium.press("Enter");
    chromium
        .until("document.querySelector('dialog.sign')?.textContent.includes('The token has expired; log in again.')");
    assert_eq!(chromium.value("document.querySelector('input[name=video_title]').value"), "Mine");
    chromium.until(IN_DIALOG);
    chromium.press("Enter");
    chromium.until("document.querySelector('.event')?.textContent.includes('Saved.')");
    assert_eq!(node.get("/api/v1/events/e1").json()["video_title"], "Mine");
    assert_eq!(node.get("/api/v1/events/e1/history").json()[1]["by"], "ann@example.org");
    assert_eq!(chromium.text("#sign"), "Sign out");
    assert_eq!(
        chromium.value("window.stays && sessionStorage.length === 1 && location.hash.startsWith('#/jobs')"),
        true
    );
    assert_eq!(chromium.value("Object.values(localStorage).some((kept) => kept.includes('eyJ'))"), false);
    eventually("the windows are closed", || {
        let targets = chromium.tell("Target.getTargets", json!({}));
        let pages = targets["targetInfos"].as_array()?.iter().filter(|target| target["type"] == "page");
        let away = pages.filter(|page| page["url"].as_str().is_some_and(|url| url.contains("signed-in"))).count();
        (away == 0).then_some(())
    });
    // A refusal is an answer of 401, which the browser notes by itself.
    let others: Vec<_> = chromium.said().into_iter().filter(|(_, said)| !said.contains("401")).collect();
    assert!(others.is_empty(), "the console: {others:#?}");
    let page = node.get("/ui/signed-in.html");
    assert!(page.header("content-security-policy").contains("connect-src 'self' blob:;"));
    assert!(
        !node.get("/").header("content-security-policy").contains(&issuer.url),
        "nobody there is asked by the page"
    );
    node.stop();
}
