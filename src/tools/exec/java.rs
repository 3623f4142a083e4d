//! What Java is told: a trust store of its own form, and the options that name it and the proxy.

use std::ffi::{OsStr, OsString};
use std::net::SocketAddr;
use std::path::Path;

use ring::digest::{Context, SHA1_FOR_LEGACY_USE_ONLY};
use rustls::pki_types::CertificateDer;

/// What a JKS file begins with, and its version.
const BEGIN: [u32; 2] = [0xfeed_feed, 2];
/// The entry of a certificate that is trusted.
const TRUSTED: u32 = 2;
/// What everybody uses, and who reads without it does not ask for it: the file holds no key.
const PASSWORD: &str = "changeit";
/// Goes into the digest at the end of the file, as its inventors wanted it.
const SALT: &[u8] = b"Mighty Aphrodite";
/// What Java sends past every proxy by itself.
const LOCAL: [&str; 5] = ["localhost", "127.*", "[::1]", "0.0.0.0", "[::0]"];

/// A trust store in the form JKS, which every Java reads. The same for the same certificates.
pub(super) fn trust_store<'a>(certificates: impl ExactSizeIterator<Item = &'a CertificateDer<'static>>) -> Vec<u8> {
    let mut bytes = Vec::new();
    let number = |number: usize| u32::try_from(number).unwrap_or(u32::MAX).to_be_bytes();
    let text = |bytes: &mut Vec<u8>, text: &str| {
        bytes.extend_from_slice(&u16::try_from(text.len()).unwrap_or(u16::MAX).to_be_bytes());
        bytes.extend_from_slice(text.as_bytes());
    };
    BEGIN.iter().for_each(|word| bytes.extend_from_slice(&word.to_be_bytes()));
    bytes.extend_from_slice(&number(certificates.len()));
    for (at, certificate) in certificates.enumerate() {
        bytes.extend_from_slice(&TRUSTED.to_be_bytes());
        text(&mut bytes, &format!("root-{at}"));
        // When it was added: no day is better than another.
        bytes.extend_from_slice(&[0; 8]);
        text(&mut bytes, "X.509");
        bytes.extend_from_slice(&number(certificate.len()));
        bytes.extend_from_slice(certificate);
    }
    let mut digest = Context::new(&SHA1_FOR_LEGACY_USE_ONLY);
    let password: Vec<u8> = PASSWORD.encode_utf16().flat_map(u16::to_be_bytes).collect();
    [&password, SALT, &bytes].into_iter().for_each(|part| digest.update(part));
    bytes.extend_from_slice(digest.finish().as_ref());
    bytes
}

/// `JAVA_TOOL_OPTIONS`: what is there, and the proxy. A trust store that is named there stays, and ours is not.
pub(super) fn options(there: Option<&OsStr>, proxy: SocketAddr, no_proxy: &[String], trust_store: &Path) -> OsString {
    let mut options = there.map(OsStr::to_owned).unwrap_or_default();
    let has_store = options.to_string_lossy().contains("-Djavax.net.ssl.trustStore=");
    let mut add = |option: OsString| {
        if !options.is_empty() {
            options.push(" ");
        }
        options.push(option);
    };
    for scheme in ["https", "http"] {
        add(format!("-D{scheme}.proxyHost={} -D{scheme}.proxyPort={}", proxy.ip(), proxy.port()).into());
    }
    add(format!("-Dhttp.nonProxyHosts={}", direct(no_proxy)).into());
    if !has_store {
        add("-Djavax.net.ssl.trustStoreType=JKS".into());
        let mut option = OsString::from("-Djavax.net.ssl.trustStore=");
        option.push(trust_store);
        add(quoted(option));
    }
    options
}

/// A blank would end the option.
fn quoted(option: OsString) -> OsString {
    if !option.as_encoded_bytes().iter().any(u8::is_ascii_whitespace) {
        return option;
    }
    let mut quoted = OsString::from("\"");
    quoted.push(option);
    quoted.push("\"");
    quoted
}

/// What goes past the proxy, as Java writes it: `*` for any text at an end.
fn direct(no_proxy: &[String]) -> String {
    let is_host = |entry: &&String| {
        let is_plain = |c: char| c.is_ascii_alphanumeric() || ".-_*".contains(c);
        entry.chars().all(is_plain) && !LOCAL.contains(&entry.as_str()) && *entry != "127.0.0.1"
    };
    let hosts = no_proxy.iter().filter(is_host).flat_map(|entry| {
        let name = entry.trim_start_matches(['*', '.']);
        [name.to_owned(), format!("*.{name}")]
    });
    LOCAL.iter().map(|&host| host.to_owned()).chain(hosts).collect::<Vec<_>>().join("|")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trust_store_has_each_certificate_and_ends_with_the_digest_of_all_before_it() {
        let certificates = [CertificateDer::from(vec![1, 2, 3]), CertificateDer::from(vec![4; 300])];
        let store = trust_store(certificates.iter());
        let (begin, end) = store.split_at(store.len() - 20);
        assert_eq!(&begin[..12], [0xfe, 0xed, 0xfe, 0xed, 0, 0, 0, 2, 0, 0, 0, 2]);
        assert_eq!(&begin[12..24], b"\0\0\0\x02\0\x06root-0");
        assert_eq!(&begin[24..46], b"\0\0\0\0\0\0\0\0\0\x05X.509\0\0\0\x03\x01\x02\x03");
        assert!(begin.ends_with(&[4; 300]));
        let mut digest = Context::new(&SHA1_FOR_LEGACY_USE_ONLY);
        digest.update(b"\0c\0h\0a\0n\0g\0e\0i\0tMighty Aphrodite");
        digest.update(begin);
        assert_eq!(digest.finish().as_ref(), end);
    }

    #[test]
    fn options_are_added_to_those_that_are_there() {
        let proxy = SocketAddr::from(([127, 0, 0, 1], 4000));
        let made = |there: Option<&str>, store: &str| {
            let list = ["intra.example", ".x.example", "10.0.0.0/8", "::1"].map(str::to_owned);
            options(there.map(OsStr::new), proxy, &list, Path::new(store)).into_string().expect("text")
        };
        let own = "-Dhttps.proxyHost=127.0.0.1 -Dhttps.proxyPort=4000 -Dhttp.proxyHost=127.0.0.1 -Dhttp.proxyPort=4000 -Dhttp.nonProxyHosts=localhost|127.*|[::1]|0.0.0.0|[::0]|intra.example|*.intra.example|x.example|*.x.example";
        let store = "-Djavax.net.ssl.trustStoreType=JKS -Djavax.net.ssl.trustStore=/s/a.jks";
        assert_eq!(made(None, "/s/a.jks"), format!("{own} {store}"));
        assert_eq!(made(Some("-Xmx1g"), "/s/a.jks"), format!("-Xmx1g {own} {store}"));
        assert!(made(None, "/a b.jks").ends_with(" \"-Djavax.net.ssl.trustStore=/a b.jks\""));
        let theirs = "-Djavax.net.ssl.trustStore=/theirs";
        assert_eq!(made(Some(theirs), "/s/a.jks"), format!("{theirs} {own}"));
    }
}
