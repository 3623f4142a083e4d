//! A small second account of codes, refresh tokens and access tokens, which random sequences hold the sandbox to.

use std::sync::LazyLock;
use std::time::Duration;

use http::HeaderMap;
use proptest::prelude::*;
use serde_json::Value;

use super::Consent;
use super::authorize::{AuthorizeRequest, PersonScopes, challenge_of};
use crate::proxy::policy::catalog::Scope;
use crate::sandbox::query::QueryParameters;
use crate::sandbox::refusal::SandboxRefusal;
use crate::sandbox::{Options, Sandbox, token};

const CODE: u64 = 60;
const REFRESH: u64 = 200;
const TOKEN: u64 = 40;
const URI: &str = "http://127.0.0.1:7000/";
static VERIFIER: LazyLock<String> = LazyLock::new(|| "v".repeat(43));

#[derive(Debug, Clone)]
enum ModelStep {
    Allow { offline: bool, pkce: bool },
    Redeem { code: prop::sample::Index, wrong: Option<&'static str>, secret: bool },
    Refresh { token: prop::sample::Index, scope: &'static str, secret: bool },
    Wait(u64),
    EndGrants,
    Revoke,
}

fn step() -> impl Strategy<Value = ModelStep> {
    let wrong = prop_oneof![
        6 => Just(None),
        1 => prop_oneof![Just("code_verifier"), Just("redirect_uri"), Just("code")].prop_map(Some),
    ];
    let scope = prop_oneof![
        4 => Just(""),
        1 => prop_oneof![Just("monitoring"), Just("monitoring offline_access"), Just("control"), Just("offline_access")],
    ];
    prop_oneof![
        4 => (any::<bool>(), prop::bool::weighted(0.7)).prop_map(|(offline, pkce)| ModelStep::Allow { offline, pkce }),
        6 => (any::<prop::sample::Index>(), wrong, any::<bool>())
            .prop_map(|(code, wrong, secret)| ModelStep::Redeem { code, wrong, secret }),
        8 => (any::<prop::sample::Index>(), scope, any::<bool>())
            .prop_map(|(token, scope, secret)| ModelStep::Refresh { token, scope, secret }),
        4 => (1..50_u64).prop_map(ModelStep::Wait),
        1 => Just(ModelStep::EndGrants),
        1 => Just(ModelStep::Revoke),
    ]
}

/// What the model knows of one code, refresh token or access token. It is gone when the sandbox may not know it.
struct Known {
    name: String,
    of: usize,
    until: u64,
    used: bool,
    gone: bool,
}

#[derive(Default)]
struct Model {
    now: u64,
    rotates: bool,
    /// For each person's decision: whether it has offline access and PKCE.
    decisions: Vec<(bool, bool)>,
    codes: Vec<Known>,
    refreshes: Vec<Known>,
    tokens: Vec<Known>,
    reuses: u64,
}

impl Model {
    fn known(&self, name: String, of: usize, seconds: u64) -> Known {
        Known { name, of, until: self.now + seconds, used: false, gone: false }
    }

    fn end(&mut self, of: usize) {
        self.reuses += 1;
        self.refreshes.iter_mut().chain(&mut self.tokens).filter(|one| one.of == of).for_each(|one| one.gone = true);
    }

    /// The error that a code must get, or none.
    fn redeem(&mut self, number: usize, wrong: Option<&str>, secret: bool) -> Option<SandboxRefusal> {
        let code = &mut self.codes[number];
        let of = code.of;
        if code.gone || wrong == Some("code") {
            return Some(SandboxRefusal::InvalidGrant);
        }
        if !secret && !self.decisions[of].1 {
            return Some(SandboxRefusal::InvalidClient);
        }
        if code.used {
            self.end(of);
            return Some(SandboxRefusal::InvalidGrant);
        }
        if code.until <= self.now {
            return Some(SandboxRefusal::InvalidGrant);
        }
        // A verifier that was not asked for is as wrong as one that does not fit.
        code.gone = wrong.is_some();
        code.used = wrong.is_none();
        wrong.map(|_| SandboxRefusal::InvalidGrant)
    }

    fn refresh(&mut self, number: usize, scope: &str, secret: bool) -> Option<SandboxRefusal> {
        let token = &mut self.refreshes[number];
        let of = token.of;
        if token.gone {
            return Some(SandboxRefusal::InvalidGrant);
        }
        if !secret && !self.decisions[of].1 {
            return Some(SandboxRefusal::InvalidClient);
        }
        if token.used {
            self.end(of);
            return Some(SandboxRefusal::InvalidGrant);
        }
        if token.until <= self.now {
            return Some(SandboxRefusal::InvalidGrant);
        }
        if matches!(scope, "control" | "offline_access") {
            return Some(SandboxRefusal::InvalidScope);
        }
        token.used = self.rotates;
        None
    }

    /// Takes in what a good answer gave.
    fn take(&mut self, of: usize, answer: &Value, may_refresh: bool) {
        let text = |name: &str| answer[name].as_str().map(str::to_owned);
        let token = self.known(text("access_token").expect("a token"), of, TOKEN);
        self.tokens.push(token);
        assert_eq!(answer.get("refresh_token").is_some(), may_refresh && self.decisions[of].0, "{answer}");
        if let Some(name) = text("refresh_token") {
            let refresh = self.known(name, of, REFRESH);
            self.refreshes.push(refresh);
        }
    }
}

fn form(grant: &str, secret: bool, rest: &[(&str, &str)]) -> QueryParameters {
    let secret = secret.then_some(("client_secret", "s"));
    let all = [("grant_type", grant), ("client_id", "sandbox")].into_iter().chain(secret).chain(rest.iter().copied());
    QueryParameters::parse(&form_urlencoded::Serializer::new(String::new()).extend_pairs(all).finish())
}

fn redeem(
    sandbox: &Sandbox,
    code: &str,
    pkce: bool,
    wrong: Option<&str>,
    secret: bool,
) -> Result<Value, SandboxRefusal> {
    let mut rest = vec![("code", code), ("redirect_uri", URI)];
    rest.extend(pkce.then_some(("code_verifier", VERIFIER.as_str())));
    match wrong {
        Some("code_verifier") if !pkce => rest.push(("code_verifier", &VERIFIER)),
        Some(name) => rest.iter_mut().filter(|(other, _)| *other == name).for_each(|(_, value)| *value = "wrong"),
        None => {}
    }
    token::grant(&sandbox.0, &HeaderMap::new(), &form("authorization_code", secret, &rest))
}

fn allow(sandbox: &Sandbox, offline: bool, pkce: bool) -> String {
    let api = [Scope::Monitoring, Scope::Management].into_iter().collect();
    let request = AuthorizeRequest {
        redirect_uri: URI.to_owned(),
        state: None,
        scopes: PersonScopes { api, offline },
        challenge: pkce.then(|| challenge_of(&VERIFIER)),
    };
    let consent = Consent { user: "technician".to_owned(), request };
    sandbox.0.sign_in.grants.add_code(&sandbox.0.options, consent).expect("random")
}

async fn take_step(sandbox: &Sandbox, model: &mut Model, step: ModelStep) {
    match step {
        ModelStep::Allow { offline, pkce } => {
            let code = model.known(allow(sandbox, offline, pkce), model.decisions.len(), CODE);
            model.codes.push(code);
            model.decisions.push((offline, pkce));
        }
        ModelStep::Redeem { code, wrong, secret } if !model.codes.is_empty() => {
            let number = code.index(model.codes.len());
            let (name, of) = (model.codes[number].name.clone(), model.codes[number].of);
            let answer = redeem(sandbox, &name, model.decisions[of].1, wrong, secret);
            assert_eq!(answer.as_ref().err(), model.redeem(number, wrong, secret).as_ref(), "code {number}");
            if let Ok(answer) = answer {
                model.take(of, &answer, true);
            }
        }
        ModelStep::Refresh { token, scope, secret } if !model.refreshes.is_empty() => {
            let number = token.index(model.refreshes.len());
            let (name, of) = (model.refreshes[number].name.clone(), model.refreshes[number].of);
            let form = form("refresh_token", secret, &[("refresh_token", &name), ("scope", scope)]);
            let answer = token::grant(&sandbox.0, &HeaderMap::new(), &form);
            assert_eq!(answer.as_ref().err(), model.refresh(number, scope, secret).as_ref(), "refresh token {number}");
            if let Ok(answer) = answer {
                let full = "monitoring management offline_access";
                assert_eq!(answer["scope"], if scope.is_empty() { full } else { scope });
                model.take(of, &answer, model.rotates);
            }
        }
        ModelStep::Redeem { .. } | ModelStep::Refresh { .. } => {}
        ModelStep::Wait(seconds) => {
            tokio::time::advance(Duration::from_secs(seconds)).await;
            model.now += seconds;
        }
        ModelStep::EndGrants => {
            sandbox.0.end_grants();
            let all = model.codes.iter_mut().chain(&mut model.refreshes).chain(&mut model.tokens);
            all.for_each(|one| one.gone = true);
        }
        ModelStep::Revoke => {
            sandbox.revoke_tokens();
            model.tokens.iter_mut().for_each(|one| one.gone = true);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 100, ..ProptestConfig::default() })]
    #[test]
    fn codes_and_tokens_are_as_good_as_the_model_says(rotates: bool, steps in prop::collection::vec(step(), 1..60)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
        runtime.expect("a runtime").block_on(async {
            let sandbox = Sandbox::new(Options {
                token_lifetime: Duration::from_secs(TOKEN),
                code_lifetime: Duration::from_secs(CODE),
                refresh_lifetime: Duration::from_secs(REFRESH),
                rotate_refresh_tokens: rotates,
                ..Options::with_secret("s")
            });
            let sandbox = sandbox.expect("good options");
            let mut model = Model { rotates, ..Model::default() };
            for step in steps {
                let shown = format!("{step:?}");
                take_step(&sandbox, &mut model, step).await;
                for token in &model.tokens {
                    let is_good = !token.gone && token.until > model.now;
                    assert_eq!(sandbox.0.tokens.find(&token.name).is_some(), is_good, "after {shown}");
                }
                assert_eq!(sandbox.counts().reuses, model.reuses, "after {shown}");
            }
        });
    }
}
