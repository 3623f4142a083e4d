//! Why a request is not let in.

use std::time::Duration;

use http::HeaderName;

use super::key_hint::KeyHint;

/// Why a request is not let in.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AuthnError {
    /// A head larger than the limit.
    #[error("the request's head is too large")]
    LargeHead,
    /// HTTP/1.1 without `Host`.
    #[error("the request has no Host")]
    NoHost,
    /// More than one `Host`.
    #[error("the request has more than one Host")]
    ManyHosts,
    /// `Host`, or the authority of an absolute-form target, is not a name or address with a port.
    #[error("the request is for {0:?}, which no server can be called")]
    BadHost(String),
    /// A `#` in the request line.
    #[error("the request target has a fragment")]
    Fragment,
    /// A line of the head that ends in a line feed alone.
    #[error("a line of the request's head does not end in CR LF")]
    LineFeed,
    /// Its end could be read in more than one way.
    #[error("the end of the request is ambiguous")]
    Framing,
    /// `Host`, or the authority of an absolute-form target, is not a name of this listener.
    #[error("the request is for {0:?}, which is not a name of this listener")]
    UnknownHost(String),
    /// CONNECT over HTTP/2, or through a connection that came by CONNECT itself.
    #[error("CONNECT is taken over HTTP/1.1 only, and not inside another CONNECT")]
    NestedConnect,
    /// The TLS handshake or `Host` is for another server than CONNECT, or the target.
    #[error("the connection or target is for {outside:?}, and what came with it is for {inside:?}")]
    OtherServer {
        /// What CONNECT, or the target, names.
        outside: String,
        /// What the handshake, or `Host`, names.
        inside: String,
    },
    /// The listener has callers, and CONNECT or a request to a proxy does not say which one it is of.
    #[error("the request to the proxy has no key")]
    NoProxyKey,
    /// What the caller presents to the proxy is no caller's key.
    #[error("the key that was presented to the proxy is not that of a caller")]
    WrongProxyKey(KeyHint),
    /// A page of another origin made the browser send it.
    #[error("the request comes from a web page ({0})")]
    CrossOrigin(String),
    /// An intermediary passed it on, and nobody can tell for whom.
    #[error("the request was relayed ({0})")]
    Relayed(HeaderName),
    /// The listener has callers, and the request does not say which one it is of.
    #[error("the request has no key")]
    NoKey,
    /// The key, token or credentials are nobody's.
    #[error("the request's key is not that of a caller")]
    WrongKey(KeyHint),
    /// Too many wrong keys of late; one more is judged after this time.
    #[error("too many wrong keys")]
    Throttled(Duration),
    /// A token request by another grant than client credentials.
    #[error("the grant type is not supported")]
    OtherGrant,
    /// A token request by another method than POST.
    #[error("a token was asked for by another method than POST")]
    NotPost,
    /// A person's sign-in, which leads nowhere here.
    #[error("nobody signs in here")]
    SignIn,
}
