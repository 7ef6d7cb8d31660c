//! A transaction against the same changes made one by one.

use std::collections::BTreeMap;
use std::sync::Arc;

use higuma_model::{Audience, Labels, Place, Snapshot, Spec, Timestamp};
use higuma_store::{Options, Store, Timers, preview};
use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use serde_json::{Value, json};

use super::*;
use crate::{Authority, CaPair, NoProgress};

const NOW: Timestamp = Timestamp(1_000);

struct Keys;

impl Authority for Keys {
    fn builtin_ca(&self, mesh: &str, _: &str) -> Result<CaPair, String> {
        Ok(CaPair { certificate_pem: format!("cert of {mesh}"), key_pem: "key".to_owned() })
    }
}

async fn api(folder: &tempfile::TempDir) -> Api {
    let store = Store::open(Options {
        folder: folder.path().to_owned(),
        node: 1,
        members: BTreeMap::from([(1, "127.0.0.1:1".to_owned())]),
        listener: None,
        tls: None,
        timers: Timers::default(),
        mutant: None,
    })
    .await
    .expect("a store");
    Api {
        store,
        place: Place::Global,
        authority: Arc::new(Keys),
        progress: Arc::new(NoProgress),
        quota: 4_000,
        localhost_is_admin: true,
        roles: tokio::sync::watch::channel(Arc::default()).1,
        version: "0.0.0-test",
        mutant: None,
    }
}

fn operation() -> impl Strategy<Value = Value> {
    let mesh = |n: u8| format!("m{n}");
    let permission = move |m: u8, p: u8| json!({"type": "TrafficPermission", "mesh": mesh(m), "name": format!("p{p}")});
    let with_ca = move |n: u8| {
        json!({"put": {"type": "Mesh", "name": mesh(n), "mtls": {
            "enabledBackend": "ca", "backends": [{"name": "ca", "type": "builtin"}]}}})
    };
    let put = move |(m, p, value, size): (u8, u8, u8, usize)| {
        let mut document = permission(m, p);
        let to = json!([{"match": {"kuma.io/service": format!("{value}{}", "x".repeat(size))}}]);
        document["sources"] = json!([{"match": {"kuma.io/service": "web"}}]);
        document["destinations"] = to;
        json!({ "put": document })
    };
    prop_oneof![
        3 => (0..2_u8).prop_map(move |n| json!({"put": {"type": "Mesh", "name": mesh(n)}})),
        2 => (0..2_u8).prop_map(with_ca),
        6 => (0..2_u8, 0..3_u8, 0..3_u8, 0..200_usize).prop_map(put),
        3 => (0..2_u8, 0..3_u8).prop_map(move |(m, p)| json!({"delete": permission(m, p)})),
        1 => (0..2_u8).prop_map(move |n| json!({"delete": {"type": "Mesh", "name": mesh(n)}})),
    ]
}

fn work(operations: &[Value]) -> Work {
    let asked = asked::parse(json!({ "operations": operations }), false).expect("well-formed");
    Work { asked, query: Query::default(), named: None, origin: Default::default() }
}

/// What a state says, without versions and times.
fn said(snapshot: &Snapshot) -> BTreeMap<Key, (Spec, Labels, Audience)> {
    let one = |r: &Arc<higuma_model::Resource>| {
        (r.key.clone(), (r.spec.clone(), r.labels.clone(), r.audience.clone()))
    };
    snapshot.iter().map(one).collect()
}

/// The state after a transaction of these, or why not.
fn applied(api: &Api, before: &Snapshot, operations: &[Value]) -> Result<Snapshot, ApiError> {
    let work = work(operations);
    let plan = work.plan(api, before, NOW)?;
    let after = preview(before, &plan.transaction).map_err(|why| work.refused(&why))?;
    assert_eq!(said(&after), said(&plan.after), "as it was judged");
    Ok(after)
}

#[tokio::test]
async fn a_transaction_does_what_its_operations_do_one_by_one_or_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    let api = api(&folder).await;
    let mut runner = TestRunner::default();
    let operations = || prop::collection::vec(operation(), 1..7);
    runner
        .run(&(operations(), operations()), |(first, then)| {
            let mut before = Snapshot::new(higuma_model::ClusterId(1));
            for operation in &first {
                // Some state to begin with; what is refused is left out.
                before = applied(&api, &before, std::slice::from_ref(operation)).unwrap_or(before);
            }
            let then = once_each(then);
            let mut state = before.clone();
            let mut failed = None;
            for (at, operation) in then.iter().enumerate() {
                match applied(&api, &state, std::slice::from_ref(operation)) {
                    Ok(next) => state = next,
                    Err(error) => {
                        failed = Some((at, error));
                        break;
                    }
                }
            }
            match (applied(&api, &before, &then), failed) {
                (Ok(after), None) => prop_assert_eq!(said(&after), said(&state)),
                // The quota is judged once, of the whole: what is in between may be above it.
                (Ok(after), Some((_, error))) => {
                    prop_assert!(error.is_full(), "{:?} was refused by itself", error);
                    prop_assert!(after.bytes() <= api.quota || after.bytes() <= before.bytes());
                }
                (Err(error), Some((at, _))) => {
                    let place = format!("operations[{at}]");
                    prop_assert!(error.is_full() || error.is_about(&place), "{:?} {place}", error);
                }
                (Err(error), None) => {
                    prop_assert!(error.is_full(), "{:?} of what is taken by itself", error);
                }
            }
            Ok(())
        })
        .expect("holds");
}

/// The first operation about each resource.
fn once_each(operations: Vec<Value>) -> Vec<Value> {
    let mut about = std::collections::BTreeSet::new();
    let first = |operation: &Value| {
        about.insert(work(std::slice::from_ref(operation)).asked[0].key.clone())
    };
    operations.into_iter().filter(first).collect()
}
