//! Whatever a page of a list has: the filter of the fence lets pass what a plain reading finds inside, and nothing else.
#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../../oracle/page_documents.rs"]
mod page_documents;
#[path = "../../oracle/pages.rs"]
mod pages;

use page_documents::Choices;

/// Either `g` and choices, of which a page is made, or a line of choices and the page.
fn hold(bytes: &[u8]) {
    let (mut choices, page) = match bytes.strip_prefix(b"g") {
        Some(choices) => (Choices(choices), None),
        None => {
            let end = bytes.iter().position(|byte| *byte == b'\n').unwrap_or(bytes.len());
            (Choices(&bytes[..end]), Some(bytes.get(end + 1..).unwrap_or_default().to_vec()))
        }
    };
    let checks = pages::checks();
    let check = &checks[choices.below(checks.len())];
    let limits = choices.limits();
    let page = page.unwrap_or_else(|| choices.document(check));
    let cuts = choices.cuts(page.len());
    pages::hold(&page, check, limits, &cuts);
}

fuzz_target!(|bytes: &[u8]| {
    hold(bytes);
});
