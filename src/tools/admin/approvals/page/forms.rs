//! The forms of the page of one request: each asks for the key of an approver, since none is kept.

use maud::{Markup, html};

use crate::proxy::approval::ApprovalSummary;

/// Asks for the key before the query and the body are shown.
pub(super) fn key_first(summary: &ApprovalSummary) -> Markup {
    html! {
        section aria-labelledby="show" {
            h3 #show { "See the whole request" }
            form.approver method="post" action={ "/approvals/" (summary.id) } {
                input type="hidden" name="decision" value="show";
                p { "Query and body may hold personal data, so they are shown to approvers only." }
                (key_field())
                p { button { "Show query and body" } }
            }
        }
    }
}

pub(super) fn decision(summary: &ApprovalSummary) -> Markup {
    html! {
        section aria-labelledby="decide" {
            h3 #decide { "Decide" }
            form.approver method="post" action={ "/approvals/" (summary.id) } {
                fieldset {
                    legend { "Decision" }
                    label { input type="radio" name="decision" value="approve" required; "Approve: this request may be sent once" }
                    label { input type="radio" name="decision" value="deny" required; "Deny: it will never be sent" }
                }
                p {
                    label for="comment" { "Comment (optional; the caller sees why you deny)" }
                    input #comment name="comment" maxlength="500" autocomplete="off";
                }
                (key_field())
                p { button { "Send the decision" } }
            }
        }
    }
}

fn key_field() -> Markup {
    html! {
        p {
            label for="key" { "Your approver's key" }
            input #key name="key" type="password" required autocomplete="off" spellcheck="false"
                autocapitalize="off" aria-describedby="key-note";
            span.fine #key-note { "It goes with this form only, and is not kept." }
        }
    }
}
