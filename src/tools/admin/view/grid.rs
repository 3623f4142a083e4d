//! The parts of a table.

use serde::{Serialize, Serializer};

use super::words::grouped;
use crate::base::plain;

/// A table.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Table {
    /// The id of its place.
    pub id: &'static str,
    /// What it shows.
    #[serde(skip)]
    pub caption: &'static str,
    /// Its columns; the first cell of a row is its head.
    #[serde(skip)]
    pub columns: &'static [Column],
    /// Its rows, each with a cell for each column.
    #[serde(flatten, serialize_with = "rows_and_keys")]
    pub rows: Vec<Row>,
    /// What is shown instead of no rows.
    pub empty: &'static str,
}

/// A column of a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Column {
    /// What is above it.
    pub name: &'static str,
    /// It has numbers, which are aligned at the right.
    pub number: bool,
}

/// A row of a table.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    /// What tells it from the other rows, wherever it is.
    pub key: String,
    /// A cell for each column.
    pub cells: Vec<Cell>,
}

impl Row {
    pub(super) fn new(key: &[&str], cells: Vec<Cell>) -> Self {
        Self { key: plain::line(&key.join(" | ")).into_owned(), cells }
    }
}

/// `rows` with the cells, and `keys` in the same order.
fn rows_and_keys<S: Serializer>(rows: &[Row], serializer: S) -> Result<S::Ok, S::Error> {
    #[derive(Serialize)]
    struct Split<'a> {
        rows: Vec<&'a [Cell]>,
        keys: Vec<&'a str>,
    }
    let cells = rows.iter().map(|row| row.cells.as_slice()).collect();
    Split { rows: cells, keys: rows.iter().map(|row| row.key.as_str()).collect() }.serialize(serializer)
}

/// A cell of a table.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Cell {
    /// What it says.
    #[serde(rename = "t")]
    pub text: String,
    /// How it is drawn: names of classes.
    #[serde(rename = "k", skip_serializing_if = "Option::is_none")]
    pub kind: Option<&'static str>,
    /// Where it leads, on this page.
    #[serde(rename = "h", skip_serializing_if = "Option::is_none")]
    pub link: Option<String>,
    /// The same in full.
    #[serde(rename = "f", skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// What is shown on demand.
    #[serde(rename = "d", skip_serializing_if = "Option::is_none")]
    pub details: Option<Details>,
}

/// What a cell shows on demand.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Details {
    /// What it is.
    #[serde(rename = "s")]
    pub summary: &'static str,
    /// Its lines, each with what it tells of.
    #[serde(rename = "l")]
    pub lines: Vec<(String, Cell)>,
}

pub(super) const fn words(name: &'static str) -> Column {
    Column { name, number: false }
}

pub(super) const fn numbers(name: &'static str) -> Column {
    Column { name, number: true }
}

pub(super) fn plain(text: impl Into<String>) -> Cell {
    Cell { text: plain::line(&text.into()).into_owned(), ..Cell::default() }
}

pub(super) fn drawn(kind: &'static str, text: impl Into<String>) -> Cell {
    Cell { kind: Some(kind), ..plain(text) }
}

pub(super) fn number(number: u64) -> Cell {
    drawn("number", grouped(number))
}
