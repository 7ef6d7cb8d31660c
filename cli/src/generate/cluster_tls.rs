//! `higuma generate cluster-tls`: a CA and the certificates of a cluster's control planes.

use std::collections::BTreeMap;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use clap::Args;
use higuma_model::ClusterName;
use higuma_serve::pki::{Authority, Described, Subject, write_certificate, write_key};
use time::OffsetDateTime;

use crate::certificates::{self, add_address, ca, is_address, of};
use crate::failure::Failure;
use crate::output::print;

/// Certificates of one command: far more than a cluster's nodes and zones.
const MAX_HOLDERS: usize = 1_000;
/// Addresses of one certificate.
const MAX_ADDRESSES: usize = 100;

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  A CA, and certificates for three nodes and a zone:
    higuma generate cluster-tls --cluster-name prod --out pki \\
      --nodes 1=10.0.0.1,2=10.0.0.2,3=10.0.0.3 --zones east=10.1.0.1

  Node 2 by two addresses, and one more node later, from the CA that is in the folder:
    higuma generate cluster-tls --cluster-name prod --out pki --nodes 4=10.0.0.4,4=four.internal

  New certificates for nodes 1 and 2 before theirs end:
    higuma generate cluster-tls --cluster-name prod --out pki --renew --nodes 1=10.0.0.1,2=10.0.0.2

The folder gets ca.pem and ca-key.pem if it has no CA, and for each node node-N.pem and \
node-N-key.pem, for each zone zone-ZONE.pem and zone-ZONE-key.pem; keys are readable for you only. \
A node's certificate carries higuma://cluster/NAME/node/N, which `global run --cluster-name NAME` \
demands on Raft. Nothing that is there is replaced without --renew, and the CA never is: a new CA is \
made in a new folder, and both are trusted for a while (docs/operating.md, \"A new CA\").")]
pub(super) struct ClusterTlsArgs {
    /// The cluster's name, as `global run --cluster-name` has it
    #[arg(long, value_name = "NAME")]
    cluster_name: ClusterName,
    /// The folder; made if it is not there
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Nodes of the global and the addresses, IP or DNS, that others reach them by; a node given
    /// twice has both
    #[arg(
        long,
        value_name = "N=ADDR,N=ADDR",
        value_delimiter = ',',
        required_unless_present = "zones"
    )]
    nodes: Vec<Node>,
    /// Zones and the addresses of their control planes, likewise
    #[arg(long, value_name = "ZONE=ADDR,ZONE=ADDR", value_delimiter = ',')]
    zones: Vec<Zone>,
    /// More addresses for each of these certificates, such as a name that stands for all nodes
    #[arg(long, value_name = "ADDR,ADDR", value_delimiter = ',')]
    names: Vec<Address>,
    /// How long the certificates are valid
    #[arg(long, value_name = "DAYS", default_value_t = 365, value_parser = clap::value_parser!(u32).range(1..=3650))]
    days: u32,
    /// How long a new CA is valid
    #[arg(long, value_name = "DAYS", default_value_t = 3650, value_parser = clap::value_parser!(u32).range(1..=36500))]
    ca_days: u32,
    /// Replace the certificates and keys of these nodes and zones
    #[arg(long)]
    renew: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Address(String);

impl FromStr for Address {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if is_address(text) {
            Ok(Self(text.to_owned()))
        } else {
            Err(format!("{text:?} is neither an IP address nor a DNS name"))
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Node(u64, Address);

impl FromStr for Node {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text:?} is not of the form N=ADDR, such as 1=10.0.0.1");
        let (node, address) = text.split_once('=').ok_or_else(wrong)?;
        let node = node.parse().ok().filter(|node| *node > 0).ok_or_else(wrong)?;
        Ok(Self(node, address.parse()?))
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Zone(String, Address);

impl FromStr for Zone {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text:?} is not of the form ZONE=ADDR, such as east=10.1.0.1");
        let (zone, address) = text.split_once('=').ok_or_else(wrong)?;
        let plain = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'-';
        if zone.is_empty() || zone.len() > 63 || !zone.bytes().all(plain) {
            return Err(wrong());
        }
        Ok(Self(zone.to_owned(), address.parse()?))
    }
}

pub(super) fn cluster_tls(args: &ClusterTlsArgs) -> Result<(), Failure> {
    let subjects = subjects(args)?;
    let folder = &args.out;
    present(folder, &subjects, args.renew)?;
    let (authority, is_new) = authority(args)?;
    let validity = days(args.days);
    within(&authority, args.days)?;
    // All of them before the first is written: nothing is made by halves.
    let issued = certificates::issue(&authority, &subjects, validity)?;
    let failed = |error: std::io::Error| {
        Failure::refused(format!("cannot make {}: {error}", folder.display()))
    };
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(failed)?;
    if is_new {
        let failed = |error| Failure::refused(format!("{error}"));
        write_key(&ca_key(folder), &authority.key_pem()).map_err(failed)?;
        write_certificate(&ca(folder), authority.certificate_pem()).map_err(failed)?;
    }
    certificates::write(folder, &subjects, &issued)?;
    print(made(args, &subjects, is_new))?;
    print(next(args, is_new))
}

fn ca_key(folder: &Path) -> PathBuf {
    folder.join("ca-key.pem")
}

fn days(days: u32) -> Duration {
    Duration::from_hours(24 * u64::from(days))
}

/// Who gets a certificate, each once.
fn subjects(args: &ClusterTlsArgs) -> Result<Vec<Subject>, Failure> {
    let mut holders: BTreeMap<String, Subject> = BTreeMap::new();
    let mut add = |name: String, uri: String, address: &Address| {
        let subject = holders.entry(name.clone()).or_insert_with(|| Subject {
            common_name: name,
            uris: vec![uri],
            ..Subject::default()
        });
        add_address(subject, &address.0);
    };
    for Node(node, address) in &args.nodes {
        add(format!("node-{node}"), args.cluster_name.node_uri(*node), address);
    }
    for Zone(zone, address) in &args.zones {
        add(format!("zone-{zone}"), args.cluster_name.zone_uri(zone), address);
    }
    if holders.len() > MAX_HOLDERS {
        return Err(Failure::usage(format!("at most {MAX_HOLDERS} nodes and zones at a time")));
    }
    for subject in holders.values_mut() {
        for Address(name) in &args.names {
            add_address(subject, name);
        }
        if subject.dns.len() + subject.ips.len() > MAX_ADDRESSES {
            let name = &subject.common_name;
            return Err(Failure::usage(format!("{name}: at most {MAX_ADDRESSES} addresses")));
        }
    }
    Ok(holders.into_values().collect())
}

/// Refuses to replace what is there, unless it is to be renewed; then it has to be there.
fn present(folder: &Path, subjects: &[Subject], renew: bool) -> Result<(), Failure> {
    let (mut there, mut missing) = (Vec::new(), Vec::new());
    for subject in subjects {
        let (certificate, key) = of(folder, &subject.common_name);
        for path in [certificate, key] {
            let list = if path.exists() { &mut there } else { &mut missing };
            list.push(path.display().to_string());
        }
    }
    match renew {
        false if !there.is_empty() => Err(Failure::refused(format!(
            "{} are there already: give --renew to replace them, or other nodes and zones",
            there.join(", ")
        ))),
        true if !missing.is_empty() => Err(Failure::refused(format!(
            "{} are not there to be renewed: leave --renew out to make them",
            missing.join(", ")
        ))),
        _ => Ok(()),
    }
}

/// The folder's CA, or a new one where it has none; says whether it is new.
fn authority(args: &ClusterTlsArgs) -> Result<(Authority, bool), Failure> {
    let (certificate, key) = (ca(&args.out), ca_key(&args.out));
    let failed = |error: String| Failure::refused(error);
    match (certificate.exists(), key.exists()) {
        (false, false) => {
            let name = format!("higuma {}", args.cluster_name);
            let authority = Authority::generate(&name, days(args.ca_days));
            Ok((authority.map_err(|error| failed(error.to_string()))?, true))
        }
        (true, true) => {
            let read = |path: &Path| {
                std::fs::read_to_string(path)
                    .map_err(|error| failed(format!("cannot read {}: {error}", path.display())))
            };
            let authority = Authority::from_pem(&read(&certificate)?, &read(&key)?);
            let authority = authority.map_err(|error| {
                failed(format!("{} and {}: {error}", certificate.display(), key.display()))
            })?;
            Ok((authority, false))
        }
        (has_certificate, _) => {
            let (there, missing) =
                if has_certificate { (certificate, key) } else { (key, certificate) };
            Err(failed(format!(
                "{} is there without {}: put that beside it, or give another folder as --out to \
                 make a new CA",
                there.display(),
                missing.display()
            )))
        }
    }
}

/// A certificate must not outlive its CA.
fn within(authority: &Authority, days: u32) -> Result<(), Failure> {
    let described = Described::of_pem(authority.certificate_pem()).map_err(Failure::refused)?;
    let left = (described.ends - OffsetDateTime::now_utc().unix_timestamp()) / (24 * 60 * 60);
    // A new CA begins and ends with its first certificates, if both are for as long.
    if i64::from(days) > left + 1 {
        return Err(Failure::refused(format!(
            "the CA ends in {left} days, before certificates for {days} days would: give fewer \
             --days, or make a new CA in another folder (docs/operating.md, \"A new CA\")"
        )));
    }
    Ok(())
}

fn made(args: &ClusterTlsArgs, subjects: &[Subject], is_new: bool) -> String {
    let folder = args.out.display();
    let mut lines = vec![format!("made in {folder}:")];
    if is_new {
        lines.push(format!("  ca.pem       the CA, for {} days", args.ca_days));
        lines.push("  ca-key.pem   the CA's key: who has it can be any node".to_owned());
    }
    for Subject { common_name: name, dns, ips, .. } in subjects {
        let ips = ips.iter().map(ToString::to_string);
        let addresses: Vec<_> = ips.chain(dns.iter().cloned()).collect();
        let (addresses, days) = (addresses.join(", "), args.days);
        lines.push(format!("  {name}.pem, {name}-key.pem   for {addresses}, {days} days"));
    }
    lines.join("\n")
}

fn next(args: &ClusterTlsArgs, is_new: bool) -> String {
    let name = &args.cluster_name;
    if args.renew {
        return "next: copy them over the old ones, certificate and key. Each process uses them for \
                new connections within seconds and says so in its log; no restart is needed."
            .to_owned();
    }
    let mut lines = vec!["next:".to_owned()];
    if is_new {
        lines.push("  keep ca-key.pem, but not on the servers".to_owned());
    }
    if !args.nodes.is_empty() {
        lines.push(format!(
            "  copy ca.pem, node-N.pem and node-N-key.pem to node N, and start it there with\n    \
             higuma global run … --tls-ca ca.pem --tls-cert node-N.pem --tls-key node-N-key.pem \
             --cluster-name {name}"
        ));
    }
    if !args.zones.is_empty() {
        lines.push(
            "  copy ca.pem, zone-ZONE.pem and zone-ZONE-key.pem to the zone's control plane, and \
             start it there with\n    higuma remote run … --tls-ca ca.pem --tls-cert zone-ZONE.pem \
             --tls-key zone-ZONE-key.pem"
                .to_owned(),
        );
    }
    lines.join("\n")
}

#[cfg(test)]
mod tests;
