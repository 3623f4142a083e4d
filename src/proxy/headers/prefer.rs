//! The field `Prefer` (RFC 7240), as far as it asks for a dry run.

use http::{HeaderMap, HeaderName};

use crate::net::fields;

/// RFC 7240 section 2.
static PREFER: HeaderName = HeaderName::from_static("prefer");
/// The preference.
const DRY_RUN: &[u8] = b"dry-run";
/// The value with which approvers are asked as well.
const APPROVAL: &[u8] = b"approval";

/// How a request asks for a dry run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DryRunPreference {
    /// Nobody is asked to approve it.
    Plain,
    /// Approvers are asked as for the request itself.
    WithApproval,
}

/// Whether a request asks for a dry run. Of a preference that is there twice, the first one counts.
///
/// A field that names it in another place, or in a malformed line, asks for one too: what its sender took for a dry run
/// must not be sent.
pub fn dry_run(headers: &HeaderMap) -> Option<DryRunPreference> {
    let mut lines = fields::lines(headers, &PREFER).map(|line| line.as_bytes()).filter(|line| names_dry_run(line));
    let first = lines.next()?;
    let mut preferences = [first].into_iter().chain(lines).flat_map(|line| pieces(line, b','));
    Some(preferences.find_map(preference).unwrap_or(DryRunPreference::Plain))
}

/// What one preference says of a dry run. Its parameters are of no use here.
fn preference(text: &[u8]) -> Option<DryRunPreference> {
    let mut sides = pieces(pieces(text, b';').next()?, b'=');
    let (name, value) = (sides.next()?.trim_ascii(), sides.next().unwrap_or_default().trim_ascii());
    let value = value.strip_prefix(b"\"").and_then(|rest| rest.strip_suffix(b"\"")).unwrap_or(value);
    let with_approval = value.eq_ignore_ascii_case(APPROVAL);
    let asked = if with_approval { DryRunPreference::WithApproval } else { DryRunPreference::Plain };
    name.eq_ignore_ascii_case(DRY_RUN).then_some(asked)
}

/// Whether the word is anywhere in a line.
fn names_dry_run(line: &[u8]) -> bool {
    let is_of_word = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    line.split(|byte| !is_of_word(byte)).any(|word| word.eq_ignore_ascii_case(DRY_RUN))
}

/// The pieces between separators, which in quotes separate nothing.
fn pieces(text: &[u8], separator: u8) -> impl Iterator<Item = &[u8]> {
    let (mut quoted, mut escaped) = (false, false);
    text.split(move |byte| {
        let was_escaped = std::mem::take(&mut escaped);
        match byte {
            b'"' if !was_escaped => quoted = !quoted,
            b'\\' if quoted && !was_escaped => escaped = true,
            _ => {}
        }
        !quoted && *byte == separator
    })
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn asked(lines: &[&'static str]) -> Option<DryRunPreference> {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(&PREFER, HeaderValue::from_static(line));
        }
        dry_run(&headers)
    }

    #[test]
    fn a_dry_run_is_asked_for_in_every_form_of_the_field() {
        for lines in [
            &["dry-run"][..],
            &["DRY-Run"],
            &["return=minimal, dry-run"],
            &["wait=10", "dry-run"],
            &["return=minimal; x=\"a,b\" ,\tdry-run ; y=1"],
            &["dry-run=\"\""],
            &["dry-run = yes"],
            &["respond-async,,dry-run,"],
            &["dry-run, dry-run=approval"],
        ] {
            assert_eq!(asked(lines), Some(DryRunPreference::Plain), "{lines:?}");
        }
        for lines in [
            &["dry-run=approval"][..],
            &["dry-run=\"Approval\""],
            &["wait=1, dry-run = approval; x"],
            &["x", "dry-run=approval", "dry-run"],
        ] {
            assert_eq!(asked(lines), Some(DryRunPreference::WithApproval), "{lines:?}");
        }
    }

    #[test]
    fn what_is_not_a_dry_run_is_sent() {
        for lines in [
            &[][..],
            &[""],
            &["return=minimal"],
            &["respond-async, wait=10"],
            &["dry-runs"],
            &["my-dry-run"],
            &["dry-run-2"],
            &["no_dry-run"],
            &["dryrun"],
        ] {
            assert_eq!(asked(lines), None, "{lines:?}");
        }
    }

    #[test]
    fn what_may_have_meant_a_dry_run_is_not_sent() {
        for line in [
            "return=minimal; dry-run",
            "\"dry-run\"",
            "wait=10 dry-run",
            "x=\"a, dry-run",
            "x=\"dry-run=approval\"",
            "dry-run:approval",
            "handling=dry-run",
            "dry-run==approval",
        ] {
            assert_eq!(asked(&[line]), Some(DryRunPreference::Plain), "{line}");
        }
    }

    #[test]
    fn a_request_without_the_field_is_looked_at_without_memory() {
        let headers: HeaderMap = [(http::header::ACCEPT, HeaderValue::from_static("*/*"))].into_iter().collect();
        assert_eq!(allocation_counter::measure(|| assert!(dry_run(&headers).is_none())).count_total, 0);
    }
}
