//! The refusal of a request for which a quota is used up.

use std::time::Duration;

use super::problem::Refusal;
use super::refusal_table::RefusalKind;
use super::{RefusalContext, table};
use crate::proxy::quota::{QuotaExceeded, QuotaHolder, QuotaKind, QuotaStatus};

pub(super) fn refusal(exceeded: &QuotaExceeded, scene: &RefusalContext<'_>) -> Refusal {
    let seconds = exceeded.retry_after;
    // If several are used up, the one that takes longest.
    let used_up = exceeded.quotas.iter().filter(|quota| quota.remaining == 0);
    let detail = used_up.max_by_key(|quota| quota.more_in).map_or_else(String::new, |quota| detail(quota, scene));
    let alone = if exceeded.alone {
        " The shared store is down: until it is back, each replica lets through only its part of each quota."
    } else {
        ""
    };
    let detail = format!("{detail}{alone} Nothing was sent to NinjaOne: try again in {}.", in_words(seconds));
    let after = Duration::from_secs(seconds.into());
    Refusal { quotas: exceeded.quotas.clone(), ..Refusal::new(RefusalKind::QuotaExceeded, detail).after(after) }
}

/// Which quota of which table, how much it is, and how to change that.
fn detail(quota: &QuotaStatus, scene: &RefusalContext<'_>) -> String {
    let QuotaStatus { holder, kind, limit, used, own, active, .. } = *quota;
    let (key, what) = (kind.as_str(), what(kind));
    let caller = scene.caller.map_or_else(|| "caller".to_owned(), |name| format!("caller {name}"));
    let (table, whose) = match holder {
        QuotaHolder::Caller => (table(scene.listener, scene.caller), format!("the {caller}")),
        QuotaHolder::Listener => (table(scene.listener, None), format!("the listener {}", scene.listener)),
    };
    let unit = limit.unit().word();
    let cause = if used >= limit.count() {
        format!("The quota of {whose} for {what} is used up: {limit}, and {used} passed within the last {unit}.")
    } else {
        format!(
            "The {caller} has used its share of the {what} of {whose}: {own} of {limit}. {active} callers asked within the last {unit} and share them; what is left is kept for the others."
        )
    };
    let more = limit.doubled();
    let example = if more == limit { String::new() } else { format!(", such as {key} = \"{more}\"") };
    format!("{cause} To allow more, write a larger number for {key} in quota of [{table}]{example}.")
}

fn what(kind: QuotaKind) -> &'static str {
    match kind {
        QuotaKind::Requests => "requests",
        QuotaKind::Writes => "writes",
        QuotaKind::Critical => "critical operations",
    }
}

/// `12 s`, `1 min 1 s`, `23 h 59 min 59 s`.
fn in_words(seconds: u32) -> String {
    let (hours, minutes, rest) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    match (hours, minutes) {
        (0, 0) => format!("{rest} s"),
        (0, _) => format!("{minutes} min {rest} s"),
        _ => format!("{hours} h {minutes} min {rest} s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scene<'a>(caller: Option<&'a str>) -> RefusalContext<'a> {
        RefusalContext {
            listener: "local",
            caller,
            scopes: "monitoring",
            user: None,
            instance: "eu.ninjarmm.com",
            method: "POST",
            path: "/v2/x",
            request_id: "1",
            operation: None,
            judged: None,
        }
    }

    fn status(holder: QuotaHolder, kind: QuotaKind, limit: &str, used: u32, remaining: u32) -> QuotaStatus {
        let limit = limit.parse().expect("a limit");
        QuotaStatus { holder, kind, limit, used, own: used, active: 3, remaining, more_in: Some(7) }
    }

    fn said(quotas: Vec<QuotaStatus>, retry_after: u32, caller: Option<&str>) -> Refusal {
        refusal(&QuotaExceeded { quotas, retry_after, alone: false }, &scene(caller))
    }

    #[test]
    fn refusal_says_which_quota_of_which_table_when_again_and_what_to_write() {
        let full = status(QuotaHolder::Listener, QuotaKind::Writes, "30/min", 30, 0);
        let open = status(QuotaHolder::Listener, QuotaKind::Requests, "600/min", 30, 570);
        let refusal = said(vec![open, full], 7, None);
        let wanted = "The quota of the listener local for writes is used up: 30/min, and 30 passed within the last minute. \
                      To allow more, write a larger number for writes in quota of [listeners.local], such as \
                      writes = \"60/min\". Nothing was sent to NinjaOne: try again in 7 s.";
        assert_eq!((refusal.detail.as_str(), refusal.wait), (wanted, Some(Duration::from_secs(7))));
    }

    #[test]
    fn refusal_of_a_caller_names_its_own_table_or_its_share_of_the_listeners() {
        let own = status(QuotaHolder::Caller, QuotaKind::Critical, "5/day", 5, 0);
        let refusal = said(vec![own], 86_399, Some("helpdesk"));
        for part in [
            "The quota of the caller helpdesk for critical operations is used up: 5/day",
            "[listeners.local.callers.helpdesk], such as critical = \"10/day\"",
            "try again in 23 h 59 min 59 s",
        ] {
            assert!(refusal.detail.contains(part), "{part}: {}", refusal.detail);
        }
        let share = status(QuotaHolder::Listener, QuotaKind::Requests, "100000/h", 40_000, 0);
        let refusal = said(vec![share], 61, Some("helpdesk"));
        let wanted = "The caller helpdesk has used its share of the requests of the listener local: 40000 of 100000/h. 3 callers \
                      asked within the last hour and share them; what is left is kept for the others. \
                      To allow more, write a larger number for requests in quota of [listeners.local]. Nothing was sent to \
                      NinjaOne: try again in 1 min 1 s.";
        assert_eq!(refusal.detail, wanted);
    }
}
