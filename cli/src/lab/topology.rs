//! Who is in the lab: a table of processes, and nothing that is done with it.

use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;

pub(super) const DEFAULT_BASE: &str = "127.77";

const REST: u16 = 5681;
const DIAGNOSTICS: u16 = 5680;
const RAFT: u16 = 5684;
const GLOBALS: u8 = 3;

/// The first two numbers of the lab's addresses; the first is 127, so that all are loopback.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Base(pub(super) u8);

/// Reads `127.N`.
pub(super) fn base(text: &str) -> Result<Base, String> {
    let number = text.strip_prefix("127.").and_then(|rest| rest.parse().ok());
    // 127.0.0.1 is what other programs of this machine listen on.
    let number = number.filter(|number| *number > 0);
    number.map(Base).ok_or_else(|| "use 127.1 to 127.255: all addresses are loopback".to_owned())
}

impl Base {
    /// `127.N.zone.host`; zone 0 is the global.
    pub(super) fn address(self, zone: u8, host: u8) -> Ipv4Addr {
        Ipv4Addr::new(127, self.0, zone, host)
    }
}

/// Where a lab is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Layout {
    /// Absolute.
    pub(super) folder: PathBuf,
    pub(super) base: Base,
}

/// A process as it will be started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Plan {
    pub(super) name: String,
    pub(super) address: IpAddr,
    /// Of this binary.
    pub(super) argv: Vec<String>,
    /// Must be free before the start; the first one that is not is named.
    pub(super) ports: Vec<u16>,
    /// Answers 200 once the process does its work.
    pub(super) ready: String,
    /// Those of one stage start together and are waited for before the next.
    pub(super) stage: u8,
}

impl Layout {
    pub(super) fn logs(&self) -> PathBuf {
        self.folder.join("logs")
    }

    pub(super) fn log(&self, name: &str) -> PathBuf {
        self.logs().join(format!("{name}.log"))
    }

    pub(super) fn pki(&self) -> PathBuf {
        self.folder.join("pki")
    }

    pub(super) fn data(&self) -> PathBuf {
        self.folder.join("data")
    }

    pub(super) fn ca(&self) -> PathBuf {
        self.pki().join("ca.pem")
    }

    /// Certificate and key of a process.
    pub(super) fn certificate(&self, name: &str) -> (PathBuf, PathBuf) {
        (self.pki().join(format!("{name}.pem")), self.pki().join(format!("{name}-key.pem")))
    }

    /// What operators talk to.
    pub(super) fn servers(&self) -> Vec<String> {
        (1..=GLOBALS).map(|n| format!("{}:{REST}", self.base.address(0, n))).collect()
    }

    fn tls(&self, name: &str) -> Vec<String> {
        let (certificate, key) = self.certificate(name);
        [("--tls-ca", self.ca()), ("--tls-cert", certificate), ("--tls-key", key)]
            .into_iter()
            .flat_map(|(flag, path)| [flag.to_owned(), path.display().to_string()])
            .collect()
    }
}

/// All processes, in the order of their start.
pub(super) fn plans(layout: &Layout) -> Vec<Plan> {
    (1..=GLOBALS).map(|node| global(layout, node)).collect()
}

fn global(layout: &Layout, node: u8) -> Plan {
    let name = format!("global-{node}");
    let address = layout.base.address(0, node);
    let members: Vec<_> =
        (1..=GLOBALS).map(|n| format!("{n}={}:{RAFT}", layout.base.address(0, n))).collect();
    let mut argv = words(&["global", "run", "--node-id"]);
    argv.push(node.to_string());
    argv.extend(words(&["--data-dir", &layout.data().join(&name).display().to_string()]));
    argv.extend(words(&["--members", &members.join(","), "--bind", &address.to_string()]));
    argv.extend(layout.tls(&name));
    Plan {
        name,
        address: address.into(),
        argv,
        ports: vec![DIAGNOSTICS, REST, RAFT],
        ready: format!("http://{address}:{DIAGNOSTICS}/ready"),
        stage: 0,
    }
}

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use clap::Parser as _;

    use super::*;

    #[test]
    fn every_process_has_an_address_and_a_command_line_of_its_own() {
        let layout = Layout { folder: "/l".into(), base: base("127.77").unwrap() };
        let plans = plans(&layout);
        assert_eq!(plans.len(), 3);
        let addresses: HashSet<_> = plans.iter().map(|plan| plan.address).collect();
        let names: HashSet<_> = plans.iter().map(|plan| &plan.name).collect();
        assert_eq!((addresses.len(), names.len()), (plans.len(), plans.len()));
        for plan in &plans {
            let argv = std::iter::once("higuma".to_owned()).chain(plan.argv.clone());
            if let Err(error) = crate::args::Arguments::try_parse_from(argv) {
                panic!("{}: {error}", plan.name);
            }
        }
        assert_eq!(layout.servers()[2], "127.77.0.3:5681");
        assert!(plans[1].argv.join(" ").contains("--tls-key /l/pki/global-2-key.pem"));
    }

    #[test]
    fn bases_are_loopback_and_not_everyones() {
        assert_eq!(base("127.200"), Ok(Base(200)));
        for wrong in ["127.0", "10.1", "127", "127.256", "127.1.2", ""] {
            assert!(base(wrong).unwrap_err().contains("127.1 to 127.255"), "{wrong}");
        }
    }
}
