//! What to type so that a system or a runtime trusts the local CA, with the paths of this machine.

use std::path::Path;

use serde::Serialize;

/// One system or runtime, and the way it comes to trust a CA.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Way {
    /// For what.
    #[serde(rename = "for")]
    pub tool: &'static str,
    /// What to type.
    pub steps: Vec<String>,
    /// What takes it back, where it outlasts the tool.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub undo: Vec<String>,
    /// What else one must know.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub note: &'static str,
}

/// How a command line is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shell {
    /// `sh` and its kin.
    Posix,
    /// PowerShell.
    PowerShell,
}

impl Shell {
    /// That of this system.
    pub fn of_this_system() -> Self {
        if cfg!(windows) { Self::PowerShell } else { Self::Posix }
    }

    /// A word that the shell takes as it is.
    pub fn quote(self, word: &str) -> String {
        let plain =
            |c: char| c.is_ascii_alphanumeric() || "/._-+:@%=".contains(c) || self == Self::PowerShell && c == '\\';
        if !word.is_empty() && word.chars().all(plain) {
            return word.to_owned();
        }
        match self {
            Self::Posix => format!("'{}'", word.replace('\'', r"'\''")),
            Self::PowerShell => format!("'{}'", word.replace('\'', "''")),
        }
    }

    /// Sets a variable for the programs that are started afterwards.
    fn set(self, variable: &str, value: &str) -> String {
        match self {
            Self::Posix => format!("export {variable}={value}"),
            Self::PowerShell => format!("$env:{variable} = '{}'", value.trim_matches('\'')),
        }
    }
}

/// Where most Linux systems have the roots that they trust in one file.
const BUNDLES: [&str; 4] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];
/// The variables below name the only file that a program then trusts.
const ONLY: &str = "It then trusts nothing else: for other sites too, name a file that holds both (see below).";

/// For programs that read the store of the system. `here` are the commands that do it and undo it on this one.
pub fn systems(authority: &Path, shell: Shell, here: Option<[String; 2]>) -> Vec<Way> {
    let ca = &shell.quote(&authority.to_string_lossy());
    let way = |tool, steps: &[String], undo: &[String]| Way { tool, steps: steps.into(), undo: undo.into(), note: "" };
    let folder = |tool, folder: &str, program: &str, after: &str| {
        let file = format!("{folder}/ninjaone-proxy-local-ca.crt");
        way(
            tool,
            &[format!("sudo cp {ca} {file} && sudo {program}")],
            &[format!("sudo rm {file} && sudo {program}{after}")],
        )
    };
    let here = here.map(|[install, uninstall]| way("This system", &[install], &[uninstall]));
    let others = [
        folder("Debian, Ubuntu, Alpine", "/usr/local/share/ca-certificates", "update-ca-certificates", " --fresh"),
        folder("Fedora, RHEL", "/etc/pki/ca-trust/source/anchors", "update-ca-trust", ""),
        folder("Arch Linux", "/etc/ca-certificates/trust-source/anchors", "update-ca-trust", ""),
        folder("openSUSE, SLES", "/etc/pki/trust/anchors", "update-ca-certificates", ""),
        way(
            "macOS",
            &[format!("sudo security add-trusted-cert -d -r trustRoot -k /Library/Keychains/System.keychain {ca}")],
            &[format!("sudo security remove-trusted-cert -d {ca}")],
        ),
        way(
            "Windows, as administrator",
            &[format!("certutil -addstore -f Root {ca}")],
            &["certutil -delstore Root \"ninjaone-proxy local CA\"".to_owned()],
        ),
    ];
    here.into_iter().chain(others).collect()
}

/// For one runtime or tool. `url` is an address of the proxy.
pub fn runtimes(authority: &Path, shell: Shell, url: &str) -> Vec<Way> {
    let ca = &shell.quote(&authority.to_string_lossy());
    let set = |variable| shell.set(variable, ca);
    let way = |tool, steps: &[String], note| Way { tool, steps: steps.into(), undo: Vec::new(), note };
    let store = "Or let the system trust it: this tool then does too.";
    vec![
        way("curl", &[format!("curl --cacert {ca} {url}")], store),
        way("wget", &[format!("wget --ca-certificate={ca} {url}")], store),
        way("Python requests", &[set("REQUESTS_CA_BUNDLE")], ONLY),
        way("Python httpx", &[set("SSL_CERT_FILE")], ONLY),
        way("Python urllib, aiohttp", &[set("SSL_CERT_FILE")], store),
        way(
            "Node.js: fetch, axios",
            &[set("NODE_EXTRA_CA_CERTS")],
            "In addition to what it trusts already. Or let the system trust it, and set NODE_USE_SYSTEM_CA=1 (version 24).",
        ),
        way("Go", &[set("SSL_CERT_FILE")], "On Linux. Elsewhere, or instead, let the system trust it."),
        way("PHP", &[format!("php -d curl.cainfo={ca} -d openssl.cafile={ca} SCRIPT")], store),
        way("Ruby", &[set("SSL_CERT_FILE")], store),
        java(ca),
        way(".NET, PowerShell", &[set("SSL_CERT_FILE")], "On Linux. On macOS and Windows let the system trust it."),
        browser("Chromium, Chrome on Linux", "$HOME/.pki/nssdb", ca, "Elsewhere they read the store of the system."),
        browser(
            "Firefox",
            "PROFILE",
            ca,
            "PROFILE is the folder that about:profiles shows. Or in its settings: Certificates, Authorities, Import.",
        ),
        Way {
            tool: "A file that holds both, for the variables above",
            steps: vec![format!("cat {} {ca} > both.pem", bundle())],
            undo: Vec::new(),
            note: "",
        },
    ]
}

fn java(ca: &str) -> Way {
    let own = "-keystore trust.p12 -storepass changeit";
    Way {
        tool: "Java",
        steps: vec![
            format!("keytool -importcert -noprompt -cacerts -storepass changeit -alias ninjaone-proxy -file {ca}"),
            format!("or: keytool -importcert -noprompt {own} -alias ninjaone-proxy -file {ca}"),
            "    java -Djavax.net.ssl.trustStore=trust.p12 -Djavax.net.ssl.trustStorePassword=changeit ...".to_owned(),
        ],
        undo: vec!["keytool -delete -cacerts -storepass changeit -alias ninjaone-proxy".to_owned()],
        note: "The second way trusts nothing else. Debian's and Fedora's own Java reads the store of the system.",
    }
}

fn browser(tool: &'static str, folder: &str, ca: &str, note: &'static str) -> Way {
    let store = format!("sql:{folder}");
    Way {
        tool,
        steps: vec![format!("certutil -d {store} -A -t C,, -n 'ninjaone-proxy local CA' -i {ca}")],
        undo: vec![format!("certutil -d {store} -D -n 'ninjaone-proxy local CA'")],
        note,
    }
}

/// The file with the system's roots.
fn bundle() -> &'static str {
    BUNDLES.into_iter().find(|path| Path::new(path).is_file()).unwrap_or("/etc/ssl/certs/ca-certificates.crt")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_with_other_letters_are_quoted() {
        for (word, posix, power) in [
            ("/a/b.pem", "/a/b.pem", "/a/b.pem"),
            ("/a b/$(x)", "'/a b/$(x)'", "'/a b/$(x)'"),
            ("it's", r"'it'\''s'", "'it''s'"),
            (r"C:\x", r"'C:\x'", r"C:\x"),
            ("", "''", "''"),
        ] {
            assert_eq!((&*Shell::Posix.quote(word), &*Shell::PowerShell.quote(word)), (posix, power));
        }
    }

    #[test]
    fn every_runtime_and_system_has_its_way_with_the_path_of_the_ca() {
        let path = Path::new("/state of/ca.pem");
        for shell in [Shell::Posix, Shell::PowerShell] {
            let runtimes = runtimes(path, shell, "https://localhost:8443/");
            let systems = systems(path, shell, Some(["INSTALL".to_owned(), "UNINSTALL".to_owned()]));
            let named = |word: &str| runtimes.iter().chain(&systems).any(|way| way.tool.contains(word));
            for word in [
                "curl",
                "wget",
                "requests",
                "httpx",
                "urllib",
                "aiohttp",
                "Node.js",
                "Go",
                "PHP",
                "Ruby",
                "Java",
                ".NET",
                "PowerShell",
                "Firefox",
                "Chromium",
                "Debian",
                "Ubuntu",
                "Fedora",
                "macOS",
                "Windows",
            ] {
                assert!(named(word), "{word}");
            }
            for way in runtimes.iter().chain(&systems) {
                let steps = way.steps.join("\n");
                assert!(steps == "INSTALL" || steps.contains("'/state of/ca.pem'"), "{way:?}");
            }
        }
    }

    #[test]
    fn variable_is_set_as_the_shell_has_it() {
        let line = |shell: Shell, path| shell.set("X", &shell.quote(path));
        assert_eq!(line(Shell::Posix, "/a b"), "export X='/a b'");
        assert_eq!(line(Shell::PowerShell, r"C:\a b"), r"$env:X = 'C:\a b'");
        assert_eq!(line(Shell::PowerShell, r"C:\a"), r"$env:X = 'C:\a'");
    }
}
