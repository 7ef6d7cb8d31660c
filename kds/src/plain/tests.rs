use higuma_model::{Audience, ClusterId, Owner};

use super::*;
use crate::testing::{CLUSTER, History, copy, key, to_west, view, write};

/// What an unmodified zone of Kuma asks for, types that Higuma does not have among them.
const TYPES: [&str; 4] = ["Mesh", "TrafficPermission", "Config", "MeshTimeout"];

fn answer(response: &Response) -> Request {
    messages::ack(&to_west(), &response.type_url, &response.nonce)
}

fn outline(responses: &[Response]) -> Vec<String> {
    let line = |r: &Response| {
        format!("{} +{} -{}", r.type_url, r.resources.len(), r.removed_resources.len())
    };
    responses.iter().map(line).collect()
}

#[test]
fn a_kuma_zone_gets_each_list_once_and_then_differences() {
    let mut global = History::new(CLUSTER);
    global.policy("a");
    global.policy("b");
    let mut sender = PlainSender::new(to_west(), global.now());
    for type_url in TYPES {
        sender.receive(&messages::subscription(&to_west(), type_url)).unwrap();
    }
    let lists = sender.advance();
    assert_eq!(
        outline(&lists),
        ["Config +0 -0", "Mesh +0 -0", "MeshTimeout +0 -0", "TrafficPermission +2 -0"],
        "even an empty list is sent, once"
    );
    assert_eq!(sender.advance(), []);

    global.delete(Kind::TrafficPermission, "a");
    global.policy("b");
    sender.offer(global.now());
    assert_eq!(sender.advance(), [], "nothing goes out before the answer");
    sender.receive(&answer(&lists[3])).unwrap();
    assert_eq!(outline(&sender.advance()), ["TrafficPermission +1 -1"]);
}

#[test]
fn a_nacked_response_is_not_sent_again_until_it_changes() {
    let mut global = History::new(CLUSTER);
    global.policy("a");
    let mut sender = PlainSender::new(to_west(), global.now());
    sender.receive(&messages::subscription(&to_west(), "TrafficPermission")).unwrap();
    let list = sender.advance();
    let nack = messages::nack(answer(&list[0]), 0, "user error: no".to_owned(), &[]);
    sender.receive(&nack).unwrap();
    global.put(Kind::Dataplane, "dp", Owner::zone("east"), Audience::None);
    sender.offer(global.now());
    assert_eq!(sender.advance(), []);
    global.policy("a");
    sender.offer(global.now());
    assert_eq!(outline(&sender.advance()), ["TrafficPermission +1 -0"]);
}

#[test]
fn a_peer_cannot_ask_for_types_without_end() {
    let mut sender = PlainSender::new(to_west(), History::new(CLUSTER).now());
    let mut ask = |n: usize| sender.receive(&messages::subscription(&to_west(), &n.to_string()));
    (0..MAX_TYPES).for_each(|n| ask(n).unwrap());
    ask(MAX_TYPES).unwrap_err();
    ask(0).unwrap();
}

/// A zone of Kuma as sender: its lists replace what it sent before, but an empty one deletes
/// nothing.
#[test]
fn a_kuma_zones_lists_are_batches_of_their_own() {
    let up = Direction::ToGlobal("west".into());
    let mut zone = History::new(ClusterId(0xfee1));
    zone.put(Kind::Dataplane, "dp-1", Owner::zone("west"), Audience::None);
    zone.put(Kind::Dataplane, "dp-2", Owner::zone("west"), Audience::None);
    let mut global = History::new(CLUSTER);
    global.put(Kind::Dataplane, "of-east", Owner::zone("east"), Audience::None);
    let mut local = (*global.now()).clone();

    let run = |zone: &History, local: &mut Snapshot| {
        let mut sender = PlainSender::new(up.clone(), zone.now());
        let mut receiver = PlainReceiver::new(up.clone());
        receiver.subscriptions().iter().for_each(|r| sender.receive(r).unwrap());
        for response in sender.advance() {
            let batch = receiver.receive(response, local).unwrap();
            assert_eq!((batch.position, batch.from), (None, None));
            *local = write(local, &batch);
            sender.receive(&receiver.applied().unwrap()).unwrap();
        }
        assert_eq!(sender.advance(), []);
    };
    run(&zone, &mut local);
    assert_eq!(copy(&up, &local), view(&up, &zone.now()));
    zone.delete(Kind::Dataplane, "dp-1");
    run(&zone, &mut local);
    assert_eq!(copy(&up, &local), view(&up, &zone.now()), "gone from the list");
    let full = local.clone();
    run(&History::new(ClusterId(0xfee2)), &mut local);
    assert_eq!(copy(&up, &local), copy(&up, &full), "an empty zone deletes nothing");
    assert!(local.get(&key(Kind::Dataplane, "of-east")).is_some());
}
