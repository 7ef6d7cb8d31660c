//! Addresses of servers as users give them.

use reqwest::Url;

/// Servers of one cluster; a global has three or five, and a list that is longer is a mistake.
pub(crate) const MAX_SERVERS: usize = 16;
/// The REST ports of a control plane.
const REST_PORT: u16 = 5681;
const HTTPS_PORT: u16 = 5682;

/// Reads `host`, `host:port`, `http://host:port` or `https://host:port`.
pub(crate) fn parse(given: &str) -> Result<Url, String> {
    let given = given.trim();
    let text = if given.contains("://") { given.to_owned() } else { format!("http://{given}") };
    let wrong = |why: &str| format!("server {given:?} {why}; write it as 127.0.0.1:5681");
    let mut url = Url::parse(&text).map_err(|error| wrong(&format!("is no address ({error})")))?;
    let ours = match url.scheme() {
        "http" => REST_PORT,
        "https" => HTTPS_PORT,
        _ => return Err(wrong("is no HTTP address")),
    };
    if url.host_str().is_none_or(str::is_empty) {
        return Err(wrong("is no HTTP address"));
    }
    if url.query().is_some() || url.fragment().is_some() || !matches!(url.path(), "" | "/") {
        return Err(wrong("has more than host and port"));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(wrong("has a user name, which is not supported"));
    }
    // The scheme's own port is not kept in a URL, though it was given.
    let own = if url.scheme() == "http" { ":80" } else { ":443" };
    if url.port().is_none() && !text.trim_end_matches('/').ends_with(own) {
        url.set_port(Some(ours)).map_err(|()| wrong("takes no port"))?;
    }
    Ok(url)
}

/// Reads a whole list, in order, without repetitions.
pub(crate) fn parse_all<S: AsRef<str>>(given: &[S]) -> Result<Vec<Url>, String> {
    let mut servers = Vec::new();
    for one in given.iter().flat_map(|one| one.as_ref().split(',')) {
        if one.trim().is_empty() {
            continue;
        }
        let server = parse(one)?;
        if !servers.contains(&server) {
            servers.push(server);
        }
    }
    match servers.len() {
        0 => Err("no server is given; write them as 127.0.0.1:5681,127.0.0.2:5681".to_owned()),
        1..=MAX_SERVERS => Ok(servers),
        n => Err(format!("{n} servers are given; {MAX_SERVERS} is the most")),
    }
}

/// `host:port`, or `https://host:port`: what is read as the same server.
pub(crate) fn shown(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    let scheme = if url.scheme() == "https" { "https://" } else { "" };
    format!("{scheme}{host}:{}", url.port_or_known_default().unwrap_or(REST_PORT))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_or_refused() {
        struct Case {
            given: &'static str,
            expected: Result<&'static str, &'static str>,
        }
        for Case { given, expected } in [
            Case { given: "127.77.0.1:5681", expected: Ok("127.77.0.1:5681") },
            Case { given: "127.77.0.1", expected: Ok("127.77.0.1:5681") },
            Case { given: " http://global.example:80/ ", expected: Ok("global.example:80") },
            Case { given: "[::1]:5681", expected: Ok("[::1]:5681") },
            Case { given: "https://g:5682", expected: Ok("https://g:5682") },
            Case { given: "https://g", expected: Ok("https://g:5682") },
            Case { given: "https://g:443/", expected: Ok("https://g:443") },
            Case { given: "https://g:80", expected: Ok("https://g:80") },
            Case { given: "http://g:443", expected: Ok("g:443") },
            Case { given: "https://g/meshes", expected: Err("has more than host and port") },
            Case { given: "http://g/meshes", expected: Err("has more than host and port") },
            Case { given: "http://me@g", expected: Err("has a user name") },
            Case { given: "ftp://g", expected: Err("is no HTTP address") },
            Case { given: "a b", expected: Err("is no address") },
            Case { given: "g:99999", expected: Err("is no address") },
        ] {
            match (parse(given), expected) {
                (Ok(url), Ok(expected)) => {
                    assert_eq!(shown(&url), expected, "{given}");
                    assert_eq!(parse(expected), Ok(url), "{given}");
                }
                (Err(error), Err(expected)) => {
                    assert!(error.contains(expected), "{given}: {error}");
                }
                (got, expected) => panic!("{given}: {got:?}, not {expected:?}"),
            }
        }
        let all = parse_all(&["a,b", "a:5681", ""]).unwrap();
        assert_eq!(all.iter().map(shown).collect::<Vec<_>>(), ["a:5681", "b:5681"]);
        assert!(parse_all::<&str>(&[]).unwrap_err().starts_with("no server is given"));
    }
}
