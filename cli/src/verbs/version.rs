//! `higuma version`.

use serde_json::Value;

use super::Session;
use crate::args::VersionArgs;
use crate::client::{Request, address};
use crate::failure::Failure;
use crate::output::{print, table};

/// A server that is not there is shown as such, and is no failure: the question was about versions.
pub(crate) async fn version(args: &VersionArgs) -> Result<(), Failure> {
    print(format!("client: higuma {}", env!("CARGO_PKG_VERSION")))?;
    if args.client {
        return Ok(());
    }
    let session = Session::open(&args.connection)?;
    let mut rows = Vec::new();
    for server in session.client.servers() {
        let answer = session.client.ask(server, &Request::get(&[])).await;
        let mut row = vec![address::shown(server)];
        match answer {
            Ok(answer) => {
                let text =
                    |name: &str| answer.body.get(name).and_then(Value::as_str).unwrap_or("-");
                row.extend(["product", "version", "instanceId"].map(|name| text(name).to_owned()));
            }
            Err(why) => row.extend(["-".to_owned(), "-".to_owned(), why]),
        }
        rows.push(row);
    }
    print(table(&["SERVER", "PRODUCT", "VERSION", "INSTANCE"], &rows))
}
