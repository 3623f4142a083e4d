//! A person signs in, and the operations that need one work.

mod answers;
#[cfg(unix)]
mod chromium;
#[cfg(target_os = "linux")]
mod kills;
#[cfg(target_os = "linux")]
mod replicas;
#[cfg(target_os = "linux")]
mod soak;
mod stand;
#[cfg(unix)]
pub(crate) mod web_driver;

use std::io::Write;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ninjaone_proxy::sandbox::{CODE_MARK, REFRESH_MARK};

use crate::harness::{connect, eventually, request};
use crate::watch::SECRET;
use stand::{Stand, browse, split, visit};

#[test]
fn a_person_signs_in_and_what_needs_one_works_until_the_person_signs_out() {
    let mut stand = Stand::new("", |_| ());
    let [local, admin] = stand.run();
    eventually("the machine's token", || request(local, "GET", "/v2/organizations", "", b"").status == 200);
    let refused = stand.ticket(local);
    assert_eq!((refused.status, refused.code().as_str()), (503, "sign-in-needed"));
    assert!(String::from_utf8_lossy(&refused.body).contains("login technician"));
    let ready = request(admin, "GET", "/readyz", "", b"");
    assert_eq!((ready.status, &ready.json()["degraded"]), (200, &serde_json::json!(true)));
    assert_eq!(stand.command(&["login", "--status"]).0, 1);
    let metrics = || String::from_utf8_lossy(&request(admin, "GET", "/metrics", "", b"").body).into_owned();
    let of = "{instance=\"main\",user=\"technician\"}";
    let shown = metrics();
    assert!(shown.contains(&format!("ninjaone_proxy_sign_in_needed{of} 1")), "{shown}");
    assert!(
        !shown.contains("ninjaone_proxy_user_grant_age_seconds{")
            && !shown.contains("token_expiry_seconds{instance=\"main\",scopes=\"monitoring management\"} 0")
    );

    let waiting = stand.login(&["technician"]);
    assert!(waiting.address.contains("code_challenge_method=S256") && !waiting.address.contains(SECRET));
    let waiting_address = waiting.address.clone();
    let back = browse(&waiting.address, "allow");
    let (listener, path) = split(&back);
    // What else comes to the port ends nothing.
    let _idle = connect(listener);
    let state = path.split("state=").nth(1).expect("a state").split('&').next().expect("a state");
    for (method, path, headers, status) in [
        ("GET", "/favicon.ico", "", 404),
        ("GET", "/", "", 400),
        ("GET", "/?code=a&state=wrong", "", 400),
        ("GET", &*format!("/?code=a&state={state}&state={state}"), "", 400),
        ("POST", &*path, "", 405),
        ("GET", &*path, "example.com", 421),
    ] {
        let host = if headers.is_empty() { listener.to_string() } else { headers.to_owned() };
        let reply = visit(listener, method, path, &host);
        assert_eq!(reply.status, status, "{method} {path} {headers}");
    }
    let page = visit(listener, "GET", &path, &listener.to_string());
    assert!(page.status == 200 && String::from_utf8_lossy(&page.body).contains("Signed in"), "{}", page.status);
    let (code, said) = waiting.end();
    assert!(code == 0 && said.contains("Signed in: user technician"), "{said}");

    eventually("the running proxy has it", || stand.ticket(local).status == 200);
    assert_eq!(request(admin, "GET", "/readyz", "", b"").json()["degraded"], false);
    let shown = metrics();
    assert!(shown.contains(&format!("ninjaone_proxy_sign_in_needed{of} 0")), "{shown}");
    assert!(shown.contains(&format!("ninjaone_proxy_user_grant_age_seconds{of} ")), "{shown}");
    let (code, said, _) = stand.command(&["login", "--status"]);
    assert!(code == 0 && said.contains("29 days left") | said.contains("30 days left"), "{said}");
    // The secrets of it are in one file, and nowhere else.
    let grants = stand.grants();
    let [grant] = grants.as_slice() else { panic!("{grants:?}") };
    assert!(std::fs::read_to_string(grant).expect("a grant").contains(REFRESH_MARK));
    let challenge = waiting_address.split("code_challenge=").nth(1).and_then(|rest| rest.split('&').next());
    let secrets = |text: &str| {
        // The verifier is known by its hash only.
        let words = text.split(|c: char| !c.is_ascii_alphanumeric() && !"-_".contains(c));
        let is_verifier = |word: &str| {
            let hash = ring::digest::digest(&ring::digest::SHA256, word.as_bytes());
            word.len() == 43 && Some(&*URL_SAFE_NO_PAD.encode(hash)) == challenge
        };
        words
            .filter(|word| {
                word.contains(REFRESH_MARK) || word.contains(CODE_MARK) || word.contains(state) || is_verifier(word)
            })
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    let others: Vec<_> = stand.files().into_iter().filter(|path| path != grant).collect();
    assert!(others.iter().any(|path| path.ends_with("log")) && others.len() > 3, "{others:?}");
    for path in others {
        let text = String::from_utf8_lossy(&std::fs::read(&path).expect("a file")).into_owned();
        assert_eq!(secrets(&text), Vec::<String>::new(), "{}", path.display());
    }
    assert_eq!(secrets(&std::fs::read_to_string(grant).expect("a grant")).len(), 1, "the search finds what is there");

    let (code, said, _) = stand.command(&["logout", "technician"]);
    assert!(code == 0 && said.contains("Signed out") && said.contains("OAuth Tokens"), "{said}");
    assert!(stand.grants().is_empty());
    eventually("the running proxy notices", || stand.ticket(local).status == 503);
    assert_eq!(request(local, "GET", "/v2/organizations", "", b"").status, 200);
}

#[test]
fn the_address_where_the_browser_ended_can_be_pasted() {
    let stand = Stand::new("", |_| ());
    let back = stand.sign_in();
    // The address of another sign-in is refused, and what was there stays.
    let before = std::fs::read(&stand.grants()[0]).expect("a grant");
    let mut waiting = stand.login(&["technician", "--no-browser"]);
    writeln!(waiting.input.as_mut().expect("standard input"), "{back}").expect("a line");
    let (code, said) = waiting.end();
    assert!(code == 1 && said.contains("not the address where the browser ended"), "{said}");
    let (code, said) = stand.login(&["technician", "--no-browser"]).end();
    assert!(code == 1 && said.contains("standard input ended"), "{said}");
    assert_eq!(std::fs::read(&stand.grants()[0]).expect("a grant"), before);
}

#[test]
fn a_sign_in_that_fails_says_what_to_do_and_leaves_the_grant() {
    let stand = Stand::new("", |_| ());
    stand.sign_in();
    let before = std::fs::read(&stand.grants()[0]).expect("a grant");
    let waiting = stand.login(&["technician"]);
    let (listener, path) = split(&browse(&waiting.address, "deny"));
    assert_eq!(visit(listener, "GET", &path, &listener.to_string()).status, 400);
    let (code, said) = waiting.end();
    assert!(code == 1 && said.contains("access_denied") && said.contains("choose Allow"), "{said}");
    let (code, said) = stand.login(&["technician", "--timeout", "100ms"]).end();
    assert!(code == 1 && said.contains("nobody has signed in within 100ms"), "{said}");
    // A code that is exchanged twice: the second comes too late.
    let order = |what: &str| request(stand.ninja.address, "POST", what, "", b"").status;
    for (fault, part) in [
        ("/sandbox/fault?at=token&status=400&error=invalid_grant&count=1", "used before, or is older than a minute"),
        ("/sandbox/fault?at=token&status=401&error=invalid_client&count=2", "needs client-secret"),
        ("/sandbox/fault?at=token&status=503&error=temporarily_unavailable&count=1", "run the command again"),
    ] {
        let waiting = stand.login(&["technician"]);
        let (listener, path) = split(&browse(&waiting.address, "allow"));
        assert!(order(fault) < 300, "{fault}");
        let page = visit(listener, "GET", &path, &listener.to_string());
        let (code, said) = waiting.end();
        assert!(page.status == 400 && code == 1 && said.contains(part), "{said}");
    }
    for (fault, part) in [
        ("/sandbox/fault?at=authorize&status=404&count=1", "an app of the platform API Services cannot"),
        ("/sandbox/fault?at=authorize&status=500&count=1", "answered the request for its sign-in page with 500"),
    ] {
        assert!(order(fault) < 300, "{fault}");
        let (code, _, said) = stand.command(&["login", "technician"]);
        assert!(code == 1 && said.contains(part), "{said}");
    }
    assert_eq!(std::fs::read(&stand.grants()[0]).expect("a grant"), before);
    let (code, _, said) = stand.command(&["login", "technicain"]);
    assert!(code == 64 && said.contains("valid users are technician of instances.main"), "{said}");
}

#[test]
fn a_wrong_redirect_uri_and_a_taken_port_are_told_before_a_browser_opens() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = taken.local_addr().expect("an address").port();
    let stand = Stand::new(&format!("redirect = \"http://localhost:{port}/callback\""), |_| ());
    let (code, _, said) = stand.command(&["login", "technician"]);
    assert!(code == 1 && said.contains("cannot come back to") && said.contains("--no-browser"), "{said}");
    drop(taken);
    let (code, _, said) = stand.command(&["login", "technician"]);
    assert!(
        code == 1 && said.contains(&format!("register the redirect URI http://localhost:{port}/callback")),
        "{said}"
    );
    assert!(stand.grants().is_empty());
}

#[test]
fn a_grant_is_rotated_while_it_is_used_and_ends_when_the_server_says_so() {
    let mut stand = Stand::new("", |options| {
        (options.token_lifetime, options.token_grace) = (Duration::from_secs(2), Duration::from_secs(1));
    });
    stand.sign_in();
    let first = std::fs::read_to_string(&stand.grants()[0]).expect("a grant");
    let [local, _] = stand.run();
    eventually("it is used", || stand.ticket(local).status == 200);
    eventually("it is renewed", || {
        assert_eq!(stand.ticket(local).status, 200, "without a gap");
        let now = std::fs::read_to_string(&stand.grants()[0]).expect("a grant");
        let token = |text: &str| text.split("refresh-token\":\"").nth(1).map(str::to_owned);
        token(&now) != token(&first) && stand.ninja.counts().token_requests > 6
    });
    request(stand.ninja.address, "POST", "/sandbox/end-grants", "", b"");
    eventually("it has ended", || {
        // A token that was given just before is refused by NinjaOne itself.
        let reply = stand.ticket(local);
        reply.status == 503 && String::from_utf8_lossy(&reply.body).contains("has ended the sign-in")
    });
    let (code, said, _) = stand.command(&["login", "--status"]);
    assert!(code == 1 && said.contains("ended by NinjaOne"), "{said}");
}

#[test]
fn doctor_renews_the_sign_in_and_says_what_it_lacks() {
    let stand = Stand::new("", |_| ());
    let (code, said, _) = stand.command(&["doctor"]);
    assert!(code == 0 && said.contains("the user technician has not signed in"), "{said}");
    assert!(said.contains("fix: run: ") && said.contains("login technician"), "{said}");
    stand.sign_in();
    let before = std::fs::read(&stand.grants()[0]).expect("a grant");
    let (code, said, _) = stand.command(&["doctor"]);
    let line = said.lines().find(|line| line.contains("sign-in technician")).expect("a line");
    assert!(code == 0 && line.starts_with("ok") && line.contains("monitoring management"), "{said}");
    assert!(!said.contains(REFRESH_MARK), "{said}");
    assert_ne!(std::fs::read(&stand.grants()[0]).expect("a grant"), before, "rotated");
    request(stand.ninja.address, "POST", "/sandbox/end-grants", "", b"");
    let (code, said, _) = stand.command(&["doctor"]);
    assert!(code == 0 && said.contains("NinjaOne has ended the sign-in of the user technician"), "{said}");
}

#[test]
fn check_warns_of_a_person_whose_token_lacks_a_scope() {
    let warned = |user: &str| {
        let (code, said, _) = Stand::new(user, |_| ()).command(&["check"]);
        assert_eq!(code, 0, "{said}");
        said.contains("the token of the user technician has no scope management, which POST /v2/ticketing/ticket needs")
    };
    assert!(warned("scopes = [\"monitoring\"]"));
    assert!(!warned("") && !warned("scopes = [\"management\"]"));
}

#[test]
fn access_log_and_audit_log_name_caller_and_person() {
    let mut stand = Stand::new("", |_| ());
    let path = stand.folder.path().join("config.toml");
    let text = std::fs::read_to_string(&path).expect("a configuration");
    std::fs::write(&path, format!("{text}\n[audit]\nfile = \"audit.log\"\n")).expect("a file");
    stand.sign_in();
    let [local, _] = stand.run();
    eventually("the person's token", || stand.ticket(local).status == 200);
    assert_eq!(request(local, "POST", "/v2/organizations", "", br#"{"name":"x"}"#).status, 200);
    eventually("both are in the access log", || {
        let log = stand.log();
        let of =
            |operation: &str| log.lines().find(|line| line.contains("access: request") && line.contains(operation));
        let (ticket, other) = (of("\"POST /v2/ticketing/ticket\""), of("\"POST /v2/organizations\""));
        let (Some(ticket), Some(other)) = (ticket, other) else { return false };
        assert!(ticket.contains(" user=\"technician\"") && !other.contains(" user="), "{ticket}\n{other}");
        true
    });
    let audit = std::fs::read_to_string(stand.folder.path().join("audit.log")).expect("an audit log");
    let users = |operation: &str| -> Vec<_> {
        let lines = audit.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).expect("JSON"));
        lines.filter(|line| line["operation"] == operation).map(|line| line["user"].clone()).collect()
    };
    assert!(users("POST /v2/ticketing/ticket").iter().all(|user| user == "technician"), "{audit}");
    assert!(users("POST /v2/organizations").iter().all(serde_json::Value::is_null), "{audit}");
    assert!(!users("POST /v2/ticketing/ticket").is_empty() && !users("POST /v2/organizations").is_empty());
}
