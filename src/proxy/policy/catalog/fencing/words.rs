//! How an operation is kept inside a fence, in words for people.

use std::fmt;

use super::{AnswerCheck, EntityKind, FenceRules, Fencing, Presence, RequestCheck, RowKey};

impl Fencing {
    /// What is checked of the request and what of the answer passes, or why the operation is closed: one line.
    pub fn describe(&self) -> String {
        match &self.rules {
            None => format!("closed: {}", self.reason),
            Some(rules) => rules.describe(),
        }
    }
}

impl FenceRules {
    /// Both sides, separated by semicolons.
    pub fn describe(&self) -> String {
        let parts: Vec<_> = self.request.iter().map(RequestCheck::to_string).chain([self.answer.to_string()]).collect();
        parts.join("; ")
    }
}

impl EntityKind {
    /// One of this kind, for people.
    pub fn noun(self) -> &'static str {
        match self {
            Self::Organization => "organization",
            Self::Location => "location",
            Self::Device => "device",
            Self::EndUser | Self::EndUserUid => "end user",
            Self::Contact => "contact",
            Self::Ticket => "ticket",
            Self::Alert => "alert",
            Self::Document => "document",
            Self::Checklist => "checklist",
            Self::Article => "article",
        }
    }
}

/// What must hold, as a clause.
impl fmt::Display for RequestCheck {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Path { kind, parameter } => {
                write!(f, "the {} {{{parameter}}} in the path must be inside", kind.noun())
            }
            Self::PathEntity { word, id } => write!(f, "the {{{word}}} {{{id}}} in the path must be inside"),
            Self::DeviceFilter => f.write_str("df is narrowed to the organizations inside"),
            Self::Query { kind, name, presence } => {
                write!(f, "the {} {name} in the query {}", kind.noun(), presence.clause())
            }
            Self::Body { kind, pointer, presence } => {
                write!(f, "the {} {pointer} in the body {}", kind.noun(), presence.clause())
            }
            Self::BodyWithout { pointer } => write!(f, "{pointer} must not be in the body"),
        }
    }
}

impl Presence {
    fn clause(self) -> &'static str {
        match self {
            Self::Required => "must be there and inside",
            Self::Optional => "must be inside if it is there",
            Self::Added => "must be inside, and is added if it is missing",
        }
    }
}

/// What passes, as a clause.
impl fmt::Display for AnswerCheck {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("only the status of the answer passes"),
            Self::Opaque => f.write_str("the answer passes as it is"),
            Self::Object { key: None } => f.write_str("the answer passes if it refers to nothing outside"),
            Self::Object { key: Some(key) } => write!(f, "the answer passes if its {} is inside", key.field),
            Self::Rows { key: None, .. } => f.write_str("rows that refer to nothing outside pass"),
            Self::Rows { key: Some(RowKey { kind, field }), .. } if field.is_empty() => {
                write!(f, "ids of {}s inside pass", kind.noun())
            }
            Self::Rows { key: Some(key), .. } => write!(f, "rows whose {} is inside pass", key.field),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::FencingTable;

    fn described(request: &str, answer: &str) -> String {
        let line = format!("GET /v2/a\t{request}\t{answer}\tthe reason");
        FencingTable::parse(&line).expect("good").0["GET /v2/a"].describe()
    }

    #[test]
    fn each_check_of_a_request_has_its_words() {
        for (request, words) in [
            ("path:device:id", "the device {id} in the path must be inside"),
            ("path-entity:entityType:entityId", "the {entityType} {entityId} in the path must be inside"),
            ("df", "df is narrowed to the organizations inside"),
            (
                "query:organization:organizationIds:added",
                "the organization organizationIds in the query must be inside, and is added if it is missing",
            ),
            (
                "body:ticket:/parentTicketId:optional",
                "the ticket /parentTicketId in the body must be inside if it is there",
            ),
            ("body:end-user-uid:/owner:required", "the end user /owner in the body must be there and inside"),
            ("absent:/tasks/*/id", "/tasks/*/id must not be in the body"),
        ] {
            assert_eq!(described(request, "empty"), format!("{words}; only the status of the answer passes"));
        }
    }

    #[test]
    fn each_check_of_an_answer_has_its_words() {
        for (answer, words) in [
            ("opaque", "the answer passes as it is"),
            ("object", "the answer passes if it refers to nothing outside"),
            ("object:organization:clientId", "the answer passes if its clientId is inside"),
            ("rows", "rows that refer to nothing outside pass"),
            ("rows:device:", "ids of devices inside pass"),
            ("rows:device:deviceId@results+cursor", "rows whose deviceId is inside pass"),
        ] {
            assert_eq!(described("-", answer), words);
        }
    }

    #[test]
    fn what_is_closed_says_why() {
        assert_eq!(described("closed", "-"), "closed: the reason");
    }
}
