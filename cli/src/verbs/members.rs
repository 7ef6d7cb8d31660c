//! `higuma cluster add`, `replace`, `remove`: a new node gets the log first, and its vote once it has
//! caught up; each step is the leader's, and may be repeated.

use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::Session;
use crate::args::{AddArgs, RemoveArgs, ReplaceArgs};
use crate::client::{CallError, Client, Request};
use crate::failure::{Exit, Failure};
use crate::output::{note, print};

/// Entries that a new node may lack when its vote is asked for; the leader refuses a thousand.
const NEAR: u64 = 500;

/// Between two looks at how far a new node is.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// Lines that say how far it is come no faster than this.
const LINE_EVERY: Duration = Duration::from_secs(2);

pub(super) async fn add(args: &AddArgs) -> Result<(), Failure> {
    let client = Session::open(&args.connection)?.client;
    let before = voters(&look(&client).await?);
    let node = NewNode { id: args.id, address: &args.address, replaces: None };
    node.join(&client, args.timeout).await?;
    print(format!("node {} votes: {}", args.id, strength(&look(&client).await?)))?;
    if let [only] = before[..] {
        note(format!(
            "next: from now on start node {only} with --join in place of --members: alone in its list, \
             and with an empty folder, it would form a cluster of its own"
        ));
    }
    name_it(args.id);
    Ok(())
}

pub(super) async fn replace(args: &ReplaceArgs) -> Result<(), Failure> {
    let client = Session::open(&args.connection)?.client;
    let ReplaceArgs { old, with, .. } = *args;
    let seen = look(&client).await?;
    if member(&seen, old).is_none() && member(&seen, with).is_none() {
        return Err(Failure::refused(format!(
            "node {old} is no member; `higuma cluster status` shows who is"
        )));
    }
    let node = NewNode { id: with, address: &args.address, replaces: Some(old) };
    node.join(&client, args.timeout).await?;
    let now = strength(&look(&client).await?);
    print(format!("node {with} votes, and node {old} is out: {now}"))?;
    farewell(old);
    name_it(with);
    Ok(())
}

pub(super) async fn remove(args: &RemoveArgs) -> Result<(), Failure> {
    let client = Session::open(&args.connection)?.client;
    let mut request = Request::get(&["_cluster", "members", &args.id.to_string()]);
    request.method = Method::DELETE;
    match client.send(&request).await {
        Ok(_) => {}
        // The attempt before this one had done it.
        Err(CallError::Refused(refused))
            if refused.repeated && member(&look(&client).await?, args.id).is_none() => {}
        Err(error) => return Err(error.into()),
    }
    print(format!("node {} is out: {}", args.id, strength(&look(&client).await?)))?;
    farewell(args.id);
    Ok(())
}

/// A node that waits to be taken in.
struct NewNode<'a> {
    id: u64,
    address: &'a str,
    replaces: Option<u64>,
}

impl NewNode<'_> {
    async fn join(&self, client: &Client, limit: Duration) -> Result<(), Failure> {
        if self.is_in(&look(client).await?) {
            return Ok(());
        }
        let body = json!({"id": self.id, "address": self.address, "replaces": self.replaces});
        client.send(&Request::post(&["_cluster", "members"], body)).await?;
        print(format!("node {} at {} gets the log; it has no vote yet", self.id, self.address))?;
        self.catch_up(client, limit).await?;
        let body = json!({"replaces": self.replaces});
        let id = self.id.to_string();
        let voted = client.send(&Request::post(&["_cluster", "members", &id, "vote"], body)).await;
        voted.map(drop).map_err(|error| {
            let Failure { exit, message } = error.into();
            Failure::new(exit, format!("{message}\n{}", self.go_on()))
        })
    }

    /// Whether all of it was done before.
    fn is_in(&self, cluster: &Value) -> bool {
        let replaced = self.replaces.is_none_or(|old| member(cluster, old).is_none());
        let votes = |own: &Value| own["votes"] == true && own["address"] == self.address;
        replaced && member(cluster, self.id).is_some_and(votes)
    }

    async fn catch_up(&self, client: &Client, limit: Duration) -> Result<(), Failure> {
        let (started, mut said) = (Instant::now(), None);
        loop {
            let cluster = look(client).await?;
            let seen = member(&cluster, self.id);
            let lag = seen.and_then(|member| member["lag"].as_u64());
            if lag.is_some_and(|lag| lag <= NEAR) {
                return Ok(());
            }
            let how = match (lag, seen.and_then(|member| member["error"].as_str())) {
                (Some(lag), _) => format!("node {} is {lag} entries behind", self.id),
                (None, Some(why)) => format!("node {} does not answer yet ({why})", self.id),
                (None, None) => format!("node {} is no member yet", self.id),
            };
            if started.elapsed() >= limit {
                let why = format!("not caught up within {limit:.0?}: {how}");
                return Err(Failure::new(Exit::Unavailable, format!("{why}\n{}", self.go_on())));
            }
            if said.is_none_or(|said: Instant| said.elapsed() >= LINE_EVERY) {
                note(how);
                said = Some(Instant::now());
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// What to do where this ended half way.
    fn go_on(&self) -> String {
        format!(
            "Node {} stays without a vote. The same command again goes on; `higuma cluster remove {}` \
             gives it up.",
            self.id, self.id
        )
    }
}

async fn look(client: &Client) -> Result<Value, Failure> {
    Ok(client.send(&Request::get(&["_cluster"])).await?.body)
}

fn members(cluster: &Value) -> impl Iterator<Item = &Value> {
    cluster["members"].as_array().into_iter().flatten()
}

fn member(cluster: &Value, id: u64) -> Option<&Value> {
    members(cluster).find(|member| member["id"] == id)
}

fn voters(cluster: &Value) -> Vec<u64> {
    let voters = members(cluster).filter(|member| member["votes"] == true);
    voters.filter_map(|member| member["id"].as_u64()).collect()
}

/// How many failures a cluster bears.
fn strength(cluster: &Value) -> String {
    let voters = voters(cluster).len();
    let even = match voters % 2 {
        0 => format!(
            ". It bears no more failures than {} would: add another, or remove one",
            voters - voters.min(1)
        ),
        _ => String::new(),
    };
    match voters {
        1 => "1 voter, and no write is done while it is down".to_owned(),
        _ => {
            format!(
                "{voters} voters, and writes go on while {} of them are up{even}",
                voters / 2 + 1
            )
        }
    }
}

fn farewell(id: u64) {
    note(format!(
        "next: node {id} ends by itself if it still runs; disable its service, and delete its data \
         folder. Its number is not used again"
    ));
}

fn name_it(id: u64) {
    note(format!(
        "next: name node {id} where nodes are listed: HIGUMA_SERVER and contexts, and --global of each \
         zone. The --members of other nodes need no change"
    ));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_said_how_many_failures_a_cluster_bears() {
        let cluster = |voters: u64| {
            let voters = (1..=voters).map(|id| json!({"id": id, "votes": true}));
            json!({"members": voters.chain([json!({"id": 9, "votes": false})]).collect::<Vec<_>>()})
        };
        assert_eq!(strength(&cluster(1)), "1 voter, and no write is done while it is down");
        assert_eq!(strength(&cluster(3)), "3 voters, and writes go on while 2 of them are up");
        assert_eq!(
            strength(&cluster(4)),
            "4 voters, and writes go on while 3 of them are up. It bears no more failures than 3 \
             would: add another, or remove one"
        );
    }
}
