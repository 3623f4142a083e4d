//! Bulk bodies: what is known beforehand of the size of a request and of its answer.

use std::cell::RefCell;
use std::rc::Rc;

use http_body::Body;

use crate::net::body::Upload;
use crate::proxy::policy::Permit;
use crate::proxy::policy::catalog::OperationId;

/// The bytes from which on a body is bulk.
const BULK: u64 = 64 * 1024;

/// The operations whose last answer was bulk, by their place in the catalogue.
#[derive(Debug, Default)]
pub(super) struct SizeHints(RefCell<Vec<bool>>);

impl SizeHints {
    /// Whether a request or its answer is probably bulk.
    pub(super) fn expected(&self, permit: &Permit, upload: &Upload) -> bool {
        let answers = self.0.borrow();
        let answer = permit.operation().and_then(|id| answers.get(id.index()));
        upload.size_hint().lower() >= BULK || answer.copied().unwrap_or_default()
    }

    fn note(&self, place: usize, bytes: u64) {
        let (mut answers, bulk) = (self.0.borrow_mut(), bytes >= BULK);
        match answers.get_mut(place) {
            Some(answer) => *answer = bulk,
            None if bulk => {
                answers.resize(place, false);
                answers.push(true);
            }
            None => {}
        }
    }
}

/// The size of an answer, while it comes; noted when this is dropped.
#[derive(Debug)]
pub(super) struct SizeRecorder {
    bulks: Rc<SizeHints>,
    place: Option<usize>,
    bytes: u64,
}

impl SizeRecorder {
    pub(super) fn of(permit: &Permit, bulks: &Rc<SizeHints>) -> Self {
        Self { bulks: Rc::clone(bulks), place: permit.operation().map(OperationId::index), bytes: 0 }
    }

    /// So many more bytes came.
    pub(super) fn add(&mut self, bytes: usize) {
        self.bytes += bytes as u64;
    }
}

impl Drop for SizeRecorder {
    fn drop(&mut self) {
        if let Some(place) = self.place {
            self.bulks.note(place, self.bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bulks_knows_the_last_answer_of_each_operation() {
        let bulks = Rc::<SizeHints>::default();
        let known = |place: usize| bulks.0.borrow().get(place).copied().unwrap_or_default();
        let answer = |place, pieces: &[usize]| {
            let mut weight = SizeRecorder { bulks: Rc::clone(&bulks), place, bytes: 0 };
            pieces.iter().for_each(|bytes| weight.add(*bytes));
        };
        answer(Some(7), &[1024]);
        answer(Some(9), &[60_000, 60_000]);
        answer(None, &[1 << 20]);
        assert_eq!([7, 8, 9, 10].map(known), [false, false, true, false]);
        answer(Some(8), &[65_536]);
        answer(Some(9), &[65_535]);
        assert_eq!([7, 8, 9, 10].map(known), [false, true, false, false]);
    }
}
