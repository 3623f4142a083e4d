//! Whatever stands in a catalogue file: it is refused, or what it adds is classified no more openly than its method,
//! has a path that finds it or something older, and takes no request from a built-in operation.
#![no_main]

use http::Method;
use libfuzzer_sys::fuzz_target;
use ninjaone_proxy::proxy::policy::catalog::openapi::Document;
use ninjaone_proxy::proxy::policy::catalog::{Catalog, Operation, ParameterType, Risk, Scope, TemplateSegment};
use ninjaone_proxy::proxy::policy::path::Segments;

fn example(own: &Operation) -> String {
    let word = |segment: &TemplateSegment| match segment {
        TemplateSegment::Literal(word) => format!("/{word}"),
        TemplateSegment::Parameter(_, ParameterType::Integer | ParameterType::Name) => "/7".to_owned(),
        TemplateSegment::Parameter(_, ParameterType::Uid) => "/3f2c8a9e-0000-4000-8000-00000000abcd".to_owned(),
        TemplateSegment::Parameter(_, ParameterType::OneOf(words)) => format!("/{}", words[0]),
    };
    own.segments.iter().map(word).collect()
}

fuzz_target!(|text: &str| {
    let Ok(document) = Document::parse(text) else { return };
    let (before, after) = (Catalog::built_in().unwrap(), Catalog::built_in().unwrap().with(&document));
    for own in &after.operations()[before.operations().len()..] {
        let path = example(own);
        let place = after.at(&Segments::parse(&path).unwrap()).unwrap();
        assert!(!place.is_empty(), "{path}");
        let write = own.method != Method::GET;
        assert!(!write || (own.scope >= Scope::Management && own.risk >= Risk::Medium), "{own:?}");
        assert!(own.reason.is_some());
    }
    for own in before.operations() {
        let found = after.find(&own.method, &example(own)).map(|own| &own.template);
        let known = before.find(&own.method, &example(own)).map(|own| &own.template);
        assert_eq!(found, known);
    }
});
