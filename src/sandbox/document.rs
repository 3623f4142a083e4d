//! The document that the sandbox publishes of itself, as every instance of NinjaOne does: made of the catalogue.

use serde_json::{Map, Value, json};

use crate::proxy::policy::catalog::{Catalog, Operation, ParameterType, TemplateSegment};

/// An OpenAPI document of all operations.
pub(super) fn of(catalog: &Catalog) -> Value {
    let mut paths = Map::new();
    for own in catalog.operations() {
        let path = paths.entry(own.template.clone()).or_insert_with(|| json!({}));
        if let Value::Object(methods) = path {
            methods.insert(own.method.as_str().to_ascii_lowercase(), operation(own));
        }
    }
    json!({
        "openapi": "3.0.1",
        "info": { "title": "The sandbox of ninjaone-proxy: made of its catalogue", "version": "2.0.9-draft" },
        "paths": paths,
    })
}

fn operation(own: &Operation) -> Value {
    let parameters = own.segments.iter().filter_map(|segment| match segment {
        TemplateSegment::Literal(_) => None,
        TemplateSegment::Parameter(name, kind) => {
            Some(json!({ "name": name, "in": "path", "required": true, "schema": schema(kind) }))
        }
    });
    json!({
        "parameters": parameters.collect::<Vec<_>>(),
        "security": [{ "oauth2": [own.scope.as_str()] }],
        "responses": { "default": { "description": "invented data" } },
    })
}

fn schema(kind: &ParameterType) -> Value {
    match kind {
        ParameterType::Integer => json!({ "type": "integer" }),
        ParameterType::Uid => json!({ "type": "string", "format": "uuid" }),
        ParameterType::OneOf(words) => json!({ "type": "string", "enum": &**words }),
        ParameterType::Name => json!({ "type": "string" }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proxy::policy::catalog::diff::Difference;
    use crate::proxy::policy::catalog::openapi::Document;

    #[test]
    fn document_declares_just_what_the_catalogue_has() {
        let catalog = Catalog::built_in().expect("built in");
        let document = Document::parse(&of(&catalog).to_string()).expect("a document");
        let Difference { added, removed, later, changed, skipped } = Difference::between(&document, &catalog);
        assert!(added.is_empty() && removed.is_empty() && later.is_empty() && skipped.is_empty());
        assert!(changed.is_empty(), "{changed:?}");
        assert_eq!(document.operations.len(), catalog.operations().len());
    }
}
