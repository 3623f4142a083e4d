//! How tables are printed: in columns for people, as tab-separated values or JSON for programs.

use std::io::IsTerminal;

use clap::ValueEnum;

/// How a table is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Format {
    /// Columns for people
    Table,
    /// Tab-separated values without a header
    Tsv,
    /// One JSON array
    Json,
}

impl Format {
    /// The format that was asked for, or that standard output calls for.
    pub(super) fn choose(wanted: Option<Self>, json: bool) -> Self {
        match wanted {
            _ if json => Self::Json,
            Some(format) => format,
            None if std::io::stdout().is_terminal() => Self::Table,
            None => Self::Tsv,
        }
    }
}

/// Cells in columns, each as wide as its widest cell; the last is not padded.
pub(super) fn columns<const N: usize>(rows: &[[String; N]]) -> String {
    let width = |column: usize| rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max();
    let widths: Vec<usize> = (0..N).map(|column| width(column).unwrap_or_default()).collect();
    let line = |row: &[String; N]| {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}"));
        format!("{}\n", cells.collect::<Vec<_>>().join("  ").trim_end())
    };
    rows.iter().map(line).collect()
}
