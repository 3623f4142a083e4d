//! The fields `RateLimit-Policy` and `RateLimit` of draft-ietf-httpapi-ratelimit-headers-10, which tell a caller of its
//! quotas.

use std::fmt::Write;

use http::HeaderMap;
use http::header::{HeaderName, HeaderValue};

use crate::proxy::quota::{QuotaHolder, QuotaKind, QuotaStatus};

const RATE_LIMIT_POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");
const RATE_LIMIT: HeaderName = HeaderName::from_static("ratelimit");

/// The name of a quota in these fields: a String of RFC 9651 without its quotation marks.
pub(super) fn policy_name(quota: &QuotaStatus) -> &'static str {
    match (quota.holder, quota.kind) {
        (QuotaHolder::Listener, kind) => kind.as_str(),
        (QuotaHolder::Caller, QuotaKind::Requests) => "caller-requests",
        (QuotaHolder::Caller, QuotaKind::Writes) => "caller-writes",
        (QuotaHolder::Caller, QuotaKind::Critical) => "caller-critical",
    }
}

/// Writes the quotas that apply to a request into its answer; without one the answer stays as it is.
///
/// Fields of these names that NinjaOne sent are replaced: to the caller this proxy is the server. In a list with ours they
/// could not be told apart, and one of an older draft's form would make the whole list malformed.
pub fn tell_quotas(headers: &mut HeaderMap, quotas: &[QuotaStatus]) {
    if quotas.is_empty() {
        return;
    }
    let (mut policies, mut limits) = (String::new(), String::new());
    for quota in quotas {
        let (name, QuotaStatus { limit, remaining, more_in, .. }) = (policy_name(quota), quota);
        let comma = if policies.is_empty() { "" } else { ", " };
        // Writing to a String does not fail.
        let _ = write!(policies, "{comma}\"{name}\";q={};w={}", limit.count(), limit.seconds());
        let _ = write!(limits, "{comma}\"{name}\";r={remaining}");
        let _ = more_in.map_or(Ok(()), |seconds| write!(limits, ";t={seconds}"));
    }
    for (name, text) in [(RATE_LIMIT_POLICY, policies), (RATE_LIMIT, limits)] {
        if let Ok(value) = HeaderValue::try_from(text) {
            headers.insert(name, value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(holder: QuotaHolder, kind: QuotaKind, limit: &str, remaining: u32, more_in: Option<u32>) -> QuotaStatus {
        let limit = limit.parse().expect("a limit");
        QuotaStatus { holder, kind, limit, used: 0, own: 0, active: 1, remaining, more_in }
    }

    fn all<'a>(headers: &'a HeaderMap, name: &str) -> Vec<&'a str> {
        headers.get_all(name).iter().map(|value| value.to_str().expect("text")).collect()
    }

    #[test]
    fn fields_are_lists_of_strings_with_parameters() {
        let mut headers = HeaderMap::new();
        let quotas = [
            status(QuotaHolder::Caller, QuotaKind::Writes, "5/day", 5, None),
            status(QuotaHolder::Listener, QuotaKind::Requests, "600/min", 0, Some(12)),
        ];
        tell_quotas(&mut headers, &quotas);
        let policy = "\"caller-writes\";q=5;w=86400, \"requests\";q=600;w=60";
        assert_eq!(all(&headers, "RateLimit-Policy"), [policy]);
        assert_eq!(all(&headers, "RateLimit"), ["\"caller-writes\";r=5, \"requests\";r=0;t=12"]);
    }

    #[test]
    fn fields_of_the_instance_are_replaced_where_there_is_a_quota_and_stay_elsewhere() {
        let mut headers = HeaderMap::new();
        headers.append("ratelimit", HeaderValue::from_static("\"requests\";r=1"));
        headers.append("ratelimit", HeaderValue::from_static("limit=100, remaining=50, reset=5"));
        tell_quotas(&mut headers, &[]);
        assert_eq!(all(&headers, "ratelimit").len(), 2);
        tell_quotas(&mut headers, &[status(QuotaHolder::Listener, QuotaKind::Critical, "3/h", 2, Some(9))]);
        assert_eq!(all(&headers, "ratelimit"), ["\"critical\";r=2;t=9"]);
    }

    #[test]
    fn names_of_quotas_are_all_different() {
        let holders = [QuotaHolder::Caller, QuotaHolder::Listener];
        let names = holders.into_iter().flat_map(|holder| {
            QuotaKind::ALL.into_iter().map(move |kind| policy_name(&status(holder, kind, "1/s", 1, None)))
        });
        assert_eq!(names.collect::<std::collections::BTreeSet<_>>().len(), 6);
    }
}
