//! What can be odd about an entry of `groups`, `allow` or `deny`, in words.

use std::fmt;

use super::super::catalog::Scope;
use super::super::group::Group;

/// An entry of the configuration, and what is odd about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Oddness {
    /// Where it is.
    pub list: RuleList,
    /// The entry as written.
    pub entry: String,
    /// What is odd.
    pub oddity: Oddity,
}

/// A list of the configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RuleList {
    /// `groups`.
    Groups,
    /// `allow`.
    Allow,
    /// `deny`.
    Deny,
}

/// What is odd about an entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Oddity {
    /// It is there twice.
    Twice,
    /// No operation of the group has one of the methods.
    NoSuchMethod(&'static Group),
    /// The catalogue has no operation in the group.
    EmptyGroup,
    /// The group has operations of these scopes only.
    GroupAboveScopes(Vec<Scope>),
    /// Rules of `deny` close all of the group.
    GroupDenied,
    /// The listener closes all that a caller's entry opens.
    AboveListener,
    /// No open operation has secure values.
    NoReports,
    /// Another rule of the list matches all that this one matches.
    Shadowed(String),
    /// A rule with conditions, which alone decides about what it matches, matches all that this one matches.
    TakenOver(String),
    /// A rule of `deny` closes all that it matches.
    DeniedBy(String),
    /// Rules of `deny` close all that it matches.
    Denied,
    /// Scopes and groups open it already.
    AlreadyOpen,
    /// All that it matches is in guarded groups, and it does not name them.
    OnlyGuarded(Vec<&'static Group>),
    /// There is a fence, which cannot keep what it matches, and it does not name one operation.
    TenantWide,
    /// It leaves operations of guarded groups closed.
    LeavesGuarded(Vec<&'static Group>),
    /// Some of what it matches needs another scope.
    PartlyAboveScopes {
        /// How many operations.
        count: usize,
        /// The scope.
        scope: Scope,
    },
    /// It matches no operation of the catalogue; with what may have been meant.
    Uncatalogued(Option<OperationSlip>),
    /// It matches known operations, and whatever else is below its path.
    OpenEnded,
}

/// What may have been meant by a rule that matches no known operation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OperationSlip {
    /// The path has operations with other methods.
    Method(String),
    /// A word is where the operation has something else.
    Value {
        /// The operation.
        operation: String,
        /// The word.
        word: String,
        /// What is there instead.
        wanted: String,
    },
    /// An operation's template is nearly the same.
    Template(String),
}

impl fmt::Display for RuleList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Groups => "groups",
            Self::Allow => "allow",
            Self::Deny => "deny",
        })
    }
}

impl fmt::Display for Oddness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { list, entry, oddity } = self;
        write!(f, "{entry:?} in {list} ")?;
        match oddity {
            Oddity::Twice => f.write_str("is there twice"),
            Oddity::NoSuchMethod(group) => write!(f, "can never match: no operation of {group} has this method"),
            Oddity::EmptyGroup => f.write_str("opens nothing: the catalogue has no operation in it"),
            Oddity::GroupAboveScopes(needed) => {
                let needed: Vec<_> = needed.iter().map(|scope| scope.as_str()).collect();
                write!(f, "opens nothing: its operations need the scope {}", needed.join(" or "))
            }
            Oddity::GroupDenied => f.write_str("opens nothing: deny closes all of it"),
            Oddity::AboveListener => f.write_str("opens nothing: the listener closes all of it"),
            Oddity::NoReports => f.write_str("opens nothing: no operation is open that has values of secure fields"),
            Oddity::Shadowed(rule) => write!(f, "is shadowed: the rule {rule:?} of {list} matches all that it matches"),
            Oddity::TakenOver(rule) => write!(
                f,
                "has no effect: the rule {rule:?}, which is a table, alone decides about all that it matches; take one of the two out"
            ),
            Oddity::DeniedBy(rule) => {
                write!(f, "allows nothing: the rule {rule:?} of deny closes all that it matches")
            }
            Oddity::Denied => f.write_str("allows nothing: the rules of deny close all that it matches"),
            Oddity::AlreadyOpen => f.write_str("adds nothing: scopes and groups open it already"),
            Oddity::OnlyGuarded(groups) => write!(
                f,
                "allows nothing: what it matches is in {}, which stays closed unless it is named: write \"group:NAME\", or each path word by word",
                names(groups)
            ),
            Oddity::TenantWide => f.write_str(
                "opens nothing: organizations is set, and all that it matches is tenant-wide; only a rule with one method and one path opens that",
            ),
            Oddity::LeavesGuarded(groups) => {
                write!(f, "leaves closed what is in {}, which it does not name", names(groups))
            }
            Oddity::PartlyAboveScopes { count, scope } => {
                write!(f, "matches operations that stay closed ({count}), as they need the scope {scope}")
            }
            Oddity::Uncatalogued(slip) => match slip {
                None if *list == RuleList::Allow => f.write_str("opens operations that the catalogue does not know"),
                None => f.write_str("matches no known operation"),
                Some(slip) => write!(f, "matches no known operation: {slip}"),
            },
            Oddity::OpenEnded => f.write_str("opens operations that the catalogue does not know, by its **"),
        }
    }
}

impl fmt::Display for OperationSlip {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Method(methods) => write!(f, "this path has {methods}"),
            Self::Value { operation, word, wanted } => {
                write!(f, "{operation} has {wanted} where {word:?} is")
            }
            Self::Template(operation) => write!(f, "did you mean {operation:?}?"),
        }
    }
}

fn names(groups: &[&'static Group]) -> String {
    groups.iter().map(|group| group.name).collect::<Vec<_>>().join(", ")
}
