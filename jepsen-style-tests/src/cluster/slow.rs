//! Packets that take longer: the kernel hands them to this process (NFQUEUE), which lets each go
//! when its time has come. If the process dies, they pass at once (`--queue-bypass`).

use std::collections::{HashMap, VecDeque};
use std::io::ErrorKind;
use std::net::Ipv4Addr;
use std::sync::mpsc;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use nfq::{Message, Queue};

use super::namespace::Namespace;
use crate::draw::Draw;

/// Between two looks at the queue: how exact the delays are.
const LOOK: Duration = Duration::from_millis(1);
/// Packets that the kernel keeps for the harness. More of them pass at once.
const LONGEST: u32 = 4096;

/// Milliseconds of delay and jitter, by the sender's address.
type Delays = HashMap<Ipv4Addr, (u32, u32)>;

/// A thread that holds the slow packets of one namespace. Dropped, it lets all go.
#[derive(Debug)]
pub(crate) struct Slow {
    delays: Arc<Mutex<Delays>>,
    /// Dropping it ends the thread.
    stop: Option<mpsc::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Slow {
    /// Takes over queue `number` of the namespace. Whatever is sent there afterwards is held.
    pub(crate) fn start(
        namespace: &Namespace,
        number: u16,
        delays: Delays,
    ) -> anyhow::Result<Self> {
        let queue =
            namespace.run(|| open(number))?.context("cannot take packets from the kernel")?;
        let (stop, stopped) = mpsc::channel();
        let delays = Arc::new(Mutex::new(delays));
        let shared = Arc::clone(&delays);
        let thread = std::thread::Builder::new().name("slow".to_owned()).spawn(move || {
            if let Err(error) = hold(queue, &shared, &stopped) {
                tracing::error!("slow packets pass at once from now on: {error}");
            }
        })?;
        Ok(Self { delays, stop: Some(stop), thread: Some(thread) })
    }

    /// From now on packets take this long.
    pub(crate) fn set(&self, delays: Delays) {
        *self.delays.lock().unwrap_or_else(PoisonError::into_inner) = delays;
    }
}

impl Drop for Slow {
    fn drop(&mut self) {
        self.stop = None;
        if let Some(thread) = self.thread.take() {
            // It does nothing that can panic; its end is all that is waited for.
            let _ = thread.join();
        }
    }
}

fn open(number: u16) -> std::io::Result<Queue> {
    let mut queue = Queue::open()?;
    queue.bind(number)?;
    queue.set_queue_max_len(number, LONGEST)?;
    queue.set_fail_open(number, true)?;
    // What a packet is delayed by depends on its header only.
    queue.set_copy_range(number, 64)?;
    queue.set_nonblocking(true);
    Ok(queue)
}

/// Packets of one sender keep their order, as on a line: TCP takes reordering for loss.
#[derive(Default)]
struct Line {
    held: VecDeque<(Instant, Message)>,
    last: Option<Instant>,
}

fn hold(
    mut queue: Queue,
    delays: &Mutex<Delays>,
    stopped: &mpsc::Receiver<()>,
) -> std::io::Result<()> {
    let mut lines = HashMap::<Option<Ipv4Addr>, Line>::new();
    let mut draw = Draw::new(0, "jitter");
    while matches!(stopped.recv_timeout(LOOK), Err(mpsc::RecvTimeoutError::Timeout)) {
        while let Some(message) = receive(&mut queue)? {
            let from = sender(message.get_payload());
            let table = delays.lock().unwrap_or_else(PoisonError::into_inner);
            let (delay, jitter) = from.and_then(|from| table.get(&from)).copied().unwrap_or((0, 0));
            let wait =
                u64::from(delay.saturating_sub(jitter)) + draw.below(u64::from(jitter) * 2 + 1);
            let line = lines.entry(from).or_default();
            let due = Instant::now() + Duration::from_millis(wait);
            let due = line.last.map_or(due, |last| due.max(last));
            line.last = Some(due);
            line.held.push_back((due, message));
        }
        let now = Instant::now();
        for line in lines.values_mut() {
            while line.held.front().is_some_and(|(due, _)| *due <= now) {
                let Some((_, message)) = line.held.pop_front() else { break };
                queue.verdict(message)?;
            }
        }
    }
    for (_, message) in lines.into_values().flat_map(|line| line.held) {
        queue.verdict(message)?;
    }
    Ok(())
}

fn receive(queue: &mut Queue) -> std::io::Result<Option<Message>> {
    match queue.recv() {
        Ok(message) => Ok(Some(message)),
        Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

/// Of an IPv4 packet.
fn sender(packet: &[u8]) -> Option<Ipv4Addr> {
    let bytes: [u8; 4] = packet.get(12..16)?.try_into().ok()?;
    (packet[0] >> 4 == 4).then(|| bytes.into())
}
