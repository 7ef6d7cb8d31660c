//! A real Envoy for tests, and roles: this test binary run again as another program.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use clap::Parser;
use higuma_dp::envoy::{Binary, Start};
use higuma_dp::{Envoy, ExecEnvoyArgs, Launcher, exec_envoy};
use higuma_testkit::poll_until;
use serde_json::{Value, json};

/// For anything that takes a second on an idle machine.
pub(crate) const LONG: Duration = Duration::from_secs(60);
/// Comes before the process id on the output of a role that started an Envoy.
pub(crate) const STARTED: &str = "started envoy ";

/// The Envoy that the project is tested with. A test without it fails: it would prove nothing.
pub(crate) async fn binary() -> Binary {
    let installed = concat!(env!("CARGO_MANIFEST_DIR"), "/../.tools/envoy-1.40.0/envoy");
    let path = std::env::var_os("HIGUMA_ENVOY").map_or_else(|| installed.into(), PathBuf::from);
    Binary::find(Some(&path)).await.unwrap_or_else(|error| panic!("run `make setup`: {error}"))
}

/// The words after `--`, if this process plays a role.
pub(crate) fn words() -> Option<Vec<String>> {
    let mut words = std::env::args().skip_while(|word| word != "--");
    words.next().map(|_| words.collect())
}

/// This test binary as the test `name`, which finds `words`: the test harness takes them for
/// names of more tests.
pub(crate) fn role(name: &str, words: &[&str]) -> Command {
    let mut command = Command::new(std::env::current_exe().expect("own path"));
    command.args([name, "--exact", "--nocapture", "--"]).args(words);
    command
}

/// The way to [`exec_envoy`] through the test `becomes_envoy`.
pub(crate) fn launcher() -> Launcher {
    let program = std::env::current_exe().expect("own path");
    Launcher::new(program, ["becomes_envoy", "--exact", "--nocapture"])
}

/// The body of the test `becomes_envoy`: does nothing in an ordinary run.
pub(crate) fn become_envoy() {
    #[derive(Parser)]
    struct Exec {
        #[command(flatten)]
        args: ExecEnvoyArgs,
    }
    if let Some(words) = words() {
        let words = ["exec-envoy".to_owned(), "--".to_owned()].into_iter().chain(words);
        let error = exec_envoy(&Exec::parse_from(words).args);
        panic!("{error:?}");
    }
}

pub(crate) fn start(
    binary: &Binary,
    bootstrap: &Value,
    admin: SocketAddr,
    work_dir: Option<&Path>,
    drain_time: Duration,
) -> Envoy {
    let start = Start {
        binary,
        launcher: &launcher(),
        bootstrap,
        admin,
        concurrency: 1,
        drain_time,
        log_level: "warning",
        work_dir,
    };
    Envoy::start(&start).expect("started")
}

/// A bootstrap with a listener that answers everything by itself.
pub(crate) fn static_bootstrap(admin: SocketAddr, listener: SocketAddr) -> Value {
    let address = |address: SocketAddr| json!({"socket_address": {"address": address.ip(), "port_value": address.port()}});
    let connection_manager = json!({
        "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "test",
        "http_filters": [{
            "name": "router",
            "typed_config": {"@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"},
        }],
        "route_config": {"virtual_hosts": [{
            "name": "all", "domains": ["*"],
            "routes": [{"match": {"prefix": "/"}, "direct_response": {"status": 200}}],
        }]},
    });
    json!({
        "node": {"id": "default.web-1", "cluster": "web"},
        "admin": {"address": address(admin)},
        "static_resources": {"listeners": [{
            "name": "test",
            "address": address(listener),
            "filter_chains": [{"filters": [{"name": "http", "typed_config": connection_manager}]}],
        }]},
    })
}

/// Whether the process runs. One that ended and that nobody waited for does not.
pub(crate) fn is_alive(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let state = stat.rsplit_once(") ").map(|(_, rest)| rest.starts_with(['Z', 'X']));
    state == Some(false)
}

pub(crate) async fn wait_until_gone(pid: u32) {
    let alive = || std::future::ready(is_alive(pid));
    poll_until(&format!("the end of process {pid}"), LONG, alive, |alive| !alive)
        .await
        .expect("gone");
}

pub(crate) async fn wait_until_ready(envoy: &Envoy) {
    let probe = || envoy.admin().ready(envoy.is_dynamic());
    let ready = poll_until("a ready Envoy", LONG, probe, Result::is_ok).await;
    assert_eq!(ready, Ok(Ok(())));
}

pub(crate) fn signal(pid: u32, name: &str) {
    let sent = Command::new("kill").args([format!("-{name}"), pid.to_string()]).status();
    assert!(sent.expect("kill").success(), "no process {pid}");
}
