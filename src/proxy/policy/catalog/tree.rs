//! The tree that finds an operation by its path.

use std::fmt;

use http::Method;

use super::super::rule::METHODS;
use super::{OperationId, ParameterType};

/// A place in the tree: what but a fixed word may come next, and the operations that end here. However many operations
/// there are, a step takes two looks into tables. Their hash has no secret key: callers choose what is looked up, not
/// what is in them.
#[derive(Debug, Default)]
pub(super) struct Node {
    /// The first of the parameters, apart from the rest, for most places have one.
    pub(super) parameter: Option<(ParameterType, u32)>,
    pub(super) others: Vec<(ParameterType, u32)>,
    pub(super) place: PathOperations,
}

impl Node {
    /// Where a parameter of this type leads; `new` if it led nowhere before.
    pub(super) fn parameter(&mut self, kind: &ParameterType, new: u32) -> u32 {
        let known = self.parameter.iter().chain(&self.others).find(|(own, _)| own == kind);
        if let Some((_, next)) = known {
            return *next;
        }
        let mut all: Vec<_> = self.parameter.take().into_iter().chain(std::mem::take(&mut self.others)).collect();
        all.push((kind.clone(), new));
        // The narrowest type is tried first.
        all.sort();
        let mut all = all.into_iter();
        (self.parameter, self.others) = (all.next(), all.collect());
        new
    }
}

/// The operations of one path, by method in the order of [`METHODS`].
#[derive(Debug, Clone, Copy, Default)]
pub struct PathOperations(pub(super) [Option<OperationId>; METHODS.len()]);

impl PathOperations {
    /// The operation of a method.
    pub fn of(&self, method: &Method) -> Option<OperationId> {
        METHODS.iter().zip(&self.0).find(|(own, _)| *own == method).and_then(|(_, id)| *id)
    }

    /// One of the operations, if there is any.
    pub fn first(&self) -> Option<OperationId> {
        self.0.iter().copied().flatten().next()
    }

    /// Whether no operation has this path.
    pub fn is_empty(&self) -> bool {
        self.0.iter().all(Option::is_none)
    }

    /// The methods of the operations, and `HEAD`, which follows `GET`.
    pub fn methods(&self) -> MethodSet {
        let has = |method: &Method| self.of(if method == Method::HEAD { &Method::GET } else { method }).is_some();
        MethodSet(ALLOWED.iter().enumerate().fold(0, |set, (i, method)| set | u8::from(has(method)) << i))
    }
}

/// The methods that an operation may have, and `HEAD`.
const ALLOWED: [Method; 6] = [Method::GET, Method::HEAD, Method::POST, Method::PUT, Method::PATCH, Method::DELETE];

/// A set of methods, small enough to copy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MethodSet(u8);

/// The value of `Allow` (RFC 9110 section 10.2.1).
impl fmt::Display for MethodSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut separator = "";
        for (_, method) in ALLOWED.iter().enumerate().filter(|(i, _)| self.0 & (1 << i) != 0) {
            write!(f, "{separator}{method}")?;
            separator = ", ";
        }
        Ok(())
    }
}
