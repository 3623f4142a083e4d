//! `groups`: the groups of operations, their size, and the scopes they need.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::table::{Format, columns};
use crate::proxy::policy::catalog::{Catalog, Scope};
use crate::proxy::policy::group::Group;

/// The groups with what is in them.
pub(super) fn groups(catalog: &Catalog, wanted: Option<Format>) -> String {
    let mut groups: Vec<_> = Group::all().map(|group| Summary::of(group, catalog)).collect();
    groups.sort_unstable_by_key(|summary| summary.group.name);
    match Format::choose(wanted, false) {
        Format::Json => format!("{}\n", Value::from(groups.iter().map(Summary::json).collect::<Vec<_>>())),
        Format::Tsv => groups.iter().map(|summary| format!("{}\n", summary.cells().join("\t"))).collect(),
        Format::Table => {
            let header = ["GROUP", "OPERATIONS", "SCOPES", "RISK", "DEFAULT", "WHAT IT OPENS"].map(str::to_owned);
            columns(&[header].into_iter().chain(groups.iter().map(Summary::cells)).collect::<Vec<_>>())
        }
    }
}

/// A row of the table.
struct Summary {
    group: &'static Group,
    count: usize,
    scopes: BTreeSet<Scope>,
}

impl Summary {
    fn of(group: &'static Group, catalog: &Catalog) -> Self {
        let members = || catalog.operations().iter().filter(|operation| operation.group == group);
        Self { group, count: members().count(), scopes: members().map(|operation| operation.scope).collect() }
    }

    fn scopes(&self) -> Vec<&'static str> {
        self.scopes.iter().map(|scope| scope.as_str()).collect()
    }

    fn cells(&self) -> [String; 6] {
        let Self { group, count, .. } = self;
        let default = if group.guarded { "closed" } else { "open" };
        [group.name, &count.to_string(), &self.scopes().join(" "), group.risk.as_str(), default, group.description]
            .map(str::to_owned)
    }

    fn json(&self) -> Value {
        let Self { group, count, .. } = self;
        json!({
            "group": group.name, "operations": count, "scopes": self.scopes(), "risk": group.risk.as_str(),
            "guarded": group.guarded, "description": group.description,
        })
    }
}
