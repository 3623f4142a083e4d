//! What a browser says of where a request comes from: the page that made it, if a page did.
//!
//! A page that the user visits can make the browser send requests to a local port, some without asking. Browsers mark
//! them by `WebOrigin` and `Sec-Fetch-Site`, which pages cannot change. Tools other than browsers send neither.

use std::net::Ipv6Addr;

use http::Method;
use http::header::{ACCESS_CONTROL_REQUEST_METHOD, HeaderMap, HeaderName, HeaderValue, ORIGIN};

use super::host_name::{is_host, plain_port, split_port};
use crate::net::fields::{self, FieldLines};

static SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// The pages that may use a listener: its own, and those that its configuration names.
#[derive(Debug)]
pub(super) struct AllowedOrigins {
    /// Serialized origins of the listener itself, lower case.
    own: Vec<String>,
    listed: Vec<WebOrigin>,
}

/// A web origin (RFC 6454) of `allowed-origins`: scheme, host and port, serialized as browsers do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WebOrigin(String);

/// Why a text is not an origin.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadWebOrigin {
    /// `*` is not a wildcard here.
    #[error("origins are compared literally, so a * never matches: write each origin")]
    Wildcard,
    /// Anything else that `WebOrigin` never has.
    #[error(
        "not an origin: write scheme, host and port as the browser does, such as \"https://grafana.example:3000\", without a path"
    )]
    Form,
}

/// What the browser's marks say of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum FetchMetadata {
    /// No page made it, or one of our own.
    None,
    /// A listed page made it.
    Listed(HeaderValue),
    /// Another page made it.
    Foreign(String),
}

impl WebOrigin {
    /// Reads an origin. The default port of its scheme is left out, as browsers do.
    pub fn parse(text: &str) -> Result<Self, BadWebOrigin> {
        if text.contains('*') {
            return Err(BadWebOrigin::Wildcard);
        }
        let text = text.to_ascii_lowercase();
        let (scheme, authority) = text.split_once("://").ok_or(BadWebOrigin::Form)?;
        let default = match scheme {
            "http" => 80,
            "https" => 443,
            _ => return Err(BadWebOrigin::Form),
        };
        let (host, port) = split_port(authority);
        let port = port.map(|port| plain_port(port).ok_or(BadWebOrigin::Form)).transpose()?;
        if !is_host(host) {
            return Err(BadWebOrigin::Form);
        }
        // Browsers write an IPv6 address in its shortest form.
        let address = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')?.parse::<Ipv6Addr>().ok());
        let host = address.map_or_else(|| host.to_owned(), |address| format!("[{address}]"));
        Ok(Self(match port.filter(|port| *port != default) {
            Some(port) => format!("{scheme}://{host}:{port}"),
            None => format!("{scheme}://{host}"),
        }))
    }
}

impl AllowedOrigins {
    /// The listener's own pages are those of its `names` by `scheme` and `port`. The same name with another port, also
    /// the one that is left out, is another server's.
    pub(super) fn new<'a>(
        scheme: &str,
        names: impl Iterator<Item = &'a str>,
        port: Option<u16>,
        listed: Vec<WebOrigin>,
    ) -> Self {
        let default = if scheme == "https" { 443 } else { 80 };
        let suffix = match port {
            Some(port) if port != default => format!(":{port}"),
            Some(_) | None => String::new(),
        };
        let own = names.map(|name| format!("{scheme}://{}{suffix}", name.to_ascii_lowercase())).collect();
        Self { own, listed }
    }

    /// The origin that a request comes from, if it is a listed one.
    pub(super) fn listed(&self, headers: &HeaderMap) -> Option<HeaderValue> {
        if self.listed.is_empty() {
            return None;
        }
        match fields::only(headers, &ORIGIN) {
            FieldLines::One(origin) => self.is_listed(origin).then(|| origin.clone()),
            FieldLines::None | FieldLines::Many => None,
        }
    }

    fn is_listed(&self, origin: &HeaderValue) -> bool {
        self.listed.iter().any(|listed| listed.0.as_bytes() == origin.as_bytes())
    }

    /// Reads all marks; a foreign one counts whatever else there is. Where a listener stands in for another server, that
    /// server's pages are not its own.
    pub(super) fn mark(&self, headers: &HeaderMap, is_own: bool) -> FetchMetadata {
        if let Some(origin) = self.listed(headers) {
            return FetchMetadata::Listed(origin);
        }
        let own = |origin: &&HeaderValue| is_own && self.own.iter().any(|own| own.as_bytes() == origin.as_bytes());
        if let Some(foreign) = fields::lines(headers, &ORIGIN).find(|origin| !own(origin)) {
            return FetchMetadata::Foreign(format!("Origin: {}", String::from_utf8_lossy(foreign.as_bytes())));
        }
        let harmless =
            |site: &&HeaderValue| site.as_bytes() == b"none" || (is_own && site.as_bytes() == b"same-origin");
        match fields::lines(headers, &SEC_FETCH_SITE).find(|site| !harmless(site)) {
            Some(site) => {
                FetchMetadata::Foreign(format!("Sec-Fetch-Site: {}", String::from_utf8_lossy(site.as_bytes())))
            }
            None => FetchMetadata::None,
        }
    }
}

/// Whether a request asks in advance whether another would be allowed (Fetch standard, section 3.2.2).
pub(super) fn is_preflight(method: &Method, headers: &HeaderMap) -> bool {
    *method == Method::OPTIONS && headers.contains_key(ACCESS_CONTROL_REQUEST_METHOD)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pages(listed: &[&str]) -> AllowedOrigins {
        let listed = listed.iter().map(|text| WebOrigin::parse(text).expect("an origin")).collect();
        AllowedOrigins::new("http", ["localhost", "Proxy.example"].into_iter(), Some(8080), listed)
    }

    fn mark(listed: &[&str], lines: &[(&'static str, &'static str)]) -> FetchMetadata {
        let headers = lines
            .iter()
            .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)))
            .fold(HeaderMap::new(), |mut headers, (name, value)| {
                headers.append(name, value);
                headers
            });
        pages(listed).mark(&headers, true)
    }

    #[test]
    fn browser_marks_of_no_page_or_our_own_are_harmless() {
        for lines in [
            &[][..],
            &[("origin", "http://localhost:8080")],
            &[("sec-fetch-site", "none")],
            &[("sec-fetch-site", "same-origin"), ("origin", "http://proxy.example:8080")],
        ] {
            assert_eq!(mark(&[], lines), FetchMetadata::None, "{lines:?}");
        }
    }

    #[test]
    fn browser_marks_of_any_other_page_are_foreign() {
        for lines in [
            &[("origin", "null")][..],
            &[("origin", "")],
            &[("origin", "https://localhost:8080")],
            &[("origin", "http://localhost:8081")],
            &[("origin", "http://localhost")],
            &[("origin", "http://proxy.example")],
            &[("origin", "http://localhost:8080.evil.example")],
            &[("origin", "http://localhost:8080"), ("origin", "https://evil.example")],
            &[("origin", "http://localhost:8080, https://evil.example")],
            &[("origin", "http://LOCALHOST:8080/")],
            &[("sec-fetch-site", "cross-site")],
            &[("sec-fetch-site", "same-site")],
            &[("sec-fetch-site", "none"), ("sec-fetch-site", "cross-site")],
            &[("sec-fetch-site", "later-invention")],
            &[("origin", "http://localhost:8080"), ("sec-fetch-site", "same-site")],
        ] {
            assert!(matches!(mark(&[], lines), FetchMetadata::Foreign(_)), "{lines:?}");
        }
    }

    #[test]
    fn browser_marks_of_a_listed_page_are_compared_literally() {
        let listed = ["https://Grafana.example:443", "http://127.0.0.1:3000"];
        let cross = ("sec-fetch-site", "cross-site");
        for origin in ["https://grafana.example", "http://127.0.0.1:3000"] {
            assert_eq!(
                mark(&listed, &[("origin", origin), cross]),
                FetchMetadata::Listed(HeaderValue::from_static(origin))
            );
        }
        for origin in ["http://grafana.example", "https://grafana.example:444", "https://grafana.example.evil", "null"]
        {
            assert!(matches!(mark(&listed, &[("origin", origin)]), FetchMetadata::Foreign(_)), "{origin}");
        }
        assert!(matches!(mark(&listed, &[cross]), FetchMetadata::Foreign(_)), "without an origin nobody is listed");
        let twice = [("origin", "https://grafana.example"), ("origin", "https://grafana.example")];
        assert!(matches!(mark(&listed, &twice), FetchMetadata::Foreign(_)));
    }

    #[test]
    fn browser_own_pages_leave_the_schemes_port_out() {
        let own = |scheme, port| AllowedOrigins::new(scheme, ["localhost"].into_iter(), port, Vec::new()).own;
        assert_eq!(own("http", Some(80)), ["http://localhost"]);
        assert_eq!(own("https", Some(443)), ["https://localhost"]);
        assert_eq!(own("https", Some(80)), ["https://localhost:80"]);
    }

    #[test]
    fn browser_origins_are_scheme_host_and_port() {
        for bad in
            ["", "*", "null", "grafana.example", "ftp://x", "https://x/", "https://x/y", "https://u@x", "https://"]
        {
            let error = if bad == "*" { BadWebOrigin::Wildcard } else { BadWebOrigin::Form };
            assert_eq!(WebOrigin::parse(bad), Err(error), "{bad}");
        }
        for bad in ["https://x:", "https://x:080", "https://x:0", "https://a%20b", "https://127.1", "https://a b"] {
            assert_eq!(WebOrigin::parse(bad), Err(BadWebOrigin::Form), "{bad}");
        }
        assert_eq!(WebOrigin::parse("https://*.example"), Err(BadWebOrigin::Wildcard));
        assert_eq!(WebOrigin::parse("http://[0:0::1]:80"), WebOrigin::parse("http://[::1]"));
    }
}
