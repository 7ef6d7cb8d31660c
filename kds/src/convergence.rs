//! Property: whatever happens to nodes and connections, the receiver's copy is at every batch
//! exactly the sender's view at that version, never goes back, and in the end is the newest.

use std::collections::VecDeque;
use std::sync::Arc;

use higuma_model::{Audience, ClusterId, Kind, MAX_PREDECESSORS, Owner, Snapshot};
use proptest::prelude::*;

use crate::batch::Position;
use crate::messages::{Request, Response};
use crate::testing::{CLUSTER, History, copy, view, write};
use crate::wire::Direction;
use crate::{Action, Receiver, Sender};

#[derive(Debug, Clone)]
enum Event {
    Put {
        kind: usize,
        name: u8,
        owner: usize,
        audience: usize,
    },
    Delete {
        kind: usize,
        name: u8,
        owner: usize,
    },
    Epoch,
    /// Another cluster goes on from what there is; the old one's nodes are gone.
    Succeed,
    /// A node of the sender's cluster applies up to some entries more.
    Catch {
        node: usize,
        entries: usize,
    },
    /// Some messages arrive, one way or the other.
    Deliver {
        responses: usize,
        requests: usize,
    },
    /// The stream breaks and is opened to a node, by the same process or a restarted one.
    Reopen {
        node: usize,
        restarted: bool,
    },
}

const KINDS: [Kind; 4] = [Kind::Mesh, Kind::TrafficPermission, Kind::ZoneIngress, Kind::Dataplane];
const NODES: usize = 3;

fn owner(n: usize) -> Owner {
    [Owner::Global, Owner::zone("west"), Owner::zone("east")][n % 3].clone()
}

fn audience(n: usize, owner: &Owner) -> Audience {
    [Audience::AllZones, Audience::AllBut(owner.clone()), Audience::None][n % 3].clone()
}

/// A zone's names are its own, as hashed names are.
fn name(name: u8, owner: usize) -> String {
    format!("n{}-{}", name % 5, owner % 3)
}

fn event() -> impl Strategy<Value = Event> {
    let kind = 0..KINDS.len();
    prop_oneof![
        4 => (kind.clone(), any::<u8>(), 0..3_usize, 0..3_usize)
            .prop_map(|(kind, name, owner, audience)| Event::Put { kind, name, owner, audience }),
        3 => (kind, any::<u8>(), 0..3_usize)
            .prop_map(|(kind, name, owner)| Event::Delete { kind, name, owner }),
        1 => Just(Event::Epoch),
        1 => Just(Event::Succeed),
        4 => (0..NODES, 0..6_usize).prop_map(|(node, entries)| Event::Catch { node, entries }),
        6 => (0..5_usize, 0..5_usize)
            .prop_map(|(responses, requests)| Event::Deliver { responses, requests }),
        2 => (0..NODES, any::<bool>())
            .prop_map(|(node, restarted)| Event::Reopen { node, restarted }),
    ]
}

struct World {
    direction: Direction,
    history: History,
    /// How much of the history each node has applied.
    nodes: [usize; NODES],
    node: usize,
    sender: Sender,
    receiver: Receiver,
    responses: VecDeque<Response>,
    requests: VecDeque<Request>,
    local: Snapshot,
    /// What others own at the receiver, which no batch may touch.
    foreign: Snapshot,
}

impl World {
    fn new(direction: Direction) -> Self {
        let mut history = History::new(CLUSTER);
        history.policy("n0-0");
        let mut local = History::new(ClusterId(0xfee1));
        match &direction {
            Direction::ToZone(_) => {
                local.put(Kind::Dataplane, "own", Owner::zone("west"), Audience::None);
                local.put(Kind::ZoneIngress, "own", Owner::zone("west"), Audience::None);
            }
            Direction::ToGlobal(_) => {
                local.put(Kind::Dataplane, "n1-2", Owner::zone("east"), Audience::None);
                local.put(Kind::ZoneIngress, "other", Owner::Global, Audience::AllZones);
            }
        }
        let local = (*local.now()).clone();
        let mut world = Self {
            sender: Sender::new(direction.clone(), history.now(), None),
            receiver: Receiver::new(direction.clone(), None, None),
            direction,
            nodes: [0; NODES],
            node: 0,
            responses: VecDeque::new(),
            requests: VecDeque::new(),
            foreign: local.clone(),
            local,
            history,
        };
        world.reopen(0, true);
        world
    }

    fn durable(&self) -> Option<Position> {
        match &self.direction {
            Direction::ToZone(_) => self.local.upstream(),
            Direction::ToGlobal(zone) => self.local.cursor(zone),
        }
    }

    fn state(&self) -> Arc<Snapshot> {
        self.history.states[self.nodes[self.node]].clone()
    }

    fn reopen(&mut self, node: usize, restarted: bool) {
        self.node = node;
        let durable = self.durable();
        let position = if restarted { durable } else { self.receiver.position().or(durable) };
        self.sender = Sender::new(self.direction.clone(), self.state(), position);
        self.receiver = Receiver::new(self.direction.clone(), position, None);
        self.responses.clear();
        self.requests = self.receiver.subscriptions().into();
        self.push();
    }

    fn push(&mut self) {
        self.responses.extend(self.sender.advance().unwrap());
    }

    fn happen(&mut self, event: &Event) {
        match *event {
            Event::Put { kind, name: n, owner: o, audience: a } => {
                let owner = owner(o);
                let audience = audience(a, &owner);
                self.history.put(KINDS[kind], &name(n, o), owner, audience);
            }
            Event::Delete { kind, name: n, owner: o } => {
                self.history.delete(KINDS[kind], &name(n, o));
            }
            Event::Epoch => {
                let nonce = 100 + self.history.states.len() as u64;
                self.history.epoch(nonce);
            }
            Event::Succeed => self.succeed(),
            Event::Catch { node, entries } => {
                let last = self.history.states.len() - 1;
                self.nodes[node] = (self.nodes[node] + entries).min(last);
                self.sender.offer(self.state()).unwrap();
                self.push();
            }
            Event::Deliver { responses, requests } => {
                (0..responses).for_each(|_| self.deliver_response());
                (0..requests).for_each(|_| self.deliver_request());
            }
            Event::Reopen { node, restarted } => self.reopen(node, restarted),
        }
    }

    /// Of a zone's store nothing goes on under another id, and no zone sleeps through this many.
    fn succeed(&mut self) {
        let known = self.history.now().predecessors().len();
        if matches!(self.direction, Direction::ToGlobal(_)) || known == MAX_PREDECESSORS {
            return;
        }
        self.history.change(|state| {
            *state = state.succeeded_by(ClusterId(state.cluster().0 + 1));
        });
        self.nodes = [self.history.states.len() - 1; NODES];
        self.reopen(self.node, false);
    }

    fn deliver_request(&mut self) {
        let Some(request) = self.requests.pop_front() else { return };
        self.sender.receive(&request).unwrap();
        self.push();
    }

    fn deliver_response(&mut self) {
        let Some(response) = self.responses.pop_front() else { return };
        for action in self.receiver.receive(response, &self.local).unwrap() {
            match action {
                Action::Reply(request) => self.requests.push_back(*request),
                Action::Accepted => {}
                Action::Moved(position) => self.check(position),
                Action::Apply(batch) => {
                    assert_eq!(batch.refused, [], "nothing here is refused");
                    let before = self.durable();
                    self.local = write(&self.local, &batch);
                    let position = batch.position.unwrap();
                    assert!(before.is_none_or(|b| b.version < position.version), "goes back");
                    self.check(position);
                    self.requests.extend(self.receiver.applied());
                }
                Action::Fenced(fence) => panic!("fenced: {fence}"),
            }
        }
    }

    /// The copy is the view at that version, and what others own is untouched.
    fn check(&self, position: Position) {
        let state = self.history.at(position.version);
        assert_eq!(copy(&self.direction, &self.local), view(&self.direction, &state));
        let others = |state: &Snapshot| -> Vec<_> {
            state.iter().filter(|r| !self.direction.may_write(&r.owner)).cloned().collect()
        };
        assert_eq!(others(&self.local), others(&self.foreign));
    }

    /// All nodes catch up and the network heals.
    fn heal(&mut self) {
        self.nodes = [self.history.states.len() - 1; NODES];
        self.sender.offer(self.state()).unwrap();
        self.push();
        while !(self.responses.is_empty() && self.requests.is_empty()) {
            self.deliver_response();
            self.deliver_request();
        }
        let newest = self.history.now();
        assert_eq!(copy(&self.direction, &self.local), view(&self.direction, &newest));
        assert_eq!(self.receiver.position(), Some(crate::batch::position_of(&newest)));
    }
}

fn run(direction: Direction, events: &[Event]) {
    let mut world = World::new(direction);
    events.iter().for_each(|event| world.happen(event));
    world.heal();
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn zones_converge_to_their_view(events in prop::collection::vec(event(), 0..120)) {
        run(Direction::ToZone("west".into()), &events);
    }

    #[test]
    fn the_global_converges_to_what_a_zone_owns(
        events in prop::collection::vec(event(), 0..120),
    ) {
        run(Direction::ToGlobal("west".into()), &events);
    }
}
