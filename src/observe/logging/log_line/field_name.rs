//! The names of fields in lines of the log, with what is around them in each style: written as a whole, not in pieces.

use super::Style;

/// How each style begins a field with this name. The macro `field` makes it.
#[derive(Debug)]
pub struct FieldName {
    pub(crate) text: &'static str,
    pub(crate) colored: &'static str,
    pub(crate) json: &'static str,
}

impl FieldName {
    pub(super) fn of(&self, style: Style) -> &'static str {
        match style {
            Style::Text { colour: false } => self.text,
            Style::Text { colour: true } => self.colored,
            Style::Json => self.json,
        }
    }
}

/// The name of a field, made when the program is compiled.
macro_rules! field {
    ($name:literal) => {
        const {
            &$crate::observe::logging::log_line::FieldName {
                text: concat!(" ", $name, "="),
                colored: concat!(" \x1b[3m", $name, "\x1b[0m\x1b[2m=\x1b[0m"),
                json: concat!(",\"", $name, "\":"),
            }
        }
    };
}

pub(crate) use field;
