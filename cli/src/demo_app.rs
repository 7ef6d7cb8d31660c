//! `higuma demo-app`: a service that says who it is and calls others through its outbounds.
//!
//! It knows nothing of the mesh, as an application should; it is for the lab and the demo.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use higuma_serve::axum::extract::{Path, State};
use higuma_serve::axum::http::{HeaderMap, StatusCode, Uri};
use higuma_serve::axum::response::IntoResponse;
use higuma_serve::axum::routing::{any, get};
use higuma_serve::axum::{Json, Router};
use higuma_serve::{HttpServer, Tasks, listen};
use reqwest::Url;
use serde_json::{Value, json};
use tokio::time::Instant;

/// One call to another service. Longer than any timeout of a proxy in the lab.
const CALL_TIMEOUT: Duration = Duration::from_secs(15);
/// An answer of another demo-app is some hundred bytes.
const MAX_ANSWER_BYTES: usize = 64 << 10;
/// The demo's load is tens of connections.
const MAX_CONNECTIONS: usize = 512;
/// As long as a call may take to end in order.
const DRAIN: Duration = Duration::from_secs(5);

#[derive(Debug, Clone, clap::Args)]
#[command(after_help = "\
Example:
  higuma demo-app --bind 127.77.1.10:8080 --service web --version v1 --zone east --instance web-1 \\
    --upstream backend=http://127.77.1.10:10001
  curl http://127.77.1.10:8080/                 who am I
  curl http://127.77.1.10:8080/call/backend     what backend answers")]
pub(crate) struct DemoAppArgs {
    #[arg(long, value_name = "ADDR:PORT")]
    bind: SocketAddr,
    #[arg(long, value_name = "NAME")]
    service: String,
    #[arg(long = "version", value_name = "V", id = "app_version")]
    version: String,
    #[arg(long)]
    zone: String,
    #[arg(long, value_name = "NAME")]
    instance: String,
    /// Another service and the outbound that leads to it; repeatable
    #[arg(long, value_name = "NAME=http://ADDR:PORT")]
    upstream: Vec<Upstream>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Upstream {
    name: String,
    url: Url,
}

impl FromStr for Upstream {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text:?} is not of the form NAME=http://ADDR:PORT");
        let (name, url) = text.split_once('=').ok_or_else(wrong)?;
        let url = Url::parse(url).ok().filter(|url| url.scheme() == "http").ok_or_else(wrong)?;
        if name.is_empty() || name.contains('/') {
            return Err(wrong());
        }
        Ok(Self { name: name.to_owned(), url })
    }
}

struct App {
    args: DemoAppArgs,
    upstreams: BTreeMap<String, Url>,
    http: reqwest::Client,
}

/// Runs until a signal.
pub(crate) async fn run(args: DemoAppArgs) -> anyhow::Result<()> {
    let bind = args.bind;
    let router = router(args)?;
    let listener = listen::bind(bind, "demo-app", "--bind").await?;
    tracing::info!(%bind, "serving");
    let mut tasks = Tasks::new();
    let server = HttpServer::new(listener, router).max_connections(MAX_CONNECTIONS);
    tasks.spawn("HTTP", server.run(tasks.token()));
    tasks.run_until_signal(DRAIN).await
}

fn router(args: DemoAppArgs) -> anyhow::Result<Router> {
    let upstreams: BTreeMap<_, _> =
        args.upstream.iter().map(|one| (one.name.clone(), one.url.clone())).collect();
    if upstreams.len() < args.upstream.len() {
        anyhow::bail!("--upstream names a service twice");
    }
    let http = reqwest::Client::builder()
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        .timeout(CALL_TIMEOUT)
        .build()
        .context("cannot make an HTTP client")?;
    let app = Arc::new(App { args, upstreams, http });
    Ok(Router::new()
        .route("/call/{name}", get(call))
        .route("/call/{name}/{*path}", get(call_path))
        .fallback(any(who))
        .with_state(app))
}

/// Who answers. Headers only when asked for (`?headers`): they show what proxies add.
async fn who(State(app): State<Arc<App>>, uri: Uri, headers: HeaderMap) -> Json<Value> {
    let args = &app.args;
    let mut answer = json!({
        "service": args.service,
        "version": args.version,
        "zone": args.zone,
        "instance": args.instance,
        "path": uri.path(),
    });
    if uri.query().is_some_and(|query| query.split('&').any(|part| part == "headers")) {
        let shown = |value: &higuma_serve::axum::http::HeaderValue| {
            String::from_utf8_lossy(value.as_bytes()).into_owned()
        };
        let headers: BTreeMap<_, _> =
            headers.iter().map(|(name, value)| (name.to_string(), shown(value))).collect();
        answer["headers"] = json!(headers);
    }
    Json(answer)
}

async fn call(State(app): State<Arc<App>>, Path(name): Path<String>) -> impl IntoResponse {
    app.call(&name, "").await
}

async fn call_path(
    State(app): State<Arc<App>>,
    Path((name, path)): Path<(String, String)>,
) -> impl IntoResponse {
    app.call(&name, &path).await
}

impl App {
    /// 200 when the other service answered, whatever it said; 502 when it did not.
    async fn call(&self, name: &str, path: &str) -> (StatusCode, Json<Value>) {
        let Some(upstream) = self.upstreams.get(name) else {
            let known: Vec<_> = self.upstreams.keys().collect();
            let error = format!("no upstream {name:?}; known: {known:?}");
            return (StatusCode::NOT_FOUND, Json(json!({ "error": error })));
        };
        let mut url = upstream.clone();
        url.set_path(path);
        let started = Instant::now();
        let answered = self.fetch(url).await;
        let duration_ms = started.elapsed().as_secs_f64() * 1_000.0;
        match answered {
            Ok((status, body)) => {
                let answer = json!({"status": status, "body": body, "duration_ms": duration_ms});
                (StatusCode::OK, Json(answer))
            }
            Err(error) => {
                let answer = json!({"status": 0, "error": error, "duration_ms": duration_ms});
                (StatusCode::BAD_GATEWAY, Json(answer))
            }
        }
    }

    async fn fetch(&self, url: Url) -> Result<(u16, Value), String> {
        let why = |error: &reqwest::Error| crate::client::call::reason(error);
        let mut response = self.http.get(url).send().await.map_err(|error| why(&error))?;
        let status = response.status().as_u16();
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|error| why(&error))? {
            if body.len() + chunk.len() > MAX_ANSWER_BYTES {
                return Err(format!("the answer is over {MAX_ANSWER_BYTES} bytes"));
            }
            body.extend_from_slice(&chunk);
        }
        let text = || Value::String(String::from_utf8_lossy(&body).into_owned());
        Ok((status, serde_json::from_slice(&body).unwrap_or_else(|_| text())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(service: &str, bind: SocketAddr, upstream: Vec<Upstream>) -> DemoAppArgs {
        let text = |text: &str| text.to_owned();
        DemoAppArgs {
            bind,
            service: text(service),
            version: text("v1"),
            zone: text("east"),
            instance: text("i-1"),
            upstream,
        }
    }

    #[test]
    fn upstreams_are_names_with_urls() {
        assert_eq!("a=http://127.0.0.1:1".parse::<Upstream>().unwrap().name, "a");
        for wrong in ["a", "=http://x", "a=b", "a=https://x", "a/b=http://x"] {
            assert!(wrong.parse::<Upstream>().unwrap_err().contains("NAME=http"), "{wrong}");
        }
    }

    #[tokio::test]
    async fn one_app_calls_another_and_says_when_it_cannot() {
        higuma_serve::install_crypto_provider();
        let upstream = |name: &str, addr: SocketAddr| {
            format!("{name}=http://{addr}").parse::<Upstream>().unwrap()
        };
        let listener =
            tokio::net::TcpListener::bind((higuma_testkit::loopback(), 0)).await.unwrap();
        let addr = listener.local_addr().unwrap();
        let dead = higuma_testkit::free_addr();
        let app = args("web", addr, vec![upstream("me", addr), upstream("dead", dead)]);
        let mut tasks = tokio::task::JoinSet::new();
        let stop = tokio_util::sync::CancellationToken::new();
        tasks.spawn(HttpServer::new(listener, router(app).unwrap()).run(stop.clone()));

        let ask = |path: &str| {
            let url = format!("http://{addr}{path}");
            async move {
                let response = reqwest::get(url).await.unwrap();
                (response.status().as_u16(), response.json::<Value>().await.unwrap())
            }
        };
        let (status, answer) = ask("/a/b").await;
        assert_eq!(
            (status, &answer["service"], &answer["path"]),
            (200, &json!("web"), &json!("/a/b"))
        );
        assert!(answer.get("headers").is_none());
        assert_eq!(ask("/?headers").await.1["headers"]["host"], json!(addr.to_string()));
        let (status, answer) = ask("/call/me/x/y").await;
        assert_eq!((status, &answer["status"]), (200, &json!(200)));
        assert_eq!(answer["body"]["path"], "/x/y");
        assert!(answer["duration_ms"].as_f64().unwrap() > 0.0);
        let (status, answer) = ask("/call/dead").await;
        assert_eq!((status, &answer["error"]), (502, &json!("connection refused")));
        assert_eq!(ask("/call/nobody").await.0, 404);
        stop.cancel();
        while tasks.join_next().await.is_some() {}
    }
}
