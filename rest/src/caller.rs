//! Who asks, as far as this server can tell.

use std::net::IpAddr;
use std::sync::Arc;

use higuma_model::{Key, Kind};
use higuma_serve::Peer;
use http::request::Parts;
use http::{HeaderMap, HeaderName, Uri, header};

use crate::roles::{Right, Roles, User, Within};

/// Users and groups that mean something by themselves; Kuma's names.
pub(crate) const ADMIN: &str = "mesh-system:admin";
pub(crate) const AUTHENTICATED: &str = "mesh-system:authenticated";
pub(crate) const ANONYMOUS: &str = "mesh-system:anonymous";
pub(crate) const UNAUTHENTICATED: &str = "mesh-system:unauthenticated";

/// What the history says of a caller by the loopback.
const LOCALHOST: &str = "localhost admin";

/// What a proxy in front of this server adds: then the caller is not who connected.
const FORWARDED: [&str; 3] = ["forwarded", "x-forwarded-for", "x-real-ip"];

const FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// A user, and how it is known who that is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Caller {
    pub(crate) name: Arc<str>,
    pub(crate) groups: Vec<Arc<str>>,
    by: KnownBy,
    /// What they may do, beside what is theirs as administrators.
    roles: Arc<Roles>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum KnownBy {
    /// Where the request came from.
    Address,
    Token,
    Nothing,
}

impl Caller {
    /// Whoever reaches the loopback of this host is its administrator, as in Kuma; else nobody.
    pub(crate) fn by_address(request: &Parts) -> Self {
        if is_local(request) {
            let groups = vec![ADMIN.into(), AUTHENTICATED.into()];
            return Self {
                name: ADMIN.into(),
                groups,
                by: KnownBy::Address,
                roles: Arc::default(),
            };
        }
        Self::anonymous()
    }

    /// By what it showed.
    pub(crate) fn known<'a>(name: &str, groups: impl Iterator<Item = &'a str>) -> Self {
        let groups = groups.map(Into::into).collect();
        Self { name: name.into(), groups, by: KnownBy::Token, roles: Arc::default() }
    }

    pub(crate) fn anonymous() -> Self {
        let groups = vec![UNAUTHENTICATED.into()];
        Self { name: ANONYMOUS.into(), groups, by: KnownBy::Nothing, roles: Arc::default() }
    }

    /// The one that the guard found; without it nobody.
    pub(crate) fn of(request: &Parts) -> Self {
        request.extensions.get().cloned().unwrap_or_else(Self::anonymous)
    }

    pub(crate) fn is_anonymous(&self) -> bool {
        self.by == KnownBy::Nothing
    }

    pub(crate) fn is_admin(&self) -> bool {
        self.groups.iter().any(|group| **group == *ADMIN)
    }

    pub(crate) fn bound_by(self, roles: Arc<Roles>) -> Self {
        Self { roles, ..self }
    }

    fn user(&self) -> User<'_> {
        User { name: &self.name, groups: &self.groups }
    }

    /// Whether they may see a resource.
    pub(crate) fn sees(&self, key: &Key) -> bool {
        self.is_admin() || self.roles.allow(&self.user(), Right::Read, key.kind(), &Within::of(key))
    }

    /// The first of these that they may not.
    pub(crate) fn lacks(&self, rights: &[(Right, Kind, Within)]) -> Option<String> {
        if self.is_admin() {
            return None;
        }
        let lacking = |(right, kind, within): &&(Right, Kind, Within)| {
            !self.roles.allow(&self.user(), *right, *kind, within)
        };
        let (right, kind, within) = rights.iter().find(lacking)?;
        Some(format!("may not {} {kind} {within}", right.verb()))
    }

    pub(crate) fn may_something(&self, right: Right) -> bool {
        self.is_admin() || self.roles.allow_something(&self.user(), right)
    }

    /// For the history.
    pub(crate) fn shown(&self) -> &str {
        if self.by == KnownBy::Address { LOCALHOST } else { &self.name }
    }
}

/// Whether a request was made on this host, by somebody who is here: not by a proxy on behalf of
/// others, and not by a browser for a page of elsewhere (Kuma's `localhostIsAdmin`).
fn is_local(request: &Parts) -> bool {
    let Some(peer) = request.extensions.get::<Peer>() else { return false };
    let headers = &request.headers;
    let host = host(&request.uri, headers);
    is_loopback(peer.addr.ip())
        && !FORWARDED.iter().any(|name| headers.contains_key(*name))
        && host.as_deref().is_none_or(names_loopback)
        && is_own_page(headers, host.as_deref())
}

fn is_loopback(ip: IpAddr) -> bool {
    ip.to_canonical().is_loopback()
}

/// The authority that was asked: of the URL in HTTP/2, of the header in HTTP/1.1.
fn host(uri: &Uri, headers: &HeaderMap) -> Option<String> {
    let header = headers.get(header::HOST).map(|host| String::from_utf8_lossy(host.as_bytes()));
    uri.authority().map(ToString::to_string).or_else(|| header.map(|host| host.into_owned()))
}

fn names_loopback(authority: &str) -> bool {
    let host = match authority.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|c| c.is_ascii_digit()) => host,
        _ => authority,
    };
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    host.eq_ignore_ascii_case("localhost") || bare.parse().is_ok_and(is_loopback)
}

/// What browsers say of the page that asks.
fn is_own_page(headers: &HeaderMap, host: Option<&str>) -> bool {
    let site = headers.get(FETCH_SITE).map(|site| site.as_bytes());
    let origin = headers.get(header::ORIGIN).map(|origin| origin.as_bytes());
    let is_own = |origin: &[u8]| {
        let page = std::str::from_utf8(origin).ok().and_then(|origin| origin.split_once("://"));
        page.is_some_and(|(_, page)| Some(page) == host)
    };
    site.is_none_or(|site| matches!(site, b"same-origin" | b"none")) && origin.is_none_or(is_own)
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    fn by_address(from: &str, uri: &str, headers: &[(&str, &str)]) -> Caller {
        let mut request = Request::get(uri);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let mut parts = request.body(()).unwrap().into_parts().0;
        let addr = from.parse().unwrap();
        parts.extensions.insert(Peer { addr, tls: false, certificate: None });
        Caller::by_address(&parts)
    }

    #[test]
    fn whoever_is_on_this_host_is_admin_and_nobody_else() {
        let host = ("host", "127.0.0.1:5681");
        for (from, uri, headers, expected) in [
            ("127.0.0.1:9", "/", &[host][..], true),
            ("127.77.0.1:9", "/", &[("host", "127.77.0.1:5681")], true),
            ("[::1]:9", "/", &[("host", "[::1]:5681")], true),
            ("[::ffff:127.0.0.1]:9", "/", &[("host", "localhost")], true),
            ("127.0.0.1:9", "http://localhost:5681/", &[], true),
            ("127.0.0.1:9", "/", &[], true),
            ("127.0.0.1:9", "/", &[host, ("sec-fetch-site", "same-origin")], true),
            ("127.0.0.1:9", "/", &[host, ("origin", "http://127.0.0.1:5681")], true),
            ("10.0.0.1:9", "/", &[host], false),
            ("127.0.0.1:9", "/", &[("host", "evil.example:5681")], false),
            ("127.0.0.1:9", "/", &[("host", "127.0.0.1.evil.example")], false),
            ("127.0.0.1:9", "http://evil.example/", &[host], false),
            ("127.0.0.1:9", "/", &[host, ("forwarded", "for=10.0.0.1")], false),
            ("127.0.0.1:9", "/", &[host, ("x-forwarded-for", "10.0.0.1")], false),
            ("127.0.0.1:9", "/", &[host, ("x-real-ip", "10.0.0.1")], false),
            ("127.0.0.1:9", "/", &[host, ("sec-fetch-site", "cross-site")], false),
            ("127.0.0.1:9", "/", &[host, ("sec-fetch-site", "same-site")], false),
            ("127.0.0.1:9", "/", &[host, ("origin", "https://evil.example")], false),
            ("127.0.0.1:9", "/", &[host, ("origin", "null")], false),
        ] {
            let caller = by_address(from, uri, headers);
            assert_eq!(caller.is_admin(), expected, "{from} {uri} {headers:?}: {caller:?}");
        }
        let parts = Request::get("/").body(()).unwrap().into_parts().0;
        assert_eq!(Caller::by_address(&parts), Caller::anonymous(), "no connection, no address");
    }
}
