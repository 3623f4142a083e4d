//! Where a running proxy can be asked how it is, found in its configuration file without judging the rest of it: a proxy
//! serves on while its file has a mistake, is half written, or is gone.

use std::io::Read;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};

use super::DEFAULT_FILE;
use super::sections::AdminSection;
use super::value::{AdminAddress, parse_tcp_place};
use crate::base::file;
use crate::net::listener::ListenAddress;

/// More than a configuration has; what comes behind is not read.
const MAX_FILE: u64 = 4 << 20;

/// An address, and where it was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listening {
    /// Of an admin or a probe listener.
    pub address: SocketAddr,
    /// For people, such as `admin.address of config.toml`.
    pub origin: String,
}

/// No address was found.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotListening {
    /// Both listeners are switched off.
    #[error(
        "{0}: admin.address and probes.address are \"none\", so there is no listener to ask: give one of them an address, such as \"127.0.0.1:9180\""
    )]
    Off(String),
    /// The system chooses the port.
    #[error(
        "{0}: the port of {1} is 0, so only the log of the running proxy names it (\"listening address=...\"): give that with --admin, or write a port other than 0"
    )]
    AnyPort(String, &'static str),
}

/// The keys with addresses that answer `/livez` and `/readyz`, the one with reasons first.
const KEYS: [(&str, &str); 2] = [("admin", "admin.address"), ("probes", "probes.address")];

/// What a key says.
enum Said {
    /// An address.
    Address(SocketAddr),
    /// `"none"`.
    Off,
    /// Something that is not an address.
    Unclear,
}

/// The addresses that the file names, or the default where it does not say; `path` is that of `--config`.
pub fn listening(path: Option<&Path>) -> Result<Vec<Listening>, NotListening> {
    let file = path.map_or_else(|| PathBuf::from(DEFAULT_FILE), Path::to_owned);
    let (source, text) = match read(&file) {
        Some(text) => (file.display().to_string(), text),
        None => (format!("{}, which cannot be read", file.display()), String::new()),
    };
    find(&source, &text)
}

fn find(source: &str, text: &str) -> Result<Vec<Listening>, NotListening> {
    let (mut found, mut any_port) = (Vec::<Listening>::new(), None);
    let mut asked = |key, address: SocketAddr, origin: String| {
        if address.port() == 0 {
            any_port = Some(key);
        } else if !found.iter().any(|known| known.address == reachable(address)) {
            found.push(Listening { address: reachable(address), origin });
        }
    };
    for (table, key) in KEYS {
        let said = values(text, table);
        for value in &said {
            if let Said::Address(address) = value {
                asked(key, *address, format!("{key} of {source}"));
            }
        }
        let AdminAddress(default) = AdminSection::default().address;
        // A running proxy may have an address that the file no longer names.
        let default = default.and_then(|place| first(&place));
        if let Some(address) =
            default.filter(|_| table == "admin" && said.iter().all(|said| matches!(said, Said::Unclear)))
        {
            asked(key, address, format!("the default of {key}"));
        }
    }
    match (found.is_empty(), any_port) {
        (false, _) => Ok(found),
        (true, Some(key)) => Err(NotListening::AnyPort(source.to_owned(), key)),
        (true, None) => Err(NotListening::Off(source.to_owned())),
    }
}

/// Nobody can call the address that means all addresses.
fn reachable(mut address: SocketAddr) -> SocketAddr {
    if address.ip().is_unspecified() {
        address.set_ip(if address.is_ipv4() { Ipv4Addr::LOCALHOST.into() } else { Ipv6Addr::LOCALHOST.into() });
    }
    address
}

/// The text, whatever is wrong with it. Only a regular file is read: another one could block.
fn read(path: &Path) -> Option<String> {
    let mut bytes = Vec::new();
    file::open(path).ok()?.take(MAX_FILE).read_to_end(&mut bytes).ok()?;
    // What matters is ASCII, also in UTF-16.
    bytes.retain(|byte| *byte != 0);
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

/// What `address` in this table says: once in a file that is right, perhaps more often in one that is not.
fn values(text: &str, table: &str) -> Vec<Said> {
    let whole = text.parse::<toml::Table>();
    let texts = match whole.as_ref() {
        Ok(whole) => whole
            .get(table)
            .and_then(|table| table.get("address"))
            .and_then(|value| value.as_str())
            .into_iter()
            .collect(),
        Err(_) => lines(text, table),
    };
    texts
        .into_iter()
        .map(|text| match text {
            "none" => Said::Off,
            _ => parse_tcp_place(text).ok().and_then(|place| first(&place)).map_or(Said::Unclear, Said::Address),
        })
        .collect()
}

/// Of `localhost` that of IPv4.
fn first(place: &ListenAddress) -> Option<SocketAddr> {
    place.addresses().first().copied()
}

/// The quoted values of `address` in this table, line by line.
fn lines<'a>(text: &'a str, table: &str) -> Vec<&'a str> {
    let (mut found, mut inside) = (Vec::new(), false);
    let blank = |c: char| c.is_whitespace() || matches!(c, '\u{feff}' | char::REPLACEMENT_CHARACTER);
    for line in text.lines().map(|line| line.trim_matches(blank)) {
        if let Some(name) = line.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
            inside = name.0.trim() == table;
            continue;
        }
        let Some((key, value)) = line.split_once('=').map(|(key, value)| (key.trim(), value.trim())) else { continue };
        let inline = (key == table).then(|| value.split_once("address")).flatten();
        let value = match inline {
            Some((_, rest)) => rest.trim_start().trim_start_matches('=').trim_start(),
            None if (inside && key == "address") || key.strip_prefix(table) == Some(".address") => value,
            None => continue,
        };
        let quote = value.chars().next().filter(|first| matches!(first, '"' | '\''));
        found.extend(quote.and_then(|quote| value.split(quote).nth(1)));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(text: &str) -> Vec<String> {
        find("c.toml", text).expect("an address").into_iter().map(|found| found.address.to_string()).collect()
    }

    #[test]
    fn an_address_is_found_in_a_file_that_is_right() {
        assert_eq!(found(""), ["127.0.0.1:9180"]);
        assert_eq!(found("[admin]\naddress = \"[::1]:9\""), ["[::1]:9"]);
        assert_eq!(found("[admin]\naddress = \"localhost:9\""), ["127.0.0.1:9"]);
        assert_eq!(found("[admin]\naddress = \"none\"\n[probes]\naddress = \"0.0.0.0:9181\""), ["127.0.0.1:9181"]);
        assert_eq!(found("[probes]\naddress = \"[::]:9181\""), ["127.0.0.1:9180", "[::1]:9181"]);
        assert_eq!(found("[admin]\naddress = \"127.0.0.1:0\"\n[probes]\naddress = \"10.0.0.1:9\""), ["10.0.0.1:9"]);
    }

    #[test]
    fn an_address_is_found_whatever_is_wrong_with_the_rest() {
        let right = "[listeners.local]\naddress = \"127.0.0.1:1\"\n[admin]  # for probes\n address = '127.0.0.1:7' # a note\n[log]\naddress = \"127.0.0.1:2\"\n";
        for broken in [
            format!("{right}x"),
            format!("x\n{right}"),
            format!("\u{feff}{right}]]]"),
            format!("{right}\nkey = \"no end"),
            format!("allow = [\n\"GET /v2/x\",\n{right}"),
            right.replace('\n', "\r\n") + "\"\"\"",
            "admin.address = \"127.0.0.1:7\"\n=".to_owned(),
            "admin = { address = \"127.0.0.1:7\" }\n=".to_owned(),
            format!("{right}[nonsense]\nunknown = \"key\""),
        ] {
            assert_eq!(found(&broken), ["127.0.0.1:7"], "{broken}");
        }
        let cut = right.split_once("[log]").expect("a table").0;
        for end in 0..cut.len() {
            // Where the address is cut off itself, the default is all that is left.
            let all = found(&cut[..end]);
            assert!(all == ["127.0.0.1:9180"] || all == ["127.0.0.1:7"], "{all:?} in {}", &cut[..end]);
        }
    }

    #[test]
    fn an_address_that_cannot_be_read_leaves_the_default() {
        assert_eq!(found("[admin]\naddress = \"127.0.0.1\""), ["127.0.0.1:9180"]);
        assert_eq!(found("[admin]\naddress = 9180"), ["127.0.0.1:9180"]);
        assert_eq!(found("[admin]\naddress = \"127.0.0.1:9190"), ["127.0.0.1:9190"]);
    }

    #[test]
    fn no_address_is_told_with_what_to_do() {
        let said = |text: &str| find("c.toml", text).expect_err("no address").to_string();
        let off = said("[admin]\naddress = \"none\"");
        assert!(off.starts_with("c.toml: ") && off.contains("there is no listener to ask"), "{off}");
        let any = said("[admin]\naddress = \"127.0.0.1:0\"");
        assert!(any.contains("the port of admin.address is 0") && any.contains("--admin"), "{any}");
    }

    #[test]
    fn only_a_regular_file_is_read_and_utf_16_is_read_too() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("c.toml");
        let wide: Vec<u8> =
            "[admin]\r\naddress = \"127.0.0.1:7\"\r\n".encode_utf16().flat_map(u16::to_le_bytes).collect();
        std::fs::write(&file, [&[0xff, 0xfe][..], &wide].concat()).expect("a file");
        let all = listening(Some(&file)).expect("an address");
        assert_eq!(all.first().map(|found| found.address.port()), Some(7));
        for missing in [folder.path().to_owned(), folder.path().join("none")] {
            let all = listening(Some(&missing)).expect("the default");
            assert_eq!(all.iter().map(|found| found.address.port()).collect::<Vec<_>>(), [9180], "{missing:?}");
        }
    }
}
