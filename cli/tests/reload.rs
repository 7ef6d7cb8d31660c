//! Certificates that are replaced under running processes: a global and a zone of real processes,
//! with files from `higuma generate cluster-tls`.

use std::fs::File;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use higuma_serve::{Transport, TransportPaths};
use higuma_testkit::{loopback, poll_until};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use tokio::net::TcpStream;

/// Starts and elections on a machine that is busy; files are looked at every few seconds.
const PATIENCE: Duration = Duration::from_secs(60);
const ADS: u16 = 5678;
const RAFT: u16 = 5684;
const KDS: u16 = 5685;
const GLOBAL_DIAGNOSTICS: u16 = 5680;
const ZONE_DIAGNOSTICS: u16 = 5780;

struct Processes {
    folder: tempfile::TempDir,
    address: IpAddr,
    running: Vec<Child>,
}

impl Processes {
    fn start() -> Self {
        let folder = tempfile::tempdir().expect("tempdir");
        let mut all = Self { folder, address: loopback(), running: Vec::new() };
        all.generate(&[]);
        let ip = all.address.to_string();
        let members = format!("--members=1={ip}:{RAFT}");
        let to_zones = format!("--global={ip}:{KDS}");
        let global =
            ["global", "run", "--node-id=1", "--cluster-name=prod", &members, "--bind", &ip];
        all.spawn("node-1", &global);
        let zone = [
            "remote",
            "run",
            "--zone=east",
            &to_zones,
            "--bind",
            &ip,
            "--rest-port=5781",
            "--https-port=5782",
            "--diagnostics-port=5780",
        ];
        all.spawn("zone-east", &zone);
        all
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn higuma(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_higuma"));
        command.current_dir(self.folder.path()).stdin(Stdio::null());
        command
    }

    fn generate(&self, more: &[&str]) {
        let (nodes, zones) = (format!("1={}", self.address), format!("east={}", self.address));
        let words = ["generate", "cluster-tls", "--cluster-name=prod", "--out=pki", "--nodes"];
        let mut command = self.higuma();
        command.args(words).args([&nodes, "--zones", &zones]).args(more);
        let output = command.output().expect("the binary runs");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }

    fn spawn(&mut self, name: &str, words: &[&str]) {
        let log = File::create(self.path(&format!("{name}.log"))).expect("a log");
        let (certificate, key) = (format!("pki/{name}.pem"), format!("pki/{name}-key.pem"));
        let mut command = self.higuma();
        command.args(words).args(["--data-dir", name, "--tls-ca", "pki/ca.pem"]);
        command.args(["--tls-cert", &certificate, "--tls-key", &key]);
        command.stdout(log.try_clone().expect("a log")).stderr(log);
        self.running.push(command.spawn().expect("the binary runs"));
    }

    fn log(&self, name: &str) -> String {
        std::fs::read_to_string(self.path(&format!("{name}.log"))).expect("a log")
    }

    fn on_disk(&self, name: &str) -> CertificateDer<'static> {
        CertificateDer::from_pem_file(self.path(&format!("pki/{name}.pem"))).expect("PEM")
    }

    /// What a port shows to node 1.
    async fn shown(&self, port: u16) -> Result<CertificateDer<'static>, String> {
        let pki = self.path("pki");
        let own = Transport::load(&TransportPaths {
            ca: pki.join("ca.pem"),
            cert: pki.join("node-1.pem"),
            key: pki.join("node-1-key.pem"),
        });
        let own = own.map_err(|error| error.to_string())?;
        shown((self.address, port), &own).await.map_err(|error| error.to_string())
    }

    /// Waits until a port shows what is in the file.
    async fn until_shown(&self, port: u16, name: &str) {
        let wanted = self.on_disk(name);
        let what = format!("port {port} shows {name}.pem");
        let is_it = |shown: &Result<_, _>| shown.as_ref() == Ok(&wanted);
        let shown = poll_until(&what, PATIENCE, async || self.shown(port).await, is_it).await;
        assert!(shown.is_ok(), "{shown:?}\n{}", self.log(name));
    }

    async fn metrics(&self, port: u16) -> Result<String, String> {
        let url = format!("http://{}:{port}/metrics", self.address);
        let answer = reqwest::get(url).await.map_err(|error| error.to_string())?;
        answer.text().await.map_err(|error| error.to_string())
    }

    /// Waits until a process says `line` of itself.
    async fn until_said(&self, port: u16, line: &str) -> String {
        let says = |text: &Result<String, _>| {
            text.as_ref().is_ok_and(|text| text.lines().any(|has| has.starts_with(line)))
        };
        let said = poll_until(line, PATIENCE, async || self.metrics(port).await, says).await;
        said.expect("said").expect("metrics")
    }
}

impl Drop for Processes {
    fn drop(&mut self) {
        for child in &mut self.running {
            // One that has ended by itself has failed the test already.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

async fn shown(
    to: (IpAddr, u16),
    own: &Transport,
) -> Result<CertificateDer<'static>, std::io::Error> {
    let stream = TcpStream::connect(to).await?;
    let connector = tokio_rustls::TlsConnector::from(own.grpc_client());
    let stream = connector.connect(ServerName::from(to.0), stream).await?;
    Ok(stream.get_ref().1.peer_certificates().expect("shown")[0].clone())
}

fn write(path: &Path, text: &str) {
    std::fs::write(path, text).expect("write");
}

#[tokio::test]
async fn certificates_are_renewed_without_a_restart_and_broken_ones_are_left_aside() {
    higuma_serve::install_crypto_provider();
    let mut all = Processes::start();
    let ports = [(RAFT, "node-1"), (KDS, "node-1"), (ADS, "zone-east")];
    for (port, name) in ports {
        all.until_shown(port, name).await;
    }
    let in_sync = "higuma_zones_online 1";
    all.until_said(GLOBAL_DIAGNOSTICS, in_sync).await;

    all.generate(&["--renew", "--days=20"]);
    for (port, name) in ports {
        all.until_shown(port, name).await;
    }
    let metrics = all.until_said(ZONE_DIAGNOSTICS, "higuma_tls_files_refused 0").await;
    let expiry = metrics.lines().find(|line| line.contains("pki/zone-east.pem")).expect("expiry");
    let seconds: i64 = expiry.rsplit(' ').next().and_then(|n| n.parse().ok()).expect("a number");
    assert!((19 * 86_400..=20 * 86_400).contains(&seconds), "{expiry}");

    let before = all.on_disk("zone-east");
    let key = all.path("pki/zone-east-key.pem");
    let half = std::fs::read_to_string(&key).expect("key")[..90].to_owned();
    write(&key, &half);
    all.until_said(ZONE_DIAGNOSTICS, "higuma_tls_files_refused 1").await;
    assert_eq!(all.shown(ADS).await.as_ref(), Ok(&before), "the one before stays in use");
    let log = all.log("zone-east");
    assert!(log.contains("the ones before stay in use"), "{log}");
    let secret = half.lines().nth(1).expect("what is secret");
    assert!(!log.contains(secret) && !log.contains("PRIVATE KEY-----\\n"), "{log}");

    all.generate(&["--renew"]);
    for (port, name) in ports {
        all.until_shown(port, name).await;
    }
    all.until_said(ZONE_DIAGNOSTICS, "higuma_tls_files_refused 0").await;
    all.until_said(GLOBAL_DIAGNOSTICS, in_sync).await;
    for child in &mut all.running {
        assert!(child.try_wait().expect("a child").is_none(), "no process ended");
    }
}

#[test]
fn a_node_does_not_start_with_anothers_certificate() {
    let folder = tempfile::tempdir().expect("tempdir");
    let higuma = |words: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_higuma"));
        let command = command.current_dir(folder.path()).args(words).stdin(Stdio::null());
        let output = command.output().expect("the binary runs");
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let made = ["generate", "cluster-tls", "--cluster-name=prod", "--out=pki", "--nodes=1=a,2=b"];
    assert_eq!(higuma(&made).0, Some(0));
    let run = |name: &str, more: &[&str]| {
        let words = ["global", "run", "--node-id=1", "--data-dir=data", "--members=1=127.0.0.1:1"];
        let files = [format!("--tls-cert=pki/{name}.pem"), format!("--tls-key=pki/{name}-key.pem")];
        let files: Vec<_> = files.iter().map(String::as_str).collect();
        higuma(&[&words[..], &["--tls-ca=pki/ca.pem"], &files, more].concat())
    };
    let (code, said) = run("node-2", &["--cluster-name=prod"]);
    assert_eq!(code, Some(1), "{said}");
    assert!(
        said.contains("must name its holder by the URI higuma://cluster/prod/node/1"),
        "{said}"
    );
    assert!(said.contains("higuma generate cluster-tls"), "{said}");
    let (code, said) = run("node-1", &["--cluster-name=stage"]);
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("and has higuma://cluster/prod/node/1"), "{said}");
    let (code, said) = run("node-1", &["--cluster-name=a/b"]);
    assert_eq!(code, Some(2), "{said}");
    assert!(said.contains("cannot name a cluster"), "{said}");
    assert!(!folder.path().join("data").exists(), "nothing was begun");
}
