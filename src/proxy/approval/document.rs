//! An approval as replicas tell each other of it: the request, which never changes, and the ballot, which does.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use http::header::HeaderValue;
use serde::{Deserialize, Serialize};

use super::ballot::{Ballot, End, Ended, KeyedVote, moment};
use super::binding::Binding;
use super::held_request::ShownRequest;
use super::{BodyHash, Decision, HeldOperation, HeldRequest, Vote};
use crate::base::clock::Moment;
use crate::observe::audit_log::entry::{DecisionLabel, RequestFacts, Text};
use crate::proxy::authn::key::KeyHash;
use crate::proxy::policy::catalog::Risk;
use crate::proxy::policy::group::{Group, UNCLASSIFIED};

/// A request, without its body.
#[derive(Serialize, Deserialize)]
struct RequestDocument {
    id: String,
    trace: Option<String>,
    listener: String,
    caller: Option<String>,
    user: Option<String>,
    #[serde(default)]
    organizations: Option<String>,
    peer: String,
    operation_label: String,
    path: Option<String>,
    dry_run: bool,
    method: String,
    target: String,
    instance: String,
    operation: Option<OperationDocument>,
    content_type: Option<Vec<u8>>,
    content_encoding: Option<Vec<u8>>,
    rule: String,
    reason: Option<String>,
    critical: bool,
    body_bytes: usize,
    body_sha256: [u8; 32],
    /// In milliseconds since 1970, as all times here.
    asked: u64,
    expires: u64,
}

#[derive(Serialize, Deserialize)]
struct OperationDocument {
    name: String,
    group: String,
    risk: String,
    idempotent: bool,
}

#[derive(Serialize, Deserialize)]
struct BallotDocument {
    version: u64,
    votes: Vec<VoteDocument>,
    ended: Option<EndDocument>,
}

#[derive(Serialize, Deserialize)]
struct VoteDocument {
    approver: String,
    key: String,
    yes: bool,
    comment: Option<String>,
    at: u64,
}

#[derive(Serialize, Deserialize)]
struct EndDocument {
    end: String,
    at: u64,
    by: u64,
}

/// The request as bytes.
pub(super) fn write_request(shown: &ShownRequest) -> Vec<u8> {
    let ShownRequest { held, binding, body_bytes, asked, expires } = shown;
    let facts = &held.facts;
    let field = |value: &Option<HeaderValue>| value.as_ref().map(|value| value.as_bytes().to_vec());
    let operation = held.operation.as_ref().map(|operation| OperationDocument {
        name: operation.name.clone(),
        group: operation.group.name.to_owned(),
        risk: operation.risk.as_str().to_owned(),
        idempotent: operation.idempotent,
    });
    let document = RequestDocument {
        id: facts.id.clone(),
        trace: facts.trace.clone(),
        listener: facts.listener.clone(),
        caller: facts.caller.clone(),
        user: facts.user.clone(),
        organizations: facts.organizations.clone(),
        peer: facts.peer.clone(),
        operation_label: facts.operation.clone(),
        path: facts.path.as_ref().map(|path| path.as_str().to_owned()),
        dry_run: facts.dry_run,
        method: held.method.as_str().to_owned(),
        target: held.target.as_str().to_owned(),
        instance: held.instance.clone(),
        operation,
        content_type: field(&held.content_type),
        content_encoding: field(&held.content_encoding),
        rule: held.rule.clone(),
        reason: held.reason.clone(),
        critical: held.critical,
        body_bytes: *body_bytes,
        body_sha256: binding.body().bytes(),
        asked: millis(asked.wall),
        expires: millis(expires.wall),
    };
    serde_json::to_vec(&document).unwrap_or_default()
}

/// The request of these bytes; `None` if another version of this program wrote them.
pub(super) fn read_request(bytes: &[u8], now: Moment) -> Option<ShownRequest> {
    let document: RequestDocument = serde_json::from_slice(bytes).ok()?;
    let field = |value: Option<Vec<u8>>| value.map(|bytes| HeaderValue::from_bytes(&bytes).ok());
    let operation = document.operation.map(|operation| HeldOperation {
        name: operation.name,
        group: Group::find(&operation.group).unwrap_or(&UNCLASSIFIED),
        risk: Risk::parse(&operation.risk).unwrap_or(Risk::Critical),
        idempotent: operation.idempotent,
    });
    let method: http::Method = document.method.parse().ok()?;
    let held = HeldRequest {
        facts: RequestFacts {
            id: document.id,
            trace: document.trace,
            listener: document.listener,
            caller: document.caller,
            user: document.user,
            organizations: document.organizations,
            peer: document.peer,
            method: Some(Text::new(method.as_str())),
            operation: document.operation_label,
            path: document.path.as_deref().map(Text::new),
            decision: DecisionLabel::Waiting,
            overruled: None,
            dry_run: document.dry_run,
            rule: Some(Text::new(&document.rule)),
            approval: None,
        },
        method,
        target: document.target.parse().ok()?,
        instance: document.instance,
        operation,
        content_type: field(document.content_type).map_or(Some(None), |value| value.map(Some))?,
        content_encoding: field(document.content_encoding).map_or(Some(None), |value| value.map(Some))?,
        body: Bytes::new(),
        rule: document.rule,
        reason: document.reason,
        critical: document.critical,
    };
    let binding = Binding::with_body(&held, BodyHash::of_bytes(document.body_sha256));
    let time = |millis: u64| Some(moment(time(millis)?, now));
    Some(ShownRequest {
        held,
        binding,
        body_bytes: document.body_bytes,
        asked: time(document.asked)?,
        expires: time(document.expires)?,
    })
}

/// The ballot as bytes.
pub(super) fn write_ballot(ballot: &Ballot) -> Vec<u8> {
    let vote = |KeyedVote { vote, key }: &KeyedVote| VoteDocument {
        approver: vote.approver.clone(),
        key: key.to_string(),
        yes: vote.decision == Decision::Approve,
        comment: vote.comment.clone(),
        at: millis(vote.at),
    };
    let document = BallotDocument {
        version: ballot.version,
        votes: ballot.votes.iter().map(vote).collect(),
        ended: ballot.ended.map(|Ended { end, at, by }| EndDocument {
            end: end.step().as_str().to_owned(),
            at: millis(at.wall),
            by,
        }),
    };
    serde_json::to_vec(&document).unwrap_or_default()
}

/// The ballot of these bytes; `None` if another version of this program wrote them.
pub(super) fn read_ballot(bytes: &[u8], now: Moment) -> Option<Ballot> {
    let document: BallotDocument = serde_json::from_slice(bytes).ok()?;
    let vote = |document: VoteDocument| {
        let decision = if document.yes { Decision::Approve } else { Decision::Deny };
        let VoteDocument { approver, key, comment, at, .. } = document;
        let vote = Vote { approver, decision, comment, at: time(at)? };
        Some(KeyedVote { vote, key: KeyHash::parse(&key).ok()? })
    };
    let end = |EndDocument { end, at, by }: EndDocument| {
        let end = End::ALL.into_iter().find(|known| known.step().as_str() == end)?;
        Some(Ended { end, at: moment(time(at)?, now), by })
    };
    Some(Ballot {
        version: document.version,
        votes: document.votes.into_iter().map(vote).collect::<Option<_>>()?,
        ended: document.ended.map(end).map_or(Some(None), |ended| ended.map(Some))?,
    })
}

/// A time in milliseconds since 1970.
pub(super) fn millis(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

fn time(millis: u64) -> Option<SystemTime> {
    UNIX_EPOCH.checked_add(Duration::from_millis(millis))
}

#[cfg(test)]
mod tests {
    use super::super::tests::{approver, held};
    use super::super::{ApprovalsConfig, KnownApprover};
    use super::*;

    fn known(name: &str) -> KnownApprover {
        let approver = approver(name);
        KnownApprover { name: approver.name, key: approver.key }
    }

    #[test]
    fn requests_are_read_as_they_were_written_without_their_bodies() {
        let now = Moment::now();
        let mut held = held();
        held.content_encoding = Some(HeaderValue::from_bytes(b"g\xfczip").expect("a value"));
        held.facts.dry_run = true;
        held.operation = Some(HeldOperation {
            name: "POST /v2/device/{id}/script/run".to_owned(),
            group: Group::find("scripts").expect("a group"),
            risk: Risk::Critical,
            idempotent: false,
        });
        let binding = Binding::of(&held);
        let shown = ShownRequest {
            body_bytes: held.body.len(),
            held,
            binding,
            asked: now,
            expires: now + Duration::from_secs(60),
        };
        let read = read_request(&write_request(&shown), now).expect("a request");
        assert_eq!(read.binding.difference(&shown.binding), None);
        assert!(read.held.body.is_empty() && read.body_bytes == shown.body_bytes);
        assert_eq!(write_request(&read), write_request(&shown));
        assert_eq!(read.held.operation.map(|operation| operation.group.name), Some("scripts"));
        let late = now.until(read.expires);
        assert!(late <= Duration::from_secs(60) && late > Duration::from_secs(59), "{late:?}");
    }

    #[test]
    fn ballots_are_read_as_they_were_written() {
        let now = Moment::now();
        let comment = Some("looks right".to_owned());
        let voted = Ballot::new().with_vote(&known("lead"), (Decision::Approve, comment), now);
        let config = ApprovalsConfig { approvers: vec![approver("lead")], required: 1, ..ApprovalsConfig::default() };
        for end in End::ALL {
            let ended = voted.with_end(end, now, 7);
            let read = read_ballot(&write_ballot(&ended), now).expect("a ballot");
            assert_eq!(write_ballot(&read), write_ballot(&ended));
            assert_eq!(read.version, 3);
            assert_eq!(read.ended.map(|ended| (ended.end, ended.by)), Some((end, 7)));
            assert_eq!(read.given(&config, None).collect::<Vec<_>>(), ["lead"]);
            assert_eq!(read.given(&config, Some("lead")).count(), 0, "the caller");
        }
    }

    #[test]
    fn what_is_no_document_is_not_read() {
        let now = Moment::now();
        for bytes in [&b""[..], b"{}", b"null", b"\xff", br#"{"version":-1,"votes":[],"ended":null}"#] {
            assert!(read_request(bytes, now).is_none() && read_ballot(bytes, now).is_none(), "{bytes:?}");
        }
        let other = br#"{"version":1,"votes":[],"ended":{"end":"lost","at":0,"by":0}}"#;
        assert_eq!(read_ballot(other, now), None);
    }
}
