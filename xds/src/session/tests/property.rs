//! Whatever configurations come, in whatever order messages cross.

use proptest::prelude::*;

use super::client::Client;
use super::{at, config};
use crate::config::Config;
use crate::session::Session;

/// Cluster `c0`..`c3` in some version each, listeners and routes that name some of them.
fn any_config(bad: bool) -> impl Strategy<Value = Config> {
    let bytes = if bad { vec!["1", "2", "bad"] } else { vec!["1", "2"] };
    let versioned = prop::sample::select(bytes);
    let clusters = prop::collection::vec(prop::option::of(versioned.clone()), 4);
    let user = (versioned, any::<bool>(), 1u8..16);
    let listeners = prop::collection::vec(prop::option::of(user), 3);
    (clusters, listeners).prop_map(|(mut clusters, listeners)| {
        let (mut lds, mut rds) = (String::new(), String::new());
        for (at, listener) in listeners.iter().enumerate() {
            let Some((bytes, by_route, mask)) = listener else { continue };
            let used: Vec<usize> = (0..4).filter(|bit| mask & (1 << bit) != 0).collect();
            for cluster in &used {
                clusters[*cluster].get_or_insert("1");
            }
            let used: Vec<String> = used.iter().map(|cluster| format!("c{cluster}")).collect();
            let used = used.join(",");
            if *by_route {
                lds += &format!(" l{at}>/r{at}");
                rds += &format!(" r{at}@{bytes}>{used}");
            } else {
                lds += &format!(" l{at}@{bytes}>{used}");
            }
        }
        let cds = clusters.iter().enumerate();
        let cds: Vec<String> =
            cds.filter_map(|(at, bytes)| bytes.map(|bytes| format!("c{at}@{bytes}"))).collect();
        config(&cds.join(" "), &lds, &rds)
    })
}

/// What happens next: a message is delivered one way or the other, a configuration comes, the stream breaks.
#[derive(Debug, Clone)]
enum Event {
    Deliver(bool),
    Configure(Config),
    Reconnect,
}

fn events(bad: bool) -> impl Strategy<Value = Vec<Event>> {
    let event = prop_oneof![
        12 => any::<bool>().prop_map(Event::Deliver),
        3 => any_config(bad).prop_map(Event::Configure),
        1 => Just(Event::Reconnect),
    ];
    prop::collection::vec(event, 1..80)
}

fn play(events: Vec<Event>, last: &Config) -> (Client, Session) {
    let (mut client, mut session) = (Client::new(), Session::new());
    client.connect();
    let mut current = (Config::default(), at(0));
    let mut version = 0;
    for event in events.into_iter().chain([Event::Configure(last.clone())]) {
        match event {
            Event::Deliver(to_server) => {
                client.step(&mut session, to_server);
            }
            Event::Configure(config) => {
                version += 1;
                current = (config, at(version));
                client.enqueue(session.on_config(&current.0, current.1));
            }
            Event::Reconnect => {
                session = Session::new();
                client.connect();
                session.on_config(&current.0, current.1);
            }
        }
    }
    client.settle(&mut session);
    if session.nacks().is_empty() {
        assert_eq!(session.acked_version(), Some(at(version)));
    }
    (client, session)
}

proptest! {
    /// The client itself fails on a listener or route that names what it does not have, and on the removal
    /// of what is used.
    #[test]
    fn every_client_ends_with_the_last_config(events in events(false), last in any_config(false)) {
        let (client, session) = play(events, &last);
        client.assert_runs(&last);
        prop_assert!(session.nacks().is_empty());
    }

    /// Refusals on the way stop nothing, and nothing refused comes again.
    #[test]
    fn refusals_on_the_way_are_overcome(events in events(true), last in any_config(false)) {
        let (client, session) = play(events, &last);
        client.assert_runs(&last);
        prop_assert!(session.nacks().is_empty());
    }

    /// A configuration that stays bad leaves a client that serves what it can.
    #[test]
    fn refusals_that_stay_are_told(events in events(true), last in any_config(true)) {
        let (_, session) = play(events, &last);
        let told = session.nacks();
        if told.is_empty() {
            prop_assert!(session.acked_version().is_some());
        } else {
            prop_assert!(told.iter().all(|nack| nack.error.contains(&*nack.name)));
        }
    }
}
