//! Whatever is asked or answered: what passes is an allowed operation, what is believed was said.

use std::sync::Arc;

use http::{HeaderMap, HeaderName, HeaderValue, Method, Uri};
use ninjaone_proxy::proxy::headers::clean_request;
use ninjaone_proxy::proxy::headers::prefer::{self, DryRunPreference};
use ninjaone_proxy::proxy::policy::catalog::{Catalog, Scope};
use ninjaone_proxy::proxy::policy::path::Target;
use ninjaone_proxy::proxy::policy::rule::Rule;
use ninjaone_proxy::proxy::policy::{InstanceId, Policy, Rules};
use proptest::prelude::*;

use crate::answers::read_every_way;
use crate::doorkeeper::{agree, agree_inside, guard, nobodys_domain};
use crate::heads;
use crate::readings::{obviously_allowed, readings};

fn reader() -> Policy {
    let catalog = Arc::new(Catalog::built_in().expect("good"));
    let deny = vec![Rule::parse("* /v2/users").expect("a rule"), Rule::parse("* /v2/device/7/**").expect("a rule")];
    let scopes = [Scope::Monitoring].into_iter().collect();
    Policy::new(catalog, InstanceId(0), Rules { scopes, deny, ..Rules::default() }).expect("a policy")
}

/// The path that a read of `uri` is sent to, if it passes.
fn passes(policy: &Policy, uri: &Uri) -> Option<String> {
    let target = Target::canonical(uri).ok()?;
    policy.decide(&Method::GET, &target).ok().map(|_| target.path().to_owned())
}

fn pieces() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        8 => prop::sample::select(vec![
            "v2", "api", "ws", "device", "devices", "users", "user", "7", "12", "disks", "queries", "software", "custom-fields",
            "field-name", "tag", "delete", "organizations", "organization", "attachment", "someName",
        ]).prop_map(str::to_owned),
        2 => prop::sample::select(vec![
            "..", ".", "", "%2e%2e", "%2E.", "%2f", "%252f", "%5c", "\\", ";", ";x=1", "%3b", "%00", "%c0%af", "%ff", "%", "%2",
            "%64evices", "%37", "07", "0000007", "+7", "%307", "%D9%A7", "7.0", "7%20", "DEVICE", "Users", "..;", "%20", "+", "~", "*", "%u002f", "%ef%bc%8f", "a%2fb", "us%65rs", "%252e%252e",
        ]).prop_map(str::to_owned),
        1 => "[ -~]{0,4}",
    ];
    let joint = prop_oneof![12 => Just("/"), 1 => Just("//"), 1 => Just(""), 1 => Just("%2f"), 1 => Just("/./"), 1 => Just("\\")];
    prop::collection::vec((joint, piece), 1..7)
        .prop_map(|pairs| pairs.into_iter().map(|(joint, piece)| format!("{joint}{piece}")).collect())
        .prop_flat_map(|tail: String| {
            prop::sample::select(vec!["/v2", "//v2", "/api/v2", "/ws/api/v2", ""])
                .prop_map(move |head| format!("{head}{tail}"))
        })
}

/// Answers of a token endpoint or of the API, nearly.
fn answers() -> impl Strategy<Value = String> {
    let key = prop::sample::select(vec!["access_token", "token_type", "expires_in", "error", "resultCode", "scope"]);
    let value = prop_oneof![
        4 => prop::sample::select(vec![
            "\"tok-1\"", "\"Bearer\"", "\"bearer\"", "3600", "\"60\"", "0", "-1", "0.5", "1e300", "null", "[]", "{}", "true",
            "\"not_authenticated\"", "\"insufficient_privileges\"", "\"user_context_required\"", "\"invalid_scope\"",
        ]).prop_map(str::to_owned),
        1 => "\"[ -~]{0,6}\"",
        1 => any::<f64>().prop_map(|number| number.to_string()),
    ];
    let member = (key, value).prop_map(|(key, value)| format!("\"{key}\":{value}"));
    (prop::collection::vec(member, 0..6), "(|,|\\}|x| )")
        .prop_map(|(members, end)| format!("{{{}}}{end}", members.join(",")))
}

/// Names of hosts, nearly ours.
fn hosts() -> impl Strategy<Value = String> {
    let name = prop_oneof![
        6 => prop::sample::select(vec![
            "localhost", "LocalHost", "127.0.0.1", "[::1]", "proxy.internal", "0.0.0.0", "127.1", "::1", "[::]", "evil.example",
            "localhost.evil.example", "evil-localhost", "localhost.", "127.0.0.1.nip.io", "[::ffff:127.0.0.1]", "user@localhost",
        ]).prop_map(str::to_owned),
        1 => "[ -~]{0,12}",
    ];
    let port = prop_oneof![4 => Just(":8080"), 4 => Just(""), 1 => Just(":80"), 1 => Just(":8081"), 1 => Just(":"), 1 => Just(":08080"), 1 => Just(",localhost")];
    (name, port).prop_map(|(name, port)| format!("{name}{port}"))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_guard_lets_in_whom_a_literal_comparison_lets_in(
        host in hosts(),
        origin in prop::option::of((prop::sample::select(vec!["http://", "https://", "", "HTTP://"]), hosts())),
        listed in prop::sample::select(vec![None, Some("https://grafana.example"), Some("null"), Some("https://grafana.example:443")]),
    ) {
        thread_local!(static GUARD: ninjaone_proxy::proxy::authn::Authn = guard());
        let origin = listed.map(str::to_owned).or(origin.map(|(scheme, host)| format!("{scheme}{host}")));
        nobodys_domain(host.as_bytes());
        GUARD.with(|guard| agree(guard, host.as_bytes(), origin.as_deref().map(str::as_bytes)));
    }

    #[test]
    fn what_comes_through_connect_is_for_the_server_that_it_names(
        name in prop::option::of(servers()),
        host in servers(),
        target in prop::option::of((prop::sample::select(vec!["http", "https", "HTTPS", "ftp"]), servers())),
    ) {
        thread_local!(static GUARD: ninjaone_proxy::proxy::authn::Authn = guard());
        let target = target.as_ref().map(|(scheme, authority)| (*scheme, authority.as_str()));
        GUARD.with(|guard| agree_inside(guard, name.as_deref(), host.as_bytes(), target));
    }
}

/// The server that a listener stands in for, and what is nearly that.
fn servers() -> impl Strategy<Value = String> {
    let name = prop::sample::select(vec![
        "eu.ninjarmm.com",
        "EU.ninjarmm.com",
        "eu.ninjarmm.com.",
        "xeu.ninjarmm.com",
        "eu.ninjarmm.co",
        "ninjarmm.com",
        "localhost",
        "127.0.0.1",
        "u@eu.ninjarmm.com",
        "eu.ninjarmm.com%2e",
        "",
    ]);
    let port = prop::sample::select(vec!["", "", ":443", ":80", ":8080", ":0443", ":", ":443:443"]);
    (name, port).prop_map(|(name, port)| format!("{name}{port}"))
}

/// Bytes of a connection, whole requests among them.
fn messages() -> impl Strategy<Value = String> {
    let piece = prop::sample::select(vec![
        "GET / HTTP/1.1\r\n",
        "POST /v2/x HTTP/1.1\r\n",
        "GET /#x HTTP/1.1\r\n",
        "Host: localhost\r\n",
        "X: y\r\n",
        "\r\n",
        "\r\n\r\n",
        "Content-Length: 5\r\n",
        "content-length:0\r\n",
        "Content-Length: 12\r\n",
        "Content-Length: +5\r\n",
        "Transfer-Encoding: chunked\r\n",
        "TRANSFER-ENCODING:x\r\n",
        "hello",
        "5\r\nhello\r\n",
        "a;x\r\n0123456789\r\n",
        "0\r\n\r\n",
        "0\r\nX: y\r\n\r\n",
        "0",
        "\r",
        "\n",
        "#",
        ";",
        " ",
        "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
        "POST / HTTP/1.1\r\nContent-Length: 5\r\n\r\nhello",
        "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n",
        "Content-Length:                                              5\r\n",
    ]);
    prop::collection::vec(piece, 0..14).prop_map(|pieces| pieces.concat())
}

/// Lines of `Prefer`, nearly.
fn preferences() -> impl Strategy<Value = Vec<String>> {
    let piece = prop::sample::select(vec![
        "dry-run",
        "Dry-Run",
        "DRY-RUN",
        "dry-runs",
        "x-dry-run",
        "dry_run",
        "approval",
        "return=minimal",
        "wait",
        "10",
        "x",
        "=",
        "=",
        ",",
        ",",
        ";",
        "\"",
        "\\",
        " ",
        "\t",
        "\u{e4}",
    ]);
    let line = prop::collection::vec(piece, 0..7).prop_map(|pieces| pieces.concat());
    prop::collection::vec(line, 0..3)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4000, ..ProptestConfig::default() })]

    #[test]
    fn a_request_that_names_a_dry_run_anywhere_is_one_and_no_other_is(lines in preferences()) {
        thread_local!(static WORDS: [regex::bytes::Regex; 2] = [
            regex::bytes::Regex::new("(?i-u)(?:^|[^A-Za-z0-9_-])dry-run(?:$|[^A-Za-z0-9_-])").expect("an expression"),
            regex::bytes::Regex::new("(?i-u)(?:^|,)[ \t]*dry-run[ \t]*=[ \t]*\"?approval").expect("an expression"),
        ]);
        let mut headers = HeaderMap::new();
        for line in &lines {
            headers.append("prefer", HeaderValue::from_bytes(line.as_bytes()).expect("a value"));
        }
        let asked = prefer::dry_run(&headers);
        let [named, with_approval] = WORDS.with(|words| {
            [0, 1].map(|word| lines.iter().any(|line| words[word].is_match(line.as_bytes())))
        });
        prop_assert_eq!(asked.is_some(), named, "{:?}", lines);
        prop_assert!(asked != Some(DryRunPreference::WithApproval) || with_approval, "{lines:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 20_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_passes_is_allowed_under_every_reading(target in pieces()) {
        thread_local!(static POLICY: Policy = reader());
        let Ok(uri) = target.parse::<Uri>() else { return Ok(()) };
        let Some(path) = POLICY.with(|policy| passes(policy, &uri)) else { return Ok(()) };
        for reading in readings(&path) {
            prop_assert!(obviously_allowed(&reading), "{target:?} passes as {path:?}, read as {reading:?}");
        }
    }

    #[test]
    fn a_plain_path_is_judged_as_the_data_file_says(path in "/v2(/[a-z-]{1,12}|/[0-9]{1,3}){1,4}") {
        thread_local!(static POLICY: Policy = reader());
        let uri: Uri = path.parse().expect("a target");
        let passes = POLICY.with(|policy| passes(policy, &uri)).is_some();
        prop_assert_eq!(passes, obviously_allowed(&path));
    }

    #[test]
    fn an_answer_is_believed_only_for_what_it_says(body in answers()) {
        read_every_way(body.as_bytes());
    }

    #[test]
    fn the_watch_over_bytes_sees_the_heads_that_are_there(bytes in messages(), piece in 1_usize..40) {
        heads::agree(bytes.as_bytes(), piece);
    }

    #[test]
    fn no_field_named_by_connection_passes(lines in prop::collection::vec("[a-c, ]{0,6}", 0..4), names in prop::collection::vec("[a-c]", 0..6)) {
        let mut headers = HeaderMap::new();
        for name in &names {
            headers.append(HeaderName::try_from(name).expect("a name"), HeaderValue::from_static("1"));
        }
        for line in &lines {
            headers.append("connection", HeaderValue::try_from(line).expect("a value"));
        }
        clean_request(&mut headers);
        for name in lines.iter().flat_map(|line| line.split(',')).map(str::trim).filter(|name| !name.is_empty()) {
            prop_assert!(!headers.contains_key(name));
        }
        for name in &names {
            let named = lines.iter().flat_map(|line| line.split(',')).any(|n| n.trim() == name);
            prop_assert_eq!(headers.contains_key(name), !named);
        }
    }
}

#[test]
fn the_obvious_judge_agrees_on_every_operation() {
    let policy = reader();
    let mut visited = 0;
    for line in include_str!("../../src/proxy/policy/catalog.tsv").lines().filter(|line| !line.starts_with('#')) {
        let template = line.split('\t').nth(1).expect("a template");
        let path: Vec<String> = template
            .split('/')
            .map(|segment| {
                match segment.strip_prefix('{').map(|s| s.trim_end_matches('}').split_once(':').expect("typed").1) {
                    None => segment.to_owned(),
                    Some("integer") => "12".to_owned(),
                    Some("uid") => "3f2c8a9e-0000-4000-8000-00000000abcd".to_owned(),
                    Some("name") => "someName".to_owned(),
                    Some(words) => words.split('|').next().expect("a word").to_owned(),
                }
            })
            .collect();
        let path = path.join("/");
        let passes = passes(&policy, &path.parse().expect("a target")).is_some();
        assert_eq!(passes, obviously_allowed(&path), "{path}");
        visited += 1;
    }
    assert_eq!(visited, 315);
}
