use std::sync::{Arc, LazyLock};

use higuma_model::{ClusterId, Key, Owner, Resource};
use http::{HeaderValue, Request};
use ring::hmac;
use serde_json::{Value, json};

use super::*;
use crate::caller::ADMIN;

/// Drawing one takes a while.
static KEYS: LazyLock<[String; 2]> =
    LazyLock::new(|| [1, 2].map(|_| key::generate().expect("a key")));

/// 2026-11-25T00:00:00Z
const NOW: i64 = 1_795_564_800;

fn secret(key: Key, bytes: &[u8], version: u64) -> Resource {
    let draft = state::draft(key, bytes);
    Resource {
        key: draft.key,
        owner: Owner::Global,
        version,
        modified_at: version,
        created: Timestamp(0),
        modified: Timestamp(0),
        audience: draft.audience,
        labels: draft.labels,
        spec: draft.spec,
        status: None,
    }
}

/// A state with these signing keys, where "gone" is revoked.
fn state_with(keys: &[(&str, &str)]) -> Snapshot {
    let mut snapshot = Snapshot::new(ClusterId(1));
    for (at, (kid, pem)) in keys.iter().enumerate() {
        let key = state::signing_key_key(kid);
        snapshot.put(Arc::new(secret(key, pem.as_bytes(), at as u64 + 1)));
    }
    snapshot.put(Arc::new(secret(state::revocations_key(), b"other, gone", 100)));
    snapshot
}

fn claims() -> Claims {
    Claims {
        name: "ci".to_owned(),
        groups: Some(vec!["team-shop".to_owned()]),
        exp: NOW + 60,
        nbf: NOW - 5,
        iat: NOW,
        jti: "one".to_owned(),
    }
}

fn signed(claims: &Claims, kid: &str, pem: &str) -> String {
    key::sign(claims, kid, pem.as_bytes()).expect("a key signs")
}

fn judged(token: &str) -> Result<Claims, BadToken> {
    let state = state_with(&[("1", &KEYS[0]), ("2", &KEYS[1])]);
    verify(token, &state, Timestamp(NOW * 1000))
}

#[test]
fn a_token_says_who_somebody_is() {
    let token = signed(&claims(), "1", &KEYS[0]);
    assert_eq!(judged(&token), Ok(claims()));
    let caller = claims().caller();
    let groups: Vec<&str> = caller.groups.iter().map(|group| &**group).collect();
    assert_eq!((&*caller.name, &*groups), ("ci", &["team-shop", "mesh-system:authenticated"][..]));
    assert!(!caller.is_admin() && !caller.is_anonymous());

    let mut parts = token.split('.').map(|part| key::bytes(part).expect("base64"));
    let head: Value = serde_json::from_slice(&parts.next().expect("a head")).expect("JSON");
    assert_eq!(head, json!({"alg": "RS256", "kid": "1", "typ": "JWT"}));
    let said: Value = serde_json::from_slice(&parts.next().expect("claims")).expect("JSON");
    let kumas = json!({"Name": "ci", "Groups": ["team-shop"], "exp": NOW + 60, "nbf": NOW - 5,
        "iat": NOW, "jti": "one"});
    assert_eq!(said, kumas);
}

#[test]
fn groups_may_be_missing_or_null_and_an_admin_is_one() {
    let none = Claims { groups: None, ..claims() };
    let token = signed(&none, "1", &KEYS[0]);
    assert_eq!(judged(&token).map(|claims| claims.caller().groups.len()), Ok(1));
    let admin = Claims { groups: Some(vec![ADMIN.to_owned()]), ..claims() };
    assert!(judged(&signed(&admin, "1", &KEYS[0])).expect("good").caller().is_admin());
}

/// A token with another head, over the same claims, with whatever signs it.
fn forged(head: &Value, sign: impl Fn(&[u8]) -> Vec<u8>) -> String {
    let text = format!("{}.{}", key::written(head), key::written(&claims()));
    let signature = sign(text.as_bytes());
    format!("{text}.{}", base64_of(&signature))
}

fn base64_of(bytes: &[u8]) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(bytes)
}

fn hs256(secret: &[u8]) -> impl Fn(&[u8]) -> Vec<u8> {
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret);
    move |text| hmac::sign(&key, text).as_ref().to_vec()
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table")]
fn what_is_wrong_with_a_token_is_told_and_none_of_it_is_taken() {
    let good = signed(&claims(), "1", &KEYS[0]);
    let with = |change: &dyn Fn(&mut Claims)| {
        let mut changed = claims();
        change(&mut changed);
        signed(&changed, "1", &KEYS[0])
    };
    let parts: Vec<&str> = good.split('.').collect();
    let [head, said, signature] = parts[..] else { panic!("three parts") };
    let swapped = key::written(&Claims { groups: Some(vec![ADMIN.to_owned()]), ..claims() });
    let public = &KEYS[0][KEYS[0].find("-----BEGIN RSA PUBLIC KEY").expect("it is there")..];
    let hs = json!({"alg": "HS256", "kid": "1", "typ": "JWT"});
    let rs = |more: &str, value: Value| {
        let mut head = json!({"alg": "RS256", "kid": "1", "typ": "JWT"});
        head[more] = value;
        head
    };
    let shape = BadToken::Malformed("it has not the form of a JWT");
    let ended = BadToken::Ended("2026-11-25T00:00:00.000Z".to_owned());
    let unknown = |kid: &str| BadToken::UnknownKey(kid.to_owned());
    for (what, token, expected) in [
        ("expired", with(&|c| c.exp = NOW), ended),
        ("long expired", with(&|c| c.exp = i64::MIN), BadToken::Ended(shown(i64::MIN))),
        (
            "not yet valid",
            with(&|c| c.nbf = NOW + 1),
            BadToken::NotYet("2026-11-25T00:00:01.000Z".to_owned()),
        ),
        ("revoked", with(&|c| c.jti = "gone".to_owned()), BadToken::Revoked),
        ("another key's kid", signed(&claims(), "2", &KEYS[0]), BadToken::Signature),
        ("an unknown kid", signed(&claims(), "3", &KEYS[0]), unknown("3")),
        ("a kid of another form", signed(&claims(), "01", &KEYS[0]), unknown("01")),
        ("a kid that is a path", signed(&claims(), "../1", &KEYS[0]), unknown("../1")),
        (
            "no kid",
            forged(&json!({"alg": "RS256"}), |_| Vec::new()),
            BadToken::Malformed("it names no signing key"),
        ),
        (
            "alg none",
            forged(&json!({"alg": "none", "kid": "1"}), |_| Vec::new()),
            BadToken::Algorithm,
        ),
        (
            "alg None",
            forged(&json!({"alg": "None", "kid": "1"}), |_| Vec::new()),
            BadToken::Algorithm,
        ),
        ("HS256 with the public key", forged(&hs, hs256(public.as_bytes())), BadToken::Algorithm),
        (
            "HS256 with the public key, called RS256",
            forged(&rs("typ", "JWT".into()), hs256(public.as_bytes())),
            BadToken::Signature,
        ),
        ("no signature", format!("{head}.{said}."), BadToken::Signature),
        ("other claims", format!("{head}.{swapped}.{signature}"), BadToken::Signature),
        (
            "an extension that must be understood",
            forged(&rs("crit", json!(["exp"])), |_| Vec::new()),
            BadToken::Malformed("it demands extensions of JWT, and none are supported"),
        ),
        ("two parts", format!("{head}.{said}"), shape.clone()),
        ("four parts", format!("{good}.x"), shape.clone()),
        ("a padded signature", format!("{good}="), shape.clone()),
        ("nothing", String::new(), shape.clone()),
        ("garbage", "a.b.c".to_owned(), shape.clone()),
        ("JSON that is no head", format!("{}.{said}.{signature}", base64_of(b"[]")), shape.clone()),
        ("no ASCII", "ü.ü.ü".to_owned(), shape),
        ("too large", "x".repeat(MAX_TOKEN_BYTES + 1), BadToken::TooLarge(MAX_TOKEN_BYTES + 1)),
    ] {
        assert_eq!(judged(&token), Err(expected), "{what}");
    }
    assert!(judged(&good).is_ok(), "the one that these were made of");
}

#[test]
fn signed_claims_of_another_kind_are_no_users() {
    for claims in [
        json!({"Zone": "east", "exp": NOW + 60, "nbf": NOW, "iat": NOW, "jti": "z"}),
        json!({"Name": "ci", "nbf": NOW, "iat": NOW, "jti": "no end"}),
        json!({"Name": "ci", "exp": "never", "nbf": NOW, "iat": NOW, "jti": "z"}),
        json!("ci"),
    ] {
        let token = key::sign(&claims, "1", KEYS[0].as_bytes()).expect("a key signs");
        let why = BadToken::Malformed("its claims are not those of a user token");
        assert_eq!(judged(&token), Err(why), "{claims}");
    }
}

#[test]
fn a_key_that_is_gone_takes_its_tokens_with_it_and_the_newest_signs() {
    let both = state_with(&[("1", &KEYS[0]), ("2", &KEYS[1]), ("10", &KEYS[1])]);
    assert_eq!(state::signing_keys(&both), [1, 2, 10], "by number, not by name");
    let old = signed(&claims(), "1", &KEYS[0]);
    assert!(verify(&old, &both, Timestamp(NOW * 1000)).is_ok());
    let rotated = state_with(&[("2", &KEYS[1])]);
    let why = verify(&old, &rotated, Timestamp(NOW * 1000));
    assert_eq!(why, Err(BadToken::UnknownKey("1".to_owned())));
}

#[test]
fn the_header_is_bearer_and_there_once() {
    let state = state_with(&[("1", &KEYS[0])]);
    let token = signed(&claims(), "1", &KEYS[0]);
    let found = |values: &[&str]| {
        let mut request = Request::get("/");
        for value in values {
            request = request.header("authorization", HeaderValue::from_str(value).expect("text"));
        }
        let headers = request.body(()).expect("a request").into_parts().0.headers;
        caller(&headers, &state, Timestamp(NOW * 1000))
            .map(|caller| caller.map(|caller| caller.name.to_string()))
            .map_err(|error| format!("{error:?}"))
    };
    assert_eq!(found(&[]), Ok(None));
    let bearer = format!("Bearer {token}");
    assert_eq!(found(&[&bearer]), Ok(Some("ci".to_owned())));
    assert_eq!(found(&[&format!("bearer  {token}")]), Ok(Some("ci".to_owned())));
    for wrong in [&["Basic eDp5"][..], &[&token], &["Bearer"], &[""], &[&bearer, &bearer]] {
        let why = found(wrong).expect_err("refused");
        assert!(!why.contains(&token), "a token is never shown: {why}");
    }
}
