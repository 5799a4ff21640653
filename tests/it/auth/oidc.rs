//! ID tokens, and the issuer behind them.

use std::time::{Duration, Instant, UNIX_EPOCH};

use segvault::db::User;
use serde_json::{Value, json};

use super::issuer::{Issuer, Key, Mood};
use super::{send_as, start};
use crate::db::Ground;
use crate::support::{NodeProcess, eventually};

/// What a token says that opens the door.
pub fn claims(issuer: &Issuer, email: &str) -> Value {
    let now = UNIX_EPOCH.elapsed().unwrap().as_secs();
    json!({
        "iss": issuer.url, "aud": "segvault-editors", "azp": "segvault-editors", "sub": "1", "iat": now - 5,
        "nbf": now - 5, "exp": now + 3600, "email": email, "email_verified": true,
    })
}

pub fn section(issuer: &Issuer, more: &str) -> String {
    format!("[auth]\nmode = \"oidc\"\nissuers = [{:?}]\nclient_ids = [\"segvault-editors\"]\n{more}", issuer.url)
}

/// As editors of the existing system ask: the token in the body.
fn whoami(node: &NodeProcess, token: &str) -> (u16, String) {
    let reply = send_as(node, "POST", "/thrimshim/auth-test", None, &json!({ "token": token }).to_string());
    (reply.status, reply.text())
}

#[test]
fn an_issuer_vouches_and_the_database_says_what_somebody_may() {
    let (rsa, p256) = (Key::rsa("rsa"), Key::p256("p256"));
    let issuer = Issuer::start(&[&rsa, &p256]);
    let ground = Ground::sqlite();
    let node = start(&ground, &section(&issuer, "people = [\"Cat@example.org artist\"]\n"));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let user = |email: &str, roles: &str| {
        let (email, roles) = (email.parse().unwrap(), roles.parse().unwrap());
        let db = ground.db();
        runtime.block_on(async { db.keep_user(&User { email, name: String::new(), roles }).await.unwrap() });
    };
    user("ann@example.org", "editor");
    for key in [&rsa, &p256] {
        eventually("the keys are fetched", || {
            (whoami(&node, &key.token(&claims(&issuer, "Ann@example.org"))).0 == 200).then_some(())
        });
    }
    let ann = p256.token(&claims(&issuer, "ann@example.org"));
    assert_eq!(whoami(&node, &ann), (200, "\"ann@example.org\"".into()));
    let noted = send_as(&node, "POST", "/api/v1/events", Some(&ann), &json!({ "id": "e1" }).to_string());
    assert_eq!(noted.status, 201);
    let history = node.get("/api/v1/events/e1/history").json();
    assert_eq!(history[0]["by"], "ann@example.org");

    // Somebody of whom nothing is known, and somebody whom only the configuration knows.
    let (status, text) = whoami(&node, &rsa.token(&claims(&issuer, "eve@example.org")));
    assert!(status == 403 && text.contains("editor"), "{status} {text}");
    let cat = rsa.token(&claims(&issuer, "cat@example.org"));
    assert_eq!(whoami(&node, &cat).0, 403);
    let template = send_as(&node, "POST", "/thrimshim/add-template", Some(&cat), "{}");
    assert_eq!(template.status, 400, "an artist may, but says too little: {}", template.text());

    // A role that is taken is gone soon.
    user("ann@example.org", "reader");
    eventually("the role is gone", || (whoami(&node, &ann).0 == 403).then_some(()));
    let log = node.log().join("\n");
    assert!(!log.contains(&ann) && !log.contains(ann.rsplit('.').next().unwrap()));
    node.stop();
}

#[test]
fn keys_are_found_when_they_change_and_kept_while_the_issuer_is_in_trouble() {
    let moods = [Mood::Down, Mood::Lies, Mood::Careless, Mood::Page, Mood::Slow(Duration::from_secs(30))];
    let (old, new, strange) = (Key::p256("old"), Key::p256("new"), Key::p256("strange"));
    let issuers: Vec<Issuer> = moods.iter().map(|_| Issuer::start(&[&old])).collect();
    let names: Vec<&str> = issuers.iter().map(|issuer| issuer.url.as_str()).collect();
    let ground = Ground::sqlite();
    let section = format!(
        "[auth]\nmode = \"oidc\"\nissuers = {names:?}\nclient_ids = [\"segvault-editors\"]\n\
         people = [\"ann@example.org editor\"]\n"
    );
    let node = start(&ground, &section);
    let ask = |key: &Key, issuer: &Issuer| whoami(&node, &key.token(&claims(issuer, "ann@example.org"))).0;
    for issuer in &issuers {
        eventually("the keys are fetched", || (ask(&old, issuer) == 200).then_some(()));
        issuer.publish(&[&old, &new]);
    }
    for issuer in &issuers {
        eventually("the new key is found", || (ask(&new, issuer) == 200).then_some(()));
        assert_eq!(ask(&old, issuer), 200);
    }
    for (issuer, mood) in issuers.iter().zip(&moods) {
        issuer.publish(&[&strange]);
        issuer.be(mood.clone());
    }
    for (issuer, mood) in issuers.iter().zip(&moods) {
        // Somebody with a key that is not there has them fetched anew, and what comes is not taken.
        let asked = issuer.asked();
        eventually("it is asked again, in vain", || {
            let status = ask(&strange, issuer);
            assert!([401, 503].contains(&status), "{mood:?}: {status}");
            (issuer.asked() > asked && status == 503).then_some(())
        });
        let began = Instant::now();
        assert_eq!((ask(&old, issuer), ask(&new, issuer)), (200, 200), "{mood:?}");
        assert!(began.elapsed() < Duration::from_secs(3), "a known key is not waited for");
    }
    node.stop();
}

#[test]
fn strangers_have_an_issuer_asked_no_more_than_now_and_then() {
    let (known, strange) = (Key::p256("known"), Key::p256("strange"));
    let issuer = Issuer::start(&[&known]);
    let ground = Ground::sqlite();
    let node = start(&ground, &section(&issuer, "people = [\"ann@example.org editor\"]\n"));
    eventually("the keys are fetched", || {
        (whoami(&node, &known.token(&claims(&issuer, "ann@example.org"))).0 == 200).then_some(())
    });
    let (began, before) = (Instant::now(), issuer.asked());
    let mut refused = 0;
    while began.elapsed() < Duration::from_secs(4) {
        let (status, text) = whoami(&node, &strange.token(&claims(&issuer, "ann@example.org")));
        assert_eq!(status, 401, "{text}");
        refused += 1;
    }
    assert!(refused > 10);
    let allowed = 1 + began.elapsed().as_secs() as usize / 5;
    assert!(issuer.asked() - before <= allowed, "{} times for {refused} tokens", issuer.asked() - before);
    node.stop();
}

#[test]
fn an_issuer_that_was_never_reached_is_no_fault_of_who_asks() {
    let key = Key::p256("key");
    let issuer = Issuer::start(&[&key]);
    issuer.be(Mood::Down);
    let ground = Ground::sqlite();
    let node = start(&ground, &section(&issuer, "people = [\"ann@example.org editor\"]\n"));
    let token = key.token(&claims(&issuer, "ann@example.org"));
    for _ in 0..12 {
        let (status, text) = whoami(&node, &token);
        assert_eq!(status, 503, "{text}");
    }
    issuer.be(Mood::Well);
    eventually("the issuer is found", || (whoami(&node, &token).0 == 200).then_some(()));
    assert_eq!(node.logged("an issuer's keys cannot be fetched, the last ones are kept").len(), 1);
    node.stop();
}

#[test]
fn a_node_that_starts_while_its_issuer_is_down_knows_the_keys_of_before_for_a_week() {
    let (key, strange) = (Key::p256("key"), Key::p256("strange"));
    let issuer = Issuer::start(&[&key]);
    let ground = Ground::sqlite();
    let section = section(&issuer, "people = [\"ann@example.org editor\"]\n");
    let ask = |node: &NodeProcess, key: &Key| whoami(node, &key.token(&claims(&issuer, "ann@example.org"))).0;
    let node = start(&ground, &section);
    eventually("the keys are fetched", || (ask(&node, &key) == 200).then_some(()));
    let dir = node.base.join(".segvault/issuers");
    let file = eventually("they are kept", || {
        let mut files = std::fs::read_dir(&dir).ok()?.map(|entry| entry.unwrap().path());
        files.find(|file| file.extension().is_some_and(|ending| ending == "json"))
    });
    node.stop();

    issuer.be(Mood::Down);
    let node = start(&ground, &section);
    eventually("they are known at once", || node.logged("an issuer's keys are known from before").pop());
    assert_eq!(ask(&node, &key), 200);
    assert_eq!(ask(&node, &strange), 503, "nobody can be asked for another");
    node.stop();

    // After a week they open nothing.
    let mut kept: Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
    let week_micros = 7 * 24 * 3600 * 1_000_000_i64;
    kept["fetched_micros"] = json!(kept["fetched_micros"].as_i64().unwrap() - week_micros - 1_000_000);
    std::fs::write(&file, kept.to_string()).unwrap();
    let node = start(&ground, &section);
    assert_eq!(ask(&node, &key), 503);
    issuer.be(Mood::Well);
    eventually("the issuer is back", || (ask(&node, &key) == 200).then_some(()));
    node.stop();
}
