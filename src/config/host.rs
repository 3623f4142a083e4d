//! Where an instance is, as it is written in the file: a region, or the name of a host.

use std::fmt;
use std::str::FromStr;

use http::uri::Authority;
use rustls::pki_types::ServerName;
use serde::de::Deserializer;
use serde::{Deserialize, Serialize, Serializer};

use super::nearest;
use super::value::parsed;

/// Where an instance is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum InstanceHost {
    /// The embedded one.
    Sandbox,
    /// By TLS.
    Https(Authority),
    /// In clear text, on loopback only.
    Http(Authority),
}

/// The regions, and the words that people take from their addresses.
const REGIONS: [(&str, &str); 7] = [
    ("us", "app.ninjarmm.com"),
    ("us2", "us2.ninjarmm.com"),
    ("eu", "eu.ninjarmm.com"),
    ("oc", "oc.ninjarmm.com"),
    ("ca", "ca.ninjarmm.com"),
    ("fed", "fed.ninjarmm.com"),
    ("app", "app.ninjarmm.com"),
];

/// The hosts of all regions.
pub(super) fn region_hosts() -> Vec<String> {
    let mut hosts: Vec<_> = REGIONS.iter().map(|(_, host)| (*host).to_owned()).collect();
    hosts.sort();
    hosts.dedup();
    hosts
}

const VALID: &str = "write a region (us, us2, eu, oc, ca, fed), the name of the host where you sign in, such as \"eu.ninjarmm.com\" or \"acme.rmmservice.com\", or \"sandbox\"";

fn parse_host(text: &str) -> Result<InstanceHost, String> {
    let (scheme, rest) = text.split_once("://").unwrap_or(("https", text));
    let word = rest.to_ascii_lowercase();
    if word == "sandbox" && scheme == "https" {
        return Ok(InstanceHost::Sandbox);
    }
    let region = REGIONS.iter().find(|(name, _)| *name == word).map(|(_, host)| *host);
    let named = region.unwrap_or(&word);
    if let Some((host, _)) = named.split_once('/') {
        let path = rest.get(host.len()..).unwrap_or_default();
        return Err(format!(
            "{text:?} has a path, which a host does not have: leave out {path:?} and write {host:?} (the path of the token endpoint has a key of its own, token-path)"
        ));
    }
    let bad = || format!("{text:?} is not a host: {VALID}{}", meant(rest.trim()));
    let authority: Authority = named.parse().map_err(|_| bad())?;
    let host = authority.host().trim_matches(['[', ']']);
    if ServerName::try_from(host.to_owned()).is_err()
        || named.contains('@')
        || (named.matches(':').count() == 1 && authority.port_u16().is_none_or(|port| port == 0))
    {
        return Err(bad());
    }
    let chosen = text.contains("://") || authority.port().is_some() || host.contains(['.', ':']) || host == "localhost";
    if !chosen {
        return Err(format!(
            "{text:?} is not a region, and not a whole host name either: {VALID}{} For a host that your network knows as {word:?}, write \"https://{word}\"",
            match meant(&word) {
                none if none.is_empty() => ".".to_owned(),
                meant => meant,
            }
        ));
    }
    match scheme {
        "https" => Ok(InstanceHost::Https(authority)),
        "http" if is_loopback(host) => Ok(InstanceHost::Http(authority)),
        "http" => Err(format!(
            "{text:?} would send the client secret in clear text: http:// is accepted for this machine only (127.0.0.1, [::1], localhost); write \"https://{authority}\""
        )),
        _ => Err(bad()),
    }
}

/// `; did you mean "eu"?` for the region that is written most alike.
fn meant(word: &str) -> String {
    nearest(&word.to_ascii_lowercase(), REGIONS.iter().map(|(name, _)| *name).filter(|name| *name != "app"))
}

fn is_loopback(host: &str) -> bool {
    host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

impl FromStr for InstanceHost {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        parse_host(text)
    }
}

impl<'de> Deserialize<'de> for InstanceHost {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        parsed(deserializer, parse_host)
    }
}

impl fmt::Display for InstanceHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sandbox => f.write_str("sandbox"),
            Self::Https(authority) => write!(f, "https://{authority}"),
            Self::Http(authority) => write!(f, "http://{authority}"),
        }
    }
}

impl Serialize for InstanceHost {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn host_is_a_region_or_any_authority_and_clear_text_only_on_loopback() {
        let https = |name: &'static str| Ok(InstanceHost::Https(Authority::from_static(name)));
        for sandbox in ["sandbox", "Sandbox"] {
            assert_eq!(parse_host(sandbox), Ok(InstanceHost::Sandbox));
        }
        for (region, host) in [
            ("us", "app.ninjarmm.com"),
            ("app", "app.ninjarmm.com"),
            ("APP", "app.ninjarmm.com"),
            ("Eu", "eu.ninjarmm.com"),
        ] {
            assert_eq!(parse_host(region), https(host));
        }
        assert_eq!(parse_host("Acme.RMMservice.eu:8443"), https("acme.rmmservice.eu:8443"));
        assert_eq!(parse_host("https://127.0.0.1:1"), https("127.0.0.1:1"));
        assert_eq!(parse_host("https://gateway"), https("gateway"));
        assert_eq!(parse_host("gateway:8443"), https("gateway:8443"));
        assert_eq!(parse_host("[::1]"), https("[::1]"));
        for loopback in ["http://127.0.0.1:80", "http://localhost:1", "http://[::1]:1"] {
            assert!(matches!(parse_host(loopback), Ok(InstanceHost::Http(_))), "{loopback}");
        }
        for bad in [
            "",
            "http://eu.ninjarmm.com",
            "http://127.0.0.1.evil.example",
            "ftp://x",
            "a b",
            "x:y",
            "x:0",
            "u:p@x",
            "eu.ninjarmm.com/ws",
            "a..b",
            "-",
            "us3",
            "gateway",
        ] {
            assert!(parse_host(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_word_that_is_not_a_region_gets_the_nearest_one() {
        for (word, region) in
            [("us3", "us"), ("us1", "us"), ("eu2", "eu"), ("europe", ""), ("eu ", "eu"), ("oce", "oc"), ("US3", "us")]
        {
            let said = parse_host(word).expect_err("a question");
            let hint = format!("did you mean {region:?}?");
            assert_eq!(said.contains("did you mean"), !region.is_empty(), "{said}");
            assert!(region.is_empty() || said.contains(&hint), "{word}: {said}");
        }
        assert!(parse_host("us3").is_err_and(|said| said.ends_with("write \"https://us3\"")));
    }
}
