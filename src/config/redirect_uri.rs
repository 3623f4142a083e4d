//! Where a browser comes back to after a sign-in.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use http::Uri;

const V4: &[IpAddr] = &[IpAddr::V4(Ipv4Addr::LOCALHOST)];
const V6: &[IpAddr] = &[IpAddr::V6(Ipv6Addr::LOCALHOST)];
const EITHER: &[IpAddr] = &[IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)];

/// A redirect URI on this machine, as the API client app has it registered (RFC 8252 section 7.3).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RedirectUri {
    /// `http://127.0.0.1`: any port, as apps of the platform Native have it.
    AnyPort,
    /// The exact URI of an app of the platform Web, to the byte, and the port that it names.
    Exact {
        /// As it is registered.
        uri: String,
        /// Where the browser comes back: `localhost` is either address, as browsers take either.
        addresses: &'static [IpAddr],
        /// On which port.
        port: u16,
    },
}

/// A text that is not a redirect URI which can be served here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RedirectUriError {
    /// Not a URI of HTTP in clear text.
    #[error("it must begin with http://, as the browser comes back to this machine")]
    Scheme,
    /// Another machine.
    #[error("its host must be 127.0.0.1, [::1] or localhost: the browser must come back to this machine")]
    Host,
    /// A browser would take 80, which this command may not use as a rule.
    #[error("it needs a port, such as http://localhost:8765/callback")]
    Port,
    /// Never sent, or not part of what an app registers.
    #[error("it must have no user, query or fragment")]
    Extra,
}

impl RedirectUri {
    /// Reads one.
    pub fn parse(text: &str) -> Result<Self, RedirectUriError> {
        if text == "http://127.0.0.1" || text == "http://127.0.0.1/" {
            return Ok(Self::AnyPort);
        }
        let rest = text.strip_prefix("http://").ok_or(RedirectUriError::Scheme)?;
        if rest.contains(['?', '#', '@']) {
            return Err(RedirectUriError::Extra);
        }
        let uri: Uri = text.parse().map_err(|_| RedirectUriError::Scheme)?;
        let addresses = match uri.host() {
            Some("127.0.0.1") => V4,
            Some("[::1]") => V6,
            Some("localhost") => EITHER,
            _ => return Err(RedirectUriError::Host),
        };
        let port = uri.port_u16().filter(|port| *port != 0).ok_or(RedirectUriError::Port)?;
        Ok(Self::Exact { uri: text.to_owned(), addresses, port })
    }

    /// The port to listen on; 0: any.
    pub fn port(&self) -> u16 {
        match self {
            Self::AnyPort => 0,
            Self::Exact { port, .. } => *port,
        }
    }

    /// The addresses to listen on.
    pub fn addresses(&self) -> &'static [IpAddr] {
        match self {
            Self::AnyPort => V4,
            Self::Exact { addresses, .. } => addresses,
        }
    }

    /// As it is sent, once the port is known.
    pub fn uri(&self, port: u16) -> String {
        match self {
            Self::AnyPort => format!("http://{}:{port}", Ipv4Addr::LOCALHOST),
            Self::Exact { uri, .. } => uri.clone(),
        }
    }
}

impl fmt::Display for RedirectUri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AnyPort => f.write_str("http://127.0.0.1"),
            Self::Exact { uri, .. } => f.write_str(uri),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn redirect_uri_is_on_this_machine() {
        let exact = |uri: &str, addresses, port| Ok(RedirectUri::Exact { uri: uri.to_owned(), addresses, port });
        for (text, read) in [
            ("http://127.0.0.1", Ok(RedirectUri::AnyPort)),
            ("http://127.0.0.1/", Ok(RedirectUri::AnyPort)),
            ("http://127.0.0.1:11434", exact("http://127.0.0.1:11434", V4, 11434)),
            ("http://localhost:8888/", exact("http://localhost:8888/", EITHER, 8888)),
            ("http://localhost:8765/callback", exact("http://localhost:8765/callback", EITHER, 8765)),
            ("http://[::1]:1/", exact("http://[::1]:1/", V6, 1)),
            ("https://localhost:8765/", Err(RedirectUriError::Scheme)),
            ("localhost:8765", Err(RedirectUriError::Scheme)),
            ("http://", Err(RedirectUriError::Scheme)),
            ("", Err(RedirectUriError::Scheme)),
            ("http://localhost", Err(RedirectUriError::Port)),
            ("http://localhost:0/", Err(RedirectUriError::Port)),
            ("http://example.com:8765/", Err(RedirectUriError::Host)),
            ("http://127.0.0.1.example.com:1/", Err(RedirectUriError::Host)),
            ("http://a@localhost:1/", Err(RedirectUriError::Extra)),
            ("http://localhost:1/?a", Err(RedirectUriError::Extra)),
            ("http://localhost:1/#a", Err(RedirectUriError::Extra)),
        ] {
            assert_eq!(RedirectUri::parse(text), read, "{text}");
        }
    }
}
