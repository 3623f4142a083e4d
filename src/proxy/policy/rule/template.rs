//! The path of a rule.

use std::fmt;
use std::sync::Arc;

use super::super::catalog::{ParameterType, TemplateSegment};
use super::super::path::{MAX_SEGMENTS, Segments, decode};
use super::super::spelling;
use super::{Effect, Match, RuleError};

/// The paths of a rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template {
    pub(super) segments: Arc<[TemplateSegmentRule]>,
    /// Ends in `**`: any number of further segments, none included.
    pub(super) open_ended: bool,
}

/// A segment of a rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum TemplateSegmentRule {
    Literal(String),
    /// `{name}`: a value. Not a fixed word of a known operation: `/v2/organization/{id}` is not `/v2/organization/documents`.
    Value,
    /// `*`: one segment.
    Any,
}

impl Template {
    pub(super) fn parse(path: &str) -> Result<Self, RuleError> {
        let path = path.strip_prefix('/').filter(|path| path.starts_with("v2/")).ok_or(RuleError::Prefix)?;
        let (path, open_ended) = match path.strip_suffix("/**") {
            Some(path) => (path, true),
            None => (path, false),
        };
        let segments: Arc<[_]> = path.split('/').map(parse_piece).collect::<Result<_, _>>()?;
        if segments.len() > MAX_SEGMENTS { Err(RuleError::TooDeep) } else { Ok(Self { segments, open_ended }) }
    }

    pub(super) fn fits_length(&self, length: usize) -> bool {
        length == self.segments.len() || (self.open_ended && length > self.segments.len())
    }

    pub(super) fn matches(&self, effect: Effect, path: &Segments<'_>) -> bool {
        self.fits_length(path.len())
            && self.segments.iter().zip(path.iter()).all(|(piece, segment)| match piece {
                TemplateSegmentRule::Literal(text) => match effect {
                    Effect::Allow => segment.is(text),
                    Effect::Deny => segment.may_be(text),
                },
                // Where the request's operation has a fixed word instead, the rule does not fit it.
                TemplateSegmentRule::Value | TemplateSegmentRule::Any => true,
            })
    }

    pub(super) fn fit(&self, template: &[TemplateSegment], effect: Effect) -> Match {
        if !self.fits_length(template.len()) {
            return Match::Never;
        }
        self.segments
            .iter()
            .zip(template)
            .map(|(piece, segment)| piece.fit(segment, effect))
            .min()
            .unwrap_or(Match::Never)
    }

    pub(super) fn word_at(&self, depth: usize) -> Option<&str> {
        match self.segments.get(depth)? {
            TemplateSegmentRule::Literal(text) => Some(text),
            TemplateSegmentRule::Value | TemplateSegmentRule::Any => None,
        }
    }

    /// Whether each segment is a word or a value.
    pub(super) fn is_exact(&self) -> bool {
        !self.open_ended && !self.segments.contains(&TemplateSegmentRule::Any)
    }

    /// Whether each fixed word of `template` is here too.
    pub(super) fn spells(&self, template: &[TemplateSegment]) -> bool {
        template.len() == self.segments.len()
            && self.segments.iter().zip(template).all(|(piece, segment)| match (piece, segment) {
                (TemplateSegmentRule::Literal(text), TemplateSegment::Literal(word)) => text == word,
                (TemplateSegmentRule::Value | TemplateSegmentRule::Any, TemplateSegment::Literal(_)) => false,
                (
                    TemplateSegmentRule::Literal(_) | TemplateSegmentRule::Value | TemplateSegmentRule::Any,
                    TemplateSegment::Parameter(..),
                ) => true,
            })
    }

    pub(super) fn misfit<'a>(&'a self, template: &'a [TemplateSegment]) -> Option<(&'a str, &'a ParameterType)> {
        let mut found = None;
        for (piece, segment) in self.segments.iter().zip(template).filter(|_| self.fits_length(template.len())) {
            match (piece, segment) {
                (TemplateSegmentRule::Literal(word), TemplateSegment::Parameter(_, kind)) if !kind.admits(word) => {
                    found = found.or(Some((word.as_str(), kind)));
                }
                _ if piece.fit(segment, Effect::Allow) == Match::Never => return None,
                _ => {}
            }
        }
        found
    }

    pub(super) fn overlaps(&self, other: &Self) -> bool {
        let (short, long) = if self.segments.len() < other.segments.len() { (self, other) } else { (other, self) };
        let is_open = |piece: &TemplateSegmentRule| !matches!(piece, TemplateSegmentRule::Literal(_));
        let literals_meet = |own: &TemplateSegmentRule, piece: &TemplateSegmentRule| match (own, piece) {
            (TemplateSegmentRule::Literal(own), TemplateSegmentRule::Literal(piece)) => {
                spelling::alike(own.chars(), piece) || spelling::alike(piece.chars(), own)
            }
            (TemplateSegmentRule::Literal(_) | TemplateSegmentRule::Value | TemplateSegmentRule::Any, _) => false,
        };
        let alike = |(own, piece): (&TemplateSegmentRule, &TemplateSegmentRule)| {
            is_open(own) || is_open(piece) || literals_meet(own, piece)
        };
        short.fits_length(long.segments.len()) && short.segments.iter().zip(long.segments.iter()).all(alike)
    }

    pub(super) fn covers(&self, other: &Self) -> bool {
        let length = if self.open_ended {
            other.segments.len() >= self.segments.len()
        } else {
            !other.open_ended && other.segments.len() == self.segments.len()
        };
        // A number is not a fixed word, so it is a value wherever it is.
        let is_number = |piece: &TemplateSegmentRule| matches!(piece, TemplateSegmentRule::Literal(text) if text.bytes().all(|b| b.is_ascii_digit()));
        let piece_covers = |(own, piece): (&TemplateSegmentRule, &TemplateSegmentRule)| match own {
            TemplateSegmentRule::Any => true,
            TemplateSegmentRule::Value => own == piece || is_number(piece),
            TemplateSegmentRule::Literal(_) => own == piece,
        };
        length && self.segments.iter().zip(other.segments.iter()).all(piece_covers)
    }
}

impl TemplateSegmentRule {
    pub(super) fn fit(&self, segment: &TemplateSegment, effect: Effect) -> Match {
        match (self, segment) {
            (Self::Any, _) | (Self::Value, TemplateSegment::Parameter(..)) => Match::Always,
            (Self::Value, TemplateSegment::Literal(_)) => Match::Never,
            (Self::Literal(text), TemplateSegment::Literal(other)) if text == other => Match::Always,
            (Self::Literal(_), TemplateSegment::Literal(_)) => Match::Never,
            (Self::Literal(text), TemplateSegment::Parameter(_, ParameterType::OneOf(words)))
                if **words == [text.as_str()] =>
            {
                Match::Always
            }
            (Self::Literal(text), TemplateSegment::Parameter(_, kind)) if kind.admits(text) => Match::Sometimes,
            // What denies is compared as loosely as a server may: a word in another case is this value too.
            (Self::Literal(text), TemplateSegment::Parameter(_, kind))
                if effect == Effect::Deny && kind.may_admit(text) =>
            {
                Match::Sometimes
            }
            (Self::Literal(_), TemplateSegment::Parameter(..)) => Match::Never,
        }
    }
}

impl fmt::Display for TemplateSegmentRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Literal(text) => text,
            Self::Value | Self::Any => "{id}",
        })
    }
}

fn parse_piece(segment: &str) -> Result<TemplateSegmentRule, RuleError> {
    let named = segment.strip_prefix('{').and_then(|rest| rest.strip_suffix('}'));
    if segment == "*" {
        return Ok(TemplateSegmentRule::Any);
    }
    if named.is_some_and(|name| !name.is_empty() && !name.contains(['{', '}'])) {
        return Ok(TemplateSegmentRule::Value);
    }
    let bad = || RuleError::Segment(segment.to_owned());
    if segment.contains('*') {
        return Err(bad());
    }
    let text = decode(segment).map_err(|_| bad())?;
    let other_spelling = |_| RuleError::Spelling { segment: segment.to_owned(), plain: spelling::plain(segment) };
    spelling::check(text.chars()).map_err(other_spelling)?;
    Ok(TemplateSegmentRule::Literal(text.into_owned()))
}
