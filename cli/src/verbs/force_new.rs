//! `higuma cluster force-new`: a new cluster of what is left of one. Offline.

use std::collections::BTreeMap;
use std::io::{IsTerminal as _, stdin};

use higuma_global::member_list;
use higuma_global::offline::{NodeId, Remains, Survivor, SurvivorError};
use higuma_model::rfc3339;

use super::restore::started;
use crate::args::ForceNewArgs;
use crate::failure::Failure;
use crate::output::{note, print};

pub(crate) async fn force_new(args: &ForceNewArgs) -> Result<(), Failure> {
    let survivor = match Survivor::open(&args.data_dir).await {
        Ok(survivor) => survivor,
        Err(ended @ SurvivorError::Ended { .. }) => return print(ended.to_string()),
        Err(error) => return Err(Failure::refused(error.to_string())),
    };
    let remains = survivor.remains();
    let members = members(args, remains)?;
    print(shown(remains))?;
    if !confirmed(args, remains)? {
        return print("nothing was changed");
    }
    let cluster =
        survivor.force_new(&members).map_err(|error| Failure::refused(error.to_string()))?;
    let (node, version) = (remains.node, remains.version);
    let others: Vec<NodeId> = members.keys().copied().filter(|id| *id != node).collect();
    print(format!(
        "\nnode {node} begins the new cluster {cluster} at version {version}; what was in {} is kept in \
         {} there.\n\n{}Never start the lost nodes with the folders they had.\nZones that have seen nothing \
         after version {version} follow by themselves; others say that they do not, and\nwait for \
         `higuma zone adopt`.",
        args.data_dir.display(),
        survivor.aside(),
        started(node, others),
    ))
}

/// Who the new cluster is; of the survivor alone, if nobody else is named.
fn members(args: &ForceNewArgs, remains: &Remains) -> Result<BTreeMap<NodeId, String>, Failure> {
    if !args.members.is_empty() {
        return Ok(member_list(&args.members)?);
    }
    let node = remains.node;
    let own = remains.members.get(&node).ok_or_else(|| {
        let why = format!("node {node} does not know its own address: name it with --members");
        Failure::usage(why)
    })?;
    Ok(BTreeMap::from([(node, own.clone())]))
}

/// What whoever decides has to know.
fn shown(remains: &Remains) -> String {
    let newest = match remains.newest {
        Some(at) => format!("the last request in it is of {}", rfc3339(at)),
        None => "no request of the last day is in it".to_owned(),
    };
    let members: Vec<String> =
        remains.members.iter().map(|(id, address)| format!("node {id} ({address})")).collect();
    let mut lines = vec![
        format!("Cluster     {}: {}", remains.cluster, members.join(", ")),
        format!(
            "This node   node {}, version {}, {} resources; {newest}",
            remains.node, remains.version, remains.resources
        ),
        format!(
            "Its log     ends with entry {} of term {}; known to be committed: up to entry {}",
            remains.last_index, remains.last_term, remains.committed_index
        ),
        String::new(),
        format!(
            "What the others acknowledged after entry {} is lost: this node does not know of it.",
            remains.last_index
        ),
    ];
    if remains.last_index > remains.committed_index {
        lines.push(format!(
            "What it has after entry {} may never have been acknowledged; it is kept.",
            remains.committed_index
        ));
    }
    if !remains.is_voter {
        lines.push("It had no vote: it may be far behind those that had.".to_owned());
    }
    lines.join("\n")
}

fn confirmed(args: &ForceNewArgs, remains: &Remains) -> Result<bool, Failure> {
    if args.yes {
        return Ok(true);
    }
    if !stdin().is_terminal() {
        return Err(Failure::refused(
            "nothing was changed: there is no terminal to ask. Read what is above, make sure that no \
             other node of the cluster can come back, then give the same command with --yes",
        ));
    }
    note(format!("Give cluster {} up and begin a new one with this? [y/N]", remains.cluster));
    let mut answer = String::new();
    stdin().read_line(&mut answer).map_err(|error| Failure::refused(error.to_string()))?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}

#[cfg(test)]
mod tests {
    use higuma_model::{ClusterId, Timestamp};

    use super::*;

    #[test]
    fn what_may_be_lost_is_said() {
        let remains = Remains {
            cluster: ClusterId(0xab),
            node: 2,
            members: BTreeMap::from([(1, "a:1".to_owned()), (2, "b:1".to_owned())]),
            is_voter: true,
            last_index: 120,
            last_term: 4,
            committed_index: 118,
            version: 119,
            resources: 30,
            newest: Some(Timestamp(0)),
        };
        let text = shown(&remains);
        for expected in [
            "000ab: node 1 (a:1), node 2 (b:1)",
            "node 2, version 119, 30 resources; the last request in it is of 1970-01-01T00:00:00",
            "ends with entry 120 of term 4; known to be committed: up to entry 118",
            "acknowledged after entry 120 is lost",
            "after entry 118 may never have been acknowledged; it is kept",
        ] {
            assert!(text.contains(expected), "{expected}: {text}");
        }
        let text =
            shown(&Remains { committed_index: 120, is_voter: false, newest: None, ..remains });
        assert!(!text.contains("may never have been") && text.contains("It had no vote"), "{text}");
    }
}
