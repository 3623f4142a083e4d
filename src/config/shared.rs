//! What `[shared]` says: where the store is, as whom it is used, and what is sealed with which keys.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use reqwest::Url;
use toml::Spanned;

use super::Config;
use super::mistake::ConfigMistake;
use super::sections::SharedSection;
use super::settings::SharedConfig;
use super::value::{ClientSecret, SealingKeyFiles};
use crate::base::secret::source::SecretSource;
use crate::net::tls::Trust;
use crate::shared::sealing::SealingKeys;
use crate::shared::{StoreAddress, StoreConfig};

/// Where Redis and Valkey listen, and their sentinels.
const PORTS: (u16, u16) = (6379, 26379);
/// The range of `timeout`.
const TIMEOUT: (Duration, Duration) = (Duration::from_millis(1), Duration::from_secs(1));
/// The highest number of a database.
const MAX_DATABASE: i64 = 65_535;
/// What a URL of a store looks like.
const FORMS: &str = "write redis://HOST:6379/0, rediss://HOST:6379/0 for TLS, or unix:///PATH/redis.sock";

/// What a URL says.
struct StoreUrl {
    /// A host, and a port if there is one; or the path of a socket.
    at: Result<(String, Option<u16>), PathBuf>,
    tls: bool,
    database: i64,
}

impl Config {
    /// What `[shared]` says, with the keys read.
    pub(crate) fn shared(&self) -> Result<SharedConfig, ConfigMistake> {
        let keys = self.sealing_keys()?.map(Arc::new);
        let Some(address) = self.store_address()? else { return Ok(SharedConfig { keys, store: None }) };
        let file = &self.file.shared;
        let (Some(url), Some(keys)) = (&file.url, keys) else {
            let message = "what is stored is sealed: give key, the same on all replicas, such as { file = \"sealing-key\" }; \"openssl rand -base64 32 > sealing-key\" makes one";
            return Err(self.about(&["shared", "url"], &[], message));
        };
        let parsed = self.store_url(url)?;
        let trust = parsed.tls.then(|| self.store_trust(file)).transpose()?;
        let source = |place: &Option<Spanned<ClientSecret>>| self.store_password(place.as_ref());
        let store = StoreConfig {
            address,
            tls: trust,
            database: parsed.database,
            username: file.username.clone(),
            password: source(&file.password)?,
            sentinel_password: source(&file.sentinel_password)?,
            prefix: file.prefix.get_ref().clone(),
            timeout: file.timeout.get_ref().0,
            keys: Arc::clone(&keys),
        };
        Ok(SharedConfig { keys: Some(keys), store: Some(store) })
    }

    /// Where the store is, if there is one. Checks all that needs no other file.
    pub(super) fn store_address(&self) -> Result<Option<StoreAddress>, ConfigMistake> {
        let file = &self.file.shared;
        let prefix = file.prefix.get_ref();
        if prefix.is_empty()
            || prefix.len() > 64
            || !prefix.chars().all(|c| c.is_ascii_alphanumeric() || "-_.:".contains(c))
        {
            return Err(
                self.mistake(&file.prefix, "use 1 to 64 letters, digits, -, _, . and :, such as ninjaone-proxy")
            );
        }
        if !(TIMEOUT.0..=TIMEOUT.1).contains(&file.timeout.get_ref().0) {
            return Err(self.mistake(&file.timeout, "write a time from \"1ms\" to \"1s\", such as \"20ms\""));
        }
        let Some(url) = &file.url else {
            let needing = [
                ("sentinels", !file.sentinels.is_empty()),
                ("username", file.username.is_some()),
                ("password", file.password.is_some()),
                ("sentinel-password", file.sentinel_password.is_some()),
                ("ca-file", file.ca_file.is_some()),
            ];
            return match needing.into_iter().find(|(_, is_there)| *is_there) {
                None => Ok(None),
                Some((key, _)) => Err(self.about(
                    &["shared", key],
                    &[],
                    format!("{key} is for a store, and there is no url: {FORMS}"),
                )),
            };
        };
        let parsed = self.store_url(url)?;
        if let (false, Some(place)) = (parsed.tls, &file.ca_file) {
            return Err(self.mistake(
                place,
                "url is without TLS, so no certificate is checked: write rediss, or leave ca-file out",
            ));
        }
        let (host, port) = match parsed.at {
            Ok(at) => at,
            Err(_) if !file.sentinels.is_empty() => {
                return Err(self.mistake(
                    url,
                    "sentinels name a primary on the network: write redis://NAME/0 with the name that they know it by",
                ));
            }
            Err(path) => return Ok(Some(StoreAddress::Unix(path))),
        };
        if file.sentinels.is_empty() {
            return Ok(Some(StoreAddress::Tcp(host, port.unwrap_or(PORTS.0))));
        }
        if port.is_some() {
            return Err(self.mistake(
                url,
                "with sentinels, the host of url is the name of the primary as they know it, and has no port",
            ));
        }
        let sentinels = file.sentinels.iter().map(|place| self.sentinel(place)).collect::<Result<_, _>>()?;
        Ok(Some(StoreAddress::Sentinels { sentinels, primary: host }))
    }

    fn sentinel(&self, place: &Spanned<String>) -> Result<(String, u16), ConfigMistake> {
        let text = place.get_ref();
        let parsed = Url::parse(&format!("redis://{text}"));
        let parsed = parsed.ok().filter(|url| matches!(url.path(), "" | "/") && url.username().is_empty());
        let host = parsed.as_ref().and_then(host_of);
        let (Some(url), Some(host)) = (&parsed, host) else {
            return Err(self.mistake(place, format!("{text:?} is not a host and port, such as \"sentinel-0:26379\"")));
        };
        Ok((host, url.port().unwrap_or(PORTS.1)))
    }

    fn store_url(&self, place: &Spanned<String>) -> Result<StoreUrl, ConfigMistake> {
        let wrong = |why: String| self.mistake(place, why);
        // It may hold a password, so it is not repeated.
        let url = Url::parse(place.get_ref()).map_err(|_| wrong(format!("this is not a URL of a store: {FORMS}")))?;
        if url.password().is_some() || !url.username().is_empty() {
            return Err(wrong("a user or password must not be in url: give username, and password as { file = \"PATH\" } or { env = \"VARIABLE\" }; change a password that was here".to_owned()));
        }
        let tls = url.scheme() == "rediss";
        match url.scheme() {
            "redis" | "rediss" => {
                let host = host_of(&url).ok_or_else(|| wrong(format!("there is no host: {FORMS}")))?;
                if url.query().is_some() || url.fragment().is_some() {
                    return Err(wrong(format!("there is something after the number of the database: {FORMS}")));
                }
                let database = self.database(place, url.path().trim_start_matches('/'))?;
                Ok(StoreUrl { at: Ok((host, url.port())), tls, database })
            }
            "unix" => {
                let database = match url.query_pairs().collect::<Vec<_>>().as_slice() {
                    [] => 0,
                    [(name, number)] if name == "db" => self.database(place, number)?,
                    _ => return Err(wrong("after the path of a socket only ?db=NUMBER is understood".to_owned())),
                };
                if url.host_str().is_some_and(|host| !host.is_empty()) || url.path().len() < 2 {
                    return Err(wrong("write three slashes and the path: unix:///run/redis/redis.sock".to_owned()));
                }
                Ok(StoreUrl { at: Err(PathBuf::from(url.path())), tls, database })
            }
            _ => Err(wrong(format!("the scheme is not one of a store: {FORMS}"))),
        }
    }

    fn database(&self, place: &Spanned<String>, text: &str) -> Result<i64, ConfigMistake> {
        let plain = text.bytes().all(|byte| byte.is_ascii_digit());
        let number = if text.is_empty() { Some(0) } else { text.parse().ok().filter(|_| plain) };
        number
            .filter(|number| *number <= MAX_DATABASE)
            .ok_or_else(|| self.mistake(place, format!("{text:?} is not the number of a database, such as 0")))
    }

    fn store_trust(&self, file: &SharedSection) -> Result<Arc<rustls::ClientConfig>, ConfigMistake> {
        let path = file.ca_file.as_ref().map(|path| self.beside(path.get_ref()));
        let config = Trust::load(path.as_deref()).and_then(|trust| trust.client_config(&[]));
        config.map_err(|error| match &file.ca_file {
            Some(place) => self.mistake(place, error.to_string()),
            None => self.about(&["shared", "url"], &[], error.to_string()),
        })
    }

    /// Where a password is read from. It is read once here, so that a mistake is found at the start.
    fn store_password(&self, place: Option<&Spanned<ClientSecret>>) -> Result<Option<SecretSource>, ConfigMistake> {
        let Some(place) = place else { return Ok(None) };
        let ClientSecret(reference) = place.get_ref();
        let source = self.referred(reference).and_then(|source| source.read().map(|_| source));
        source.map(Some).map_err(|error| self.mistake(place, error.to_string()))
    }

    fn sealing_keys(&self) -> Result<Option<SealingKeys>, ConfigMistake> {
        let Some(place) = &self.file.shared.key else { return Ok(None) };
        let SealingKeyFiles(references) = place.get_ref();
        let read = |reference| self.referred(reference).and_then(|source| source.read());
        let texts = references.iter().map(read).collect::<Result<Vec<_>, _>>();
        let texts = texts.map_err(|error| self.mistake(place, error.to_string()))?;
        SealingKeys::new(&texts).map_err(|error| self.mistake(place, error.to_string()))
    }
}

/// Without the brackets of an IPv6 address.
fn host_of(url: &Url) -> Option<String> {
    url.host_str().filter(|host| !host.is_empty()).map(|host| host.trim_matches(['[', ']']).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is said of this `[shared]`, or where its store is.
    fn read(text: &str) -> Result<Option<String>, String> {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("c.toml");
        for (name, text) in [("key", "k".repeat(32)), ("short", "k".repeat(31)), ("password", "secret".to_owned())] {
            std::fs::write(folder.path().join(name), text).expect("a file");
        }
        let told = Config::parse(&path, format!("[shared]\n{text}\n")).and_then(|config| config.shared());
        let told = told.map(|shared| shared.store.map(|store| format!("{} {}", store.address, store.database)));
        let place = format!("{}:", path.display());
        told.map_err(|mistake| mistake.to_string().replace(&place, ""))
    }

    #[test]
    fn stores_are_found_where_their_urls_say() {
        let key = "key = { file = \"key\" }";
        for (text, store) in [
            ("url = \"redis://127.0.0.1\"", "127.0.0.1:6379 0"),
            ("url = \"redis://[::1]:7000/3\"", "::1:7000 3"),
            ("url = \"unix:///run/redis.sock?db=2\"", "/run/redis.sock 2"),
            ("url = \"redis://main/1\"\nsentinels = [\"a\", \"b:7\"]", "main (by 2 sentinels) 1"),
        ] {
            assert_eq!(read(&format!("{text}\n{key}")), Ok(Some(store.to_owned())), "{text}");
        }
        assert_eq!((read(key), read("")), (Ok(None), Ok(None)), "without a store");
        assert_eq!(read("key = [{ file = \"key\" }, { file = \"key\" }]"), Ok(None));
    }

    #[test]
    fn what_is_wrong_is_said_with_its_line_and_no_secret() {
        for (text, said) in [
            ("url = \"redis://h\"", "2:1: shared.url: what is stored is sealed: give key"),
            ("url = \"http://h\"", "2:7: shared.url: the scheme is not one of a store: write redis://HOST:6379/0"),
            ("url = \"redis://\"", "2:7: shared.url: "),
            ("url = \"redis://u:hunter2@h\"", "2:7: shared.url: a user or password must not be in url"),
            ("url = \"redis://h/x\"", "2:7: shared.url: \"x\" is not the number of a database"),
            ("url = \"redis://h/+1\"", "\"+1\" is not the number of a database"),
            ("url = \"redis://h/0?a\"", "there is something after the number of the database"),
            ("url = \"unix://run/redis.sock\"", "write three slashes and the path"),
            ("url = \"unix:///s\"\nsentinels = [\"a\"]", "sentinels name a primary on the network"),
            ("url = \"redis://h:1\"\nsentinels = [\"a\"]", "has no port"),
            ("url = \"redis://h\"\nsentinels = [\"a/b\"]", "3:14: shared.sentinels"),
            ("url = \"redis://h\"\nca-file = \"ca.pem\"", "3:11: shared.ca-file: url is without TLS"),
            ("password = { file = \"password\" }", "password is for a store, and there is no url"),
            ("password = \"hunter2\"", "a secret must not be in this file"),
            ("key = \"hunter2\"", "a key must not be in this file"),
            ("key = []", "an empty list has no key"),
            ("key = { file = \"short\" }", "2:7: shared.key: the sealing key has 31 characters, and needs at least 32"),
            ("key = { file = \"missing\" }", "2:7: shared.key: the file "),
            ("prefix = \"a b\"", "2:10: shared.prefix: use 1 to 64 letters"),
            ("timeout = \"2s\"", "2:11: shared.timeout: write a time from \"1ms\" to \"1s\""),
            ("urls = \"redis://h\"", "did you mean \"url\"?"),
        ] {
            let mistake = read(text).expect_err(text);
            assert!(mistake.contains(said), "{text}\n said: {mistake}\n not:  {said}");
            assert!(!mistake.contains("hunter2"), "{mistake}");
        }
    }
}
