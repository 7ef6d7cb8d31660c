//! The whole process of a proxy against a control plane that records what it is told: `run_proxy`
//! in a process of its own, signals, its diagnostics, and its end.

use std::net::SocketAddr;
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;
use std::time::Duration;

use crate::support::{self, LONG, role, static_bootstrap, wait_until_gone};
use clap::Parser;
use higuma_dp::{ProxyDocument, RunArgs, run_proxy};
use higuma_model::Kind;
use higuma_serve::HttpServer;
use higuma_serve::axum::extract::State;
use higuma_serve::axum::routing::post;
use higuma_serve::axum::{Json, Router};
use higuma_testkit::{free_addr, loopback, poll_until, wait_for};
use http::StatusCode;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::process::{Child, Command};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// In a process of its own, for the tests below; does nothing in an ordinary run.
#[test]
fn runs_a_proxy() {
    #[derive(Parser)]
    struct Run {
        #[command(flatten)]
        args: RunArgs,
    }
    let Some(words) = support::words() else { return };
    let args = Run::parse_from(["run".to_owned()].into_iter().chain(words)).args;
    let runtime = tokio::runtime::Runtime::new().expect("runtime");
    let ended = runtime.block_on(async {
        let document = ProxyDocument::read(&args.dataplane_file, Kind::Dataplane)?;
        run_proxy(document, args.proxy, support::launcher(), None).await
    });
    drop(runtime);
    if let Err(error) = ended {
        eprintln!("error: {error:#}");
        std::process::exit(1);
    }
}

/// What the control plane answers.
#[derive(Clone)]
struct Answers {
    bootstrap: watch::Sender<(StatusCode, Value)>,
    /// None: it does not answer at all.
    leave: Option<StatusCode>,
    bootstraps: watch::Sender<Vec<Value>>,
    leaves: watch::Sender<Vec<Value>>,
}

async fn bootstrap(
    State(answers): State<Arc<Answers>>,
    Json(body): Json<Value>,
) -> (StatusCode, Json<Value>) {
    answers.bootstraps.send_modify(|all| all.push(body));
    let (status, body) = answers.bootstrap.borrow().clone();
    (status, Json(body))
}

async fn leave(State(answers): State<Arc<Answers>>, Json(body): Json<Value>) -> StatusCode {
    answers.leaves.send_modify(|all| all.push(body));
    match answers.leave {
        Some(status) => status,
        None => std::future::pending().await,
    }
}

struct Run {
    answers: Arc<Answers>,
    process: Child,
    folder: TempDir,
    admin: SocketAddr,
    listener: SocketAddr,
    diagnostics: SocketAddr,
    _server: JoinSet<anyhow::Result<()>>,
}

impl Run {
    /// A proxy whose control plane does not know its mesh yet.
    async fn start(leave_status: Option<StatusCode>) -> Self {
        let unknown =
            json!({"title": "Mesh not found", "detail": "mesh default is not known here"});
        let answers = Arc::new(Answers {
            bootstrap: watch::Sender::new((StatusCode::NOT_FOUND, unknown)),
            leave: leave_status,
            bootstraps: watch::Sender::default(),
            leaves: watch::Sender::default(),
        });
        let router = Router::new()
            .route("/bootstrap", post(bootstrap))
            .route("/leave", post(leave))
            .with_state(answers.clone());
        let control_plane = TcpListener::bind((loopback(), 0)).await.expect("bind");
        let cp = control_plane.local_addr().expect("address").to_string();
        let mut server = JoinSet::new();
        server.spawn(HttpServer::new(control_plane, router).run(CancellationToken::new()));

        let folder = tempfile::tempdir().expect("tempdir");
        let file = folder.path().join("web.json");
        let inbound = json!({"port": 8080, "servicePort": 80, "tags": {"kuma.io/service": "web"}});
        let networking = json!({"address": "127.0.0.1", "inbound": [inbound]});
        let dataplane = json!({"type": "Dataplane", "name": "web-1", "networking": networking});
        std::fs::write(&file, dataplane.to_string()).expect("write");
        let (admin, diagnostics) = (free_addr(), free_addr());
        let text = |path: &std::path::Path| path.to_str().expect("UTF-8").to_owned();
        let process = role(
            "run::runs_a_proxy",
            &[
                "--plaintext",
                "--drain-time=1s",
                &format!("--dataplane-file={}", text(&file)),
                &format!("--cp={cp}"),
                &format!("--envoy={}", text(&support::binary().await.path)),
                &format!("--admin={admin}"),
                &format!("--diagnostics={diagnostics}"),
                &format!("--work-dir={}", text(&folder.path().join("work"))),
            ],
        );
        let mut process = Command::from(process);
        let process = process.stdout(Stdio::null()).stderr(Stdio::piped()).kill_on_drop(true);
        let process = process.spawn().expect("spawn");
        let listener = free_addr();
        Self { answers, process, folder, admin, listener, diagnostics, _server: server }
    }

    /// Gives the bootstrap and waits until the process is ready.
    async fn ready(&self) {
        let config = static_bootstrap(self.admin, self.listener);
        self.answers.bootstrap.send_replace((StatusCode::OK, config));
        self.wait_for_ready(|(status, _)| *status == 200).await;
    }

    /// Status and body of `/ready`; 0 while nobody answers.
    async fn wait_for_ready(&self, wanted: impl FnMut(&(u16, String)) -> bool) {
        let probe = || async {
            let Ok(answer) = get(self.diagnostics, "/ready").await else {
                return (0, String::new());
            };
            answer
        };
        poll_until("an answer of /ready", LONG, probe, wanted).await.expect("answered");
    }

    async fn envoy(&self) -> u32 {
        let (_, body) = get(self.diagnostics, "/metrics").await.expect("metrics");
        assert!(body.contains("higuma_dp_envoy_up 1\n"), "{body}");
        assert!(body.contains("higuma_dp_envoy_ready 1\n"), "{body}");
        let children = format!("/proc/{0}/task", self.pid());
        let tasks = std::fs::read_dir(children).expect("a running process");
        let children = tasks.map(|task| {
            let path = task.expect("entry").path().join("children");
            std::fs::read_to_string(path).expect("CONFIG_PROC_CHILDREN")
        });
        let children: String = children.collect();
        children.trim().parse().unwrap_or_else(|_| panic!("one child, not `{children}`"))
    }

    fn pid(&self) -> u32 {
        self.process.id().expect("not waited for")
    }

    fn signal(&self, name: &str) {
        support::signal(self.pid(), name);
    }

    async fn left(&self) -> Vec<Value> {
        let mut leaves = self.answers.leaves.subscribe();
        wait_for(&mut leaves, "a leave", LONG, |all| !all.is_empty()).await.expect("left")
    }

    /// Its status and what it said; its Envoys and its files must be gone.
    async fn end(self, envoy: Option<u32>) -> (ExitStatus, String) {
        let output = tokio::time::timeout(LONG, self.process.wait_with_output());
        let output = output.await.expect("it ends").expect("status");
        if let Some(envoy) = envoy {
            wait_until_gone(envoy).await;
        }
        let left = std::fs::read_dir(self.folder.path().join("work")).map_or(0, Iterator::count);
        assert_eq!(left, 0, "files are left");
        (output.status, String::from_utf8_lossy(&output.stderr).into_owned())
    }
}

async fn get(address: SocketAddr, path: &str) -> Result<(u16, String), reqwest::Error> {
    higuma_serve::install_crypto_provider();
    let client = reqwest::Client::builder().no_proxy().tls_certs_only([]).build()?;
    let answer = client.get(format!("http://{address}{path}")).send().await?;
    Ok((answer.status().as_u16(), answer.text().await?))
}

#[tokio::test]
async fn it_waits_for_its_mesh_serves_and_leaves_in_order() {
    let run = Run::start(Some(StatusCode::NO_CONTENT)).await;
    let waiting = "no bootstrap yet: Mesh not found: mesh default is not known here";
    run.wait_for_ready(|(status, body)| *status == 503 && body.contains(waiting)).await;
    run.ready().await;
    let envoy = run.envoy().await;

    run.signal("TERM");
    let leaves = run.left().await;
    // Diagnostics tell of the leave until Envoy is gone.
    run.wait_for_ready(|(status, body)| *status == 503 && body.contains("it is leaving")).await;
    let bootstraps = run.answers.bootstraps.borrow().clone();
    let asked = bootstraps.last().expect("asked");
    assert_eq!(asked["dataplane"]["networking"]["inbound"][0]["port"], 8080);
    let want = json!({"mesh": "default", "name": "web-1", "instance": asked["instance"]});
    assert_eq!(leaves, [want]);
    let (status, said) = run.end(Some(envoy)).await;
    assert!(status.success(), "{said}");
}

#[tokio::test]
async fn a_leave_that_is_not_confirmed_does_not_keep_it() {
    let run = Run::start(Some(StatusCode::SERVICE_UNAVAILABLE)).await;
    run.ready().await;
    let envoy = run.envoy().await;
    run.signal("INT");
    run.left().await;
    let (status, said) = run.end(Some(envoy)).await;
    assert!(status.success(), "{said}");
}

#[tokio::test]
async fn a_second_signal_ends_it_at_once() {
    let run = Run::start(None).await;
    run.ready().await;
    let envoy = run.envoy().await;
    run.signal("TERM");
    run.left().await;
    let begun = std::time::Instant::now();
    run.signal("TERM");
    let (status, said) = run.end(Some(envoy)).await;
    assert!(begun.elapsed() < Duration::from_secs(4), "it waited for its leave");
    assert_eq!(status.code(), Some(1));
    assert!(said.contains("stopped by a second SIGTERM"), "{said}");
}

#[tokio::test]
async fn a_signal_while_it_waits_ends_it() {
    let run = Run::start(None).await;
    run.wait_for_ready(|(status, body)| *status == 503 && body.contains("Mesh not found")).await;
    run.signal("TERM");
    let answers = run.answers.clone();
    let (status, said) = run.end(None).await;
    assert!(status.success(), "{said}");
    assert!(answers.leaves.borrow().is_empty(), "nothing was there to leave");
}

#[tokio::test]
async fn a_refused_name_ends_it() {
    let run = Run::start(None).await;
    let taken = json!({"title": "Name in use", "detail": "a live proxy is called web-1"});
    run.answers.bootstrap.send_replace((StatusCode::CONFLICT, taken));
    let (status, said) = run.end(None).await;
    assert_eq!(status.code(), Some(1));
    let refused = "error: the control plane refuses this proxy (409 Conflict): Name in use: a live \
                   proxy is called web-1; stop the proxy";
    assert!(said.contains(refused), "{said}");
}

#[tokio::test]
async fn the_end_of_its_envoy_is_its_own() {
    let run = Run::start(None).await;
    run.ready().await;
    let envoy = run.envoy().await;
    support::signal(envoy, "KILL");
    let (status, said) = run.end(Some(envoy)).await;
    assert_eq!(status.code(), Some(1));
    assert!(said.contains("error: Envoy ended (signal: 9 (SIGKILL))"), "{said}");
}
