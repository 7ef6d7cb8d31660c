//! What a node's packet filter is to do, from the faults that hold. Pure.

use std::fmt::Write as _;
use std::net::Ipv4Addr;

use crate::nemesis::Fault;

/// A table `filter` for `iptables-restore`: what `node` drops of what comes in. Each packet of the
/// lab comes in somewhere, so that nothing has to be done about what goes out.
///
/// `addresses` gives all addresses of a node.
pub(super) fn filter<'a>(
    faults: &[Fault],
    node: &str,
    addresses: impl Fn(&str) -> &'a [Ipv4Addr],
) -> String {
    let mut table = String::from("*filter\n:INPUT ACCEPT [0:0]\n");
    for fault in faults {
        let (peers, percent) = dropped(fault, node);
        for address in peers.iter().flat_map(|peer| addresses(peer)) {
            let part = match percent {
                100 => String::new(),
                percent => {
                    format!(" -m statistic --mode random --probability 0.{percent:02}")
                }
            };
            writeln!(table, "-A INPUT -s {address}{part} -j DROP")
                .expect("invariant: a String takes all that is written to it");
        }
    }
    table.push_str("COMMIT\n");
    table
}

/// Whose packets a node drops, and how many in 100 of them.
fn dropped<'a>(fault: &'a Fault, node: &str) -> (&'a [String], u8) {
    let of = |nodes: &[String]| nodes.iter().any(|name| name == node);
    match fault {
        Fault::Partition { left, right } if of(right) => (left, 100),
        Fault::Partition { left, right } if of(left) => (right, 100),
        Fault::OneWay { from, to } if of(to) => (from, 100),
        Fault::Lossy { left, right, percent } if of(right) => (left, *percent),
        Fault::Lossy { left, right, percent } if of(left) => (right, *percent),
        _ => (&[], 0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_side_drops_what_comes_from_the_other() {
        let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        let (a, b) =
            ([Ipv4Addr::new(10, 0, 0, 1), Ipv4Addr::new(10, 1, 0, 1)], [Ipv4Addr::LOCALHOST]);
        let addresses = |name: &str| if name == "a" { &a[..] } else { &b[..] };
        let rules = |fault: Fault, node: &str| {
            let table = filter(&[fault], node, addresses);
            let rules = table.lines().filter_map(|line| line.strip_prefix("-A INPUT -s "));
            rules.map(str::to_owned).collect::<Vec<_>>()
        };
        let (a, b) = (|| names(&["a"]), || names(&["b"]));
        let apart = || Fault::Partition { left: a(), right: b() };
        assert_eq!(rules(apart(), "b"), ["10.0.0.1 -j DROP", "10.1.0.1 -j DROP"]);
        assert_eq!(rules(apart(), "a"), ["127.0.0.1 -j DROP"]);
        assert_eq!(rules(apart(), "c"), [""; 0]);
        let one_way = || Fault::OneWay { from: a(), to: b() };
        assert_eq!((rules(one_way(), "a").len(), rules(one_way(), "b").len()), (0, 2));
        let lossy = Fault::Lossy { left: a(), right: b(), percent: 5 };
        assert_eq!(
            rules(lossy, "a"),
            ["127.0.0.1 -m statistic --mode random --probability 0.05 -j DROP"]
        );
    }
}
