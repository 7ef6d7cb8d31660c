use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener};
use std::sync::mpsc;
use std::thread::JoinHandle;

use higuma_model::{Key, Kind};
use serde_json::json;

use super::*;
use crate::failure::{Exit, Failure};

/// A server that answers each connection with the next of its lines, and remembers what was asked.
struct Fake {
    addr: SocketAddr,
    asked: mpsc::Receiver<String>,
    thread: JoinHandle<()>,
}

/// What a [`Fake`] does with a request.
#[derive(Clone)]
enum Does {
    Answer(&'static str, &'static str),
    /// Reads the request and closes: the caller cannot know what became of it.
    Hangup,
}

const OK: Does = Does::Answer("200 OK\r\nX-Higuma-Version: 12\r\nETag: \"7\"", "{}");
const CREATED: Does = Does::Answer("201 Created\r\nX-Higuma-Version: 12\r\nETag: \"12\"", "{}");
const BUSY: Does = Does::Answer(
    "503 Service Unavailable",
    r#"{"title":"Could not process a resource","detail":"no leader is known. Nothing was changed"}"#,
);
const UNKNOWN: Does =
    Does::Answer("504 Gateway Timeout", r#"{"title":"Fate unknown","detail":"the leader left"}"#);
const INVALID: Does = Does::Answer(
    "400 Bad Request",
    r#"{"title":"Could not process a resource","detail":"Resource is not valid",
        "invalid_parameters":[{"field":"mtls.backends[0].type","reason":"must be builtin"}]}"#,
);

impl Fake {
    fn serve(script: Vec<Does>) -> Self {
        let listener = TcpListener::bind((higuma_testkit::loopback(), 0)).unwrap();
        let addr = listener.local_addr().unwrap();
        let (heard, asked) = mpsc::channel();
        let thread = std::thread::spawn(move || {
            for does in script {
                let (mut stream, _) = listener.accept().unwrap();
                let mut reader = BufReader::new(stream.try_clone().unwrap());
                let mut line = String::new();
                reader.read_line(&mut line).unwrap();
                let (mut length, mut key) = (0, String::new());
                loop {
                    let mut header = String::new();
                    reader.read_line(&mut header).unwrap();
                    if header.trim().is_empty() {
                        break;
                    }
                    if let Some(value) = header.to_lowercase().strip_prefix("content-length:") {
                        length = value.trim().parse().unwrap();
                    }
                    if let Some(value) = header.to_lowercase().strip_prefix("idempotency-key:") {
                        key = format!(" under {}", value.trim());
                    }
                }
                reader.read_exact(&mut vec![0; length]).unwrap();
                heard.send(line.trim().trim_end_matches(" HTTP/1.1").to_owned() + &key).unwrap();
                if let Does::Answer(head, body) = does {
                    let n = body.len();
                    write!(
                        stream,
                        "HTTP/1.1 {head}\r\nContent-Length: {n}\r\nConnection: close\r\n\r\n{body}"
                    )
                    .unwrap();
                }
            }
        });
        Self { addr, asked, thread }
    }

    /// What was asked, after the whole script was played.
    fn asked(self) -> Vec<String> {
        self.thread.join().unwrap();
        self.asked.iter().collect()
    }
}

fn client(servers: &[SocketAddr]) -> Client {
    higuma_serve::install_crypto_provider();
    let servers: Vec<_> = servers.iter().map(ToString::to_string).collect();
    Client::new(address::parse_all(&servers).unwrap(), Duration::from_secs(5), &Trust::default())
        .unwrap()
}

fn put() -> Request {
    Request::one(Method::PUT, &Key::mesh_resource("default")).body(json!({"type": "Mesh"}))
}

#[tokio::test]
async fn servers_are_tried_in_order_until_one_answers() {
    let dead = higuma_testkit::free_addr();
    let (busy, good) = (Fake::serve(vec![BUSY]), Fake::serve(vec![CREATED, OK]));
    let client = client(&[dead, busy.addr, good.addr]);
    let answer = client.send(&put()).await.unwrap();
    assert!(answer.created && !answer.repeated);
    assert_eq!((answer.version, answer.modified_at), (Some(12), Some(12)));
    // The next request begins where the last one was answered.
    let answer = client.send(&put()).await.unwrap();
    assert_eq!((answer.created, answer.modified_at), (false, Some(7)));
    assert_eq!(busy.asked(), ["PUT /meshes/default"]);
    assert_eq!(good.asked(), ["PUT /meshes/default", "PUT /meshes/default"]);
}

#[tokio::test]
async fn a_refusal_is_final() {
    let (first, second) = (Fake::serve(vec![INVALID]), Fake::serve(vec![]));
    let error = client(&[first.addr, second.addr]).send(&put()).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "Could not process a resource: Resource is not valid\n  mtls.backends[0].type: must be \
         builtin"
    );
    assert_eq!(Failure::from(error).exit, Exit::Refused);
    assert_eq!(second.asked(), [""; 0]);
}

#[tokio::test]
async fn a_write_that_broke_off_is_repeated_and_said_to_be() {
    for broken in [Does::Hangup, UNKNOWN] {
        let (first, second) = (Fake::serve(vec![broken]), Fake::serve(vec![OK]));
        let answer = client(&[first.addr, second.addr]).send(&put()).await.unwrap();
        assert!(answer.repeated);
        assert_eq!(second.asked(), ["PUT /meshes/default"]);
        first.thread.join().unwrap();
    }
}

#[tokio::test]
async fn every_attempt_at_a_write_carries_the_same_key() {
    let (first, second) = (Fake::serve(vec![Does::Hangup, OK]), Fake::serve(vec![UNKNOWN]));
    let client = client(&[first.addr, second.addr]);
    client.send(&put().once().unwrap()).await.unwrap();
    let (mut asked, other) = (first.asked(), second.asked());
    asked.extend(other);
    assert_eq!(asked.len(), 3, "{asked:?}");
    assert!(
        asked[0].contains(" under ") && asked.iter().all(|each| *each == asked[0]),
        "{asked:?}"
    );
    assert_ne!(put().once().unwrap().key, put().once().unwrap().key);
}

#[tokio::test]
async fn a_write_that_nobody_can_repeat_is_of_unknown_fate() {
    let (first, dead) = (Fake::serve(vec![Does::Hangup]), higuma_testkit::free_addr());
    let error = client(&[first.addr, dead]).send(&put()).await.unwrap_err();
    let text = error.to_string();
    assert!(text.starts_with("PUT /meshes/default: it is not known whether"), "{text}");
    assert_eq!(Failure::from(error).exit, Exit::FateUnknown);
}

#[tokio::test]
async fn a_read_that_broke_off_is_just_asked_again() {
    let (first, second) = (Fake::serve(vec![Does::Hangup]), Fake::serve(vec![OK]));
    let request = Request::all(Kind::TrafficRoute, Some("a b")).query("size", "7");
    let answer = client(&[first.addr, second.addr]).send(&request).await.unwrap();
    assert!(!answer.repeated);
    assert_eq!(second.asked(), ["GET /meshes/a%20b/traffic-routes?size=7"]);
}

#[tokio::test]
async fn nobody_there_is_said_with_every_server_and_what_to_do() {
    let (one, two) = (higuma_testkit::free_addr(), higuma_testkit::free_addr());
    let error = client(&[one, two]).send(&put()).await.unwrap_err();
    let text = error.to_string();
    for part in [
        "PUT /meshes/default: no server could do it, and nothing was changed:",
        &format!("\n  {one}: connection refused"),
        &format!("\n  {two}: connection refused"),
        "Check that the control plane runs",
    ] {
        assert!(text.contains(part), "{part:?} is not in:\n{text}");
    }
    assert_eq!(Failure::from(error).exit, Exit::Unavailable);
}

#[tokio::test]
async fn what_is_no_control_plane_is_recognised() {
    let page = Fake::serve(vec![Does::Answer("404 Not Found", "<html>nginx</html>")]);
    let error = client(&[page.addr]).send(&put()).await.unwrap_err().to_string();
    assert_eq!(error, "the server answered 404 Not Found: <html>nginx</html>");
    let page = Fake::serve(vec![Does::Answer("200 OK", "<html>")]);
    let error = client(&[page.addr]).send(&put()).await.unwrap_err().to_string();
    assert!(error.contains("its answer is not JSON: is it a control plane?"), "{error}");
}
