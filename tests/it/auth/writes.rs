//! Every write that there is, and everybody who may not.

use std::collections::BTreeSet;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::hmac;
use serde_json::{Value, json};

use super::issuer::{Issuer, Key, unsigned};
use super::oidc::{claims, section};
use super::{address, send_as, send_from, start};
use crate::db::Ground;
use crate::events::over_both;
use crate::support::{NodeProcess, eventually};

/// Method, pattern as the code has it, an address of that form, who may, who may not although they have a role.
const WRITES: &[(&str, &str, &str, &str, &str)] = &[
    ("POST", "/api/v1/events", "/api/v1/events", "editor", "artist"),
    ("PATCH", "/api/v1/events/{id}", "/api/v1/events/e1", "editor", "artist"),
    ("POST", "/api/v1/events/{id}/cancel", "/api/v1/events/e1/cancel", "editor", "artist"),
    ("POST", "/api/v1/events/{id}/retry", "/api/v1/events/e1/retry", "editor", "artist"),
    ("POST", "/api/v1/events/{id}/link", "/api/v1/events/e1/link", "editor", "artist"),
    ("POST", "/api/v1/events/{id}/reset", "/api/v1/events/e1/reset", "operator", "editor"),
    ("POST", "/thrimshim/{id}", "/thrimshim/e1", "editor", "artist"),
    ("POST", "/thrimshim/manual-link/{id}", "/thrimshim/manual-link/e1", "editor", "artist"),
    ("POST", "/thrimshim/reset/{id}", "/thrimshim/reset/e1?force=true", "editor", "artist"),
    ("POST", "/thrimshim/auth-test", "/thrimshim/auth-test", "editor", "artist"),
    ("POST", "/thrimshim/add-template", "/thrimshim/add-template", "artist", "editor"),
    ("POST", "/thrimshim/update-template/{name}", "/thrimshim/update-template/x", "artist", "editor"),
    ("POST", "/api/v1/tombstones/{channel}", "/api/v1/tombstones/ch", "operator", "editor"),
    ("POST", "/api/v1/drain-check", "/api/v1/drain-check", "operator", "editor"),
    ("POST", "/generate_videos/{channel}/{quality}", "/generate_videos/ch/source", "editor", "artist"),
];
/// What takes a body, and changes nothing.
const QUESTIONS: &[(&str, &str)] = &[("POST", "/thumbnail/{channel}/{quality}.png")];

/// Which of these words each route's definition in `src/http` has, with its pattern.
pub fn routes_with(words: &[&str]) -> BTreeSet<(String, String)> {
    fn collect(dir: &Path, words: &[&str], found: &mut BTreeSet<(String, String)>) {
        for entry in std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()) {
            if entry.is_dir() {
                collect(&entry, words, found);
            } else if entry.extension().is_some_and(|ending| ending == "rs") {
                let text = std::fs::read_to_string(&entry).unwrap();
                let text = text.replace("resource_for(", "resource(");
                let routes = text.split("resource(").skip(1);
                for route in routes.filter_map(|route| route.trim_start().strip_prefix('"')) {
                    let pattern = route.split('"').next().unwrap().to_owned();
                    let route = route.split(".configure(").next().unwrap().split("\n}").next().unwrap();
                    let there = words.iter().filter(|word| route.contains(**word));
                    found.extend(there.map(|word| ((*word).to_owned(), pattern.clone())));
                }
            }
        }
    }
    let mut found = BTreeSet::new();
    collect(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src/http"), words, &mut found);
    found
}

/// Method and pattern of all routes that take another method than GET and HEAD.
fn routes_with_bodies() -> BTreeSet<(String, String)> {
    let routes = routes_with(&["web::post()", "web::put()", "web::patch()", "web::delete()"]);
    let method = |word: &str| word.trim_start_matches("web::").trim_end_matches("()").to_uppercase();
    routes.into_iter().map(|(word, pattern)| (method(&word), pattern)).collect()
}

#[test]
fn no_write_is_missing_from_this_list() {
    let listed = WRITES.iter().map(|(method, pattern, ..)| (*method, *pattern)).chain(QUESTIONS.iter().copied());
    let listed: BTreeSet<(String, String)> =
        listed.map(|(method, pattern)| (method.to_owned(), pattern.to_owned())).collect();
    assert_eq!(routes_with_bodies(), listed);
}

over_both! {
    nobody_writes_without_a_token_that_is_good_in_every_respect,
}

/// All that a write could change.
fn everything(node: &NodeProcess, ground: &Ground) -> Value {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let db = ground.db();
    let rows = runtime.block_on(async {
        let templates = format!("{:?}", db.templates().await.unwrap());
        let users = format!("{:?}", db.users().await.unwrap());
        json!({ "templates": templates, "users": users })
    });
    let files: Vec<String> = std::fs::read_dir(&node.base)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
        .filter(|name| !name.starts_with('.'))
        .collect();
    let answer = |path: &str| node.get(path).json();
    json!([answer("/api/v1/events"), answer("/api/v1/events/e1/history"), rows, files])
}

fn nobody_writes_without_a_token_that_is_good_in_every_respect(ground: Ground) {
    let (key, p256, foreign) = (Key::rsa("k"), Key::p256("p"), Key::rsa("k"));
    let (issuer, stranger) = (Issuer::start(&[&key, &p256]), Issuer::start(&[&foreign]));
    let people = ["reader", "editor", "artist", "operator"].map(|role| format!("{role}@example.org {role}"));
    let node = start(&ground, &section(&issuer, &format!("people = {people:?}\n")));
    let good = |role: &str| claims(&issuer, &format!("{role}@example.org"));
    let body = json!({ "id": "e1", "link": "http://v/1", "notes": "x" }).to_string();
    let event = json!({ "id": "e1", "notes": "as it was" }).to_string();
    eventually("the keys are there", || {
        let reply = send_as(&node, "POST", "/api/v1/events", Some(&key.token(&good("editor"))), &event);
        assert!([201, 503].contains(&reply.status), "{}", reply.text());
        (reply.status == 201).then_some(())
    });
    let before = everything(&node, &ground);
    let with = |role: &str, name: &str, value: Value| {
        let mut changed = good(role);
        changed[name] = value;
        changed
    };
    let header = json!({ "alg": "RS256", "kid": "k", "typ": "JWT" });
    for (place, (method, _, path, needed, other)) in WRITES.iter().enumerate() {
        let now = good(needed)["iat"].as_u64().unwrap() + 5;
        let signed_by_public_key = |secret: &str| {
            let text = unsigned(&json!({ "alg": "HS256", "kid": "k" }), &good(needed));
            let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes()), text.as_bytes());
            format!("{text}.{}", URL_SAFE_NO_PAD.encode(tag.as_ref()))
        };
        let published = key.published();
        let mut forged = key.token(&good(needed));
        forged.replace_range(forged.len() - 20..forged.len() - 16, "AAAA");
        let of_other_claims = {
            let (reader, operator) = (key.token(&good("reader")), unsigned(&header, &good("operator")));
            format!("{operator}.{}", reader.rsplit('.').next().unwrap())
        };
        let refused = [
            ("no token", 401, None),
            ("expired", 401, Some(key.token(&with(needed, "exp", json!(now - 120))))),
            ("not yet valid", 401, Some(key.token(&with(needed, "nbf", json!(now + 300))))),
            ("of the future", 401, Some(key.token(&with(needed, "iat", json!(now + 300))))),
            ("foreign issuer", 401, Some(foreign.token(&claims(&stranger, &format!("{needed}@example.org"))))),
            ("foreign key", 401, Some(foreign.token(&good(needed)))),
            ("wrong audience", 401, Some(key.token(&with(needed, "aud", json!("others"))))),
            (
                "one audience too many",
                401,
                Some(p256.token(&with(needed, "aud", json!(["segvault-editors", "others"])))),
            ),
            ("wrong signature", 401, Some(forged)),
            ("another's signature", 401, Some(of_other_claims)),
            ("alg none", 401, Some(format!("{}.", unsigned(&json!({ "alg": "none" }), &good(needed))))),
            ("no signature", 401, Some(format!("{}.", unsigned(&header, &good(needed))))),
            ("HS256 by the public key", 401, Some(signed_by_public_key(published["n"].as_str().unwrap()))),
            ("HS256 by the JWK", 401, Some(signed_by_public_key(&published.to_string()))),
            ("the other kind of key", 401, Some(p256.token_with(&header, &good(needed)))),
            ("unverified email", 401, Some(key.token(&with(needed, "email_verified", json!(false))))),
            ("nobody's email", 403, Some(key.token(&good("nobody")))),
            ("a reader", 403, Some(p256.token(&good("reader")))),
            ("another role", 403, Some(key.token(&good(other)))),
        ];
        for (number, (what, expected, token)) in refused.into_iter().enumerate() {
            let bearer = token.map(|token| format!("Bearer {token}"));
            let headers: Vec<(&str, &str)> = bearer.iter().map(|text| ("Authorization", text.as_str())).collect();
            // From an address of its own: so many at once would close the door.
            let reply = send_from([127, 1, place as u8, number as u8], &address(&node), method, path, &headers, &body);
            assert_eq!(reply.status, expected, "{what} {method} {path}: {}", reply.text());
        }
        assert_eq!(everything(&node, &ground), before, "{method} {path}");
    }
    node.stop();
}
