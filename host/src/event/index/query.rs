//! The language of the search box.

use tantivy::query::{AllQuery, BooleanQuery, EmptyQuery, Occur, PhraseQuery, Query, RangeQuery, TermQuery};
use tantivy::schema::{Field, IndexRecordOption};
use tantivy::{Index, Term};

use std::ops::Bound;

use super::Fields;

/// Terms that one query may have.
const MOST_TERMS: usize = 50;

/// Why a query makes no sense.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum QueryError {
    /// No such field.
    #[error("there is no field {0:?}; fields are id, login, from, to, address, subject, text, tag, state, after, before")]
    UnknownField(String),
    /// Not `YYYY-MM-DD`.
    #[error("{0:?} is no date such as 2026-11-21")]
    Date(String),
    /// More than 50 terms.
    #[error("a query has at most 50 terms")]
    TooLong,
}

/// One word of a query: `-field:value`.
#[derive(Debug, PartialEq, Eq)]
struct Clause {
    excluded: bool,
    field: Option<String>,
    value: String,
}

/// Makes tantivy's query of what somebody typed.
pub(super) fn parse(text: &str, index: &Index, fields: &Fields) -> Result<Box<dyn Query>, QueryError> {
    let clauses = clauses(text);
    if clauses.len() > MOST_TERMS {
        return Err(QueryError::TooLong);
    }
    let mut parts: Vec<(Occur, Box<dyn Query>)> = Vec::new();
    for clause in &clauses {
        let occur = if clause.excluded { Occur::MustNot } else { Occur::Must };
        parts.push((occur, query(clause, index, fields)?));
    }
    if parts.iter().all(|(occur, _)| *occur == Occur::MustNot) {
        parts.push((Occur::Must, Box::new(AllQuery)));
    }
    Ok(Box::new(BooleanQuery::new(parts)))
}

fn query(clause: &Clause, index: &Index, fields: &Fields) -> Result<Box<dyn Query>, QueryError> {
    let value = clause.value.as_str();
    let exact = |field: Field| -> Box<dyn Query> {
        Box::new(TermQuery::new(Term::from_field_text(field, &value.to_lowercase()), IndexRecordOption::Basic))
    };
    Ok(match clause.field.as_deref() {
        // An address is looked for where addresses are, and a word where words are.
        None if value.contains('@') => any(vec![exact(fields.address), words(index, fields.text, value)]),
        None => any(vec![words(index, fields.subject, value), words(index, fields.text, value), exact(fields.tag), exact(fields.id)]),
        Some("id") => exact(fields.id),
        Some("login") => exact(fields.login),
        Some("from") => exact(fields.from),
        Some("to") => exact(fields.to),
        Some("address") => exact(fields.address),
        Some("tag") => exact(fields.tag),
        Some("state") => exact(fields.state),
        Some("subject") => words(index, fields.subject, value),
        Some("text") => words(index, fields.text, value),
        Some("after") => range(Bound::Included(at(value, fields)?), Bound::Unbounded),
        Some("before") => range(Bound::Unbounded, Bound::Excluded(at(value, fields)?)),
        Some(other) => return Err(QueryError::UnknownField(other.to_owned())),
    })
}

fn any(queries: Vec<Box<dyn Query>>) -> Box<dyn Query> {
    Box::new(BooleanQuery::new(queries.into_iter().map(|query| (Occur::Should, query)).collect()))
}

fn range(from: Bound<Term>, to: Bound<Term>) -> Box<dyn Query> {
    Box::new(RangeQuery::new(from, to))
}

/// All words of `value` in a row, as the field's tokenizer cuts them.
fn words(index: &Index, field: Field, value: &str) -> Box<dyn Query> {
    let Ok(mut tokenizer) = index.tokenizer_for_field(field) else { return Box::new(EmptyQuery) };
    let mut terms = Vec::new();
    tokenizer.token_stream(value).process(&mut |token| {
        if terms.len() < MOST_TERMS {
            terms.push((token.position, Term::from_field_text(field, &token.text)));
        }
    });
    match terms.len() {
        0 => Box::new(EmptyQuery),
        1 => terms
            .pop()
            .map_or_else(|| Box::new(EmptyQuery) as Box<dyn Query>, |(_, term)| Box::new(TermQuery::new(term, IndexRecordOption::Basic))),
        _ => Box::new(PhraseQuery::new_with_offset(terms)),
    }
}

/// Midnight, UTC, at the start of a day.
fn at(value: &str, fields: &Fields) -> Result<Term, QueryError> {
    let wrong = || QueryError::Date(value.to_owned());
    let well_formed =
        value.len() == 10 && value.char_indices().all(|(at, c)| if at == 4 || at == 7 { c == '-' } else { c.is_ascii_digit() });
    if !well_formed {
        return Err(wrong());
    }
    let date =
        mail_parser::DateTime::parse_rfc3339(&format!("{value}T00:00:00Z")).filter(mail_parser::DateTime::is_valid).ok_or_else(wrong)?;
    let millis = u64::try_from(date.to_timestamp()).map_err(|_| wrong())?.saturating_mul(1000);
    Ok(Term::from_field_u64(fields.at, millis))
}

/// Cuts a query at blanks outside of quotes.
fn clauses(text: &str) -> Vec<Clause> {
    let mut clauses = Vec::new();
    let mut rest = text.trim_start();
    while !rest.is_empty() && clauses.len() <= MOST_TERMS {
        let excluded = rest.starts_with('-') && rest.len() > 1;
        if excluded {
            rest = rest.get(1..).unwrap_or_default();
        }
        let name_end = rest.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(rest.len());
        let mut field = None;
        if let (Some(name), Some(after)) = (rest.get(..name_end), rest.get(name_end..))
            && let Some(value) = after.strip_prefix(':')
            && !name.is_empty()
            && !value.starts_with("//")
        {
            field = Some(name.to_ascii_lowercase());
            rest = value;
        }
        let (value, after) = match rest.strip_prefix('"') {
            Some(quoted) => quoted.split_once('"').unwrap_or((quoted, "")),
            None => rest.split_once(char::is_whitespace).unwrap_or((rest, "")),
        };
        if !value.trim().is_empty() {
            clauses.push(Clause { excluded, field, value: value.trim().to_owned() });
        }
        rest = after.trim_start();
    }
    clauses
}

#[cfg(test)]
mod tests {
    use super::*;

    fn clause(excluded: bool, field: Option<&str>, value: &str) -> Clause {
        Clause { excluded, field: field.map(str::to_owned), value: value.to_owned() }
    }

    #[test]
    fn queries_are_cut_at_blanks_outside_of_quotes() {
        let cut = clauses("spring  tag:\"big sale\" -state:bounced https://example.com \"two words");
        let expected = vec![
            clause(false, None, "spring"),
            clause(false, Some("tag"), "big sale"),
            clause(true, Some("state"), "bounced"),
            clause(false, None, "https://example.com"),
            clause(false, None, "two words"),
        ];
        assert_eq!(cut, expected);
        assert_eq!(clauses("  - \"\" tag: "), Vec::new());
    }
}
