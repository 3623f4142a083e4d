//! Header hygiene: what must not pass the proxy in either direction.

mod alias;
mod field_names;
pub mod loops;
pub mod prefer;

use http::header::{CONNECTION, HOST, HeaderMap, HeaderName, HeaderValue};
use http::uri::{Authority, Uri};
use smallvec::SmallVec;

use crate::net::fields;
use field_names::FieldNames;

/// What is kept from NinjaOne: fields of this connection, credentials and cookies of the caller, traces of where the
/// request came from, and fields that override the method or the target.
static KEPT_FROM_UPSTREAM: FieldNames = FieldNames::new(
    &[
        HOP_BY_HOP,
        // What the upstream connection has of its own.
        &["host", "authorization", "expect", "http2-settings"],
        // Credentials of the caller, and what older clients send with them.
        &["cookie", "cookie2", "client-id", "client-secret", "x-api-key", "x-approval-id", "x-nj-date", "sessionkey"],
        // Where the request came from.
        &["forwarded", "via", "x-real-ip", "x-client-ip", "x-cluster-client-ip", "true-client-ip", "cf-connecting-ip"],
        &["x-original-host", "x-host", "origin", "referer"],
        // What CGI and its like pass to programs as their environment: Proxy becomes HTTP_PROXY ("httpoxy").
        &["proxy", "https", "auth-type", "gateway-interface", "path-info", "path-translated", "query-string"],
        &["request-method", "request-uri", "script-name", "document-root"],
        // Another method or target than the one judged.
        &["x-http-method", "x-http-method-override", "x-method-override"],
        &["x-original-url", "x-original-uri", "x-rewrite-url", "x-override-url"],
    ],
    &["proxy-", "x-forwarded-", "sec-fetch-", "remote-", "ssl-client-", "http-"],
);

/// What is kept from the caller: fields of the upstream connection, cookies of the instance, and permissions for browsers
/// that only this proxy may give.
static KEPT_FROM_CALLER: FieldNames = FieldNames::new(
    &[HOP_BY_HOP, &["set-cookie", "set-cookie2", "alt-svc", "clear-site-data"]],
    &["proxy-auth", "access-control-"],
);

/// Fields of one connection (RFC 9110 section 7.6.1), beside those that begin with `proxy-auth`.
const HOP_BY_HOP: &[&str] =
    &["connection", "keep-alive", "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade"];

/// Removes what must not reach NinjaOne.
pub fn clean_request(headers: &mut HeaderMap) {
    clean(headers, &KEPT_FROM_UPSTREAM);
}

/// Removes what must not reach the caller.
pub fn clean_response(headers: &mut HeaderMap) {
    clean(headers, &KEPT_FROM_CALLER);
}

fn clean(headers: &mut HeaderMap, unwanted: &FieldNames) {
    let is_unwanted = |name: &&HeaderName| unwanted.has_alias_of(name.as_str());
    let mut names = SmallVec::<[HeaderName; 6]>::new();
    names.extend(headers.keys().filter(is_unwanted).cloned());
    // Every Connection line counts: a name in the second one is as hop-by-hop as in the first.
    for line in fields::lines(headers, &CONNECTION) {
        let options = line.as_bytes().split(|&byte| byte == b',');
        for option in options.filter_map(|name| HeaderName::from_bytes(name.trim_ascii()).ok()) {
            let option_has_alias = alias::has_alias(option.as_str());
            let others = headers.keys().filter(|name| option_has_alias || alias::has_alias(name.as_str()));
            names.extend(others.filter(|name| alias::are_alike(name.as_str(), option.as_str())).cloned());
            names.push(option);
        }
    }
    for name in names {
        headers.remove(name);
    }
}

/// Where the caller finds us, by its own words.
pub struct CallerOrigin {
    scheme: &'static str,
    host: Option<HeaderValue>,
}

impl CallerOrigin {
    /// As a request with these headers, over this scheme, has it.
    pub fn of(scheme: &'static str, headers: &HeaderMap) -> Self {
        Self { scheme, host: fields::lines(headers, &HOST).next().cloned() }
    }

    /// [`localize`] for the sender of a request for `uri`.
    pub fn localize(&self, location: &HeaderValue, instance: &Authority, uri: &Uri) -> Option<HeaderValue> {
        let host = self.host.as_ref().and_then(|host| host.to_str().ok());
        let host = host.or_else(|| uri.authority().map(Authority::as_str));
        let origin = host.map_or_else(String::new, |host| format!("{}://{host}", self.scheme));
        localize(location, instance, &origin)
    }
}

/// A `Location` that points at the instance, as the caller must follow it: on `origin`, such as
/// `http://localhost:8080`. `None` if it must stay as it is: it points elsewhere (a signed URL), is relative, or
/// names the instance's root, where no operation is but the web console (`https://eu.ninjarmm.com/#/...`).
pub fn localize(location: &HeaderValue, instance: &Authority, origin: &str) -> Option<HeaderValue> {
    let text = location.to_str().ok()?;
    let uri: Uri = text.parse().ok()?;
    let scheme = uri.scheme_str()?;
    let default_port = match scheme {
        "https" => 443,
        "http" => 80,
        _ => return None,
    };
    let authority = uri.authority()?;
    let port = |authority: &Authority| authority.port_u16().unwrap_or(default_port);
    let same = authority.host().eq_ignore_ascii_case(instance.host()) && port(authority) == port(instance);
    if !same || uri.path() == "/" || authority.as_str().contains('@') {
        return None;
    }
    let (_, after_scheme) = text.split_once("://")?;
    let path = after_scheme.strip_prefix(authority.as_str())?;
    HeaderValue::try_from(format!("{origin}{path}")).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(lines: &[(&'static str, &'static str)]) -> HeaderMap {
        lines.iter().map(|(n, v)| (HeaderName::from_static(n), HeaderValue::from_static(v))).collect()
    }

    fn names(headers: &HeaderMap) -> Vec<&str> {
        let mut names: Vec<&str> = headers.keys().map(HeaderName::as_str).collect();
        names.sort_unstable();
        names
    }

    #[test]
    fn headers_named_by_any_connection_line_are_removed() {
        let mut headers = map(&[("connection", "close, X-One"), ("x-one", "1"), ("x-two", "2"), ("x-three", "3")]);
        headers.append(CONNECTION, HeaderValue::from_static(" x-two ,, "));
        clean_request(&mut headers);
        assert_eq!(names(&headers), ["x-three"]);
    }

    #[test]
    fn headers_that_name_caller_credentials_origin_or_override_do_not_go_up() {
        let mut headers = map(&[
            ("accept", "*/*"),
            ("accept-encoding", "gzip"),
            ("authorization", "Bearer x"),
            ("client-id", "x"),
            ("client-secret", "x"),
            ("content-length", "0"),
            ("content-type", "application/json"),
            ("cookie", "sessionKey=1"),
            ("expect", "100-continue"),
            ("forwarded", "for=1"),
            ("host", "localhost"),
            ("if-none-match", "x"),
            ("keep-alive", "1"),
            ("origin", "null"),
            ("proxy-authorization", "x"),
            ("proxy-whatever", "x"),
            ("range", "bytes=0-1"),
            ("referer", "x"),
            ("te", "trailers"),
            ("trailer", "x"),
            ("transfer-encoding", "chunked"),
            ("upgrade", "websocket"),
            ("user-agent", "x"),
            ("x-forwarded-anything", "x"),
            ("x-http-method-override", "DELETE"),
            ("x-nj-date", "x"),
            ("x-original-url", "/x"),
            ("x-real-ip", "x"),
            ("x-rewrite-url", "/x"),
        ]);
        clean_request(&mut headers);
        let kept =
            ["accept", "accept-encoding", "content-length", "content-type", "if-none-match", "range", "user-agent"];
        assert_eq!(names(&headers), kept);
    }

    #[test]
    fn headers_that_a_cgi_program_takes_for_removed_ones_do_not_go_up() {
        let mut headers = map(&[
            ("accept", "*/*"),
            ("connection", "X-One, x_two"),
            ("content-length", "0"),
            ("content_length", "7"),
            ("content_type", "x"),
            ("https", "on"),
            ("http_proxy", "http://evil"),
            ("proxy", "http://evil"),
            ("remote-user", "root"),
            ("ssl_client_verify", "SUCCESS"),
            ("transfer_encoding", "chunked"),
            ("x-two", "2"),
            ("x.forwarded.host", "x"),
            ("x_api_key", "x"),
            ("x_custom", "kept"),
            ("x_forwarded_for", "x"),
            ("x_http_method_override", "DELETE"),
            ("x_one", "1"),
            ("x_original_url", "/x"),
            ("x~real-ip", "x"),
        ]);
        clean_request(&mut headers);
        assert_eq!(names(&headers), ["accept", "content-length", "x_custom"]);
        let long = format!("x_forwarded_{}", "a".repeat(200));
        headers.insert(HeaderName::try_from(long).expect("a name"), HeaderValue::from_static("x"));
        clean_request(&mut headers);
        assert_eq!(names(&headers), ["accept", "content-length", "x_custom"]);
        let mut answer = map(&[("set_cookie", "a=b"), ("transfer_encoding", "x"), ("x_other", "1")]);
        clean_response(&mut answer);
        assert_eq!(names(&answer), ["x_other"]);
    }

    #[test]
    fn headers_without_an_alias_are_looked_through_without_memory() {
        let mut headers = map(&[("accept", "*/*"), ("content-type", "application/json"), ("x_custom", "kept")]);
        let taken = allocation_counter::measure(|| clean_request(&mut headers));
        assert_eq!((taken.count_total, headers.len()), (0, 3));
    }

    #[test]
    fn headers_that_set_cookies_or_open_browsers_do_not_go_down() {
        let mut headers = map(&[
            ("access-control-allow-origin", "*"),
            ("connection", "x-hop"),
            ("content-encoding", "gzip"),
            ("set-cookie", "a=b"),
            ("x-hop", "1"),
            ("x-nj-request-id", "1"),
        ]);
        headers.append("set-cookie", HeaderValue::from_static("c=d"));
        clean_response(&mut headers);
        assert_eq!(names(&headers), ["content-encoding", "x-nj-request-id"]);
    }

    #[test]
    fn location_at_the_instance_is_rewritten_and_any_other_is_not() {
        let instance = Authority::from_static("eu.ninjarmm.com");
        let localized = |location: &'static str| {
            let value = HeaderValue::from_static(location);
            localize(&value, &instance, "http://localhost:8080")
                .map(|v| v.to_str().map(str::to_owned).unwrap_or_default())
        };
        let rewritten = Some("http://localhost:8080/v2/attachment/7?x=%20#part".to_owned());
        assert_eq!(localized("https://eu.ninjarmm.com/v2/attachment/7?x=%20#part"), rewritten);
        assert_eq!(localized("https://EU.ninjarmm.com:443/v2/attachment/7?x=%20#part"), rewritten);
        for other in [
            "https://files.example.com/x?signature=1",
            "https://eu.ninjarmm.com.evil.example/v2/x",
            "https://eu.ninjarmm.com:8443/v2/x",
            "https://user@eu.ninjarmm.com/v2/x",
            "https://eu.ninjarmm.com/#/deviceDashboard/7/overview",
            "/v2/attachment/7",
            "//eu.ninjarmm.com/v2/x",
            "ftp://eu.ninjarmm.com/v2/x",
        ] {
            assert_eq!(localized(other), None, "{other}");
        }
    }
}
