//! Runs a zone's ingress: an Envoy that takes connections from other zones to the zone's services
//! by their SNI. It advertises where other zones reach it; everything else is `dp`'s.

use std::path::PathBuf;

use anyhow::bail;
use clap::Args;
use higuma_dp::{Launcher, ProxyArgs, ProxyDocument, run_proxy};
use higuma_model::Kind;
use serde_json::Value;

const RUN_EXAMPLES: &str = "\
Examples:
  The ingress of a zone, reached by others at 203.0.113.7:10001:
    cat > ingress.yaml <<END
    type: ZoneIngress
    name: ingress-1
    networking:
      address: 10.1.0.2
      port: 10001
      advertisedAddress: 203.0.113.7
      advertisedPort: 10001
    END
    higuma ingress run --ingress-file ingress.yaml --cp east.internal:5678 --tls-ca ca.pem";

/// Runs the ingress of a zone: an Envoy that takes connections from other zones.
#[derive(Args, Clone, Debug)]
#[command(after_help = RUN_EXAMPLES)]
pub struct RunArgs {
    /// The ZoneIngress, YAML or JSON
    #[arg(long, env = "HIGUMA_INGRESS_FILE", value_name = "FILE")]
    pub ingress_file: PathBuf,
    #[command(flatten)]
    pub proxy: ProxyArgs,
}

/// Runs the Envoy of one ZoneIngress until SIGTERM or SIGINT.
///
/// # Errors
/// A flag or the file is wrong, the control plane refuses the ingress, or Envoy ended by itself.
/// The message is for the user.
pub async fn run(args: RunArgs) -> anyhow::Result<()> {
    let document = ProxyDocument::read(&args.ingress_file, Kind::ZoneIngress)?;
    check_advertised(&document)?;
    run_proxy(document, args.proxy, Launcher::this_binary(), None).await
}

/// Other zones use an ingress by its advertised address only: one without is of no use.
fn check_advertised(document: &ProxyDocument) -> anyhow::Result<()> {
    let networking = &document.value["networking"];
    let address = networking["advertisedAddress"].as_str().unwrap_or_default();
    let port = networking["advertisedPort"].as_u64().unwrap_or_default();
    if address.is_empty() || port == 0 || matches!(networking, Value::Null) {
        bail!(
            "ZoneIngress {}: networking.advertisedAddress and networking.advertisedPort are \
             missing: set them to where other zones reach this ingress",
            document.name
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(networking: &str) -> ProxyDocument {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ingress.yaml");
        let text = format!("type: ZoneIngress\nname: i\nnetworking: {networking}\n");
        std::fs::write(&path, text).unwrap();
        ProxyDocument::read(&path, Kind::ZoneIngress).unwrap()
    }

    #[test]
    fn an_ingress_says_where_other_zones_reach_it() {
        let whole =
            "{address: 10.0.0.1, port: 10001, advertisedAddress: 1.2.3.4, advertisedPort: 9}";
        assert!(check_advertised(&read(whole)).is_ok());
        let error = check_advertised(&read("{address: 10.0.0.1, port: 10001}")).unwrap_err();
        assert!(error.to_string().contains("networking.advertisedAddress"), "{error}");
    }
}
