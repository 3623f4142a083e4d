//! The device filter `df`: the clauses that NinjaOne documents with AND between them; unknown ones are ignored.

use super::fleet::InventedThing;

/// The clauses that must all hold.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct DeviceFilter(Vec<Clause>);

#[derive(Debug, PartialEq, Eq)]
enum Clause {
    Online,
    Offline,
    /// A field and the values that it may have.
    OneOf(Field, Vec<String>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Field {
    Organization,
    Location,
    Id,
    Class,
    Role,
}

impl DeviceFilter {
    /// Reads a decoded `df` value.
    pub(super) fn parse(text: &str) -> Self {
        let spaced = text.replace("&&", " AND ");
        let words: Vec<_> = spaced.split_whitespace().collect();
        let clauses = words.split(|word| word.eq_ignore_ascii_case("and"));
        Self(clauses.filter_map(|words| Clause::parse(&words.join(" "))).collect())
    }

    /// Whether the subject's device passes.
    pub(super) fn admits(&self, subject: &InventedThing<'_>) -> bool {
        self.0.iter().all(|clause| match clause {
            Clause::Online => !subject.offline(),
            Clause::Offline => subject.offline(),
            Clause::OneOf(field, values) => {
                let actual = field.of(subject);
                values.iter().any(|value| value.eq_ignore_ascii_case(&actual))
            }
        })
    }
}

impl Clause {
    fn parse(text: &str) -> Option<Self> {
        match text.to_ascii_lowercase().as_str() {
            "online" => return Some(Self::Online),
            "offline" => return Some(Self::Offline),
            _ => {}
        }
        let end = text.find(|c: char| !c.is_ascii_alphabetic())?;
        let (name, rest) = text.split_at(end);
        let field = Field::parse(&name.to_ascii_lowercase())?;
        let rest = rest.trim_start();
        let values = match rest.strip_prefix('=') {
            Some(value) => value,
            None => rest.strip_prefix("eq ").or_else(|| rest.strip_prefix("in"))?,
        };
        let values = values.trim().trim_start_matches('(').trim_end_matches(')');
        let values = values.split(',').map(|value| value.trim().trim_matches(['\'', '"']).to_owned());
        Some(Self::OneOf(field, values.collect()))
    }
}

impl Field {
    fn parse(name: &str) -> Option<Self> {
        Some(match name {
            "org" | "organization" => Self::Organization,
            "loc" | "location" => Self::Location,
            "id" => Self::Id,
            "class" => Self::Class,
            "role" => Self::Role,
            _ => return None,
        })
    }

    fn of(self, subject: &InventedThing<'_>) -> String {
        match self {
            Self::Organization => subject.organization.to_string(),
            Self::Location => subject.location.to_string(),
            Self::Id => subject.device.to_string(),
            Self::Class => subject.class_name().to_owned(),
            Self::Role => subject.role().to_string(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sandbox::fleet::IdList;
    use crate::sandbox::homes::Fleet;

    static FLEET: Fleet = Fleet::new();

    fn passing(filter: &str) -> Vec<InventedThing<'static>> {
        let filter = DeviceFilter::parse(filter);
        FLEET.things(IdList::Device).filter(|device| filter.admits(device)).collect()
    }

    #[test]
    fn filter_takes_each_way_to_write_a_list() {
        for filter in ["org in (1, 2)", "org in (1,2)", "org in(1 , 2)", "organization in ('1', \"2\")"] {
            let devices = passing(filter);
            assert!(devices.iter().all(|device| device.organization <= 2), "{filter}");
            assert_eq!(devices.len(), 36, "{filter}");
        }
    }

    #[test]
    fn filter_joins_clauses_by_and_in_each_spelling() {
        for filter in ["org=1 AND offline", "org = 1 and offline", "org=1&&offline", "org eq 1 AND offline"] {
            let devices = passing(filter);
            assert!(devices.iter().all(|device| device.organization == 1 && device.offline()), "{filter}");
            assert!(!devices.is_empty(), "{filter}");
        }
    }

    #[test]
    fn filter_knows_classes_locations_and_ids() {
        let classes = passing("class in (WINDOWS_WORKSTATION, MAC)");
        assert!(classes.iter().all(|device| ["WINDOWS_WORKSTATION", "MAC"].contains(&device.class_name())));
        assert_eq!(passing("loc = 3").len(), 6);
        assert_eq!(passing("id = 7").len(), 1);
        assert_eq!(passing("online").len() + passing("offline").len(), 60);
    }

    #[test]
    fn filter_ignores_what_it_does_not_know() {
        assert_eq!(passing("created after 2024-01-01").len(), 60);
        assert_eq!(passing("status eq APPROVED AND id=7").len(), 1);
        assert_eq!(passing("").len(), 60);
    }
}
