//! The history against the log that it comes from, and what etcd's robustness tests ask of a watch.

use std::fs;
use std::path::Path;

use higuma_model::{
    Audience, Draft, Key, Kind, Labels, Operation, Origin, Owner, RequestId, Resource, Snapshot,
    Spec, Timestamp, Transaction,
};
use proptest::prelude::*;
use tempfile::TempDir;

use super::compact::Kept;
use super::record::{Summary, Touched};
use super::*;
use crate::codec;
use crate::machine::Machine;
use crate::raft::types::{Command, Payload};
use crate::raft::wire::log_id;

const CLUSTER: ClusterId = ClusterId(7);

/// A machine, its log, and the history behind it.
struct World {
    folder: TempDir,
    machine: Machine,
    log: Arc<Mutex<Vec<Entry>>>,
    /// Where the log begins.
    base: Arc<Mutex<Option<(LogId, Machine)>>>,
    history: History,
    writer: Option<HistoryWriter>,
    ring: usize,
    /// Each change, and the state after it.
    changes: Vec<Change>,
    states: Vec<Snapshot>,
}

struct TestSource {
    log: Arc<Mutex<Vec<Entry>>>,
    base: Arc<Mutex<Option<(LogId, Machine)>>>,
}

impl Source for TestSource {
    fn entries(&self, from: u64, to: u64) -> Vec<Entry> {
        let log = self.log.lock().unwrap();
        let held = log.iter().filter(|entry| (from..to).contains(&entry.log_id.index));
        held.take(3).cloned().collect()
    }

    fn base(&self, _: u64) -> Result<Option<Base>, String> {
        let base = self.base.lock().unwrap().clone();
        Ok(base.map(|(last, machine)| Base { last, machine }))
    }

    fn written(&self, _: u64) {}
}

#[derive(Debug, Clone)]
enum Step {
    Put(u8, u8, u8),
    Delete(u8, u8),
    /// Several in one transaction.
    Both(u8, u8, u8),
    Mesh(u8, bool),
    /// Of a kind that is not kept.
    Proxy(u8),
}

fn mesh(at: u8) -> &'static str {
    if at.is_multiple_of(2) { "even" } else { "odd" }
}

fn key(mesh_at: u8, name: u8) -> Key {
    Key::new(Kind::TrafficPermission, mesh(mesh_at), &format!("p{}", name % 4))
}

fn draft(key: Key, value: &str) -> Operation {
    let spec = Spec::Json(format!("{{\"v\":\"{value}\"}}").into());
    let labels = Labels::new();
    Operation::Put(Draft { key, audience: Audience::AllZones, labels, spec, status: None })
}

fn operations(step: &Step) -> Vec<Operation> {
    match *step {
        Step::Put(mesh, name, value) => vec![draft(key(mesh, name), &value.to_string())],
        Step::Delete(mesh, name) => vec![Operation::Delete(key(mesh, name))],
        // Large ones stand in several parts.
        Step::Both(mesh, name, value) => vec![
            draft(key(mesh, name), &"x".repeat(200_000 + usize::from(value))),
            draft(key(mesh + 1, name), &value.to_string()),
            Operation::Delete(key(mesh, name + 1)),
        ],
        Step::Mesh(at, true) => vec![draft(Key::mesh_resource(mesh(at)), "mesh")],
        Step::Mesh(at, false) => vec![Operation::DeleteMesh(mesh(at).into())],
        Step::Proxy(value) => {
            vec![draft(Key::new(Kind::Dataplane, "even", "web"), &value.to_string())]
        }
    }
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (0..2u8, 0..4u8, 0..3u8).prop_map(|(m, n, v)| Step::Put(m, n, v)),
        2 => (0..2u8, 0..4u8).prop_map(|(m, n)| Step::Delete(m, n)),
        1 => (0..2u8, 0..4u8, 0..3u8).prop_map(|(m, n, v)| Step::Both(m, n, v)),
        1 => (0..2u8, any::<bool>()).prop_map(|(m, there)| Step::Mesh(m, there)),
        2 => (0..5u8).prop_map(Step::Proxy),
    ]
}

impl World {
    fn new(ring: usize) -> Self {
        let blank = Entry { log_id: log_id(1, 0), payload: Payload::Blank { nonce: 5 } };
        let folder = tempfile::tempdir().unwrap();
        let mut world = Self {
            history: History::with(folder.path().join("history"), CLUSTER, Ring::new()),
            folder,
            machine: Machine::new(CLUSTER),
            log: Arc::new(Mutex::new(vec![blank])),
            base: Arc::default(),
            writer: None,
            ring,
            changes: Vec::new(),
            states: Vec::new(),
        };
        world.machine.begin_term(1, 0, 5);
        world.start();
        world
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("history")
    }

    fn start(&mut self) {
        let ring = Ring::bounded(self.ring, 1 << 20);
        self.history = History::with(self.path(), CLUSTER, ring);
        let source = Box::new(TestSource { log: self.log.clone(), base: self.base.clone() });
        self.writer = Some(HistoryWriter::start(&self.history, source).unwrap());
    }

    /// Ends it, does something to its files, and replays the log as a node that starts does.
    fn restart(&mut self, meanwhile: impl FnOnce(&Path)) {
        self.writer.take().unwrap().join();
        meanwhile(&self.path());
        self.start();
        let mut machine = Machine::new(CLUSTER);
        machine.begin_term(1, 0, 5);
        for entry in &self.log.lock().unwrap()[1..] {
            let Payload::Command(command) = &entry.payload else { panic!("a command") };
            let index = entry.log_id.index;
            let (_, change) = apply_command(&mut machine, index, &command.0).unwrap();
            let head = Mark { last: entry.log_id, version: machine.snapshot().version() };
            let change = change.map(|change| (entry.log_id, change));
            self.history.applied(change, head, machine.compacted());
        }
    }

    fn apply(&mut self, step: &Step) {
        let index = self.log.lock().unwrap().len() as u64;
        let at = Timestamp(1_000 * i64::try_from(index).unwrap());
        let transaction = Transaction {
            id: RequestId { at, random: index },
            at,
            writer: Owner::Global,
            demands: vec![],
            checks: vec![],
            operations: operations(step),
            terms: Default::default(),
        };
        let reason = Some(format!("step {index}").into());
        let who = Some("tester".into());
        let origin = Origin { who, from: Some("127.0.0.1:9".into()), node: 3, reason };
        self.command(codec::encode_from(&transaction, &origin).unwrap());
    }

    fn command(&mut self, command: bytes::Bytes) {
        let index = self.log.lock().unwrap().len() as u64;
        let id = log_id(1, index);
        let payload = Payload::Command(Command(command.clone()));
        self.log.lock().unwrap().push(Entry { log_id: id, payload });
        let (_, change) = apply_command(&mut self.machine, index, &command).unwrap();
        if let Some(change) = &change {
            self.changes.push(change.clone());
            self.states.push(self.machine.snapshot().clone());
        }
        let head = Mark { last: id, version: self.machine.snapshot().version() };
        let change = change.map(|change| (id, change));
        self.history.applied(change, head, self.machine.compacted());
    }

    /// The state at a version.
    fn state(&self, version: u64) -> Option<&Snapshot> {
        let at = self.changes.partition_point(|change| change.version <= version);
        at.checked_sub(1).map(|at| &self.states[at])
    }

    /// What there is to be read, newest first, page by page.
    async fn all(&self, filter: Filter) -> Vec<Change> {
        self.history.reaches(self.machine.snapshot().version()).await.unwrap();
        let (mut all, mut before) = (Vec::new(), None);
        loop {
            let page = self.history.page(filter.clone(), before, 3).await.unwrap();
            all.extend(page.changes);
            before = page.before;
            if before.is_none() {
                return all;
            }
        }
    }

    /// That the history says what the log says, from `compacted` on.
    async fn agrees(&self, compacted: u64) {
        let kept = self.changes.iter().filter(|change| change.version > compacted);
        let expected: Vec<Change> = kept.rev().cloned().collect();
        assert_eq!(self.all(Filter::default()).await, expected);
        let of_mesh = Filter { mesh: Some("odd".to_owned()), ..Filter::default() };
        let one = Filter::of(&key(0, 1));
        for filter in [of_mesh, one] {
            let narrowed: Vec<_> = expected.iter().filter_map(|c| filter.narrow(c)).collect();
            assert_eq!(self.all(filter).await, narrowed);
        }
        for version in compacted.max(1)..=self.machine.snapshot().version() {
            for key in (0..8).map(|at| key(at, at / 2)).chain([Key::mesh_resource("odd")]) {
                let found = self.history.at(&key, version).await.unwrap();
                let expected = self.state(version).and_then(|state| state.get(&key).cloned());
                assert_eq!(found, expected, "{key} at {version}");
            }
        }
    }
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    #[test]
    fn the_history_is_the_log_replayed(
        steps in prop::collection::vec(step(), 1..40),
        ring in 1..60usize,
        restart in 0..40usize,
        compact in 0..40u64,
    ) {
        runtime().block_on(async {
            let mut world = World::new(ring);
            for (at, step) in steps.iter().enumerate() {
                if at == restart {
                    world.restart(|_| {});
                }
                world.apply(step);
            }
            world.agrees(0).await;
            world.command(codec::encode_compact(compact).unwrap());
            let compacted = world.machine.compacted();
            let swept = async || {
                let shelf = world.history.shared.lock().shelf.clone();
                shelf.is_some_and(|(shelf, _)| shelf.summaries(0, compacted).next().is_none())
            };
            let patience = std::time::Duration::from_secs(20);
            // The compaction changes no state, so it is the sweep that is waited for.
            higuma_testkit::poll_until("the sweep", patience, swept, |swept| *swept).await.unwrap();
            world.agrees(compacted).await;
            if compacted > 1 {
                let below = world.history.at(&key(0, 0), compacted - 1).await;
                prop_assert_eq!(below, Err(HistoryError::Compacted { compacted }));
            }
            world.restart(|_| {});
            world.agrees(compacted).await;
            Ok(())
        })?;
    }

    #[test]
    fn a_difference_is_what_leads_from_one_version_to_the_other(
        steps in prop::collection::vec(step(), 1..40),
        (from, to) in (0..40u64, 0..40u64),
    ) {
        runtime().block_on(async {
            let mut world = World::new(64);
            steps.iter().for_each(|step| world.apply(step));
            let last = world.machine.snapshot().version();
            world.history.reaches(last).await.unwrap();
            let (from, to) = (from.min(last), to.min(last));
            let edits = world.history.diff(from, to, Filter::default()).await.unwrap();
            let empty = Snapshot::new(CLUSTER);
            let (old, new) = (world.state(from).unwrap_or(&empty), world.state(to).unwrap_or(&empty));
            let spec = |resource: Option<&Arc<Resource>>| resource.map(|r| r.spec.clone());
            let mut keys: Vec<Key> = new.since(old).keys().filter(|k| keeps(k.kind())).cloned().collect();
            keys.sort();
            keys.retain(|key| spec(old.get(key)) != spec(new.get(key)));
            prop_assert_eq!(edits.iter().map(|edit| edit.key.clone()).collect::<Vec<_>>(), keys);
            for edit in &edits {
                prop_assert_eq!(spec(edit.before.as_ref()), spec(old.get(&edit.key)));
                prop_assert_eq!(spec(edit.after.as_ref()), spec(new.get(&edit.key)));
            }
            Ok(())
        })?;
    }

    /// The nine of etcd's robustness tests: ordered, unique, atomic, reliable, resumable,
    /// bookmarkable, previous value, is-create, filter.
    #[test]
    fn a_watch_keeps_what_watches_promise(
        steps in prop::collection::vec(step(), 4..60),
        ring in 1..20usize,
        from in 0..60u64,
        begins in 0..60usize,
        cuts in prop::collection::vec(1..12usize, 0..4),
        filter in prop_oneof![
            Just(Filter::default()),
            Just(Filter { mesh: Some("odd".to_owned()), ..Filter::default() }),
            Just(Filter { kind: Some(Kind::Mesh), ..Filter::default() }),
            Just(Filter::of(&key(0, 1))),
        ],
    ) {
        runtime().block_on(async {
            let mut world = World::new(ring);
            let begins = begins.min(steps.len());
            steps[..begins].iter().for_each(|step| world.apply(step));
            let (history, mut cuts) = (world.history.clone(), cuts.into_iter());
            let mut watcher = history.watch(from, filter.clone()).unwrap();
            let (mut seen, mut left) = (Vec::new(), cuts.next());
            // Read while the rest is written.
            for step in &steps[begins..] {
                world.apply(step);
                let moment = std::time::Duration::from_millis(1);
                if let Ok(next) = tokio::time::timeout(moment, watcher.next()).await {
                    seen.push(next.unwrap());
                    left = left.map(|left| left - 1);
                }
                if left == Some(0) {
                    // Resumable: from the last that was told.
                    let told = seen.iter().map(version).max().unwrap_or(from);
                    watcher = history.watch(told, filter.clone()).unwrap();
                    left = cuts.next();
                }
            }
            let last = world.machine.snapshot().version();
            while last > from && seen.last().is_none_or(|seen| version(seen) < last) {
                seen.push(watcher.next().await.unwrap());
            }
            judge(&world, from, &filter, &seen);
        });
    }
}

fn version(seen: &Seen) -> u64 {
    match seen {
        Seen::Change(change) => change.version,
        Seen::Mark(version) => *version,
    }
}

fn judge(world: &World, from: u64, filter: &Filter, seen: &[Seen]) {
    let changes: Vec<&Change> = seen
        .iter()
        .filter_map(|seen| match seen {
            Seen::Change(change) => Some(change),
            Seen::Mark(_) => None,
        })
        .collect();
    assert!(changes.is_sorted_by(|a, b| a.version < b.version), "ordered, unique, atomic");
    let after = world.changes.iter().filter(|change| change.version > from);
    let expected: Vec<Change> = after.filter_map(|change| filter.narrow(change)).collect();
    let told: Vec<Change> = changes.iter().map(|change| (*change).clone()).collect();
    assert_eq!(told, expected, "reliable, resumable, atomic");
    for (at, mark) in seen.iter().enumerate() {
        if let Seen::Mark(mark) = mark {
            let later = &seen[at + 1..];
            assert!(later.iter().all(|later| version(later) > *mark), "bookmarkable");
        }
    }
    for change in changes {
        let empty = Snapshot::new(CLUSTER);
        let before = world.state(change.version - 1).unwrap_or(&empty);
        for edit in &change.edits {
            assert!(filter.matches(&edit.key), "filter");
            assert_eq!(edit.before.as_ref(), before.get(&edit.key), "previous value");
            assert_eq!(edit.before.is_none(), before.get(&edit.key).is_none(), "is-create");
        }
    }
}

fn files(path: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(path).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { files.extend(self::files(&path)) } else { files.push(path) }
    }
    files.sort();
    files
}

type Damage = Box<dyn Fn(&Path)>;

#[tokio::test]
async fn a_history_that_is_lost_or_damaged_is_refilled_from_the_log() {
    let flip = |path: &Path, at: usize| {
        let mut bytes = fs::read(path).unwrap();
        let at = at.min(bytes.len().saturating_sub(1));
        if let Some(byte) = bytes.get_mut(at) {
            *byte ^= 0x41;
        }
        fs::write(path, bytes).unwrap();
    };
    let damages: Vec<Damage> = vec![
        Box::new(|path| fs::remove_dir_all(path).unwrap()),
        Box::new(|path| {
            for file in files(path) {
                let length = fs::metadata(&file).unwrap().len();
                fs::OpenOptions::new().write(true).open(file).unwrap().set_len(length / 3).unwrap();
            }
        }),
        Box::new(move |path| files(path).iter().for_each(|file| flip(file, 3))),
        Box::new(move |path| files(path).iter().for_each(|file| flip(file, 60))),
        Box::new(move |path| files(path).iter().for_each(|file| flip(file, 4_000))),
        Box::new(|path| files(path).iter().for_each(|file| fs::write(file, "nonsense").unwrap())),
    ];
    for (at, damage) in damages.iter().enumerate() {
        let mut world = World::new(8);
        for step in 0..60u8 {
            world.apply(&Step::Put(step, step / 3, step));
            world.apply(&Step::Both(step, step / 2, step));
        }
        world.agrees(0).await;
        world.restart(damage);
        // Damage that opening does not find is found by a reader, who is told to come again.
        let version = world.machine.snapshot().version();
        let whole = async || {
            world.history.reaches(version).await?;
            world.history.page(Filter::default(), None, 1_000).await
        };
        let patience = std::time::Duration::from_secs(60);
        let page = higuma_testkit::poll_until("the refill", patience, whole, Result::is_ok).await;
        page.unwrap().unwrap();
        world.agrees(0).await;
        let aside = fs::read_dir(world.folder.path()).unwrap().count() - 1;
        assert!(aside <= 2, "damage {at}: {aside} are kept aside");
    }
}

#[test]
fn a_refill_does_not_keep_a_node_from_stopping() {
    let mut world = World::new(64);
    (0..5).for_each(|at| world.apply(&Step::Put(0, 1, at)));
    let history = History::with(world.folder.path().join("other"), CLUSTER, Ring::bounded(1, 1));
    // The refill waits for the state that it begins with.
    let held = world.base.lock().unwrap();
    let source = Box::new(TestSource { log: world.log.clone(), base: world.base.clone() });
    let writer = HistoryWriter::start(&history, source).unwrap();
    let changes = world.changes.iter().map(|change| (log_id(1, change.version), change.clone()));
    let last = world.changes.last().unwrap().version;
    history.applied(changes, Mark { last: log_id(1, last), version: last }, 0);
    let (ended, ends) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        writer.join();
        ended.send(()).unwrap();
    });
    while !history.shared.lock().stopping {
        std::thread::yield_now();
    }
    drop(held);
    ends.recv_timeout(std::time::Duration::from_secs(30)).expect("it stops");
}

#[tokio::test]
async fn without_what_led_to_a_state_the_history_begins_with_it() {
    let mut world = World::new(8);
    for step in 0..30u8 {
        world.apply(&Step::Put(step, step / 2, step));
    }
    world.agrees(0).await;
    world.writer.take().unwrap().join();
    // A snapshot is here, the log goes on from it, and the history was lost.
    let (base, machine) = (world.log.lock().unwrap().last().unwrap().log_id, world.machine.clone());
    world.log.lock().unwrap().clear();
    *world.base.lock().unwrap() = Some((base, machine));
    fs::remove_dir_all(world.path()).unwrap();
    world.start();
    let version = world.machine.snapshot().version();
    world.history.begins(Mark { last: base, version }, 0);
    world.history.reaches(version).await.unwrap();
    assert_eq!(world.history.compacted(), version);
    world.agrees(version).await;
    let watch = world.history.watch(version - 1, Filter::default()).map(drop);
    assert_eq!(watch, Err(HistoryError::Compacted { compacted: version }));
}

#[tokio::test]
async fn a_history_of_another_log_is_not_believed() {
    let mut world = World::new(64);
    (0..9).for_each(|at| world.apply(&Step::Put(0, 1, at)));
    world.agrees(0).await;
    // The log lost its last entries and got others.
    world.restart(|_| {});
    world.log.lock().unwrap().truncate(5);
    for entry in &mut world.log.lock().unwrap()[3..] {
        entry.log_id = log_id(2, entry.log_id.index);
    }
    let log = world.log.clone();
    world.restart(|_| {});
    let states: Vec<_> = log.lock().unwrap().iter().map(|entry| entry.log_id.index).collect();
    let last = *states.last().unwrap();
    world.changes.truncate(usize::try_from(last).unwrap());
    world.states.truncate(usize::try_from(last).unwrap());
    world.machine = Machine::new(CLUSTER);
    world.machine.begin_term(1, 0, 5);
    for entry in &world.log.lock().unwrap()[1..] {
        if let Payload::Command(command) = &entry.payload {
            apply_command(&mut world.machine, entry.log_id.index, &command.0).unwrap();
        }
    }
    let believed = async || world.history.page(Filter::default(), None, 100).await;
    let right = |page: &Result<Page, HistoryError>| {
        page.as_ref().is_ok_and(|page| page.changes.iter().all(|change| change.version <= last))
    };
    let patience = std::time::Duration::from_secs(20);
    higuma_testkit::poll_until("the refill", patience, believed, right).await.unwrap().unwrap();
    world.agrees(0).await;
}

#[tokio::test]
async fn what_is_old_or_too_much_is_due() {
    let mut world = World::new(64);
    for at in 0..40 {
        world.apply(&Step::Both(0, 1, at));
    }
    world.agrees(0).await;
    let second = std::time::Duration::from_secs(1);
    let due = async |age: u32, bytes: u64, now: i64| {
        world.history.due(Kept { age: second * age, bytes }, Timestamp(now)).await
    };
    assert_eq!(due(100, u64::MAX, 41_000).await, None);
    // Version 10 was written at 10 s.
    assert_eq!(due(31, u64::MAX, 41_000).await, Some(10));
    let large = due(100, 4_000_000, 41_000).await.expect("8 MB are more than 4");
    assert!((20..40).contains(&large), "{large}");
}

#[tokio::test]
async fn what_is_not_kept_or_not_there_is_said() {
    let mut world = World::new(8);
    world.apply(&Step::Put(0, 1, 1));
    world.history.reaches(1).await.unwrap();
    let proxy = Key::new(Kind::Dataplane, "even", "web");
    let refused = world.history.at(&proxy, 1).await.unwrap_err();
    assert_eq!(
        refused.to_string(),
        "versions of Dataplane are not kept; those of Mesh, Zone, TrafficPermission, TrafficRoute \
         are"
    );
    let early = world.history.at(&key(0, 1), 9).await;
    assert_eq!(early, Err(HistoryError::NotYet { have: 1, want: 9 }));
    assert_eq!(world.history.version_at(Timestamp(999)).await, Ok(0));
    assert_eq!(world.history.version_at(Timestamp(1_000)).await, Ok(1));
    let change = world.all(Filter::default()).await.remove(0);
    assert_eq!(change.origin.reason.as_deref(), Some("step 1"));
    assert_eq!((change.origin.who.as_deref(), change.origin.node), (Some("tester"), 3));
}

/// What this version writes is read by the next one: these bytes never change.
#[test]
fn records_have_the_bytes_that_they_always_had() {
    let origin = Origin { who: Some("a".into()), node: 3, ..Origin::default() };
    let touched = Touched { key: Key::mesh_resource("default"), before: 5, removed: true };
    let (version, at, writer) = (7, Timestamp(1_000), Owner::Global);
    let summary = Summary { version, at, writer, origin, edits: vec![touched] };
    let golden =
        "0171537226080710e8071a0022050a016118032a150a0f0a044d6573681a0764656661756c7410051801";
    assert_eq!(hex::encode(summary.encode()), golden);
    assert_eq!(Summary::decode(&hex::decode(golden).unwrap()).unwrap(), summary);
    assert_eq!(hex::encode(record::encode_value(None)), "0100000000");
    let key = record::with(record::of_resource(&key(0, 1)), 258);
    let names = "6b0011547261666669635065726d697373696f6e00046576656e00027031";
    assert_eq!(hex::encode(record::part(key, 3)), format!("{names}00000000000001020003"));
}

#[test]
fn an_entry_that_is_older_than_the_audit_says_nothing_of_its_origin() {
    let transaction = Transaction {
        id: RequestId { at: Timestamp(1), random: 2 },
        at: Timestamp(3),
        writer: Owner::Global,
        demands: vec![],
        checks: vec![],
        operations: operations(&Step::Put(0, 1, 2)),
        terms: Default::default(),
    };
    let kind = crate::proto::command::Kind::Transaction((&transaction).into());
    let old = record::frame(&crate::proto::Command { kind: Some(kind), origin: None });
    let decoded = codec::decode_command(&old.into()).unwrap();
    assert_eq!(decoded, codec::Command::Transaction(Box::new(transaction), Origin::default()));
}
