//! Redirect URIs: which are registered, and how one gets parameters.

use crate::sandbox::Options;

/// The loopback address that a Native app registers.
const LOOPBACK: &str = "http://127.0.0.1";

/// Whether the client may be sent there: a Native app to any port of the loopback address without a path, a Web app to
/// its URLs as they were written, to the byte.
pub(super) fn is_registered(options: &Options, uri: &str) -> bool {
    (options.native && is_loopback(uri)) || options.redirect_uris.iter().any(|known| known == uri && !uri.contains('#'))
}

fn is_loopback(uri: &str) -> bool {
    let Some(rest) = uri.strip_prefix(LOOPBACK) else { return false };
    match rest.strip_suffix('/').unwrap_or(rest).strip_prefix(':') {
        Some(port) => port.bytes().all(|byte| byte.is_ascii_digit()) && port.parse::<u16>().is_ok_and(|port| port != 0),
        None => rest.is_empty() || rest == "/",
    }
}

/// A URI with these parameters after the ones that it has (RFC 6749 section 3.1.2).
pub(super) fn with_parameters(uri: &str, parameters: &[(&str, &str)]) -> String {
    let mark = if uri.contains('?') { '&' } else { '?' };
    let query = form_urlencoded::Serializer::new(String::new()).extend_pairs(parameters).finish();
    format!("{uri}{mark}{query}")
}

/// The source for `form-action` that lets a form's answer redirect there; browsers hold redirects to it too.
pub(super) fn source(uri: &str) -> Option<String> {
    let uri: http::Uri = uri.parse().ok()?;
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | ':' | '-');
    let authority = uri.authority()?.as_str();
    authority.chars().all(is_plain).then(|| format!("{}://{authority}", uri.scheme_str().unwrap_or("https")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn native_app_has_every_port_of_the_loopback_address_and_nothing_else() {
        let options = Options::default();
        for good in ["http://127.0.0.1", "http://127.0.0.1/", "http://127.0.0.1:1", "http://127.0.0.1:65535/"] {
            assert!(is_registered(&options, good), "{good}");
        }
        for bad in [
            "",
            "http://localhost",
            "http://localhost:8080/",
            "https://127.0.0.1",
            "HTTP://127.0.0.1",
            "http://127.0.0.2",
            "http://127.0.0.1:",
            "http://127.0.0.1:0",
            "http://127.0.0.1:+80",
            "http://127.0.0.1:65536",
            "http://127.0.0.1:80//",
            "http://127.0.0.1//",
            "http://127.0.0.1/callback",
            "http://127.0.0.1:80/callback",
            "http://127.0.0.1:80?a=b",
            "http://127.0.0.1:80#a",
            "http://127.0.0.1:80@example.com",
            "http://127.0.0.1.example.com",
            "http://127.0.0.1:80/ ",
        ] {
            assert!(!is_registered(&options, bad), "{bad}");
        }
    }

    #[test]
    fn web_app_has_its_urls_to_the_byte() {
        let redirect_uris = vec!["https://a.example/back?x=1".to_owned(), "https://a.example/#part".to_owned()];
        let options = Options { native: false, redirect_uris, ..Options::default() };
        assert!(is_registered(&options, "https://a.example/back?x=1"));
        for bad in [
            "https://a.example/back",
            "https://a.example/back?x=1/",
            "https://A.example/back?x=1",
            "https://a.example/#part",
            "http://127.0.0.1:80",
        ] {
            assert!(!is_registered(&options, bad), "{bad}");
        }
    }

    #[test]
    fn parameters_come_after_the_ones_that_are_there() {
        let parameters = [("code", "a b"), ("state", "&=#é")];
        let query = "code=a+b&state=%26%3D%23%C3%A9";
        assert_eq!(with_parameters("http://127.0.0.1:80", &parameters), format!("http://127.0.0.1:80?{query}"));
        assert_eq!(with_parameters("https://a.example/?x=1", &parameters), format!("https://a.example/?x=1&{query}"));
    }

    #[test]
    fn policy_source_is_the_origin_or_nothing() {
        assert_eq!(source("http://127.0.0.1:8080/").as_deref(), Some("http://127.0.0.1:8080"));
        assert_eq!(source("https://a.example/back;x=1").as_deref(), Some("https://a.example"));
        assert_eq!(source("https://a;b/").as_deref(), None);
    }
}
