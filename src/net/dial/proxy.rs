//! An HTTP proxy on the way to a server: where it is, whom we are there, and its tunnel.

use std::fmt;
use std::io;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::header::HeaderValue;
use reqwest::Url;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use zeroize::Zeroizing;

use super::no_proxy;
use crate::base::same::both_or_neither;
use crate::base::secret::Secret;

/// The longest head of a proxy's answer, in bytes.
const MAX_HEAD: usize = 16 * 1024;

/// An HTTP proxy.
#[derive(Debug, Clone)]
pub struct HttpProxy {
    host: String,
    port: u16,
    /// The value of `Proxy-Authorization`.
    authorization: Option<Secret>,
}

/// Why a text names no proxy. It does not hold the text, which may hold a password.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum BadProxy {
    /// It cannot be read.
    #[error("it is not the URL of a proxy: write http://HOST:PORT or http://USER:PASSWORD@HOST:PORT")]
    Form,
    /// Another scheme than `http`.
    #[error(
        "proxies are spoken to in clear text only: write http://HOST:PORT (what goes through is encrypted all the same)"
    )]
    Scheme,
}

/// Why a proxy does not connect us.
#[derive(Debug, thiserror::Error)]
pub enum ProxyError {
    /// The connection to it broke.
    #[error("its connection broke")]
    Io(#[from] io::Error),
    /// It refuses.
    #[error("it answered {0}")]
    Refused(u16),
    /// Its answer cannot be read, or is too long.
    #[error("it did not speak HTTP")]
    NoHttp,
    /// Bytes followed its answer before any were sent through it.
    #[error("it sent bytes of its own into the tunnel")]
    Early,
}

impl HttpProxy {
    /// Reads `http://[USER:PASSWORD@]HOST[:PORT]`; user and password may be percent-encoded.
    pub fn parse(text: &str) -> Result<Self, BadProxy> {
        let text = text.trim();
        let url = if text.contains("://") { text.to_owned() } else { format!("http://{text}") };
        let url: Url = Zeroizing::new(url).parse().map_err(|_| BadProxy::Form)?;
        if url.scheme() != "http" {
            return Err(BadProxy::Scheme);
        }
        let host = url.host_str().map(|host| host.trim_matches(['[', ']']).to_owned()).ok_or(BadProxy::Form)?;
        if !matches!(url.path(), "" | "/") || url.query().is_some() || url.fragment().is_some() {
            return Err(BadProxy::Form);
        }
        let authorization = (!url.username().is_empty() || url.password().is_some())
            .then(|| basic(url.username(), url.password().unwrap_or_default()));
        Ok(Self { host, port: url.port().unwrap_or(80), authorization })
    }

    /// The proxy that the environment names for a server: `HTTPS_PROXY`, unless `NO_PROXY` names the server too, or it
    /// is on this machine. `variable` reads the environment.
    pub fn of_environment(
        host: &str,
        port: u16,
        variable: impl Fn(&str) -> Option<String>,
    ) -> Result<Option<Self>, BadProxy> {
        let either = |upper: &str| {
            let set = |name: &str| variable(name).filter(|value| !value.trim().is_empty());
            set(upper).or_else(|| set(&upper.to_ascii_lowercase()))
        };
        let Some(text) = either("HTTPS_PROXY").map(Zeroizing::new) else { return Ok(None) };
        if is_loopback(host) || either("NO_PROXY").is_some_and(|list| no_proxy::names(&list, host, port)) {
            return Ok(None);
        }
        Self::parse(&text).map(Some)
    }

    /// Whether it is the same proxy, with the same user and password.
    pub fn is_same(&self, other: &Self) -> bool {
        self.address() == other.address()
            && both_or_neither(self.authorization.as_ref(), other.authorization.as_ref(), Secret::is_same)
    }

    /// Its host, without the brackets of an IPv6 address, and its port.
    pub fn address(&self) -> (&str, u16) {
        (&self.host, self.port)
    }

    /// The value of `Proxy-Authorization`, marked as sensitive.
    pub fn authorization(&self) -> Option<HeaderValue> {
        let mut value = HeaderValue::from_str(&self.authorization.as_ref()?.expose()).ok()?;
        value.set_sensitive(true);
        Some(value)
    }

    /// Has it connect the stream to `host` (RFC 9110 section 9.3.6).
    pub(super) async fn tunnel(&self, stream: &mut TcpStream, host: &str, port: u16) -> Result<(), ProxyError> {
        let target = if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") };
        let credentials = self.authorization.as_ref().map(Secret::expose);
        let line = credentials.map(|value| Zeroizing::new(format!("Proxy-Authorization: {}\r\n", value.as_str())));
        let line = line.as_ref().map_or("", |line| line.as_str());
        let request = Zeroizing::new(format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n{line}\r\n"));
        stream.write_all(request.as_bytes()).await?;
        let head = read_head(stream).await?;
        match status(&head) {
            Some(200..=299) => Ok(()),
            Some(status) => Err(ProxyError::Refused(status)),
            None => Err(ProxyError::NoHttp),
        }
    }
}

/// The proxy as it may be printed.
impl fmt::Display for HttpProxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let credentials = if self.authorization.is_some() { "***@" } else { "" };
        let brackets = if self.host.contains(':') { ("[", "]") } else { ("", "") };
        write!(f, "http://{credentials}{}{}{}:{}", brackets.0, self.host, brackets.1, self.port)
    }
}

/// The head of the proxy's answer. What follows it belongs to the server, which says nothing before it is asked.
async fn read_head(stream: &mut TcpStream) -> Result<Vec<u8>, ProxyError> {
    let mut head = Vec::new();
    let mut piece = [0; 1024];
    loop {
        let bytes = stream.read(&mut piece).await?;
        if bytes == 0 || head.len() > MAX_HEAD {
            return Err(ProxyError::NoHttp);
        }
        head.extend_from_slice(piece.get(..bytes).unwrap_or_default());
        match head.windows(4).position(|window| window == b"\r\n\r\n") {
            Some(end) if end + 4 == head.len() || !matches!(status(&head), Some(200..=299)) => return Ok(head),
            Some(_) => return Err(ProxyError::Early),
            None => {}
        }
    }
}

fn status(head: &[u8]) -> Option<u16> {
    let line = head.split(|&byte| byte == b'\r').next()?;
    let rest = line.strip_prefix(b"HTTP/1.1 ").or_else(|| line.strip_prefix(b"HTTP/1.0 "))?;
    let (code, rest) = rest.split_at_checked(3)?;
    let code = std::str::from_utf8(code).ok().filter(|code| code.bytes().all(|byte| byte.is_ascii_digit()))?;
    matches!(rest.first(), None | Some(b' ')).then(|| code.parse().ok())?
}

/// RFC 7617.
fn basic(user: &str, password: &str) -> Secret {
    let pair = Zeroizing::new([decoded(user).as_slice(), b":", decoded(password).as_slice()].concat());
    Secret::new(format!("Basic {}", Zeroizing::new(STANDARD.encode(&*pair)).as_str()))
}

/// Without percent-encoding; anything else stays as it is.
fn decoded(text: &str) -> Zeroizing<Vec<u8>> {
    let mut bytes = Zeroizing::new(Vec::with_capacity(text.len()));
    let mut rest = text.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        let code = after.split_at_checked(2).filter(|_| first == b'%');
        // Digits only: the parser takes a sign too.
        let digits = code.filter(|(hex, _)| hex.iter().all(u8::is_ascii_hexdigit));
        let value = digits.and_then(|(hex, _)| u8::from_str_radix(std::str::from_utf8(hex).ok()?, 16).ok());
        bytes.push(value.unwrap_or(first));
        rest = match (value, code) {
            (Some(_), Some((_, after))) => after,
            (_, _) => after,
        };
    }
    bytes
}

/// Whether a host is on this machine.
pub fn is_loopback(host: &str) -> bool {
    let host = no_proxy::bare(host);
    host == "localhost"
        || host.ends_with(".localhost")
        || no_proxy::address(&host).is_some_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn authorization(proxy: &HttpProxy) -> Option<String> {
        proxy.authorization().map(|value| value.to_str().expect("text").to_owned())
    }

    #[test]
    fn proxy_is_read_with_and_without_credentials_and_printed_without() {
        let plain = HttpProxy::parse("http://proxy.example:3128/").expect("a proxy");
        assert_eq!(
            (plain.address(), plain.to_string().as_str()),
            (("proxy.example", 3128), "http://proxy.example:3128")
        );
        assert_eq!(authorization(&plain), None);
        let known = HttpProxy::parse("http://us%40er:p%3Ass%25@[::1]").expect("a proxy");
        assert_eq!((known.address(), known.to_string().as_str()), (("::1", 80), "http://***@[::1]:80"));
        assert_eq!(authorization(&known), Some(format!("Basic {}", STANDARD.encode("us@er:p:ss%"))));
        assert!(!format!("{known:?}").contains("p:ss"));
        for (given, sent) in [("a%+5b", "a%+5b"), ("a%-1", "a%-1"), ("a%4", "a%4"), ("a%zz", "a%zz"), ("a%2B", "a+")] {
            let known = HttpProxy::parse(&format!("http://u:{given}@x:1")).expect("a proxy");
            assert_eq!(
                authorization(&known),
                Some(format!("Basic {}", STANDARD.encode(format!("u:{sent}")))),
                "{given}"
            );
        }
        assert_eq!(HttpProxy::parse("proxy:8080").expect("a proxy").address(), ("proxy", 8080));
        assert_eq!(HttpProxy::parse("https://x:1").err(), Some(BadProxy::Scheme));
        assert_eq!(HttpProxy::parse("socks5://x:1").err(), Some(BadProxy::Scheme));
        for bad in ["", "http://", "http://x:1/path", "http://x:1?q", "http://a b"] {
            assert_eq!(HttpProxy::parse(bad).err(), Some(BadProxy::Form), "{bad}");
        }
    }

    fn chosen(host: &str, variables: &[(&str, &str)]) -> Option<String> {
        let variable =
            |name: &str| variables.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned());
        HttpProxy::of_environment(host, 443, variable).expect("a good environment").map(|proxy| proxy.to_string())
    }

    #[test]
    fn proxy_of_the_environment_is_for_other_machines_that_are_not_excepted() {
        let proxy = Some("http://p:1".to_owned());
        assert_eq!(chosen("eu.ninjarmm.com", &[]), None);
        assert_eq!(chosen("eu.ninjarmm.com", &[("HTTPS_PROXY", "http://p:1")]), proxy);
        assert_eq!(chosen("eu.ninjarmm.com", &[("https_proxy", "p:1"), ("HTTPS_PROXY", " ")]), proxy);
        assert_eq!(chosen("eu.ninjarmm.com", &[("HTTP_PROXY", "http://p:1")]), None);
        for here in
            ["localhost", "127.0.0.1", "127.9.9.9", "::1", "[::1]", "a.localhost", "LOCALHOST.", "::ffff:127.0.0.1"]
        {
            assert_eq!(chosen(here, &[("HTTPS_PROXY", "http://p:1")]), None, "{here}");
        }
        for (list, excepted) in [
            ("eu.ninjarmm.com", true),
            ("ninjarmm.com", true),
            (".ninjarmm.com", true),
            ("*.ninjarmm.com", true),
            ("a.example, EU.NinjaRMM.com", true),
            ("*", true),
            ("eu.ninjarmm.com:443", true),
            ("eu.ninjarmm.com:8443", false),
            ("rmm.com", false),
            ("us.ninjarmm.com", false),
            (",,", false),
        ] {
            let variables = [("HTTPS_PROXY", "http://p:1"), ("no_proxy", list)];
            assert_eq!(chosen("eu.ninjarmm.com", &variables).is_none(), excepted, "{list}");
        }
    }

    #[test]
    fn proxy_answers_are_read_strictly() {
        assert_eq!(status(b"HTTP/1.1 200 Connection established\r\n\r\n"), Some(200));
        assert_eq!(status(b"HTTP/1.0 407\r\n\r\n"), Some(407));
        for bad in ["HTTP/2 200\r\n", "HTTP/1.1 2000 OK\r\n", "HTTP/1.1 +20 OK\r\n", "200 OK\r\n", ""] {
            assert_eq!(status(bad.as_bytes()), None, "{bad}");
        }
    }
}
