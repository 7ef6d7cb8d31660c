//! What is wrong with the links of one node: rules in its own network namespace, on what comes in.
//! Whoever sends does not notice, as on a real network.
//!
//! All faults that hold are worked into one chain that is replaced as a whole, so faults come and
//! go in any order and none leaves a rule behind:
//!
//! ```text
//! mangle, INPUT → chaos   packets of slow links go to the harness, which holds them a while
//! filter, INPUT → chaos   packets of broken and lossy links are dropped
//! ```
//!
//! In this order, a packet that was held is dropped if the link has broken meanwhile.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr, SocketAddrV4};

use anyhow::Context as _;

use super::command::feed;
use super::namespace::Namespace;
use super::slow::Slow;
use crate::nemesis::Fault;

/// The first queue of slow packets in each namespace.
const QUEUE: u16 = 7;

/// The links of one node.
#[derive(Debug)]
pub(crate) struct Links {
    node: String,
    namespace: Namespace,
    /// Open connections that are dead, by the half-open fault that killed them.
    dead: Vec<(Fault, Vec<Connection>)>,
    slow: Option<Slow>,
    /// The queue of the next slow packets. A process that is started meanwhile inherits the socket
    /// (the library does not open it close-on-exec) and keeps its queue taken for as long as it
    /// lives, so none is used twice.
    queue: u16,
    /// There is a chain of the harness in the namespace.
    touched: bool,
}

/// A TCP connection as this node sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Connection {
    here: SocketAddrV4,
    there: SocketAddrV4,
}

/// What is wrong with what comes from one address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wrong {
    Dropped,
    /// So many in 100.
    Lost(u8),
    /// In milliseconds: delay and jitter.
    Late(u32, u32),
}

impl Links {
    pub(crate) fn new(node: &str, namespace: Namespace) -> Self {
        let (dead, slow) = (Vec::new(), None);
        Self { node: node.to_owned(), namespace, dead, slow, queue: QUEUE, touched: false }
    }

    /// As [`Links::new`], for a namespace that was made while `faults` hold: no connection of it
    /// was open when they came.
    pub(crate) fn made_under(faults: &[Fault], node: &str, namespace: Namespace) -> Self {
        let half_open = faults.iter().filter(|fault| matches!(fault, Fault::HalfOpen { .. }));
        let dead = half_open.map(|fault| (fault.clone(), Vec::new())).collect();
        Self { dead, ..Self::new(node, namespace) }
    }

    pub(crate) fn namespace(&self) -> &Namespace {
        &self.namespace
    }

    /// Brings the node's rules to what all `faults` together say. `addresses` are all that each node
    /// has.
    pub(crate) fn settle(
        &mut self,
        faults: &[Fault],
        addresses: &HashMap<String, Vec<IpAddr>>,
    ) -> anyhow::Result<()> {
        let wrong: Vec<_> = faults.iter().flat_map(|fault| wrong(fault, &self.node)).collect();
        let wrong = wrong.iter().map(|(peer, wrong)| {
            let all = addresses.get(*peer).with_context(|| format!("there is no {peer}"))?;
            Ok(all.iter().map(|address| (*address, *wrong)))
        });
        let wrong: Vec<_> = wrong.collect::<anyhow::Result<Vec<_>>>()?;
        let wrong: Vec<_> = wrong.into_iter().flatten().collect();
        self.find_dead(faults, addresses)?;
        self.delay(&wrong)?;
        let connections: Vec<_> = self.dead.iter().flat_map(|(_, dead)| dead).copied().collect();
        if !self.touched && wrong.is_empty() && connections.is_empty() {
            return Ok(());
        }
        let rules = rules(&wrong, &connections, self.touched, self.queue);
        self.namespace
            .run(|| feed(&["iptables-restore", "--noflush", "--wait", "10"], &rules))?
            .with_context(|| format!("cannot change the links of {}", self.node))?;
        self.touched = true;
        // Nobody sends packets to the queue any more.
        if !wrong.iter().any(|(_, wrong)| matches!(wrong, Wrong::Late(..))) {
            self.queue = self.queue.wrapping_add(u16::from(self.slow.take().is_some()));
        }
        Ok(())
    }

    /// Half-open connections are those that are open when the fault comes.
    fn find_dead(
        &mut self,
        faults: &[Fault],
        addresses: &HashMap<String, Vec<IpAddr>>,
    ) -> anyhow::Result<()> {
        self.dead.retain(|(fault, _)| faults.contains(fault));
        for fault in faults {
            let Fault::HalfOpen { left, right } = fault else { continue };
            let known = self.dead.iter().any(|(known, _)| known == fault);
            let Some(peers) = others(left, right, &self.node).filter(|_| !known) else { continue };
            let peers: Vec<_> =
                peers.iter().filter_map(|peer| addresses.get(peer)).flatten().collect();
            let mut open = self.namespace.run(connections)??;
            open.retain(|connection| peers.contains(&&IpAddr::V4(*connection.there.ip())));
            self.dead.push((fault.clone(), open));
        }
        Ok(())
    }

    /// Tells the thread that holds packets how long; starts it for the first.
    fn delay(&mut self, wrong: &[(IpAddr, Wrong)]) -> anyhow::Result<()> {
        let mut delays = HashMap::<Ipv4Addr, (u32, u32)>::new();
        for (address, wrong) in wrong {
            if let (IpAddr::V4(address), Wrong::Late(delay, jitter)) = (address, wrong) {
                // Two faults of one link add up.
                let sum = delays.entry(*address).or_default();
                *sum = (sum.0 + delay, sum.1 + jitter);
            }
        }
        match &self.slow {
            Some(slow) => slow.set(delays),
            None if delays.is_empty() => {}
            None => {
                let slow = Slow::start(&self.namespace, self.queue, delays);
                let named = || format!("cannot slow the links of {}", self.node);
                self.slow = Some(slow.with_context(named)?);
            }
        }
        Ok(())
    }
}

/// From whom packets come to `node` in a wrong way because of `fault`, and in which.
fn wrong<'a>(fault: &'a Fault, node: &str) -> Vec<(&'a str, Wrong)> {
    let (peers, wrong) = match fault {
        Fault::Partition { left, right } => (others(left, right, node), Wrong::Dropped),
        Fault::OneWay { from, to } => {
            (to.iter().any(|name| name == node).then_some(from), Wrong::Dropped)
        }
        Fault::Lossy { left, right, percent } => (others(left, right, node), Wrong::Lost(*percent)),
        Fault::Slow { left, right, delay_ms, jitter_ms } => {
            (others(left, right, node), Wrong::Late(*delay_ms, *jitter_ms))
        }
        _ => (None, Wrong::Dropped),
    };
    peers.into_iter().flatten().map(|peer| (peer.as_str(), wrong)).collect()
}

/// The side on which `node` is not; None if it is on neither.
fn others<'a>(
    left: &'a Vec<String>,
    right: &'a Vec<String>,
    node: &str,
) -> Option<&'a Vec<String>> {
    let on = |side: &[String]| side.iter().any(|name| name == node);
    match (on(left), on(right)) {
        (true, _) => Some(right),
        (_, true) => Some(left),
        _ => None,
    }
}

/// What `iptables-restore` reads: both chains, as a whole.
fn rules(wrong: &[(IpAddr, Wrong)], dead: &[Connection], hooked: bool, queue: u16) -> String {
    let (mut late, mut lost) = (String::new(), String::new());
    for Connection { here, there } in dead {
        let _ = writeln!(
            lost,
            "-A chaos -p tcp -s {} --sport {} -d {} --dport {} -j DROP",
            there.ip(),
            there.port(),
            here.ip(),
            here.port()
        );
    }
    for (address, wrong) in wrong {
        let _ = match wrong {
            Wrong::Dropped => writeln!(lost, "-A chaos -s {address} -j DROP"),
            Wrong::Lost(percent) => writeln!(
                lost,
                "-A chaos -s {address} -m statistic --mode random --probability {}.{:02} -j \
                 DROP",
                percent / 100,
                percent % 100
            ),
            Wrong::Late(..) => writeln!(
                late,
                "-A chaos -s {address} -j NFQUEUE --queue-num {queue} --queue-bypass"
            ),
        };
    }
    // Declaring a chain empties it. The hook is there from the first time on.
    let hook = if hooked { "" } else { "-A INPUT -j chaos\n" };
    format!("*mangle\n:chaos -\n{hook}{late}COMMIT\n*filter\n:chaos -\n{hook}{lost}COMMIT\n")
}

/// Open TCP connections of this thread's namespace.
fn connections() -> std::io::Result<Vec<Connection>> {
    let text = std::fs::read_to_string("/proc/thread-self/net/tcp")?;
    Ok(text.lines().skip(1).filter_map(connection).collect())
}

/// A line of `/proc/net/tcp`; None for one that is no connection (a listener, or closed).
fn connection(line: &str) -> Option<Connection> {
    const LISTEN: &str = "0A";
    let mut fields = line.split_whitespace().skip(1);
    let (here, there, state) = (fields.next()?, fields.next()?, fields.next()?);
    let connection = Connection { here: socket(here)?, there: socket(there)? };
    (state != LISTEN && connection.there.port() != 0).then_some(connection)
}

/// `0100007F:1F90` is 127.0.0.1:8080: the address is a number as this machine keeps it.
fn socket(text: &str) -> Option<SocketAddrV4> {
    let (address, port) = text.split_once(':')?;
    let address = u32::from_str_radix(address, 16).ok()?.to_ne_bytes();
    Some(SocketAddrV4::new(address.into(), u16::from_str_radix(port, 16).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn connections_are_read_and_listeners_are_not() {
        let line = "   1: 0100007F:1F90 0200007F:C350 01 00000000:00000000 00:00000000 00000000";
        let here = "127.0.0.1:8080".parse().unwrap();
        let there = "127.0.0.2:50000".parse().unwrap();
        assert_eq!(connection(line), Some(Connection { here, there }));
        let listener = "   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000";
        assert_eq!(connection(listener), None);
        assert_eq!(connection(""), None);
    }

    #[test]
    fn each_side_refuses_what_the_other_sends_and_one_way_is_one_way() {
        let (left, right) = (names(&["a"]), names(&["b", "c"]));
        let both = Fault::Partition { left: left.clone(), right: right.clone() };
        assert_eq!(wrong(&both, "a"), [("b", Wrong::Dropped), ("c", Wrong::Dropped)]);
        assert_eq!(wrong(&both, "c"), [("a", Wrong::Dropped)]);
        assert_eq!(wrong(&both, "d"), []);
        let one = Fault::OneWay { from: left, to: right };
        assert_eq!(wrong(&one, "a"), []);
        assert_eq!(wrong(&one, "b"), [("a", Wrong::Dropped)]);
    }

    #[test]
    fn the_chains_say_all_that_is_wrong() {
        let at = |last| IpAddr::from([10, 77, 0, last]);
        let wrong =
            [(at(1), Wrong::Dropped), (at(2), Wrong::Lost(5)), (at(3), Wrong::Late(100, 20))];
        assert_eq!(
            rules(&wrong, &[], false, 7),
            "*mangle\n:chaos -\n-A INPUT -j chaos\n-A chaos -s 10.77.0.3 -j NFQUEUE --queue-num 7 \
             --queue-bypass\nCOMMIT\n*filter\n:chaos -\n-A INPUT -j chaos\n-A chaos -s 10.77.0.1 \
             -j DROP\n-A chaos -s 10.77.0.2 -m statistic --mode random --probability 0.05 -j \
             DROP\nCOMMIT\n"
        );
        assert_eq!(
            rules(&[], &[], true, 7),
            "*mangle\n:chaos -\nCOMMIT\n*filter\n:chaos -\nCOMMIT\n"
        );
    }
}
