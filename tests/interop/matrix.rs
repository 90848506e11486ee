//! A table of cells: what was tried, and how it went.

use std::fmt;

use anyhow::Error;

/// How a cell went.
pub(crate) enum Cell {
    /// It works.
    Works,
    /// The other side does not offer it, and what follows from that is right: in a few words.
    Without(&'static str),
    /// The other side cannot do it at all: there is nothing to try.
    NotThere,
    /// It should work.
    Fails(Error),
}

impl From<anyhow::Result<Cell>> for Cell {
    fn from(result: anyhow::Result<Cell>) -> Self {
        result.unwrap_or_else(Cell::Fails)
    }
}

impl Cell {
    fn word(&self) -> &str {
        match self {
            Self::Works => "ok",
            Self::Without(word) => word,
            Self::NotThere => "-",
            Self::Fails(_) => "FAILS",
        }
    }
}

/// A table with a title.
pub(crate) struct Matrix {
    title: String,
    columns: Vec<String>,
    rows: Vec<(String, Vec<Cell>)>,
}

impl Matrix {
    pub(crate) fn new(title: &str, columns: &[&str]) -> Self {
        Self { title: title.to_owned(), columns: columns.iter().map(ToString::to_string).collect(), rows: Vec::new() }
    }

    pub(crate) fn row(&mut self, name: &str, cells: Vec<Cell>) {
        self.rows.push((name.to_owned(), cells));
    }

    /// Everything that fails, in sentences.
    pub(crate) fn failures(&self) -> Vec<String> {
        let cells =
            self.rows.iter().flat_map(|(name, cells)| self.columns.iter().zip(cells).map(move |(column, cell)| (name, column, cell)));
        let failed = cells.filter_map(|(name, column, cell)| match cell {
            Cell::Fails(error) => Some(format!("{name}, {column}: {error:#}")),
            Cell::Works | Cell::Without(_) | Cell::NotThere => None,
        });
        failed.collect()
    }
}

impl fmt::Display for Matrix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let first = self.rows.iter().map(|(name, _)| name.len()).max().unwrap_or_default();
        let width = |place: usize, column: &str| {
            let cells = self.rows.iter().filter_map(|(_, cells)| cells.get(place)).map(|cell| cell.word().len());
            cells.chain([column.len()]).max().unwrap_or_default()
        };
        let widths: Vec<usize> = self.columns.iter().enumerate().map(|(place, column)| width(place, column)).collect();
        writeln!(f, "{}\n", self.title)?;
        write!(f, "{:first$}", "")?;
        for (column, width) in self.columns.iter().zip(&widths) {
            write!(f, "  {column:width$}")?;
        }
        writeln!(f)?;
        for (name, cells) in &self.rows {
            write!(f, "{name:first$}")?;
            for (cell, width) in cells.iter().zip(&widths) {
                write!(f, "  {:width$}", cell.word())?;
            }
            writeln!(f)?;
        }
        Ok(())
    }
}
