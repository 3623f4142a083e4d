//! `login` and `logout`: a person signs in with a browser, and out again.

use std::io::{IsTerminal, Write};
use std::path::Path;
use std::time::{Duration, SystemTime};

use anyhow::{Context, anyhow, bail};
use clap::Args;
use tokio::io::{AsyncBufReadExt, BufReader};

use super::{CONFIG, CommandError, REFUSED, USAGE, failure, forbid_dumps, health, print, runtime, write_note};
use crate::base::clock::utc;
use crate::base::plain;
use crate::config::users::SignInConfig;
use crate::config::{Config, InstanceSite};
use crate::observe::logging::ErrorChain;
use crate::proxy::response::CONSOLE_TOKENS;
use crate::proxy::token::user_grant::grant_file::StoredGrant;
use crate::proxy::token::user_grant::grant_place::GrantPlace;
use crate::tools::sign_in::authorization::{Authorization, AuthorizeEndpoint};
use crate::tools::sign_in::callback::{Callback, CallbackListener};
use crate::tools::sign_in::places::GrantPlaces;
use crate::tools::sign_in::{PendingSignIn, SignInError, browser};

/// How long NinjaOne keeps a refresh token that is not used.
const KEPT: Duration = Duration::from_secs(30 * 24 * 3600);
/// The longest address that is pasted.
const MAX_PASTED: u64 = 64 * 1024;

/// What `login` is told.
#[derive(Debug, Args)]
pub(super) struct Login {
    /// The user: NAME of [instances.INSTANCE.users.NAME] in the configuration
    #[arg(value_name = "NAME", required_unless_present = "status")]
    name: Option<String>,
    /// The instance, if several have a user of this name
    #[arg(long, value_name = "NAME")]
    instance: Option<String>,
    /// Open no browser: print the address, and read the address where the browser ended from standard input
    #[arg(long)]
    no_browser: bool,
    /// How long to wait for the person
    #[arg(long, value_name = "TIME", default_value = "10m", value_parser = super::arguments::period)]
    timeout: Duration,
    /// Sign nobody in: print who is, as whom, and until when; exit with 1 if somebody is not
    #[arg(long, conflicts_with_all = ["no_browser"])]
    status: bool,
}

/// What `logout` is told.
#[derive(Debug, Args)]
pub(super) struct Logout {
    /// The user
    #[arg(value_name = "NAME")]
    name: String,
    /// The instance, if several have a user of this name
    #[arg(long, value_name = "NAME")]
    instance: Option<String>,
}

/// Signs a person in, or tells who is.
pub(super) fn login(config: &Config, given: &Login) -> Result<(), CommandError> {
    forbid_dumps(config)?;
    if given.status {
        return runtime()?.block_on(status(config, given));
    }
    let name = given.name.as_deref().unwrap_or_default();
    let sign_in = find(config, name, given.instance.as_deref())?;
    let runtime = runtime()?;
    let signed_in = runtime.block_on(sign_in_with(config, &sign_in, given));
    // A read of standard input that nobody waits for any more.
    runtime.shutdown_background();
    let (grant, place) = signed_in.map_err(failure(REFUSED))?;
    let user = &sign_in.user;
    print(&format!(
        "Signed in: user {}, instance {} ({}), scopes {}.\nKept in {place}. A running proxy uses it within 5 seconds.\n",
        user.name,
        sign_in.instance,
        user.file.owner().host,
        plain::line(&grant.scopes),
    ))
}

/// Signs a person out.
pub(super) fn logout(config: &Config, given: &Logout) -> Result<(), CommandError> {
    let sign_in = find(config, &given.name, given.instance.as_deref())?;
    let remove = async || -> anyhow::Result<bool> {
        let places = GrantPlaces::open(config).await?;
        let place = places.of(&sign_in);
        let removed = place.remove().await;
        places.close().await;
        let was_there = removed?;
        if place.has_file() {
            bail!("{place} is still there: remove it");
        }
        Ok(was_there)
    };
    let removed = runtime()?.block_on(remove());
    let was_there = removed.context("the sign-in is NOT removed").map_err(failure(REFUSED))?;
    let SignInConfig { user, instance, .. } = sign_in;
    if !was_there {
        return print(&format!("Nobody was signed in: user {}, instance {instance}.\n", user.name));
    }
    print(&format!(
        "Signed out: user {}, instance {instance}. A running proxy notices within 5 seconds.\n\
         NinjaOne keeps its own record: revoke the token too, in {CONSOLE_TOKENS}.\n",
        user.name
    ))
}

/// The one user of this name.
fn find(config: &Config, name: &str, instance: Option<&str>) -> Result<SignInConfig, CommandError> {
    let mistake = |error| failure(CONFIG)(anyhow::Error::from(error));
    let mut found = config.sign_ins(Some(name), instance).map_err(mistake)?;
    if found.len() > 1 {
        let list = found.iter().map(|own| own.instance.as_str()).collect::<Vec<_>>().join(", ");
        let error = anyhow!("several instances have a user {name:?} ({list}): say which by --instance NAME");
        return Err(failure(USAGE)(error));
    }
    found.pop().ok_or_else(|| unknown(config, name))
}

/// There is no such user; says which there are.
fn unknown(config: &Config, name: &str) -> CommandError {
    let users = config
        .file
        .instances
        .iter()
        .flat_map(|(instance, file)| file.users.keys().map(move |user| format!("{user} of instances.{instance}")));
    let known = users.collect::<Vec<_>>().join(", ");
    let main = config.file.instances.keys().next().map_or("main", String::as_str);
    let hint = match (config.path(), known.is_empty()) {
        (None, _) => "no configuration file was read: give it by --config FILE, before the command".to_owned(),
        (Some(_), true) => format!("the configuration has no users: write [instances.{main}.users.{name}]"),
        (Some(_), false) => format!("valid users are {known}"),
    };
    failure(USAGE)(anyhow!("there is no user {name:?}: {hint}"))
}

async fn sign_in_with(
    config: &Config,
    sign_in: &SignInConfig,
    given: &Login,
) -> anyhow::Result<(StoredGrant, GrantPlace)> {
    let SignInConfig { site, token_path, client_auth, user, instance } = sign_in;
    let places = GrantPlaces::open(config).await?;
    let place = places.of(sign_in);
    let own;
    let site = match site {
        Some(site) => site,
        None => {
            own = sandbox(config.path(), instance).await?;
            &own
        }
    };
    let times = (config.file.timeouts.connect.0, config.file.timeouts.token.0);
    let endpoint = site.endpoint(token_path, *client_auth, user.credentials.clone(), times)?;
    let connector = site.connector(times.0)?;
    // The page is beside the token endpoint (RFC 8414 knows no rule; NinjaOne's are /ws/oauth/authorize and /ws/oauth/token).
    let path = token_path
        .strip_suffix("/token")
        .map_or_else(|| "/ws/oauth/authorize".to_owned(), |base| format!("{base}/authorize"));
    let origin = format!("{}://{}", if site.trust.is_some() { "https" } else { "http" }, site.authority);
    let page = AuthorizeEndpoint { connector: &connector, origin, path };
    let listener = match CallbackListener::bind(&user.redirect).await {
        Ok(listener) => Some(listener),
        Err(error) if given.no_browser => {
            write_note(&format!("nothing listens for the browser ({error}): paste the address where it ended"));
            None
        }
        Err(error) => {
            let port = user.redirect.port();
            bail!(
                "the browser cannot come back to {}: {error}{}; end the program that has the port, or use --no-browser",
                user.redirect,
                crate::net::listener::occupant(port).map(|who| format!(" (by {who})")).unwrap_or_default()
            );
        }
    };
    // A person who has read enough presses Ctrl-C; nothing has changed then.
    let pending = PendingSignIn::begin(&endpoint, &page, (user, &place), listener).await?;
    let address = pending.address();
    show(&address, given.no_browser)?;
    if !given.no_browser {
        browser::open(&address);
    }
    let pasted = async |authorization: &Authorization| match given.no_browser {
        true => read_pasted(authorization).await,
        false => std::future::pending().await,
    };
    let grant = pending.finish(pasted, given.timeout).await;
    places.close().await;
    Ok((grant?, place))
}

/// The address is on standard output, what is said about it on standard error: a program can read the one.
fn show(address: &str, no_browser: bool) -> anyhow::Result<()> {
    let what = if no_browser {
        "open this address in a browser, sign in, and within a minute paste here the address where the browser ended (it begins with the redirect URI; the page may be an error):"
    } else {
        "sign in with the browser that opens; if none does, open this address yourself:"
    };
    write_note(what);
    let mut out = std::io::stdout();
    writeln!(out, "{address}").and_then(|()| out.flush()).context("the address cannot be printed")
}

/// Reads lines until one is the address of this sign-in.
async fn read_pasted(authorization: &Authorization) -> Result<Callback, SignInError> {
    let input = tokio::io::AsyncReadExt::take(tokio::io::stdin(), MAX_PASTED);
    let mut lines = BufReader::new(input).lines();
    loop {
        match lines.next_line().await {
            Ok(Some(line)) if line.trim().is_empty() => {}
            Ok(Some(line)) => match Callback::pasted(&line, authorization) {
                Some(callback) => return Ok(callback),
                None if std::io::stdin().is_terminal() => write_note(
                    "this is not the address where the browser ended after this sign-in: copy the whole of it from the browser's address bar",
                ),
                None => {
                    return Err(SignInError::Pasted(format!(
                        "what came on standard input is not the address where the browser ended after this sign-in: that address begins with {}, and has code= and state= in it; run the command again, and paste the whole address",
                        authorization.redirect_uri()
                    )));
                }
            },
            Ok(None) | Err(_) => {
                return Err(SignInError::Pasted(
                    "standard input ended before the address where the browser ended came: run the command again and paste it there, or leave --no-browser out"
                        .to_owned(),
                ));
            }
        }
    }
}

/// The embedded NinjaOne of the running proxy, which is the only one that will know what it grants.
async fn sandbox(config: Option<&Path>, instance: &str) -> anyhow::Result<InstanceSite> {
    let authority = health::sandbox_of_running_proxy(config, instance).await.context(
        "the sandbox is a part of the running proxy, which must run with the same configuration: start it in another terminal first",
    )?;
    Ok(InstanceSite { authority, trust: None, proxy: None, addresses: Vec::new() })
}

async fn status(config: &Config, given: &Login) -> Result<(), CommandError> {
    let all = config.sign_ins(given.name.as_deref(), given.instance.as_deref());
    let all = all.map_err(|error| failure(CONFIG)(error.into()))?;
    if all.is_empty() {
        return Err(unknown(config, given.name.as_deref().unwrap_or("NAME")));
    }
    let places = GrantPlaces::open(config).await.map_err(|error| failure(REFUSED)(error.into()))?;
    let (mut text, mut missing) = (String::new(), Vec::new());
    for sign_in in &all {
        let (SignInConfig { instance, user, .. }, place) = (sign_in, places.of(sign_in));
        let owner = user.file.owner();
        text += &format!("{}: instance {instance} ({}), client id {}\n", user.name, owner.host, owner.client_id);
        let read = place.read().await;
        let is_kept = place.has_file() || matches!(&read, Ok(Some(_)));
        let problem = match read {
            Ok(Some(StoredGrant { ended: Some(ended), .. })) => {
                Some(format!("ended by NinjaOne {}", utc::moment(ended)))
            }
            Ok(Some(grant)) => {
                text += &described(&grant);
                None
            }
            Ok(None) => Some("not signed in".to_owned()),
            Err(error) => Some(format!("cannot be used: {}", ErrorChain(&error))),
        };
        if let Some(problem) = problem {
            missing.push(user.name.as_str());
            text += &format!("  {problem}\n  run: {}\n", user.login);
        }
        let kept = if is_kept { "kept in" } else { "will be kept in" };
        text += &format!("  {kept} {place}\n");
    }
    places.close().await;
    print(&text)?;
    match missing.as_slice() {
        [] => Ok(()),
        [..] => Err(failure(REFUSED)(anyhow!("must sign in: {}", missing.join(", ")))),
    }
}

fn described(grant: &StoredGrant) -> String {
    let left = match SystemTime::now().duration_since(grant.renewed) {
        Ok(age) => format!("about {} days left if it is not renewed", KEPT.saturating_sub(age).as_secs() / (24 * 3600)),
        Err(_) => {
            "that is in the future: the clock of this machine is wrong, or was then; the next renewal corrects it"
                .to_owned()
        }
    };
    let (signed_in, renewed) = (utc::moment(grant.signed_in), utc::moment(grant.renewed));
    format!("  scopes {}\n  signed in {signed_in}, renewed {renewed}\n  {left}\n", grant.scopes)
}
