//! Against listeners that answer, break off, or say nothing.

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use super::*;
use crate::testing::Alone;

/// What the listener does with each connection, in turn.
#[derive(Clone, Copy)]
enum Does {
    Answers(&'static str),
    /// Reads the request and hangs up.
    HangsUp,
    /// Reads, and says nothing.
    IsSilent,
}

const FOUND: &str = "HTTP/1.1 200 OK\r\nx-higuma-version: 9\r\netag: \"7\"\r\ncontent-length: \
                     12\r\n\r\n{\"name\":\"a\"}";

async fn serve(does: Vec<Does>) -> (Client, JoinSet<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = listener.local_addr().unwrap();
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        let mut kept = Vec::new();
        for does in does {
            let (mut stream, _) = listener.accept().await.unwrap();
            read_request(&mut stream).await;
            match does {
                Does::Answers(text) => stream.write_all(text.as_bytes()).await.unwrap(),
                Does::HangsUp => continue,
                Does::IsSilent => {}
            }
            kept.push(stream);
        }
        drop(listener);
        std::future::pending::<()>().await;
    });
    let client = Client::new(Arc::new(Alone::at(at)), "global-1");
    (client.limit(Duration::from_millis(200)), tasks)
}

async fn read_request(stream: &mut TcpStream) {
    let mut read = Vec::new();
    while !read.windows(4).any(|four| four == b"\r\n\r\n") {
        let mut bytes = [0; 1024];
        match stream.read(&mut bytes).await.unwrap() {
            0 => return,
            count => read.extend_from_slice(&bytes[..count]),
        }
    }
}

#[tokio::test]
async fn an_answer_has_its_version_its_tag_and_its_body() {
    let (mut client, _tasks) = serve(vec![Does::Answers(FOUND)]).await;
    let answer = client.call(Call::get("/meshes/a")).await.unwrap();
    assert_eq!((answer.status, answer.version, answer.tag), (200, Some(9), Some(7)));
    assert_eq!(answer.body["name"], "a");
}

#[tokio::test]
async fn what_broke_after_it_was_sent_is_unknown_and_the_next_call_connects_anew() {
    let (mut client, _tasks) =
        serve(vec![Does::HangsUp, Does::IsSilent, Does::Answers(FOUND)]).await;
    for _ in 0..2 {
        let outcome = of_write(client.call(Call::put("/meshes/a", Value::Null)).await);
        assert!(matches!(outcome, Outcome::Unknown { .. }), "{outcome:?}");
    }
    client = client.limit(CALL_LIMIT);
    assert!(client.call(Call::get("/meshes/a")).await.unwrap().is_success());
}

#[tokio::test]
async fn what_could_not_be_sent_is_refused() {
    let (mut client, tasks) = serve(vec![]).await;
    // The listener is dropped with its task.
    drop(tasks);
    tokio::task::yield_now().await;
    let outcome = of_write(client.call(Call::put("/meshes/a", Value::Null)).await);
    assert!(matches!(outcome, Outcome::Refused { .. }), "{outcome:?}");
}

#[test]
fn each_status_is_the_outcome_that_the_api_says() {
    struct Case(u16, &'static str, &'static str);
    for Case(status, write, read) in [
        Case(200, "done", "done"),
        Case(201, "done", "done"),
        Case(400, "refused", "refused"),
        Case(404, "refused", "done"),
        Case(409, "refused", "refused"),
        Case(412, "refused", "refused"),
        Case(500, "unknown", "refused"),
        Case(503, "refused", "refused"),
        Case(504, "unknown", "refused"),
    ] {
        let answer =
            Answer { status, version: None, tag: None, replayed: false, body: Value::Null };
        let name = |outcome| match outcome {
            Outcome::Done { .. } => "done",
            Outcome::Refused { .. } => "refused",
            Outcome::Unknown { .. } => "unknown",
        };
        assert_eq!(name(of_write(Ok(answer.clone()))), write, "write answered {status}");
        assert_eq!(name(of_read(Ok(answer))), read, "read answered {status}");
    }
}
