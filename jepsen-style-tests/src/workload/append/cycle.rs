//! The shortest cycle of a graph, and what it is called.

use std::collections::VecDeque;

use super::graph::{Because, Edge, Graph};

/// So many transactions are tried as the begin of a cycle; what is shown need not be the very
/// shortest of a history that is all wrong.
const TRIED: usize = 400;

/// Transactions, each with the edge that leads to the next; the last one's to the first.
pub(super) type Cycle = Vec<(usize, Edge)>;

/// What dependencies are looked at, one after the other: the first in which there is a cycle names it
/// (Adya: G0, G1c, G-single, G2).
const LEVELS: [&[Because]; 4] = {
    use Because::{Ended, ReadBefore, WasRead, Wrote};
    [
        &[Wrote],
        &[Wrote, WasRead],
        &[Wrote, WasRead, ReadBefore],
        &[Wrote, WasRead, ReadBefore, Ended],
    ]
};

pub(super) fn shortest(graph: &Graph) -> Option<Cycle> {
    LEVELS.iter().find_map(|level| {
        let inside = in_cycles(graph, level);
        let begins = (0..graph.len()).filter(|at| inside[*at]).take(TRIED);
        begins.filter_map(|begin| back_to(graph, level, begin)).min_by_key(Vec::len)
    })
}

/// What a cycle of dependencies is called.
pub(super) fn name(cycle: &Cycle) -> String {
    let count = |because| cycle.iter().filter(|(_, edge)| edge.because == because).count();
    let name = match (count(Because::ReadBefore), count(Because::WasRead)) {
        (0, 0) => "G0",
        (0, _) => "G1c",
        (1, _) => "G-single",
        _ => "G2",
    };
    let time = if count(Because::Ended) > 0 { "-realtime" } else { "" };
    format!("{name}{time}")
}

/// Those that may be in a cycle: what is left when all without an edge to them, or from them, are taken
/// away again and again.
fn in_cycles(graph: &Graph, level: &[Because]) -> Vec<bool> {
    let mut forth: Vec<Vec<usize>> = vec![Vec::new(); graph.len()];
    let mut back: Vec<Vec<usize>> = vec![Vec::new(); graph.len()];
    for (from, edges) in graph.iter().enumerate() {
        for edge in edges.iter().filter(|edge| level.contains(&edge.because)) {
            forth[from].push(edge.to);
            back[edge.to].push(from);
        }
    }
    let mut inside = vec![true; graph.len()];
    for (incoming, outgoing) in [(&back, &forth), (&forth, &back)] {
        let mut count: Vec<usize> = (0..graph.len())
            .map(|at| incoming[at].iter().filter(|other| inside[**other]).count())
            .collect();
        let mut free: Vec<usize> =
            (0..graph.len()).filter(|at| inside[*at] && count[*at] == 0).collect();
        while let Some(at) = free.pop() {
            inside[at] = false;
            for next in outgoing[at].iter().filter(|next| inside[**next]) {
                count[*next] -= 1;
                if count[*next] == 0 {
                    free.push(*next);
                }
            }
        }
    }
    inside
}

/// The shortest way from a transaction back to it.
fn back_to(graph: &Graph, level: &[Because], begin: usize) -> Option<Cycle> {
    let mut came: Vec<Option<(usize, &Edge)>> = vec![None; graph.len()];
    let mut queue = VecDeque::from([begin]);
    while let Some(at) = queue.pop_front() {
        for edge in graph[at].iter().filter(|edge| level.contains(&edge.because)) {
            if came[edge.to].is_some() {
                continue;
            }
            came[edge.to] = Some((at, edge));
            if edge.to == begin {
                return Some(way(&came, begin));
            }
            queue.push_back(edge.to);
        }
    }
    None
}

fn way(came: &[Option<(usize, &Edge)>], begin: usize) -> Cycle {
    let mut cycle = Cycle::new();
    let mut at = begin;
    while let Some((from, edge)) = came[at] {
        cycle.push((from, edge.clone()));
        at = from;
        if at == begin {
            break;
        }
    }
    cycle.reverse();
    cycle
}

#[cfg(test)]
mod tests {
    use super::*;

    fn graph(edges: &[(usize, usize, Because)]) -> Graph {
        let size = edges.iter().map(|(from, to, _)| from.max(to) + 1).max().unwrap_or(0);
        let mut graph: Graph = vec![Vec::new(); size];
        for (from, to, because) in edges {
            graph[*from].push(Edge { to: *to, because: *because, key: "k".to_owned() });
        }
        graph
    }

    fn found(edges: &[(usize, usize, Because)]) -> Option<(String, Vec<usize>)> {
        let cycle = shortest(&graph(edges))?;
        let mut through: Vec<usize> = cycle.iter().map(|(at, _)| *at).collect();
        through.sort_unstable();
        Some((name(&cycle), through))
    }

    #[test]
    fn a_cycle_is_named_by_the_dependencies_that_it_needs() {
        use Because::{Ended, ReadBefore, WasRead, Wrote};
        assert_eq!(found(&[(0, 1, Wrote), (1, 2, WasRead), (0, 2, Ended)]), None);
        let named = |edges: &[(usize, usize, Because)]| found(edges).unwrap().0;
        assert_eq!(named(&[(0, 1, Wrote), (1, 0, Wrote)]), "G0");
        assert_eq!(named(&[(0, 1, Wrote), (1, 0, WasRead)]), "G1c");
        assert_eq!(named(&[(0, 1, WasRead), (1, 0, ReadBefore)]), "G-single");
        assert_eq!(named(&[(0, 1, ReadBefore), (1, 0, ReadBefore)]), "G2");
        assert_eq!(named(&[(0, 1, Ended), (1, 0, ReadBefore)]), "G-single-realtime");
        // One that needs no time is told before a shorter one that does.
        let both = [(0, 1, Wrote), (1, 2, Wrote), (2, 0, Wrote), (0, 3, Ended), (3, 0, Wrote)];
        assert_eq!(found(&both), Some(("G0".to_owned(), vec![0, 1, 2])));
    }

    #[test]
    fn the_shortest_is_shown_without_what_only_leads_to_it() {
        use Because::Wrote;
        let mut edges: Vec<(usize, usize, Because)> =
            (0..50).map(|at| (at, at + 1, Wrote)).collect();
        edges.extend([(50, 0, Wrote), (20, 18, Wrote), (50, 51, Wrote), (51, 52, Wrote)]);
        assert_eq!(found(&edges), Some(("G0".to_owned(), vec![18, 19, 20])));
    }
}
