//! What every HTTP call here needs: a client, a bounded body, and the reason of a failure in words.

use std::error::Error as _;
use std::time::Duration;

use reqwest::{Certificate, Client, Response};

/// A control plane in the same zone is a millisecond away; what takes longer is down or cut off,
/// and the next replica is worth a try.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);

/// A client that trusts `roots` alone (and nobody, without any) and is bounded by `call` from the
/// connection to the last byte. The environment's proxy and the system's roots are for the
/// workload's traffic, not for its own mesh.
pub(crate) fn client(roots: Vec<Certificate>, call: Duration) -> Result<Client, String> {
    higuma_serve::install_crypto_provider();
    let builder = Client::builder().no_proxy().connect_timeout(CONNECT_TIMEOUT).timeout(call);
    builder.tls_certs_only(roots).build().map_err(|error| reason(&error))
}

/// The body, of at most `max` bytes.
pub(crate) async fn body(mut answer: Response, max: usize) -> Result<Vec<u8>, String> {
    let mut body = Vec::new();
    while let Some(chunk) = answer.chunk().await.map_err(|error| reason(&error))? {
        if body.len() + chunk.len() > max {
            return Err(format!("its answer is larger than {max} bytes"));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

/// The causes of an error without the URL, innermost last; each once, since libraries repeat them.
pub(crate) fn reason(error: &reqwest::Error) -> String {
    if error.is_timeout() {
        return "no answer in time".to_owned();
    }
    let mut parts: Vec<String> = Vec::new();
    let mut next = error.source();
    while let Some(cause) = next {
        let text = cause.to_string();
        if !parts.iter().any(|part| part.contains(&text)) {
            parts.push(text);
        }
        next = cause.source();
    }
    if parts.is_empty() { error.to_string() } else { parts.join(": ") }
}
