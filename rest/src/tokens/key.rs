//! RSA keys and what they sign, in the forms of JWT and of Kuma's secrets.
//!
//! `rsa` draws the primes, and does nothing else: its private operations are not free of timing
//! side channels (RUSTSEC-2023-0071). ring signs and verifies.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use ring::rand::SystemRandom;
use ring::signature::{
    KeyPair as _, RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_SHA256, RsaKeyPair, UnparsedPublicKey,
};
use rsa::pkcs1::EncodeRsaPrivateKey as _;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{ALGORITHM, Head};

/// Kuma's.
const KEY_BITS: usize = 2048;
const PRIVATE: &str = "RSA PRIVATE KEY";
const PUBLIC: &str = "RSA PUBLIC KEY";

/// A new key as PEM: PKCS #1 as Kuma keeps it, and behind it the public key, so that whoever
/// verifies need not take the private one apart for each request. It takes some hundred
/// milliseconds.
pub(super) fn generate() -> Result<String, String> {
    let failed = |what: &dyn std::fmt::Display| format!("no key could be made: {what}");
    let key = rsa::RsaPrivateKey::new(&mut rsa::rand_core::OsRng, KEY_BITS);
    let der = key.map_err(|error| failed(&error))?.to_pkcs1_der();
    let der = der.map_err(|error| failed(&error))?;
    let pair = RsaKeyPair::from_der(der.as_bytes()).map_err(|error| failed(&error))?;
    Ok(pem(PRIVATE, der.as_bytes()) + &pem(PUBLIC, pair.public_key().as_ref()))
}

/// A token of these claims.
pub(super) fn sign(claims: &impl Serialize, kid: &str, pem: &[u8]) -> Result<String, String> {
    let unusable = |why: &dyn std::fmt::Display| format!("signing key {kid} can't be used: {why}");
    let der = section(PRIVATE, pem).ok_or_else(|| unusable(&"it holds no private key"))?;
    let pair = RsaKeyPair::from_der(&der).map_err(|error| unusable(&error))?;
    let (kid, typ) = (Some(kid.to_owned()), Some("JWT".to_owned()));
    let head = Head { alg: ALGORITHM.to_owned(), kid, typ, crit: None };
    let signed = format!("{}.{}", written(&head), written(claims));
    let mut signature = vec![0; pair.public().modulus_len()];
    pair.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), signed.as_bytes(), &mut signature)
        .map_err(|error| unusable(&error))?;
    Ok(format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature)))
}

/// Whether the key signed this.
pub(super) fn verify(pem: &[u8], signed: &[u8], signature: &[u8]) -> Option<()> {
    let key = section(PUBLIC, pem)?;
    UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, key).verify(signed, signature).ok()
}

/// One part of a token.
pub(super) fn bytes(part: &str) -> Option<Vec<u8>> {
    URL_SAFE_NO_PAD.decode(part).ok()
}

/// One part of a token that is JSON.
pub(super) fn read<T: DeserializeOwned>(part: &str) -> Option<T> {
    serde_json::from_slice(&bytes(part)?).ok()
}

pub(super) fn written(part: &impl Serialize) -> String {
    let json = serde_json::to_vec(part).expect("invariant: strings and numbers become JSON");
    URL_SAFE_NO_PAD.encode(json)
}

fn pem(label: &str, der: &[u8]) -> String {
    let text = STANDARD.encode(der);
    let mut lines = vec![format!("-----BEGIN {label}-----")];
    lines.extend(text.as_bytes().chunks(64).map(|line| String::from_utf8_lossy(line).into_owned()));
    lines.push(format!("-----END {label}-----\n"));
    lines.join("\n")
}

fn section(label: &str, pem: &[u8]) -> Option<Vec<u8>> {
    let text = std::str::from_utf8(pem).ok()?;
    let (_, rest) = text.split_once(&format!("-----BEGIN {label}-----"))?;
    let (body, _) = rest.split_once(&format!("-----END {label}-----"))?;
    STANDARD.decode(body.split_whitespace().collect::<String>()).ok()
}
