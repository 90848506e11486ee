//! The personalization language: a dialect of Smarty.
//!
//! `{$name}`, `{$a.b[1]["c"]}`, `{$x + 1}`, `{$name|upper|default:"you"}`; `{if}`, `{elseif}`, `{else}`, `{/if}`; `{foreach $x in $list}`,
//! `{foreach $list as $k => $v}`, `{foreachelse}`, `{/foreach}`; `{$x = 1}`, `{assign 1 to $x}`; `{ldelim}`, `{rdelim}`, `[ldelim]`,
//! `[rdelim]`, `{literal}`; `{hash($x, 'sha256')}`; `{* comments *}`. White space around tags stays. What is missing is empty.
//!
//! A `{` before a blank, a line end or `}` is text. In style and script elements it is text unless a variable, an end tag or a
//! known word follows. Nothing is escaped unless the template says `{escape}` or `{mode=html}`, or an output says `|escape`.

mod ast;
mod evaluator;
mod lexer;
mod modifiers;
mod parser;
mod value;

use indexmap::IndexMap;

use crate::addresses::Marks;
use crate::limits::{Error, Limits};
use lexer::{Block, Certainty, Lexer, Piece};
use value::Value;

/// The data of a template.
#[derive(Debug, Clone)]
pub struct Data {
    variables: IndexMap<String, Value>,
    now: i64,
}

impl Data {
    /// Takes the variables of one recipient, and the time in seconds since 1970.
    pub fn new(variables: &serde_json::Map<String, serde_json::Value>, now: i64) -> Self {
        let variables = variables.iter().map(|(name, value)| (name.clone(), Value::from_json(value))).collect();
        Self { variables, now }
    }
}

/// Renders a template; in one that is HTML, braces of style and script elements are text.
///
/// # Errors
/// [`Error::Syntax`] where the template is not well formed, [`Error::Limit`] where it wants more than it may have.
pub fn render(source: &str, html: bool, data: &Data, limits: Limits) -> Result<String, Error> {
    let (output, _) = run(source, html, data, limits, None)?;
    Ok(output)
}

/// As [`render`] of text, with marks in the place of all that outputs give.
pub(crate) fn render_marked(source: &str, data: &Data, limits: Limits) -> Result<(String, Marks), Error> {
    let (output, marks) = run(source, false, data, limits, Some(Marks::new(limits.output)))?;
    Ok((output, marks.unwrap_or_else(|| Marks::new(0))))
}

fn run(source: &str, html: bool, data: &Data, limits: Limits, marks: Option<Marks>) -> Result<(String, Option<Marks>), Error> {
    let parsed = parser::parse(source, html)?;
    let mut scope = evaluator::Scope::new(data.variables.clone(), data.now, limits, marks);
    let mut output = String::with_capacity(source.len());
    evaluator::render(&parsed.nodes, parsed.escape, &mut scope, &mut output)?;
    Ok((output, scope.into_marks()))
}

/// Whether a text has anything that [`render`] would look at. What is not well formed has.
pub fn has_tags(text: &str, html: bool) -> bool {
    // Comments and words in brackets are text to the lexer, which leaves them out or replaces them.
    if text.contains("{*") || lexer::has_bracket_word(text) {
        return true;
    }
    let mut lexer = Lexer::new(text, html);
    loop {
        match lexer.piece() {
            Ok(Piece::Text(_)) => {}
            Ok(Piece::Nothing) => return false,
            Ok(Piece::Tag) | Err(_) => return true,
        }
    }
}

/// Whether a text is a template beyond doubt: it holds a variable, a tag that is like nothing else, or a block with its end. `{if` alone is
/// what programs are written with.
pub fn has_certain_tags(text: &str) -> bool {
    // From behind, so that the ends of blocks are known where blocks begin.
    let mut ended: Vec<Block> = Vec::new();
    text.rmatch_indices('{').filter_map(|(index, _)| text.get(index + 1..)).any(|inside| match lexer::certainty(inside) {
        Certainty::Tag => true,
        Certainty::Begins(block) => ended.contains(&block),
        Certainty::Ends(block) => {
            if !ended.contains(&block) {
                ended.push(block);
            }
            false
        }
        Certainty::None => false,
    })
}

#[cfg(test)]
mod tests;
