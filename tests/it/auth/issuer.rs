//! An issuer of ID tokens, as a real server: its keys change, it goes down, it is slow, it lies.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{TcpListener, TcpStream};
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::rand::SystemRandom;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _, RSA_PKCS1_SHA256, RsaKeyPair, RsaPublicKeyComponents,
};
use rustls::pki_types::PrivatePkcs8KeyDer;
use rustls::pki_types::pem::PemObject as _;
use serde_json::{Value, json};
use url::Url;

/// A key of an issuer.
pub struct Key {
    pub id: String,
    kind: Kind,
}

enum Kind {
    Rsa(RsaKeyPair),
    P256(EcdsaKeyPair),
}

impl Key {
    pub fn rsa(id: &str) -> Self {
        let made = Command::new("openssl")
            .args(["genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048"])
            .output()
            .expect("openssl is there; `make deps` installs it");
        let der = PrivatePkcs8KeyDer::from_pem_slice(&made.stdout).unwrap();
        Self { id: id.to_owned(), kind: Kind::Rsa(RsaKeyPair::from_pkcs8(der.secret_pkcs8_der()).unwrap()) }
    }

    pub fn p256(id: &str) -> Self {
        let (random, algorithm) = (SystemRandom::new(), &ECDSA_P256_SHA256_FIXED_SIGNING);
        let made = EcdsaKeyPair::generate_pkcs8(algorithm, &random).unwrap();
        let pair = EcdsaKeyPair::from_pkcs8(algorithm, made.as_ref(), &random).unwrap();
        Self { id: id.to_owned(), kind: Kind::P256(pair) }
    }

    fn algorithm(&self) -> &'static str {
        match self.kind {
            Kind::Rsa(_) => "RS256",
            Kind::P256(_) => "ES256",
        }
    }

    pub fn published(&self) -> Value {
        let text = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        let (id, alg) = (&self.id, self.algorithm());
        match &self.kind {
            Kind::Rsa(pair) => {
                let RsaPublicKeyComponents { n, e } = RsaPublicKeyComponents::<Vec<u8>>::from(pair.public());
                json!({ "kty": "RSA", "kid": id, "alg": alg, "use": "sig", "n": text(&n), "e": text(&e) })
            }
            Kind::P256(pair) => {
                let point = pair.public_key().as_ref();
                let (x, y) = (text(&point[1..33]), text(&point[33..]));
                json!({ "kty": "EC", "crv": "P-256", "kid": id, "alg": alg, "use": "sig", "x": x, "y": y })
            }
        }
    }

    fn sign(&self, text: &[u8]) -> Vec<u8> {
        let random = SystemRandom::new();
        match &self.kind {
            Kind::Rsa(pair) => {
                let mut signature = vec![0; pair.public().modulus_len()];
                pair.sign(&RSA_PKCS1_SHA256, &random, text, &mut signature).unwrap();
                signature
            }
            Kind::P256(pair) => pair.sign(&random, text).unwrap().as_ref().to_vec(),
        }
    }

    pub fn token(&self, claims: &Value) -> String {
        self.token_with(&json!({ "alg": self.algorithm(), "kid": self.id, "typ": "JWT" }), claims)
    }

    pub fn token_with(&self, header: &Value, claims: &Value) -> String {
        let signed = unsigned(header, claims);
        let signature = URL_SAFE_NO_PAD.encode(self.sign(signed.as_bytes()));
        format!("{signed}.{signature}")
    }
}

/// Header and claims, without a signature.
pub fn unsigned(header: &Value, claims: &Value) -> String {
    [header, claims].map(|part| URL_SAFE_NO_PAD.encode(part.to_string())).join(".")
}

/// How it behaves.
#[derive(Debug, Clone, PartialEq)]
pub enum Mood {
    Well,
    /// Hangs up.
    Down,
    /// Says nothing for so long.
    Slow(Duration),
    /// Describes another issuer.
    Lies,
    /// Has its keys elsewhere, where anybody may change them.
    Careless,
    /// Answers with a page.
    Page,
}

/// What its own page answers to a login with this nonce, the n-th from 0 on: an ID token.
type Login = Box<dyn FnMut(usize, &str) -> String + Send>;

/// The server. It goes on until the test ends.
#[derive(Clone)]
pub struct Issuer {
    pub url: String,
    told: Arc<Mutex<Told>>,
}

struct Told {
    keys: Vec<Value>,
    mood: Mood,
    asked: usize,
    login: Option<Login>,
    logins: usize,
}

impl Issuer {
    pub fn start(keys: &[&Key]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let keys = keys.iter().map(|key| key.published()).collect();
        let told = Told { keys, mood: Mood::Well, asked: 0, login: None, logins: 0 };
        let issuer = Self { url, told: Arc::new(Mutex::new(told)) };
        let served = issuer.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let served = served.clone();
                std::thread::spawn(move || served.answer(stream));
            }
        });
        issuer
    }

    pub fn publish(&self, keys: &[&Key]) {
        self.told.lock().unwrap().keys = keys.iter().map(|key| key.published()).collect();
    }

    pub fn be(&self, mood: Mood) {
        self.told.lock().unwrap().mood = mood;
    }

    /// Whoever comes to its page is logged in, and sent back with this.
    pub fn log_in(&self, login: impl FnMut(usize, &str) -> String + Send + 'static) {
        self.told.lock().unwrap().login = Some(Box::new(login));
    }

    /// Where its page sends somebody who came with this query (OpenID Connect Core 1.0 §3.2.2.5).
    fn back(&self, path: &str) -> Option<String> {
        let asked = Url::parse(&format!("{}{path}", self.url)).unwrap();
        let part = |name: &str| Some(asked.query_pairs().find(|(known, _)| known == name)?.1.into_owned());
        assert_eq!((part("response_type")?.as_str(), part("scope")?.as_str()), ("id_token", "openid email"));
        let mut told = self.told.lock().unwrap();
        let nth = told.logins;
        told.logins += 1;
        let token = told.login.as_mut()?(nth, &part("nonce")?);
        Some(format!("{}#state={}&id_token={token}", part("redirect_uri")?, part("state")?))
    }

    /// How often its keys were asked for, or would have been.
    pub fn asked(&self) -> usize {
        self.told.lock().unwrap().asked
    }

    fn answer(&self, mut stream: TcpStream) {
        let mut lines = BufReader::new(stream.try_clone().unwrap()).lines().map_while(Result::ok);
        let Some(first) = lines.next() else { return };
        lines.take_while(|line| !line.is_empty()).for_each(drop);
        let path = first.split(' ').nth(1).unwrap_or_default().to_owned();
        let (keys, mood) = {
            let mut told = self.told.lock().unwrap();
            told.asked += usize::from(path.starts_with("/.well-known"));
            (told.keys.clone(), told.mood.clone())
        };
        if path.starts_with("/login?") {
            let back = self.back(&path).unwrap_or_default();
            let _ = write!(
                stream,
                "HTTP/1.1 302 Found\r\nLocation: {back}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
            );
            return;
        }
        let (name, place) = match &mood {
            Mood::Down => return,
            Mood::Slow(wait) => {
                std::thread::sleep(*wait);
                (self.url.as_str(), self.url.as_str())
            }
            Mood::Lies => ("https://id.example.org", self.url.as_str()),
            Mood::Careless => (self.url.as_str(), "http://id.example.org"),
            Mood::Well | Mood::Page => (self.url.as_str(), self.url.as_str()),
        };
        let text = match path.as_str() {
            _ if mood == Mood::Page => "<html>Log in to our network</html>".to_owned(),
            "/.well-known/openid-configuration" => {
                let (keys, page) = (format!("{place}/keys"), format!("{place}/login"));
                json!({ "issuer": name, "jwks_uri": keys, "authorization_endpoint": page, "x": 1 }).to_string()
            }
            _ => json!({ "keys": keys }).to_string(),
        };
        let head =
            format!("HTTP/1.1 200 OK\r\nCache-Control: public, max-age=3600\r\nContent-Length: {}\r\n", text.len());
        let _ = write!(stream, "{head}Connection: close\r\n\r\n{text}");
    }
}
