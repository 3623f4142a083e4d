//! Paths that match no operation, but that a lenient server may read as one: another spelling of it.

use super::super::path::{MAX_WORD, MalformedTarget, Segment, Segments};
use super::super::spelling::folded;
use super::{Catalog, Node, NumberedWord, OperationId, ParameterType};

impl Catalog {
    /// Refuses a path that no operation has, but one would have in another spelling: a fixed word in another case, or a
    /// value that may be read as a number, a UUID or a word of an enumeration.
    #[cold]
    pub(super) fn refuse_other_spelling(&self, path: &Segments<'_>) -> Result<(), MalformedTarget> {
        match self.stray(0, path, 0, None) {
            Some((operation, depth)) => Err(MalformedTarget::Spelling { operation, depth }),
            None => Ok(()),
        }
    }

    /// Refuses a name that is another operation's fixed word in another case.
    pub(super) fn refuse_other_word(
        &self,
        node: u32,
        segment: Segment<'_>,
        path: &Segments<'_>,
        depth: usize,
    ) -> Result<(), MalformedTarget> {
        for (word, number) in self.words_like(segment) {
            let next = self.steps.get(&(node, *number)).filter(|_| !segment.is(word));
            if let Some(next) = next
                && let Some(found) = self.walk(*next, path, depth + 1)?
                && let Some(operation) = found.place.first()
            {
                return Err(MalformedTarget::Spelling { operation, depth: place(depth) });
            }
        }
        Ok(())
    }

    /// An operation that the path may be meant for, and the first segment that is spelled otherwise than its own.
    fn stray(&self, node: u32, path: &Segments<'_>, depth: usize, first: Option<usize>) -> Option<(OperationId, u8)> {
        let here = self.nodes.get(node as usize)?;
        let Some(segment) = path.get(depth) else { return Some((here.place.first()?, place(first?))) };
        let stray = first.or(Some(depth));
        for (word, number) in self.words_like(segment) {
            let first = if segment.is(word) { first } else { stray };
            let next = self.steps.get(&(node, *number));
            if let Some(found) = next.and_then(|next| self.stray(*next, path, depth + 1, first)) {
                return Some(found);
            }
        }
        let mut room = [0; MAX_WORD];
        let decoded = segment.short(&mut room);
        here.parameters().find_map(|(kind, next)| {
            let first = match decoded {
                Some(value) if kind.admits(value) => first,
                Some(value) if kind.may_admit(value) => stray,
                None if *kind == ParameterType::Name => first,
                Some(_) | None => return None,
            };
            self.stray(*next, path, depth + 1, first)
        })
    }

    /// The fixed words that the segment is, in any case.
    fn words_like(&self, segment: Segment<'_>) -> &[NumberedWord] {
        let (mut room, mut lowered) = ([0; MAX_WORD], [0; MAX_WORD]);
        let found = segment.short(&mut room).and_then(|word| {
            let length = folded(word, &mut lowered)?;
            self.lowered.get(str::from_utf8(lowered.get(..length)?).ok()?)
        });
        found.map_or(&[], Vec::as_slice)
    }
}

impl Node {
    fn parameters(&self) -> impl Iterator<Item = &(ParameterType, u32)> {
        self.parameter.iter().chain(&self.others)
    }
}

/// No path has more than 16 segments.
fn place(depth: usize) -> u8 {
    u8::try_from(depth).unwrap_or(u8::MAX)
}
