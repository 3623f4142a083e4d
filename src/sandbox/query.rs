//! A query string, decoded once.

/// The parameters in their order.
#[derive(Debug, Default)]
pub(super) struct QueryParameters(Vec<(String, String)>);

impl QueryParameters {
    /// Decodes `application/x-www-form-urlencoded` text, be it a query or a form.
    pub(super) fn parse(text: &str) -> Self {
        Self(form_urlencoded::parse(text.as_bytes()).into_owned().collect())
    }

    /// All parameters in their order.
    pub(super) fn pairs(&self) -> &[(String, String)] {
        &self.0
    }

    /// The first value of a parameter.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(other, _)| other == name).map(|(_, value)| value.as_str())
    }

    /// Takes a parameter out; whether it was there with a value.
    pub(super) fn remove(&mut self, name: &str) -> bool {
        let had = self.get(name).is_some_and(|value| !value.is_empty());
        self.0.retain(|(other, _)| other != name);
        had
    }

    /// The first value of a parameter if it is a number.
    pub(super) fn number(&self, name: &str) -> Option<u64> {
        self.get(name)?.parse().ok()
    }

    /// Whether a parameter is `true`.
    pub(super) fn is_true(&self, name: &str) -> bool {
        self.get(name) == Some("true")
    }

    /// Whether a parameter is there twice.
    pub(super) fn is_repeated(&self, name: &str) -> bool {
        self.0.iter().filter(|(other, _)| other == name).count() > 1
    }

    /// Whether any parameter is there twice.
    pub(super) fn has_repeated(&self) -> bool {
        self.0.iter().any(|(name, _)| self.is_repeated(name))
    }
}
