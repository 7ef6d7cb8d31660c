use std::collections::BTreeMap;

use higuma_model::{Audience, Draft, Key, Kind, Labels, Place, Spec};
use higuma_store::{Consistency, Options, Store, Timers};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::*;
use crate::live::Live;
use crate::progress::Books;
use crate::view::View;

async fn zone(folder: &std::path::Path) -> Zone {
    let store = Store::open(Options {
        folder: folder.to_owned(),
        node: 1,
        members: BTreeMap::from([(1, "127.0.0.1:1".to_owned())]),
        listener: None,
        tls: None,
        timers: Timers::default(),
        mutant: None,
    });
    let store = store.await.unwrap();
    store.read(Consistency::Linearizable).await.unwrap();
    let (_, views) = watch::channel(Arc::new(View::new("east", store.snapshot())));
    Zone {
        name: "east".into(),
        place: Place::Zone("east".into()),
        store,
        views,
        live: Live::new(),
        books: Books::new(),
        ca_pem: Box::new(String::new),
        instance: "i".to_owned(),
        stop: CancellationToken::new(),
    }
}

fn put(name: &str, bytes: usize) -> Operation {
    Operation::Put(Draft {
        key: Key::new(Kind::Dataplane, "default", name),
        audience: Audience::AllZones,
        labels: Labels::new(),
        spec: Spec::Json(format!("\"{}\"", "x".repeat(bytes)).into()),
        status: None,
    })
}

#[tokio::test]
async fn large_proxies_are_written_apart_and_one_too_large_stops_no_other() {
    let folder = tempfile::tempdir().unwrap();
    let zone = zone(folder.path()).await;
    let (large, too_large) = (400 << 10, 2 << 20);
    let operations = vec![put("a", large), put("b", too_large), put("c", large), put("d", large)];
    let version = write(&zone, &[], operations).await.unwrap();
    let snapshot = zone.store.snapshot();
    assert_eq!(version, Some(snapshot.version()));
    let names: Vec<_> = snapshot.iter().map(|r| r.key.name().to_owned()).collect();
    assert_eq!(names, ["a", "c", "d"]);
    zone.store.shutdown().await;
}
