//! The HTML of the pages of approvals. All texts go through [`plain()`], and maud escapes them.

use std::borrow::Cow;

use http::header::HeaderValue;
use maud::{DOCTYPE, Markup, PreEscaped, html};

use super::super::shown_body::{BodyForm, ShownBody, masked_fields};
use super::forms::{decision, key_first};
use super::{OWN_STYLE, PageMessage, ShownApproval};
use crate::base::clock::utc;
use crate::base::plain;
use crate::proxy::approval::{ApprovalDetails, ApprovalSummary, Decision, State, Vote};
use crate::tools::admin::page::STYLE;

/// Text without characters that do not show.
fn plain(text: &str) -> Cow<'_, str> {
    plain::lines(text)
}

fn page(title: &str, content: &Markup) -> Markup {
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { (plain(title)) " – ninjaone-proxy" }
                style { (PreEscaped(STYLE)) }
                style { (PreEscaped(OWN_STYLE)) }
            }
            body {
                a.skip href="#main" { "Skip to the content" }
                header {
                    h1 { "ninjaone-proxy" }
                    nav aria-label="Pages" {
                        a href="/" { "Status" }
                        a href="/approvals" { "Approvals" }
                    }
                }
                main #main tabindex="-1" { (content) }
            }
        }
        "\n"
    }
}

/// The page that lists all approvals.
pub(super) fn list(summaries: &[ApprovalSummary]) -> Markup {
    let (open, ended): (Vec<_>, Vec<_>) = summaries.iter().partition(|summary| summary.state.is_open());
    let waiting = open.iter().filter(|summary| summary.state == State::Waiting).count();
    let title = match waiting {
        0 => "No request waits for approval".to_owned(),
        1 => "1 request waits for approval".to_owned(),
        count => format!("{count} requests wait for approval"),
    };
    let content = html! {
        h2 { (title) }
        p.fine { "As of " (utc::moment(std::time::SystemTime::now())) ". Load the page again for a later state." }
        @if !open.is_empty() { (cards(&open)) }
        @if !ended.is_empty() {
            section aria-labelledby="ended" {
                h2 #ended { "Decided, used or expired" }
                (cards(&ended))
            }
        }
        p.fine { "For programs: " a href="/approvals.json" { "/approvals.json" } ", and \"ninjaone-proxy approvals\"." }
    };
    page(&title, &content)
}

fn cards(summaries: &[&ApprovalSummary]) -> Markup {
    html! {
        ul.cards {
            @for summary in summaries {
                li class=(summary.state.as_str()) {
                    h3 { a href={ "/approvals/" (summary.id) } { (plain(&summary.operation)) } }
                    p { (state(summary)) " · " (risk(summary)) " · " (who(summary)) }
                    p.code { (summary.method) " " (plain(&summary.path)) }
                    p.fine {
                        "Asked " (utc::moment(summary.asked)) ", until " (utc::moment(summary.expires)) ", by the rule "
                        span.code { (plain(&summary.rule)) }
                        @if let Some(reason) = &summary.reason { ": " (plain(reason)) }
                    }
                }
            }
        }
    }
}

fn state(summary: &ApprovalSummary) -> Markup {
    let ApprovalSummary { state, given, required, is_withdrawn, .. } = summary;
    html! {
        span.state.(state.as_str()) { (state.as_str()) }
        @if *state == State::Waiting && *required > 1 { " (" (given) " of " (required) " approvals)" }
        @if *is_withdrawn { " (the caller left)" }
    }
}

fn risk(summary: &ApprovalSummary) -> Markup {
    let risk = summary.risk.as_str();
    html! { span.{ "risk-" (risk) } { (risk) " risk" } }
}

fn who(summary: &ApprovalSummary) -> Markup {
    html! {
        @match &summary.caller {
            Some(caller) => { "the caller " b { (plain(caller)) } },
            None => "any caller",
        }
        " on the listener " b { (plain(&summary.listener)) }
    }
}

/// The page that says that there is no such request.
pub(super) fn missing(why: &str) -> Markup {
    page(
        "No such request",
        &html! {
            h2 { "No such request" }
            p.message.refused role="alert" { (plain(why)) }
            p { a href="/approvals" { "All approvals" } }
        },
    )
}

/// The page of one request.
pub(super) fn one(shown: &ShownApproval<'_>) -> Markup {
    let ShownApproval { summary, details, message, .. } = shown;
    let title = match message {
        Some(PageMessage::Done(what)) => what.clone(),
        Some(PageMessage::Refused(_)) => format!("Not done: {}", summary.operation),
        None => format!("{}: {}", summary.state.as_str(), summary.operation),
    };
    let content = html! {
        h2 { "Request for approval" }
        @match message {
            Some(PageMessage::Done(what)) => { p.message role="status" { (plain(what)) } },
            Some(PageMessage::Refused(refusal)) => { p.message.refused role="alert" { (plain(&refusal.detail())) } },
            None => {},
        }
        (facts(shown))
        @if let Some(details) = details { (contents(details)) }
        @if summary.state.is_open() {
            @if details.is_some() { (decision(summary)) } @else { (key_first(summary)) }
        }
        p { a href="/approvals" { "All approvals" } }
    };
    page(&title, &content)
}

fn facts(ShownApproval { summary, details, names, .. }: &ShownApproval<'_>) -> Markup {
    let held = details.map(|details| &details.held);
    let operation = held.and_then(|held| held.operation.as_ref());
    html! {
        dl.facts {
            dt { "State" } dd { (state(summary)) }
            dt { "Operation" } dd { b { (plain(&summary.operation)) } }
            @if let Some(group) = summary.group {
                dt { "Group" } dd { (group.name) ", which can " (group.description) }
            }
            dt { "Risk" } dd {
                (risk(summary))
                @if let Some(operation) = operation {
                    @if operation.idempotent {
                        "; a second, equal request changes nothing more"
                    } @else {
                        "; a second, equal request does it once more"
                    }
                }
            }
            dt { "From" } dd { (who(summary)) @if let Some(held) = held { ", at " (plain(&held.facts.peer)) } }
            @if let Some(held) = held {
                dt { "To" } dd { (plain(&held.instance)) }
                @if let Some(user) = &held.facts.user { dt { "In the name of" } dd { "the user " (plain(user)) } }
            }
            dt { "Rule" } dd {
                span.code { (plain(&summary.rule)) }
                @if let Some(reason) = &summary.reason { ", with the reason: " (plain(reason)) }
            }
            dt { "Path" } dd.code { (summary.method) " " (plain(&summary.path)) }
            @if summary.dry_run { dt { "Dry run" } dd { "it is not sent: the caller gets an invented answer" } }
            @for (what, name) in *names { dt { (plain(what)) } dd { (plain(name)) } }
            dt { "Asked" } dd { (utc::moment(summary.asked)) }
            dt { "Until" } dd { (utc::moment(summary.expires)) }
            @if summary.required > 1 { dt { "Approvals" } dd { (summary.given) " of " (summary.required) } }
            @if let Some(details) = details { (votes(&details.votes)) }
        }
    }
}

fn votes(votes: &[Vote]) -> Markup {
    html! {
        @for Vote { approver, decision, comment, at } in votes {
            dt { @match decision { Decision::Approve => "Approved by", Decision::Deny => "Denied by" } }
            dd {
                (plain(approver)) ", " (utc::moment(*at))
                @if let Some(comment) = comment { ": " (plain(comment)) }
            }
        }
    }
}

/// What only an approver may see.
fn contents(ApprovalDetails { held, body_bytes, body_sha256, .. }: &ApprovalDetails) -> Markup {
    let text = |value: &HeaderValue| plain(&String::from_utf8_lossy(value.as_bytes())).into_owned();
    let ShownBody { text: body, form, masked } = ShownBody::of(&held.body, held.content_type.as_ref());
    let query = held.target.query().map(masked_fields);
    html! {
        section aria-labelledby="query" {
            h3 #query { "Query" }
            @match query {
                Some((query, masked)) => {
                    pre { (plain(&query)) }
                    (mask_note(masked))
                },
                None => p { "None." },
            }
        }
        section aria-labelledby="body" {
            h3 #body { "Body" }
            @match form {
                BodyForm::Empty if *body_bytes > 0 => p { "It was let go of when the request was decided." },
                BodyForm::Empty => p { "None." },
                BodyForm::Json | BodyForm::Form => { pre { (plain(&body)) } (mask_note(masked)) },
                BodyForm::Text => {
                    p { "This is not JSON, and shown as it came; nothing in it is masked." }
                    pre { (plain(&body)) }
                },
                BodyForm::Hex => {
                    p { "This is not text. Its first bytes:" }
                    pre { (plain(&body)) }
                },
            }
            p.fine {
                (body_bytes) " bytes, SHA-256 " span.code { (body_sha256) }
                @if let Some(kind) = &held.content_type { ", Content-Type " (text(kind)) }
                @if let Some(coding) = &held.content_encoding { ", Content-Encoding " (text(coding)) }
                ". An approval is for exactly these bytes."
            }
        }
    }
}

fn mask_note(masked: usize) -> Markup {
    html! {
        @if masked > 0 {
            p {
                "Not shown (***): " (masked)
                @if masked == 1 { " value of a field for secrets. It is" } @else { " values of fields for secrets. They are" }
                " sent as received, and part of the hash."
            }
        }
    }
}
