//! Whom a command trusts over https, and what it shows to be known.

use std::fmt;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use reqwest::header::HeaderValue;
use reqwest::{Certificate, Url};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::address;

/// What a server reads.
const MAX_TOKEN_BYTES: usize = 8 << 10;

/// A CA file; a bundle of all public CAs has some 300 KiB.
const MAX_FILE_BYTES: u64 = 1 << 20;

/// Beside the servers' addresses.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Trust {
    /// The only CA that servers of https are trusted by; without it the system's.
    pub(crate) ca_file: Option<PathBuf>,
    pub(crate) token: Option<Token>,
}

/// A user token. It is shown to servers and to nobody else: not even by `Debug`.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String")]
pub(crate) struct Token(String);

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token")
    }
}

impl TryFrom<String> for Token {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let text = text.trim();
        if text.is_empty() || text.len() > MAX_TOKEN_BYTES {
            return Err(format!("a token has 1 to {MAX_TOKEN_BYTES} bytes"));
        }
        if !text.bytes().all(|c| c.is_ascii_graphic()) {
            return Err("a token is one word of ASCII".to_owned());
        }
        Ok(Self(text.to_owned()))
    }
}

impl Token {
    /// A file that holds nothing else.
    pub(crate) fn read(file: &Path) -> Result<Self, String> {
        let shown = file.display();
        let failed = |error: std::io::Error| format!("cannot read the token file {shown}: {error}");
        if std::fs::metadata(file).map_err(failed)?.len() > 2 * MAX_TOKEN_BYTES as u64 {
            return Err(format!("the token file {shown} is too large to hold one token"));
        }
        let text = std::fs::read_to_string(file).map_err(failed)?;
        Self::try_from(text).map_err(|why| format!("the token file {shown}: {why}"))
    }

    /// What stands in the place of a token that is not to be seen.
    pub(crate) fn hidden() -> Self {
        Self("(hidden)".to_owned())
    }

    pub(crate) fn header(&self) -> HeaderValue {
        let mut value = HeaderValue::from_str(&format!("Bearer {}", self.0))
            .expect("invariant: a token is visible ASCII");
        value.set_sensitive(true);
        value
    }

    /// What it says of itself; nobody has checked it here.
    pub(crate) fn claims(&self) -> Option<Value> {
        let claims = URL_SAFE_NO_PAD.decode(self.0.split('.').nth(1)?).ok()?;
        serde_json::from_slice(&claims).ok()
    }

    /// Whoever reads a token on its way is its user.
    pub(super) fn may_go_to(servers: &[Url]) -> Result<(), String> {
        let in_plain = |server: &&Url| server.scheme() != "https" && !is_loopback(server);
        match servers.iter().find(in_plain) {
            None => Ok(()),
            Some(server) => Err(format!(
                "a token is not sent in plain text to {}: write the server as https://HOST:5682",
                address::shown(server)
            )),
        }
    }
}

fn is_loopback(server: &Url) -> bool {
    let host = server.host_str().unwrap_or_default();
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || bare.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

/// The certificates of a CA file.
pub(crate) fn certificates(file: &Path) -> Result<Vec<Certificate>, String> {
    let shown = file.display();
    let failed = |error: std::io::Error| format!("cannot read the CA file {shown}: {error}");
    if std::fs::metadata(file).map_err(failed)?.len() > MAX_FILE_BYTES {
        return Err(format!("the CA file {shown} is larger than {MAX_FILE_BYTES} bytes"));
    }
    let text = std::fs::read(file).map_err(failed)?;
    match Certificate::from_pem_bundle(&text) {
        Ok(found) if !found.is_empty() => Ok(found),
        _ => Err(format!("the CA file {shown} holds no certificate: it must be PEM")),
    }
}

/// What can be done about a server whose TLS fails, by what rustls says of it.
pub(crate) fn advice(why: &str) -> Option<&'static str> {
    let known = [
        (
            "unknownissuer",
            "its certificate is of a CA that is not trusted here: give the CA's file with \
             --ca-file, HIGUMA_CA_FILE, or `higuma config set-context … --ca-file`",
        ),
        ("not valid for name", "its certificate is for another name or address: use that one"),
        ("invalidcontenttype", "it does not speak TLS there: https is on port 5682"),
    ];
    known.into_iter().find(|(said, _)| why.contains(said)).map(|(_, advice)| advice)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_one_word_and_are_not_shown() {
        let token = Token::try_from(" a.b.c\n".to_owned()).unwrap();
        assert_eq!(token.header(), "Bearer a.b.c");
        assert!(token.header().is_sensitive());
        assert_eq!(format!("{token:?}"), "Token");
        for wrong in ["", " \n", "a b", "a\nb", "ü", &"x".repeat(MAX_TOKEN_BYTES + 1)] {
            assert!(Token::try_from(wrong.to_owned()).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn a_token_goes_in_plain_text_to_this_host_only() {
        for (servers, good) in [
            (&["127.77.0.1", "localhost:5681", "[::1]"][..], true),
            (&["https://10.0.0.1", "https://global.example"], true),
            (&["https://10.0.0.1", "10.0.0.2"], false),
            (&["http://global.example"], false),
            (&["http://127.0.0.1.example"], false),
        ] {
            let servers = address::parse_all(servers).unwrap();
            assert_eq!(Token::may_go_to(&servers).is_ok(), good, "{servers:?}");
        }
    }
}
