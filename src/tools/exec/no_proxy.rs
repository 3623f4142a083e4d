//! `NO_PROXY` for a command: what goes past the proxy, the names for which it stands in never among it.

/// What never goes through a proxy.
const LOCAL: [&str; 3] = ["localhost", "127.0.0.1", "::1"];

/// The list with this machine's own names added, and without all that would lead past the proxy. `lists` are those that
/// are there; `names` are the names for which the proxy stands in, lower case.
pub(super) fn list<'a>(lists: impl IntoIterator<Item = &'a str>, names: &[String]) -> Vec<String> {
    let there = lists.into_iter().flat_map(|list| list.split([',', ' ', '\t', '\n']));
    let mut list: Vec<String> = Vec::new();
    for entry in there.map(str::trim).filter(|entry| !entry.is_empty() && !covers_any(entry, names)).chain(LOCAL) {
        if !list.iter().any(|known| known == entry) {
            list.push(entry.to_owned());
        }
    }
    list
}

/// Whether a runtime may take this entry for one of the names. Some compare only the ends of the texts, so this does too.
fn covers_any(entry: &str, names: &[String]) -> bool {
    let entry = entry.to_ascii_lowercase();
    let name = entry.rsplit_once(':').filter(|(_, port)| port.bytes().all(|byte| byte.is_ascii_digit()));
    let end = name.map_or(entry.as_str(), |(name, _)| name).trim_start_matches(['*', '.']).trim_end_matches('.');
    // A wildcard in the midst or at the end is one for few runtimes: it may cover anything.
    end.contains('*') || names.iter().any(|name| name.ends_with(end))
}

#[cfg(test)]
mod tests {
    fn made(list: &str) -> String {
        super::list([list], &["eu.ninjarmm.com".to_owned(), "app.ninjarmm.com".to_owned()]).join(",")
    }

    #[test]
    fn own_names_are_added_once() {
        assert_eq!(made(""), "localhost,127.0.0.1,::1");
        assert_eq!(made("localhost, intra.example ::1"), "localhost,intra.example,::1,127.0.0.1");
        assert_eq!(
            super::list(["a.example", "b.example,a.example"], &[]).join(","),
            "a.example,b.example,localhost,127.0.0.1,::1"
        );
    }

    #[test]
    fn what_would_lead_past_the_proxy_is_left_out() {
        for entry in [
            "*",
            "e*",
            "eu.*.com",
            "eu.ninjarmm.com",
            "EU.NinjaRMM.com",
            "eu.ninjarmm.com.",
            "eu.ninjarmm.com:443",
            ".eu.ninjarmm.com",
            "ninjarmm.com",
            ".ninjarmm.com",
            "*.ninjarmm.com",
            "com",
            ".com:443",
            "*.com.",
            ".",
        ] {
            assert_eq!(made(&format!("{entry},intra.example")), "intra.example,localhost,127.0.0.1,::1", "{entry}");
        }
        for entry in
            ["oc.ninjarmm.com", "xeu.ninjarmm.com", "10.0.0.0/8", "ninjarmm.com.example", "[::2]:443", "2001:db8::1"]
        {
            assert!(made(entry).starts_with(entry), "{entry}");
        }
    }
}
