//! What tokens rest on, in the state: global secrets under Kuma's names, which never leave this
//! control plane.

use higuma_model::{Audience, Check, Draft, Key, Kind, Labels, SecretBytes, Snapshot, Spec};

const SIGNING_KEY: &str = "user-token-signing-key-";
const REVOCATIONS: &str = "user-token-revocations";

/// Revoked tokens are looked for in a list with each request; whoever revokes more than these makes a
/// new signing key and deletes the old one, which revokes all of its tokens.
pub(super) const MAX_REVOKED: usize = 10_000;

pub(super) fn signing_key_key(kid: &str) -> Key {
    Key::new(Kind::GlobalSecret, "", &format!("{SIGNING_KEY}{kid}"))
}

pub(super) fn revocations_key() -> Key {
    Key::new(Kind::GlobalSecret, "", REVOCATIONS)
}

/// The PEM of a signing key.
pub(super) fn signing_key<'a>(snapshot: &'a Snapshot, kid: &str) -> Option<&'a [u8]> {
    number(kid)?;
    secret(snapshot, &signing_key_key(kid))
}

/// Numbers of signing keys, the one that signs last.
pub(super) fn signing_keys(snapshot: &Snapshot) -> Vec<u32> {
    let all = snapshot.of_kind(Kind::GlobalSecret);
    let mut numbers: Vec<u32> =
        all.filter_map(|resource| number(resource.key.name().strip_prefix(SIGNING_KEY)?)).collect();
    numbers.sort_unstable();
    numbers
}

/// A key is named by a number without leading zeros: each has one name.
fn number(kid: &str) -> Option<u32> {
    kid.parse().ok().filter(|number: &u32| number.to_string() == kid)
}

pub(super) fn is_revoked(snapshot: &Snapshot, jti: &str) -> bool {
    revoked(snapshot).any(|known| known == jti)
}

/// Kuma's form: ids with commas between them.
pub(super) fn revoked(snapshot: &Snapshot) -> impl Iterator<Item = &str> {
    let list = secret(snapshot, &revocations_key()).unwrap_or_default();
    let list = std::str::from_utf8(list).unwrap_or_default();
    list.split(',').map(str::trim).filter(|id| !id.is_empty())
}

fn secret<'a>(snapshot: &'a Snapshot, key: &Key) -> Option<&'a [u8]> {
    match &snapshot.get(key)?.spec {
        Spec::Secret(secret) => Some(&secret.bytes),
        Spec::Json(_) => None,
    }
}

pub(super) fn draft(key: Key, bytes: &[u8]) -> Draft {
    Draft {
        key,
        audience: Audience::None,
        labels: Labels::new(),
        spec: Spec::Secret(SecretBytes::plain(bytes)),
        status: None,
    }
}

/// That a secret is as it was looked at.
pub(super) fn as_seen(snapshot: &Snapshot, key: &Key) -> Check {
    match snapshot.get(key) {
        Some(resource) => Check::Unchanged { key: key.clone(), modified_at: resource.modified_at },
        None => Check::Absent(key.clone()),
    }
}
