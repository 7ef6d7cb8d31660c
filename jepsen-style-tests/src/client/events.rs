//! Server-sent events of a control plane's REST, as `GET /_watch` streams them.

use std::time::Duration;

use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout, timeout_at};

use super::{Answer, CALL_LIMIT, Call, CallError, REST, answer, request};
use crate::cluster::Cluster;

/// One event: a transaction of 128 resources with all their values before and after.
const MAX_EVENT: usize = 4 << 20;

/// An event as it was sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Event {
    pub(crate) id: Option<u64>,
    pub(crate) name: String,
    /// `null` where it is no JSON.
    pub(crate) data: Value,
}

/// What a request for events got.
pub(crate) enum Opened {
    Events(Events),
    /// No stream, but this.
    Refused(Answer),
}

/// A stream of events. Dropped, it ends its connection.
pub(crate) struct Events {
    body: Incoming,
    /// Came, and is no whole event yet.
    bytes: Vec<u8>,
    /// When something came last.
    heard: Instant,
    _driver: JoinSet<()>,
}

/// Asks a node for events, on a connection of its own.
pub(crate) async fn open(
    cluster: &dyn Cluster,
    node: &str,
    path: String,
) -> Result<Opened, CallError> {
    let opened = timeout(CALL_LIMIT, ask(cluster, node, path)).await;
    opened.unwrap_or_else(|_| {
        Err(CallError::Broken(format!("nothing within {} s from {node}", CALL_LIMIT.as_secs())))
    })
}

async fn ask(cluster: &dyn Cluster, node: &str, path: String) -> Result<Opened, CallError> {
    let not_sent = |why: String| CallError::NotSent(format!("{node}: {why}"));
    let stream = cluster.connect(node, REST).await.map_err(|why| not_sent(why.to_string()))?;
    let (mut sender, driver) = http1::handshake(TokioIo::new(stream))
        .await
        .map_err(|why: hyper::Error| not_sent(why.to_string()))?;
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        // Why it broke is told to whoever reads the events.
        let _ = driver.await;
    });
    let sent = sender.send_request(request(&Call::get(path))?).await;
    let response = sent.map_err(|why| CallError::Broken(why.to_string()))?;
    if !response.status().is_success() {
        return Ok(Opened::Refused(answer(response).await?));
    }
    let (body, bytes, heard) = (response.into_body(), Vec::new(), Instant::now());
    Ok(Opened::Events(Events { body, bytes, heard, _driver: tasks }))
}

impl Events {
    /// The next event; comments, which only show that the connection lives, are passed over. Safe to
    /// drop while it waits.
    ///
    /// # Errors
    /// The stream ended or broke, or there was nothing, no comment either, for `patience`.
    pub(crate) async fn next(&mut self, patience: Duration) -> Result<Event, CallError> {
        loop {
            while let Some(text) = self.whole() {
                if let Some(event) = parse(&text) {
                    return Ok(event);
                }
            }
            if self.bytes.len() > MAX_EVENT {
                return Err(CallError::Broken(format!("an event of more than {MAX_EVENT} bytes")));
            }
            let frame = timeout_at(self.heard + patience, self.body.frame()).await;
            let frame = frame.map_err(|_| {
                CallError::Broken(format!("nothing for {} s", patience.as_secs_f32()))
            })?;
            self.heard = Instant::now();
            match frame {
                None => return Err(CallError::Broken("the stream ended".to_owned())),
                Some(Err(why)) => return Err(CallError::Broken(why.to_string())),
                Some(Ok(frame)) => {
                    self.bytes.extend_from_slice(frame.data_ref().map_or(&[], |data| data));
                }
            }
        }
    }

    /// The first event that came whole: up to an empty line.
    fn whole(&mut self) -> Option<String> {
        let end = self.bytes.windows(2).position(|two| two == b"\n\n")?;
        let rest = self.bytes.split_off(end + 2);
        let text = std::mem::replace(&mut self.bytes, rest);
        Some(String::from_utf8_lossy(&text).into_owned())
    }
}

/// None: only a comment.
fn parse(text: &str) -> Option<Event> {
    let field = |name: &str| text.lines().find_map(|line| line.strip_prefix(name));
    let name = field("event: ")?.to_owned();
    let id = field("id: ").and_then(|id| id.parse().ok());
    let data = field("data: ").and_then(|data| serde_json::from_str(data).ok());
    Some(Event { id, name, data: data.unwrap_or(Value::Null) })
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use super::*;
    use crate::testing::Alone;

    async fn serve(text: &'static str) -> (Alone, JoinSet<()>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let at = listener.local_addr().unwrap();
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut bytes = [0; 1024];
            assert!(stream.read(&mut bytes).await.unwrap() > 0);
            for piece in text.as_bytes().chunks(7) {
                stream.write_all(piece).await.unwrap();
                stream.flush().await.unwrap();
            }
        });
        (Alone::at(at), tasks)
    }

    #[tokio::test]
    async fn events_come_whole_however_they_are_cut_and_comments_are_passed_over() {
        let (cluster, _tasks) = serve(
            "HTTP/1.1 200 OK\r\n\r\n: heartbeat\n\nid: 12\nevent: change\ndata: {\"a\":1}\n\n\
             event: compacted\ndata: {\"compacted\":3}\n\nid: 13\nevent: cha",
        )
        .await;
        let opened = open(&cluster, "global-1", "/_watch".to_owned()).await.unwrap();
        let Opened::Events(mut events) = opened else { panic!("refused") };
        let mut next = async || events.next(Duration::from_secs(5)).await;
        let change = Event { id: Some(12), name: "change".to_owned(), data: json!({"a": 1}) };
        assert_eq!(next().await.unwrap(), change);
        let compacted = next().await.unwrap();
        assert_eq!((compacted.id, &*compacted.name), (None, "compacted"));
        // Half an event is none.
        assert!(matches!(next().await, Err(CallError::Broken(_))));
    }

    #[tokio::test]
    async fn what_is_no_stream_is_told_with_its_body() {
        let text = "HTTP/1.1 410 Gone\r\ncontent-length: 15\r\n\r\n{\"compacted\":7}";
        let (cluster, _tasks) = serve(text).await;
        let opened = open(&cluster, "global-1", "/_watch?from=1".to_owned()).await.unwrap();
        let Opened::Refused(answer) = opened else { panic!("a stream") };
        assert_eq!((answer.status, &answer.body["compacted"]), (410, &json!(7)));
    }
}
