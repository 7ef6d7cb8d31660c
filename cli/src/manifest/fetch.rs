//! What `-f` names, and the manifests of URLs among it.

use std::path::PathBuf;
use std::time::Duration;

use reqwest::Url;
use reqwest::redirect::{Attempt, Policy};

use super::{Source, read};

/// The largest manifest that is fetched: ten transactions of the largest size.
const MAX_BYTES: usize = 16 << 20;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// All of one URL, redirects included.
const TIMEOUT: Duration = Duration::from_secs(30);
const MAX_REDIRECTS: usize = 5;

/// A place that documents are read from.
#[derive(Debug)]
pub(crate) enum Input {
    /// `-` is standard input.
    Path(PathBuf),
    Fetched(Source),
}

/// Fetches what is a URL, or says everything that cannot be fetched.
pub(crate) async fn inputs(names: &[String]) -> Result<Vec<Input>, Vec<String>> {
    let (mut inputs, mut wrong) = (Vec::new(), Vec::new());
    for name in names {
        if !name.starts_with("http://") && !name.starts_with("https://") {
            inputs.push(Input::Path(name.into()));
            continue;
        }
        match fetch(name).await {
            Ok(source) => inputs.push(Input::Fetched(source)),
            Err(why) => wrong.push(why),
        }
    }
    if wrong.is_empty() { Ok(inputs) } else { Err(wrong) }
}

async fn fetch(text: &str) -> Result<Source, String> {
    let url = Url::parse(text).map_err(|error| format!("{text:?} is no URL: {error}"))?;
    // What is shown, and may be logged: no password, and no token of a query.
    let mut shown = url.clone();
    shown.set_query(None);
    shown.set_fragment(None);
    if shown.set_password(None).is_err() || shown.set_username("").is_err() {
        return Err(format!("{text:?} names no server"));
    }
    let name = shown.to_string();
    let failed = |why: String| format!("cannot fetch {name}: {why}");
    let client = reqwest::Client::builder()
        .connect_timeout(CONNECT_TIMEOUT)
        .timeout(TIMEOUT)
        .redirect(Policy::custom(follow))
        .user_agent(concat!("higuma/", env!("CARGO_PKG_VERSION")))
        .build()
        .map_err(|error| failed(crate::client::call::reason(&error)))?;
    let why = |error: reqwest::Error| match error.is_timeout() {
        true => failed(format!("it takes longer than {} s", TIMEOUT.as_secs())),
        false => failed(crate::client::call::reason(&error)),
    };
    let mut response = client.get(url).send().await.map_err(why)?;
    if !response.status().is_success() {
        return Err(failed(format!("the server answered {}", response.status())));
    }
    let mut bytes = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(why)? {
        if bytes.len() + chunk.len() > MAX_BYTES {
            return Err(failed(format!("it is larger than {MAX_BYTES} bytes")));
        }
        bytes.extend_from_slice(&chunk);
    }
    read::named(name, bytes)
}

/// A redirect may not lead from TLS to plaintext, and there is an end to them.
fn follow(attempt: Attempt<'_>) -> reqwest::redirect::Action {
    if attempt.previous().len() > MAX_REDIRECTS {
        return attempt.error(format!("it redirects more than {MAX_REDIRECTS} times"));
    }
    let secure = attempt.previous().last().is_some_and(|url| url.scheme() == "https");
    if secure && attempt.url().scheme() != "https" {
        return attempt.error("it redirects from https to http");
    }
    attempt.follow()
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead as _, BufReader, Write as _};
    use std::net::TcpListener;

    use super::*;

    /// A server that answers by the path.
    fn serve() -> String {
        let listener = TcpListener::bind((higuma_testkit::loopback(), 0)).unwrap();
        let address = listener.local_addr().unwrap().to_string();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                let mut reader = BufReader::new(stream.try_clone().unwrap());
                let mut first = String::new();
                reader.read_line(&mut first).unwrap();
                let mut line = first.clone();
                while !line.trim().is_empty() {
                    line.clear();
                    reader.read_line(&mut line).unwrap();
                }
                let path = first.split(' ').nth(1).unwrap();
                let mesh = "type: Mesh\nname: default\n";
                let head = match path.split('?').next().unwrap() {
                    "/mesh.yaml" => {
                        format!("200 OK\r\nContent-Length: {}\r\n\r\n{mesh}", mesh.len())
                    }
                    "/once" => "302 Found\r\nLocation: /mesh.yaml\r\n\r\n".to_owned(),
                    "/loop" => "302 Found\r\nLocation: /loop\r\n\r\n".to_owned(),
                    "/large" => format!("200 OK\r\n\r\n{}", " ".repeat(MAX_BYTES + 1)),
                    _ => "404 Not Found\r\nContent-Length: 0\r\n\r\n".to_owned(),
                };
                // The client of /large leaves in the midst of it.
                let _ = write!(
                    stream,
                    "HTTP/1.1 {}",
                    head.replacen("\r\n", "\r\nConnection: close\r\n", 1)
                );
            }
        });
        address
    }

    #[tokio::test]
    async fn urls_are_fetched_within_bounds_and_shown_without_their_secrets() {
        higuma_serve::install_crypto_provider();
        let server = serve();
        for path in ["mesh.yaml?token=s3cret", "once"] {
            let fetched = inputs(&[format!("http://user:pass@{server}/{path}")]).await.unwrap();
            let [Input::Fetched(source)] = &fetched[..] else { panic!("{fetched:?}") };
            assert_eq!(source.text, "type: Mesh\nname: default\n");
            assert!(!source.name.contains("s3cret") && !source.name.contains("pass"));
        }
        for (path, why) in [
            ("none", "the server answered 404"),
            ("loop", "redirects more than 5 times"),
            ("large", "larger than 16777216 bytes"),
        ] {
            let wrong = inputs(&[format!("http://{server}/{path}")]).await.unwrap_err();
            assert!(wrong[0].contains(why), "{path}: {wrong:?}");
        }
        let dead = format!("http://{}/", higuma_testkit::free_addr());
        let wrong = inputs(&[dead, "http://".to_owned()]).await.unwrap_err();
        assert_eq!(wrong.len(), 2);
        assert!(wrong[0].contains("connection refused"), "{wrong:?}");
    }
}
