//! The whole run: both clusters up, pairs measured in turn, tables.

use std::time::Duration;

use anyhow::Context as _;

use crate::cluster::Cluster;
use crate::higuma::Timers;
use crate::load::{self, Asks, Measured};
use crate::{Arguments, etcd, failover, higuma, output};

/// Timers for disks that sync fast at all times.
const FAST: Timers = Timers([50, 150, 300]);

/// Clients that write all keys before anything is measured.
const FILLERS: usize = 16;

pub(crate) async fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let folder = tempfile::Builder::new()
        .prefix("bench-store-")
        .tempdir_in(&arguments.folder)
        .with_context(|| format!("cannot make a folder in {}", arguments.folder.display()))?;
    let mut globals = higuma::start(&arguments.higuma, folder.path(), None)?;
    let members = etcd::start(&arguments.etcd, folder.path())
        .context("etcd is needed to compare with (Debian: apt-get install etcd-server)")?;
    let leader = higuma::ready().await.context("the globals do not form")?;
    load::fill(etcd::clients(1, FILLERS).await?).await.context("etcd is filled")?;
    load::fill(higuma::rpc_clients(leader, FILLERS).await?).await.context("Higuma is filled")?;
    let systems = Systems { globals: &globals, members: &members, leader };
    let mut rows = Vec::new();
    for asks in [Asks::Write, Asks::Read] {
        for clients in &arguments.clients {
            rows.extend(systems.compared(arguments, asks, *clients).await?);
        }
    }
    output::table(&HEAD, &rows);
    drop(members);
    if arguments.kills > 0 {
        let default = failover::higuma(&mut globals, arguments.kills).await?;
        drop(globals);
        let folder =
            tempfile::Builder::new().prefix("bench-store-").tempdir_in(&arguments.folder)?;
        let mut globals = higuma::start(&arguments.higuma, folder.path(), Some(FAST))?;
        higuma::ready().await?;
        let fast = failover::higuma(&mut globals, arguments.kills).await?;
        let rows = [killed("100, 300, 600", &default), killed("50, 150, 300", &fast)];
        output::table(
            &["timers, ms", "leader killed to the next write, p50", "max", "kills"],
            &rows,
        );
    }
    Ok(())
}

fn killed(timers: &str, took: &[Duration]) -> Vec<String> {
    let millis = |took: Option<&Duration>| {
        took.map_or_else(String::new, |took| format!("{} ms", took.as_millis()))
    };
    vec![
        timers.to_owned(),
        millis(took.get(took.len() / 2)),
        millis(took.last()),
        took.len().to_string(),
    ]
}

const HEAD: [&str; 9] = [
    "figure",
    "clients",
    "by",
    "per second",
    "of etcd's",
    "p50 ms",
    "p99 ms",
    "CPU µs",
    "entries per sync",
];

struct Systems<'a> {
    globals: &'a Cluster,
    members: &'a Cluster,
    leader: u16,
}

/// What one way of calling gave in all rounds.
struct Column {
    by: &'static str,
    rounds: Vec<Measured>,
    /// Processor time of all three processes for a call.
    processor_us: f64,
    per_sync: Option<f64>,
}

impl Systems<'_> {
    /// One after the other in each round: what else the machine does falls on all.
    async fn compared(
        &self,
        arguments: &Arguments,
        asks: Asks,
        clients: usize,
    ) -> anyhow::Result<Vec<Vec<String>>> {
        let time = arguments.time();
        let mut etcd = Tally::new("etcd, gRPC");
        let mut rpc = Tally::new(match asks {
            Asks::Write => "Higuma, RPC of followers",
            Asks::Read => "Higuma, read index",
        });
        let mut rest = Tally::new("Higuma, REST");
        for round in 1..=arguments.rounds {
            output::progress(format!(
                "{asks:?}, {clients} clients: round {round} of {}",
                arguments.rounds
            ));
            let callers = etcd::clients(1, clients).await?;
            etcd.add(self.members, None, load::measure(callers, asks, time)).await?;
            let callers = higuma::rpc_clients(self.leader, clients).await?;
            rpc.add(self.globals, Some(self.leader), load::measure(callers, asks, time)).await?;
            let callers = higuma::rest_clients(clients).await?;
            rest.add(self.globals, Some(self.leader), load::measure(callers, asks, time)).await?;
        }
        rows(asks, clients, [etcd, rpc, rest].map(Tally::column))
    }
}

/// What is summed up over the rounds of one way of calling.
struct Tally {
    by: &'static str,
    rounds: Vec<Measured>,
    processor: Duration,
    entries: f64,
    syncs: f64,
}

impl Tally {
    fn new(by: &'static str) -> Self {
        Self { by, rounds: Vec::new(), processor: Duration::ZERO, entries: 0.0, syncs: 0.0 }
    }

    async fn add(
        &mut self,
        cluster: &Cluster,
        leader: Option<u16>,
        load: impl Future<Output = anyhow::Result<Measured>>,
    ) -> anyhow::Result<()> {
        let before = (cluster.processor_time()?, synced(leader).await?);
        self.rounds.push(load.await.with_context(|| self.by)?);
        let after = (cluster.processor_time()?, synced(leader).await?);
        self.processor += after.0.saturating_sub(before.0);
        self.entries += after.1.0 - before.1.0;
        self.syncs += after.1.1 - before.1.1;
        Ok(())
    }

    #[expect(clippy::cast_precision_loss, reason = "2^52 calls are more than are made")]
    fn column(self) -> Column {
        let calls: u64 = self.rounds.iter().map(|round| round.calls).sum();
        Column {
            by: self.by,
            processor_us: self.processor.as_secs_f64() * 1e6 / calls as f64,
            per_sync: (self.syncs > 0.0).then_some(self.entries / self.syncs),
            rounds: self.rounds,
        }
    }
}

/// Entries and syncs of a node's log so far.
async fn synced(node: Option<u16>) -> anyhow::Result<(f64, f64)> {
    let Some(node) = node else { return Ok((0.0, 0.0)) };
    let entries = higuma::metric(node, "higuma_store_log_entries_total").await?;
    Ok((entries, higuma::metric(node, "higuma_store_log_syncs_total").await?))
}

fn rows(asks: Asks, clients: usize, columns: [Column; 3]) -> anyhow::Result<Vec<Vec<String>>> {
    let figure = match asks {
        Asks::Write => "acknowledged writes",
        Asks::Read => "linearizable reads",
    };
    let mut etcd = None;
    let mut rows = Vec::new();
    for column in columns {
        let median = load::median(column.rounds).context("no round was measured")?;
        let base = *etcd.get_or_insert(median.per_second);
        let millis = |time: Duration| format!("{:.2}", time.as_secs_f64() * 1e3);
        rows.push(vec![
            figure.to_owned(),
            clients.to_string(),
            column.by.to_owned(),
            format!("{:.0}", median.per_second),
            format!("{:.2}", median.per_second / base),
            millis(median.p50),
            millis(median.p99),
            format!("{:.0}", column.processor_us),
            column.per_sync.map_or_else(String::new, |entries| format!("{entries:.1}")),
        ]);
    }
    Ok(rows)
}
