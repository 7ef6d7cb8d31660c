use std::collections::BTreeSet;
use std::mem::discriminant;
use std::net::Ipv4Addr;
use std::time::Duration;

use proptest::prelude::*;
use tokio_util::sync::CancellationToken;

use super::*;
use crate::cluster::{Node, Role};
use crate::history::Recorder;
use crate::run::Folder;
use crate::testing::Alone;

const ALL: Duration = Duration::from_secs(60);

fn nodes() -> Vec<Node> {
    let node = |name: &str, role, zone: Option<&str>| Node {
        name: name.to_owned(),
        role,
        zone: zone.map(str::to_owned),
        address: Ipv4Addr::LOCALHOST.into(),
    };
    let mut nodes: Vec<_> =
        (1..=3).map(|n| node(&format!("global-{n}"), Role::Global, None)).collect();
    for (zone, workload) in [("east", "web"), ("west", "billing")] {
        nodes.push(node(zone, Role::Remote, Some(zone)));
        nodes.push(node(&format!("{zone}-ingress"), Role::Ingress, Some(zone)));
        nodes.push(node(workload, Role::Workload, Some(zone)));
    }
    nodes
}

proptest! {
    #[test]
    fn every_schedule_can_be_done_and_ends(
        seed: u64,
        seconds in 5u64..120,
        nemesis in prop::sample::select(names()),
        globals_only: bool,
    ) {
        let mut nodes = nodes();
        if globals_only {
            nodes.truncate(3);
        }
        let duration = Duration::from_secs(seconds);
        let drawn = schedule(seed, nemesis, duration, &nodes).unwrap();
        prop_assert_eq!(&drawn, &schedule(seed, nemesis, duration, &nodes).unwrap());
        prop_assert!(drawn.is_sorted_by_key(|one| one.at));
        for Planned { at, until, fault } in &drawn {
            prop_assert!(*at > Duration::from_secs(1) && at < until);
            prop_assert!(*until <= duration - (duration / 5).min(Duration::from_secs(5)));
            let named = fault.nodes();
            prop_assert!(named.len() == named.iter().collect::<BTreeSet<_>>().len());
            for name in named {
                prop_assert!(nodes.iter().any(|node| node.name == name), "{name}");
            }
        }
    }
}

#[test]
fn seeds_differ_and_each_nemesis_does_all_that_it_is_for() {
    let nodes = nodes();
    let one = |seed| schedule(seed, "mixed", ALL, &nodes).unwrap();
    assert_ne!(one(1), one(2));
    assert!(schedule(1, "none", Duration::ZERO, &nodes).unwrap().is_empty());
    let kinds = |name| {
        let drawn = (0..100).flat_map(|seed| schedule(seed, name, ALL, &nodes).unwrap());
        let mut kinds = Vec::new();
        for fault in drawn.map(|planned| planned.fault) {
            if !kinds.contains(&discriminant(&fault)) {
                kinds.push(discriminant(&fault));
            }
        }
        kinds.len()
    };
    let counted: Vec<_> = names().into_iter().map(|name| (name, kinds(name))).collect();
    assert_eq!(
        counted,
        [
            ("none", 0),
            ("kill", 1),
            ("pause", 1),
            ("power", 1),
            ("partition", 3),
            ("slow", 2),
            ("disk", 1),
            ("torn", 1),
            ("flip", 1),
            ("wipe", 1),
            ("sync-error", 1),
            ("slow-sync", 1),
            ("rollback", 1),
            ("empty", 1),
            ("clock", 1),
            ("restart-all", 1),
            ("power-all", 1),
            ("mixed", 9),
            ("everything", 9),
        ]
    );
}

#[test]
fn mixed_overlaps_ends_all_globals_at_times_and_leaves_proxies_alone() {
    let nodes = nodes();
    let (mut overlapping, mut all_globals) = (0, 0);
    for seed in 0..50 {
        let drawn = schedule(seed, "mixed", ALL, &nodes).unwrap();
        assert!(drawn.len() > 10, "{}", drawn.len());
        overlapping += drawn.windows(2).filter(|two| two[1].at < two[0].until).count();
        for Planned { fault, .. } in drawn {
            let touched = fault.nodes();
            assert!(!touched.iter().any(|name| name.contains("ingress") || *name == "web"));
            all_globals += usize::from(matches!(fault, Fault::Kill { nodes } if nodes.len() == 3));
        }
    }
    assert!(overlapping > 100 && all_globals > 1, "{overlapping} {all_globals}");
}

#[test]
fn bad_use_is_told_what_there_is() {
    let error = schedule(1, "earthquake", ALL, &nodes()).unwrap_err().to_string();
    assert!(error.starts_with("there is no nemesis \"earthquake\"; there are none, kill, pause"));
    let error = schedule(1, "kill", Duration::from_secs(4), &nodes()).unwrap_err().to_string();
    assert_eq!(error, "nemesis kill needs at least 5 s, not 4s");
    let error = schedule(1, "kill", ALL, &nodes()[..1]).unwrap_err().to_string();
    assert_eq!(error, "a nemesis needs a cluster of several globals, not 1");
}

#[tokio::test]
async fn a_fault_that_cannot_be_installed_is_written_as_a_failure() {
    let folder = tempfile::tempdir().unwrap();
    let folder = Folder::create(&folder.path().join("run")).unwrap();
    let recorder = Recorder::create(&folder.history()).unwrap();
    let cluster = Alone::at((Ipv4Addr::LOCALHOST, 1).into());
    let fault = Fault::Kill { nodes: vec!["global-1".to_owned()] };
    let planned = |at, until| Planned {
        at: Duration::from_millis(at),
        until: Duration::from_millis(until),
        fault: fault.clone(),
    };
    let schedule = [planned(1, 3), planned(2, 3_600_000)];
    let stop = CancellationToken::new();
    let driven = async {
        let events = drive(&cluster, &schedule, &recorder, &folder, stop.clone()).await.unwrap();
        assert_eq!(events.len(), 2);
        for event in &events {
            assert!(event.installed.is_none() && event.healing.is_none());
            let failure = event.failure.as_deref().unwrap();
            assert!(failure.starts_with("cannot install: this database has no means"), "{failure}");
        }
        assert_eq!(folder.faults().unwrap().len(), 2);
    };
    let stopped = async {
        while folder.faults().map_or(0, |faults| faults.len()) < 2 {
            tokio::task::yield_now().await;
        }
        stop.cancel();
    };
    tokio::join!(driven, stopped);
}
