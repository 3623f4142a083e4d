//! The HTML of the page. All texts go through [`plain()`], and maud escapes them.

use std::borrow::Cow;

use maud::{DOCTYPE, Markup, PreEscaped, html};

use super::{Explorer, ExplorerAnswer, SCRIPT, STYLE, SubjectAnswer};
use crate::base::plain;
use crate::tools::admin::history::{Chart, Charts, HEIGHT, WIDTH};
use crate::tools::admin::view::{Cell, Column, Details, Notice, Row, Table, View};

/// The methods that can be chosen in the explorer.
const METHODS: [&str; 5] = ["GET", "POST", "PUT", "PATCH", "DELETE"];
/// Under the time axis: a chart shows five minutes.
const MINUTES: [&str; 6] = ["−5 min", "−4", "−3", "−2", "−1", "now"];
/// A line for each minute, and for the middle of the scale.
const GRID: &str = "M0 0V60M60 0V60M120 0V60M180 0V60M240 0V60M300 0V60M0 1H300M0 30H300";
/// The parts of the page: their ids and names.
const PARTS: [(&str, &str); 6] = [
    ("traffic", "Traffic"),
    ("refused-requests", "Refusals"),
    ("entrances", "Listeners and callers"),
    ("upstream", "Instances and tokens"),
    ("explorer", "Explorer"),
    ("about", "Configuration"),
];

/// Text without characters that do not show.
fn plain(text: &str) -> Cow<'_, str> {
    plain::lines(text)
}

/// The whole document.
pub(super) fn document(view: &View, explorer: &Explorer<'_>) -> Markup {
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { (plain(view.text("headline"))) " – ninjaone-proxy" }
                style { (PreEscaped(STYLE)) }
            }
            body {
                a.skip href="#main" { "Skip to the state" }
                header {
                    h1 { "ninjaone-proxy" }
                    nav aria-label="On this page" {
                        @for (id, name) in PARTS { a href={ "#" (id) } { (name) } }
                        a href="/approvals" { "Approvals: " (text(view, "approvals-waiting")) }
                    }
                }
                main #main tabindex="-1" {
                    (banner(view))
                    (part(0, html! { (tiles(view)) (charts(&view.charts)) }))
                    (part(1, table(view, "refusals")))
                    (part(2, html! { (table(view, "listeners")) (table(view, "callers")) (table(view, "permits")) (table(view, "quotas")) }))
                    (part(3, html! { (table(view, "instances")) (table(view, "tokens")) }))
                    (part(4, questions(view, explorer)))
                    (part(5, about(view)))
                }
                script { (PreEscaped(SCRIPT)) }
            }
        }
        "\n"
    }
}

fn part(number: usize, content: Markup) -> Markup {
    let (id, name) = PARTS.get(number).copied().unwrap_or_default();
    html! {
        section aria-labelledby=(id) { h2 id=(id) { (name) } (content) }
    }
}

/// The text at a place, which the script keeps up to date.
fn text(view: &View, id: &str) -> Markup {
    html! { span id=(id) { (plain(view.text(id))) } }
}

fn banner(view: &View) -> Markup {
    html! {
        section #overview .{ "tone-" (view.tone.name()) } aria-labelledby="headline" {
            span #symbol aria-hidden="true" { (view.tone.symbol()) }
            div.says role="status" {
                h2 #headline { (plain(view.text("headline"))) }
                p #why { (plain(view.text("why"))) }
                p.todo { strong { "Do this: " } (text(view, "todo")) }
            }
            p.fine.asof {
                strong #state { (plain(view.text("state"))) }
                " as of " (text(view, "asof")) ". " span #live { "Load the page again for a later state." }
            }
            ul #notices { @for notice in &view.notices { (self::notice(notice)) } }
        }
    }
}

fn notice(Notice { tone, text, todo }: &Notice) -> Markup {
    html! {
        li class=(tone.name()) {
            (plain(text))
            @if let Some(todo) = todo { p { strong { "Do this: " } (plain(todo)) } }
        }
    }
}

fn tiles(view: &View) -> Markup {
    let tile = |name: &str, id: &str, more: Markup| {
        html! { div { dt { (name) } dd { b id=(id) { (plain(view.text(id))) } span.fine { (more) } } } }
    };
    html! {
        dl.tiles {
            (tile("Requests since the start", "total", html! { "running for " (text(view, "uptime")) }))
            (tile("Refused by the proxy", "refused-total", text(view, "refused-share")))
            (tile("In flight", "in-flight", html! { "not answered to the end" }))
            (tile("Usable tokens", "tokens-usable", text(view, "tokens-next")))
        }
    }
}

fn charts(Charts { requests, refused, latency }: &Charts) -> Markup {
    html! {
        div.charts {
            (chart("requests", html! { "Requests" }, requests))
            (chart("refused", html! { "Refused" }, refused))
            (chart("latency", html! {
                "Latency: " span.key {} " median, " span.key.second {} " 95th percentile"
            }, latency))
        }
    }
}

/// The drawing says nothing that the words above it do not say.
fn chart(id: &str, title: Markup, Chart { lines, now, max, top }: &Chart) -> Markup {
    html! {
        figure id=(id) {
            figcaption {
                span.title { (title) }
                span { b.now { (now) } " now" }
                span.max { @if !max.is_empty() { "max " (max) } }
            }
            div.plot aria-hidden="true" {
                span.top { (top) }
                span.zero { "0" }
                svg viewBox={ "0 0 " (WIDTH) " " (HEIGHT) } preserveAspectRatio="none" {
                    path.grid d=(GRID) {}
                    @for line in lines { path.line d=(line) {} }
                }
                div.minutes { @for minute in MINUTES { span { (minute) } } }
            }
        }
    }
}

/// With roles: on a narrow screen a table is drawn as blocks, and some browsers then forget what it is.
fn table(view: &View, id: &str) -> Markup {
    let Some(Table { caption, columns, rows, empty, .. }) = view.table(id) else { return Markup::default() };
    html! {
        table id=(id) role="table" {
            caption { (caption) }
            thead role="rowgroup" {
                tr role="row" {
                    @for Column { name, number } in *columns {
                        th scope="col" role="columnheader" class=[number.then_some("number")] { (name) }
                    }
                }
            }
            tbody role="rowgroup" {
                @for Row { key, cells } in rows {
                    tr role="row" data-key=(key) {
                        @for (place, (cell, column)) in cells.iter().zip(*columns).enumerate() {
                            (self::cell(place == 0, column.name, cell))
                        }
                    }
                }
                @if rows.is_empty() {
                    tr role="row" { td.empty role="cell" colspan=(columns.len()) { (empty) } }
                }
            }
        }
    }
}

fn cell(head: bool, label: &str, cell: &Cell) -> Markup {
    let content = html! {
        div title=[cell.title.as_ref()] { (linked(cell)) }
        @if let Some(Details { summary, lines }) = &cell.details {
            details {
                summary { (summary) }
                dl { @for (name, cell) in lines { dt { (plain(name)) } dd class=[cell.kind] { (linked(cell)) } } }
            }
        }
    };
    html! {
        @if head {
            th scope="row" role="rowheader" class=[cell.kind] data-label=(label) { (content) }
        } @else {
            td role="cell" class=[cell.kind] data-label=(label) { (content) }
        }
    }
}

fn linked(Cell { text, link, .. }: &Cell) -> Markup {
    html! {
        @if let Some(link) = link { a href=(link) { (plain(text)) } } @else { (plain(text)) }
    }
}

fn questions(view: &View, Explorer { question, answer, .. }: &Explorer<'_>) -> Markup {
    let option = |value: &str, text: &str, chosen: &str| {
        html! { option value=(plain(value)) selected[value.eq_ignore_ascii_case(chosen)] { (plain(text)) } }
    };
    html! {
        p { "What would happen to a request, and why. Nothing is sent." }
        form #ask action="/explain#explorer" method="get" {
            p {
                label for="listener" { "Listener" }
                select #listener name="listener" {
                    (option("", "every listener", &question.listener))
                    @for name in &view.listeners { (option(name, name, &question.listener)) }
                }
            }
            p {
                label for="method" { "Method" }
                select #method name="method" {
                    @for method in METHODS { (option(method, method, &question.method)) }
                }
            }
            p.wide {
                label for="path" { "Path, and query if any" }
                input #path name="path" value=(plain(&question.path)) required spellcheck="false"
                    autocapitalize="off" autocomplete="off";
            }
            p { button { "Explain" } }
        }
        div #answer tabindex="-1" role="group" aria-label="Explanation" {
            @if let Some(answer) = answer { (explanation(answer)) }
        }
    }
}

/// Open at once unless there are many.
fn explanation(ExplorerAnswer { problem, told }: &ExplorerAnswer) -> Markup {
    html! {
        @if let Some(problem) = problem { p.bad { (plain(problem)) } }
        @for SubjectAnswer { title, open, lines } in told {
            details class=(if *open { "told open" } else { "told" }) open[told.len() == 1] {
                summary { (plain(title)) }
                dl { @for (name, text) in lines { dt { (name) } dd { (plain(text)) } } }
            }
        }
    }
}

fn about(view: &View) -> Markup {
    let names =
        [("source", "Configuration"), ("since", "In force since"), ("reload", "Last reload"), ("version", "Version")];
    html! {
        dl.about { @for (id, name) in names { dt { (name) } dd id=(id) { (plain(view.text(id))) } } }
        p.fine {
            "For programs: " a href="/readyz" { "/readyz" } ", " a href="/livez" { "/livez" } ", "
            a href="/metrics" { "/metrics" } "."
        }
    }
}
