//! The refusal table: one row for each way in which the proxy refuses a request, on every listener. What the caller is
//! told in words is not here, since it depends on the request.

use http::StatusCode;

use crate::observe::access_log::Fault;

/// What a row says of a refusal.
#[derive(Debug, Clone, Copy)]
pub struct RefusalRow {
    /// The status of the answer.
    pub status: StatusCode,
    /// Stable, for programs.
    pub code: &'static str,
    /// Whose fault it is.
    pub blame: Fault,
    /// The error type of RFC 9209 section 2.3.
    pub error: &'static str,
    /// The error for an OAuth client that asked for a token (RFC 6749 section 5.2).
    pub oauth: &'static str,
    /// The field that the status must or may have in addition to the problem.
    pub field: ExtraField,
    /// Whether the connection ends: the message itself is wrong, so nothing more is read where it came from.
    pub closes: bool,
}

/// A field that goes with a status.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExtraField {
    /// None.
    Nothing,
    /// `WWW-Authenticate`.
    Challenge,
    /// `Proxy-Authenticate`.
    ProxyChallenge,
    /// `WWW-Authenticate` where only a bearer is taken.
    BearerChallenge,
    /// `Allow: POST`.
    AllowPost,
    /// `Allow: GET, HEAD`.
    AllowRead,
    /// `Allow: GET, HEAD, POST`.
    AllowDecision,
    /// `Allow` with the methods of the path.
    AllowMethods,
    /// `Retry-After`, where it is known when another request can do better.
    RetryAfter,
    /// `Retry-After` of one second.
    RetrySoon,
}

const fn row(status: StatusCode, code: &'static str, blame: Fault, error: &'static str) -> RefusalRow {
    let field = ExtraField::Nothing;
    RefusalRow { status, code, blame, error, oauth: "invalid_request", field, closes: false }
}

/// The message is wrong.
const fn malformed(status: StatusCode, code: &'static str) -> RefusalRow {
    row(status, code, Fault::Caller, "http_request_error")
}

/// The message is right, and not allowed.
const fn denied(status: StatusCode, code: &'static str) -> RefusalRow {
    row(status, code, Fault::Caller, "http_request_denied")
}

/// The proxy cannot do it now.
const fn unavailable(code: &'static str, blame: Fault) -> RefusalRow {
    row(StatusCode::SERVICE_UNAVAILABLE, code, blame, "proxy_internal_error").with(ExtraField::RetryAfter)
}

/// There is no token until somebody changes something.
const fn misconfigured(code: &'static str) -> RefusalRow {
    row(StatusCode::SERVICE_UNAVAILABLE, code, Fault::Proxy, "proxy_configuration_error").with(ExtraField::RetryAfter)
}

/// More requests came than may go on.
const fn limited(blame: Fault, error: &'static str) -> RefusalRow {
    row(StatusCode::TOO_MANY_REQUESTS, "rate-limited", blame, error).with(ExtraField::RetryAfter)
}

/// The instance cannot be asked, or did not answer as it must. Where it is asked for a token, there is a time for the
/// next attempt.
const fn unanswered(status: StatusCode, code: &'static str, error: &'static str) -> RefusalRow {
    row(status, code, Fault::Upstream, error).with(ExtraField::RetryAfter)
}

impl RefusalRow {
    const fn with(self, field: ExtraField) -> Self {
        Self { field, ..self }
    }

    const fn oauth(self, oauth: &'static str) -> Self {
        Self { oauth, ..self }
    }

    const fn closing(self) -> Self {
        Self { closes: true, ..self }
    }
}

macro_rules! refusal_table {
    ($($kind:ident: $row:expr;)+) => {
        /// The ways in which the proxy refuses a request.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        #[expect(missing_docs, reason = "each is explained by its row")]
        pub enum RefusalKind {
            $($kind,)+
        }

        impl RefusalKind {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$kind,)+];

            /// Its row.
            pub const fn row(self) -> RefusalRow {
                match self {
                    $(Self::$kind => $row,)+
                }
            }
        }
    };
}

refusal_table! {
    // The message.
    HostMissing: malformed(StatusCode::BAD_REQUEST, "host-missing").closing();
    HostRepeated: malformed(StatusCode::BAD_REQUEST, "host-repeated").closing();
    HostMalformed: malformed(StatusCode::BAD_REQUEST, "host-malformed").closing();
    HeadMalformed: malformed(StatusCode::BAD_REQUEST, "request-malformed").closing();
    FramingAmbiguous: malformed(StatusCode::BAD_REQUEST, "framing-ambiguous").closing();
    HeadTooLarge: malformed(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, "head-too-large").closing();
    TargetTooLong: malformed(StatusCode::URI_TOO_LONG, "target-too-long").closing();
    TargetFragment: malformed(StatusCode::BAD_REQUEST, "target-malformed").closing();
    TargetMalformed: malformed(StatusCode::BAD_REQUEST, "target-malformed");
    BodyBroken: malformed(StatusCode::BAD_REQUEST, "body-broken");
    BodyStalled: malformed(StatusCode::REQUEST_TIMEOUT, "body-stalled");
    BodyTooLarge: malformed(StatusCode::PAYLOAD_TOO_LARGE, "body-too-large");

    // Who calls.
    HostNotOurs: denied(StatusCode::MISDIRECTED_REQUEST, "host-not-ours");
    PageNotAllowed: denied(StatusCode::FORBIDDEN, "page-not-allowed");
    Relayed: denied(StatusCode::FORBIDDEN, "relayed");
    KeyMissing: denied(StatusCode::UNAUTHORIZED, "key-missing").with(ExtraField::Challenge).oauth("invalid_client");
    KeyWrong: denied(StatusCode::UNAUTHORIZED, "key-wrong").with(ExtraField::Challenge).oauth("invalid_client");
    KeyThrottled: denied(StatusCode::TOO_MANY_REQUESTS, "key-throttled")
        .with(ExtraField::RetryAfter)
        .oauth("temporarily_unavailable");
    ConnectNested: malformed(StatusCode::BAD_REQUEST, "connect-nested").closing();
    ServerMismatch: denied(StatusCode::MISDIRECTED_REQUEST, "server-mismatch").closing();
    ProxyKeyMissing: denied(StatusCode::PROXY_AUTHENTICATION_REQUIRED, "proxy-key-missing").with(ExtraField::ProxyChallenge);
    ProxyKeyWrong: denied(StatusCode::PROXY_AUTHENTICATION_REQUIRED, "proxy-key-wrong").with(ExtraField::ProxyChallenge);
    GrantUnsupported: denied(StatusCode::BAD_REQUEST, "grant-unsupported").oauth("unsupported_grant_type");
    SignInUnsupported: denied(StatusCode::FORBIDDEN, "sign-in-unsupported");
    TokenNotPost: denied(StatusCode::METHOD_NOT_ALLOWED, "method-not-allowed").with(ExtraField::AllowPost);

    // What CONNECT asks for. RFC 9209 section 2.3.5 has the error.
    ConnectMalformed: malformed(StatusCode::BAD_REQUEST, "connect-malformed").closing();
    ConnectNotListed: denied(StatusCode::FORBIDDEN, "connect-not-listed");
    ConnectAddress: row(StatusCode::FORBIDDEN, "connect-address", Fault::Caller, "destination_ip_prohibited");
    ConnectNameUnknown: unanswered(StatusCode::BAD_GATEWAY, "connect-failed", "dns_error");
    ConnectFailed: unanswered(StatusCode::BAD_GATEWAY, "connect-failed", "connection_refused");
    ConnectTimeout: unanswered(StatusCode::GATEWAY_TIMEOUT, "connect-failed", "connection_timeout");

    // What is asked for, on the listeners for administrators and probes.
    PathUnknown: denied(StatusCode::NOT_FOUND, "path-unknown");
    ReadOnly: denied(StatusCode::METHOD_NOT_ALLOWED, "method-not-allowed").with(ExtraField::AllowRead);
    StatusPagesFull: unavailable("status-pages-full", Fault::Caller);

    // What is asked for.
    OperationUnknown: denied(StatusCode::NOT_FOUND, "operation-unknown");
    MethodNotAllowed: denied(StatusCode::METHOD_NOT_ALLOWED, "method-not-allowed").with(ExtraField::AllowMethods);
    ScopeMissing: denied(StatusCode::FORBIDDEN, "scope-missing");
    GroupNotOpen: denied(StatusCode::FORBIDDEN, "group-not-open");
    RuleDenied: denied(StatusCode::FORBIDDEN, "rule-denied");
    SecureValuesNotOpen: denied(StatusCode::FORBIDDEN, "secure-values-not-open");
    OperationTenantWide: denied(StatusCode::FORBIDDEN, "operation-tenant-wide");
    NotInside: denied(StatusCode::NOT_FOUND, "not-in-organizations");
    OrganizationUnclear: denied(StatusCode::FORBIDDEN, "organization-unclear");
    RuleDoubtful: denied(StatusCode::FORBIDDEN, "rule-doubtful");
    RuleExpired: denied(StatusCode::FORBIDDEN, "rule-expired");
    RuleUsedUp: denied(StatusCode::FORBIDDEN, "rule-used-up");
    BodyNotOpen: denied(StatusCode::FORBIDDEN, "body-not-open");
    BodyTooLargeToJudge: denied(StatusCode::PAYLOAD_TOO_LARGE, "body-not-judged");
    ApprovalNeeded: denied(StatusCode::FORBIDDEN, "approval-needed");

    // The approval of what is asked for.
    ApprovalDenied: denied(StatusCode::FORBIDDEN, "approval-denied");
    ApprovalExpired: denied(StatusCode::FORBIDDEN, "approval-expired");
    ApprovalUsed: denied(StatusCode::FORBIDDEN, "approval-used");
    ApprovalMismatch: denied(StatusCode::FORBIDDEN, "approval-mismatch");
    ApprovalUnknown: denied(StatusCode::FORBIDDEN, "approval-unknown");
    ApprovalNotFound: denied(StatusCode::NOT_FOUND, "approval-unknown");
    ApprovalsFull: unavailable("approvals-full", Fault::Caller);
    ApprovalImpossible: misconfigured("approval-impossible");
    ApprovalsUnreachable: unavailable("approvals-unreachable", Fault::Proxy);

    // What approvers send to the listener for administrators.
    ApproverKeyMissing: denied(StatusCode::UNAUTHORIZED, "key-missing").with(ExtraField::BearerChallenge);
    ApproverKeyWrong: denied(StatusCode::UNAUTHORIZED, "key-wrong").with(ExtraField::BearerChallenge);
    ApproverIsCaller: denied(StatusCode::FORBIDDEN, "approver-is-caller");
    ApprovalOver: denied(StatusCode::CONFLICT, "approval-over");
    ApprovalBodyLost: denied(StatusCode::CONFLICT, "approval-body-lost");
    DecisionUnclear: malformed(StatusCode::BAD_REQUEST, "decision-unclear");
    DecisionMethod: denied(StatusCode::METHOD_NOT_ALLOWED, "method-not-allowed").with(ExtraField::AllowDecision);

    QuotaExceeded: denied(StatusCode::TOO_MANY_REQUESTS, "quota-exceeded").with(ExtraField::RetryAfter);

    // The fence. What NinjaOne refused keeps its status.
    DirectoryUnavailable: unavailable("organizations-unknown", Fault::Upstream).with(ExtraField::RetrySoon);
    MessageWithheld: unanswered(StatusCode::BAD_GATEWAY, "message-withheld", "http_response_incomplete");
    AnswerWithheld: unanswered(StatusCode::BAD_GATEWAY, "answer-withheld", "http_protocol_error");

    // The state of the proxy.
    UsesUncounted: unavailable("uses-uncounted", Fault::Proxy).with(ExtraField::RetrySoon);
    UsesStoreDown: unavailable("uses-store-down", Fault::Proxy).with(ExtraField::RetrySoon);
    AuditUnavailable: unavailable("audit-unavailable", Fault::Proxy).with(ExtraField::RetrySoon);
    BuffersFull: unavailable("buffers-full", Fault::Proxy).with(ExtraField::RetrySoon);
    PaceLimited: limited(Fault::Proxy, "http_request_denied");
    ConcurrencyLimited: limited(Fault::Proxy, "connection_limit_reached");
    CoolingDown: limited(Fault::Upstream, "http_request_denied");
    // RFC 9209 section 2.3.32 has the error, RFC 5842 section 7.2 the status.
    LoopDetected: row(StatusCode::LOOP_DETECTED, "loop-detected", Fault::Proxy, "proxy_loop_detected")
        .with(ExtraField::RetryAfter);
    InternalError: row(StatusCode::INTERNAL_SERVER_ERROR, "internal-error", Fault::Proxy, "proxy_internal_error");

    // A dry run. RFC 9209 section 2.3.27 has the error.
    DryRunUnknown: row(StatusCode::NOT_IMPLEMENTED, "dry-run-unknown", Fault::Caller, "proxy_internal_response");

    // The token.
    TokenTimeout: unavailable("token-timeout", Fault::Upstream).with(ExtraField::RetrySoon);
    TokenUnavailable: unavailable("token-unavailable", Fault::Upstream);
    TokenClientUnknown: misconfigured("token-client-unknown");
    TokenClientRefused: misconfigured("token-client-refused");
    TokenScopeRefused: misconfigured("token-scope-refused");
    SignInNeeded: misconfigured("sign-in-needed");

    // The instance.
    NameUnknown: unanswered(StatusCode::BAD_GATEWAY, "instance-name-unknown", "dns_error");
    NameTimeout: unanswered(StatusCode::GATEWAY_TIMEOUT, "instance-name-unknown", "dns_timeout");
    ConnectionRefused: unanswered(StatusCode::BAD_GATEWAY, "instance-unreachable", "connection_refused");
    ConnectionTimeout: unanswered(StatusCode::GATEWAY_TIMEOUT, "instance-unreachable", "connection_timeout");
    ProxyRefused: unanswered(StatusCode::BAD_GATEWAY, "proxy-refused", "destination_unavailable");
    InstanceUntrusted: unanswered(StatusCode::BAD_GATEWAY, "instance-untrusted", "tls_certificate_error");
    NotHttp: unanswered(StatusCode::BAD_GATEWAY, "upstream-broken", "http_protocol_error");
    ExchangeBroken: unanswered(StatusCode::BAD_GATEWAY, "upstream-broken", "connection_terminated");
    AnswerTimeout: unanswered(StatusCode::GATEWAY_TIMEOUT, "upstream-timeout", "http_response_timeout");
    AnswerUpgrades: unanswered(StatusCode::BAD_GATEWAY, "upstream-malformed", "http_upgrade_failed");
    AnswerCoding: unanswered(StatusCode::BAD_GATEWAY, "upstream-malformed", "http_response_transfer_coding");
    AnswerMalformed: unanswered(StatusCode::BAD_GATEWAY, "upstream-malformed", "http_protocol_error");
}

/// Every code that an answer of the proxy's may have, each once.
pub fn codes() -> Vec<&'static str> {
    let mut codes: Vec<_> = RefusalKind::ALL.iter().map(|kind| kind.row().code).collect();
    codes.sort_unstable();
    codes.dedup();
    codes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_have_the_field_that_their_status_needs() {
        for kind in RefusalKind::ALL {
            let row = kind.row();
            let needed = match row.status {
                StatusCode::UNAUTHORIZED => &[ExtraField::Challenge, ExtraField::BearerChallenge][..],
                StatusCode::METHOD_NOT_ALLOWED => {
                    &[ExtraField::AllowPost, ExtraField::AllowRead, ExtraField::AllowDecision, ExtraField::AllowMethods]
                }
                StatusCode::TOO_MANY_REQUESTS => &[ExtraField::RetryAfter],
                StatusCode::SERVICE_UNAVAILABLE => &[ExtraField::RetryAfter, ExtraField::RetrySoon],
                _ => continue,
            };
            assert!(needed.contains(&row.field), "{kind:?}: {row:?}");
        }
    }

    #[test]
    fn a_code_means_one_kind_of_fault() {
        let is_word = |code: &str| code.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'-');
        for code in codes() {
            assert!(is_word(code), "{code}");
            let rows = || RefusalKind::ALL.iter().map(|kind| kind.row()).filter(|row| row.code == code);
            let classes: Vec<_> = rows().map(|row| row.status.as_u16() / 100).collect();
            assert!(classes.iter().all(|class| *class == classes[0]), "{code}: {classes:?}");
        }
    }
}
