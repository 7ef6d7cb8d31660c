//! `higuma inspect`: how the cluster, its zones and their proxies are doing.

mod overview;

use higuma_model::Kind;
use serde_json::{Value, json};
use time::OffsetDateTime;

use super::get::{documents, list, list_at};
use super::{Session, cluster};
use crate::args::{InspectArgs, Inspected};
use crate::client::{Client, Request};
use crate::failure::Failure;
use crate::output::{self, Format, print};

pub(crate) async fn inspect(args: &InspectArgs) -> Result<(), Failure> {
    let session = Session::open(&args.connection)?;
    if args.scope.mesh.is_some() && args.what != Inspected::Dataplanes {
        return Err(Failure::usage("--mesh is for `inspect dataplanes` only"));
    }
    if args.what == Inspected::Cluster {
        return cluster::show(&session.client, args.output).await;
    }
    let kind = match args.what {
        Inspected::Zones => Kind::Zone,
        Inspected::Zoneingresses => Kind::ZoneIngress,
        Inspected::Dataplanes | Inspected::Cluster => Kind::Dataplane,
    };
    let request = Request::all(kind, args.scope.mesh.as_deref()).below("_overview");
    let mut items = list(&session.client, &request).await?;
    ask_holders(&session.client, &request, &mut items).await;
    match args.output {
        Format::Table if items.is_empty() => {
            output::note(format!("there are no {}", kind.path()));
            Ok(())
        }
        Format::Table => print(overview::table(args.what, &items, OffsetDateTime::now_utc())),
        Format::Json => {
            print(output::value(&json!({"total": items.len(), "items": items}), Format::Json)?)
        }
        Format::Yaml => print(documents(&items)?),
    }
}

/// What a proxy runs is known only to the node that holds its zone's stream: where the answer
/// lacks it, the other servers are asked. One that can't be asked leaves the answer as it is.
async fn ask_holders(client: &Client, request: &Request, items: &mut [Value]) {
    let request = request.clone().query("consistency", "stale");
    for server in client.servers() {
        if !items.iter().any(overview::lacks_version) {
            return;
        }
        if let Ok(others) = list_at(client, server, &request).await {
            overview::complete(items, &others);
        }
    }
}
