//! An issuer's public keys (RFC 7517), and what they have signed (RFC 7515 §5.2).
//!
//! Promises: an algorithm is a pair of a known word and a key of its kind; there is none without a signature, and none by
//! which a public key could be a shared secret.
//! Never: fetches; looks at what is signed.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::signature::{ECDSA_P256_SHA256_FIXED, RSA_PKCS1_2048_8192_SHA256, RsaPublicKeyComponents, UnparsedPublicKey};
use serde::Deserialize;

/// Google has two or three. More are not looked at.
const MOST_KEYS: usize = 32;
/// RSA of 8192 bits, the most that is verified, takes this.
const MOST_PARAMETER_BYTES: usize = 1024;
/// A coordinate on P-256.
const COORDINATE_BYTES: usize = 32;

/// How a token says that it is signed (RFC 7518 §3.1). There are no others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub enum Algorithm {
    #[serde(rename = "RS256")]
    Rs256,
    #[serde(rename = "ES256")]
    Es256,
}

/// The keys of an issuer that can verify; never none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeySet(Vec<Key>);

#[derive(Debug, Clone, PartialEq, Eq)]
struct Key {
    id: Option<Box<str>>,
    material: Material,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Material {
    Rsa {
        n: Vec<u8>,
        e: Vec<u8>,
    },
    /// The point, uncompressed (SEC 1 §2.3.3).
    P256([u8; 1 + 2 * COORDINATE_BYTES]),
}

/// Why an answer is no set of keys.
#[derive(Debug, thiserror::Error)]
pub enum BadKeys {
    #[error("no set of keys: {0}")]
    Json(#[from] serde_json::Error),
    #[error("there is no key among {0} for RS256 or ES256")]
    NoneOfUse(usize),
}

/// What a set of keys says of a signature.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    Signed,
    Forged,
    /// There is no key of that id.
    UnknownKey,
}

/// A key as it is published. What is not needed is not read.
#[derive(Deserialize)]
struct Published {
    kty: String,
    kid: Option<String>,
    alg: Option<String>,
    #[serde(rename = "use")]
    purpose: Option<String>,
    n: Option<String>,
    e: Option<String>,
    crv: Option<String>,
    x: Option<String>,
    y: Option<String>,
}

impl KeySet {
    /// Reads a JWK set. Keys of other kinds, for other purposes, or that cannot be read, are passed over (RFC 7517 §5).
    pub fn read(json: &[u8]) -> Result<Self, BadKeys> {
        #[derive(Deserialize)]
        struct Set {
            keys: Vec<serde_json::Value>,
        }
        let Set { keys } = serde_json::from_slice(json)?;
        let there_are = keys.len();
        let of_use = keys.into_iter().take(MOST_KEYS).filter_map(|key| serde_json::from_value(key).ok());
        let keys: Vec<Key> = of_use.filter_map(Key::of).collect();
        if keys.is_empty() { Err(BadKeys::NoneOfUse(there_are)) } else { Ok(Self(keys)) }
    }

    /// A token without a key's id may be signed by any of them.
    pub fn verify(&self, algorithm: Algorithm, id: Option<&str>, signed: &[u8], signature: &[u8]) -> Verdict {
        let mut is_known = id.is_none();
        for key in self.0.iter().filter(|key| id.is_none() || key.id.as_deref() == id) {
            is_known = true;
            if key.material.has_signed(algorithm, signed, signature) {
                return Verdict::Signed;
            }
        }
        if is_known { Verdict::Forged } else { Verdict::UnknownKey }
    }
}

impl Key {
    fn of(published: Published) -> Option<Self> {
        let decode = |text: Option<String>| {
            let bytes = URL_SAFE_NO_PAD.decode(text?).ok()?;
            (1..=MOST_PARAMETER_BYTES).contains(&bytes.len()).then_some(bytes)
        };
        if published.purpose.is_some_and(|purpose| purpose != "sig") {
            return None;
        }
        let (material, algorithm) = match (published.kty.as_str(), published.crv.as_deref()) {
            ("RSA", _) => (Material::Rsa { n: decode(published.n)?, e: decode(published.e)? }, "RS256"),
            ("EC", Some("P-256")) => {
                let (x, y) = (decode(published.x)?, decode(published.y)?);
                let point: Vec<u8> = [4].into_iter().chain(x).chain(y).collect();
                (Material::P256(point.try_into().ok()?), "ES256")
            }
            _ => return None,
        };
        // A key that is for another algorithm is not for this one (RFC 8725 §3.1).
        if published.alg.is_some_and(|alg| alg != algorithm) {
            return None;
        }
        Some(Self { id: published.kid.map(Into::into), material })
    }
}

impl Material {
    fn has_signed(&self, algorithm: Algorithm, signed: &[u8], signature: &[u8]) -> bool {
        let verified = match (algorithm, self) {
            (Algorithm::Rs256, Self::Rsa { n, e }) => {
                RsaPublicKeyComponents { n, e }.verify(&RSA_PKCS1_2048_8192_SHA256, signed, signature)
            }
            (Algorithm::Es256, Self::P256(point)) => {
                UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point).verify(signed, signature)
            }
            (Algorithm::Rs256, Self::P256(_)) | (Algorithm::Es256, Self::Rsa { .. }) => return false,
        };
        verified.is_ok()
    }
}

#[cfg(test)]
pub(super) mod tests {
    use ring::rand::SystemRandom;
    use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
    use serde_json::{Value, json};

    use super::*;

    /// A key that signs by ES256.
    pub struct Signer(EcdsaKeyPair);

    impl Signer {
        pub fn new() -> Self {
            let random = SystemRandom::new();
            let made = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random).unwrap();
            Self(EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, made.as_ref(), &random).unwrap())
        }

        pub fn published(&self, id: &str) -> Value {
            let point = self.0.public_key().as_ref();
            let [x, y] = [&point[1..33], &point[33..]].map(|part| URL_SAFE_NO_PAD.encode(part));
            json!({ "kty": "EC", "crv": "P-256", "kid": id, "alg": "ES256", "use": "sig", "x": x, "y": y })
        }

        pub fn sign(&self, text: &[u8]) -> Vec<u8> {
            self.0.sign(&SystemRandom::new(), text).unwrap().as_ref().to_vec()
        }

        /// A token with any header and claims.
        pub fn token(&self, header: &Value, claims: &Value) -> String {
            let signed = [header, claims].map(|part| URL_SAFE_NO_PAD.encode(part.to_string())).join(".");
            let signature = URL_SAFE_NO_PAD.encode(self.sign(signed.as_bytes()));
            format!("{signed}.{signature}")
        }
    }

    pub fn set(keys: &[Value]) -> KeySet {
        KeySet::read(json!({ "keys": keys }).to_string().as_bytes()).unwrap()
    }

    #[test]
    fn a_signature_is_of_its_key_and_its_text() {
        let (one, other) = (Signer::new(), Signer::new());
        let keys = set(&[one.published("one"), other.published("other")]);
        let signature = one.sign(b"text");
        let verify = |id, text: &[u8], signature: &[u8]| keys.verify(Algorithm::Es256, id, text, signature);
        assert_eq!(verify(Some("one"), b"text", &signature), Verdict::Signed);
        assert_eq!(verify(None, b"text", &signature), Verdict::Signed);
        assert_eq!(verify(Some("other"), b"text", &signature), Verdict::Forged);
        assert_eq!(verify(Some("none"), b"text", &signature), Verdict::UnknownKey);
        assert_eq!(verify(Some("one"), b"texts", &signature), Verdict::Forged);
        for bad in [&[][..], &[0; 64], &signature[..63]] {
            assert_eq!(verify(Some("one"), b"text", bad), Verdict::Forged);
        }
        assert_eq!(keys.verify(Algorithm::Rs256, Some("one"), b"text", &signature), Verdict::Forged);
    }

    #[test]
    fn what_is_no_key_of_use_is_passed_over() {
        let good = Signer::new().published("good");
        let with = |key: &str, value: Value| {
            let mut bad = good.clone();
            bad[key] = value;
            bad
        };
        let secret = json!({ "kty": "oct", "k": "c2VjcmV0", "alg": "HS256", "kid": "good" });
        let bad = [
            with("use", json!("enc")),
            with("alg", json!("ES384")),
            with("crv", json!("P-384")),
            with("x", json!("AA")),
            with("x", json!("not base64")),
            with("kty", json!("OKP")),
            with("kid", json!(5)),
            json!({ "kty": "RSA", "n": "", "e": "AQAB" }),
            json!("junk"),
            secret,
        ];
        for one in &bad {
            let alone = KeySet::read(json!({ "keys": [one] }).to_string().as_bytes());
            assert!(matches!(alone, Err(BadKeys::NoneOfUse(1))), "{one}");
        }
        let all: Vec<Value> = bad.iter().cloned().chain([good]).collect();
        assert_eq!(set(&all).0.len(), 1);
        for text in ["", "[]", "{\"keys\": 5}", "<html>"] {
            assert!(matches!(KeySet::read(text.as_bytes()), Err(BadKeys::Json(_))), "{text}");
        }
    }

    #[test]
    fn words_for_other_algorithms_are_none() {
        for word in ["none", "None", "HS256", "RS512", "PS256", "rs256", ""] {
            assert!(serde_json::from_value::<Algorithm>(json!(word)).is_err(), "{word}");
        }
    }
}
