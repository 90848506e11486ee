//! Modifiers that make a text of a text. All count characters, not octets.

use super::{Arguments, map_text};
use crate::{
    limits::Error,
    smarty::{
        evaluator::{REGEX_MATCH, REGEX_STEP, Scope},
        value::Value,
    },
};

type Result = std::result::Result<Value, Error>;

pub(super) fn lower(value: Value, _: Arguments<'_>, _: &mut Scope) -> Result {
    Ok(map_text(value, str::to_lowercase))
}

pub(super) fn upper(value: Value, _: Arguments<'_>, _: &mut Scope) -> Result {
    Ok(map_text(value, str::to_uppercase))
}

fn first_upper(text: &str, result: &mut String) {
    let mut characters = text.chars();
    if let Some(first) = characters.next() {
        result.extend(first.to_uppercase());
    }
    result.push_str(characters.as_str());
}

pub(super) fn upper_first(value: Value, _: Arguments<'_>, _: &mut Scope) -> Result {
    Ok(map_text(value, |text| {
        let mut result = String::with_capacity(text.len());
        first_upper(text, &mut result);
        result
    }))
}

/// The first letter of each word; words with digits only where the argument says so.
pub(super) fn capitalize(value: Value, arguments: Arguments<'_>, _: &mut Scope) -> Result {
    let digits = arguments.truth(0);
    Ok(map_text(value, |text| {
        let mut result = String::with_capacity(text.len());
        for piece in text.split_inclusive(char::is_whitespace) {
            if digits || !piece.contains(|character: char| character.is_ascii_digit()) {
                first_upper(piece, &mut result);
            } else {
                result.push_str(piece);
            }
        }
        result
    }))
}

/// Appends all arguments. Of a list, only these are left.
pub(super) fn cat(value: Value, arguments: Arguments<'_>, scope: &mut Scope) -> Result {
    let start = value.text();
    let size = start.len() + arguments.0.iter().map(|argument| argument.text().len()).sum::<usize>();
    scope.budget.text(size)?;
    let mut result = String::with_capacity(size);
    result.push_str(&start);
    for argument in arguments.0 {
        result.push_str(&argument.text());
    }
    Ok(result.into())
}

pub(super) fn trim(value: Value, arguments: Arguments<'_>, _: &mut Scope) -> Result {
    let characters = arguments.text(0, " \t\n\r\u{b}\0");
    Ok(map_text(value, |text| text.trim_matches(|character| characters.contains(character)).to_owned()))
}

/// Cuts a text to a length that the ending counts in, at white space unless the third argument says otherwise.
pub(super) fn truncate(value: Value, arguments: Arguments<'_>, _: &mut Scope) -> Result {
    let length = arguments.size(0, 80);
    let ending = arguments.text(1, "...");
    let inside_words = arguments.truth(2);
    Ok(map_text(value, |text| {
        if length == 0 {
            return String::new();
        }
        if text.chars().count() <= length {
            return text.to_owned();
        }
        let room = length.saturating_sub(ending.chars().count());
        let mut kept = take(text, room);
        // One character more tells whether a word ends just here.
        if !inside_words && let Some(blank) = take(text, room.saturating_add(1)).rfind(char::is_whitespace) {
            kept = text.get(..blank).unwrap_or(kept).trim_end();
        }
        format!("{kept}{ending}")
    }))
}

/// The first characters of a text.
fn take(text: &str, count: usize) -> &str {
    let end = text.char_indices().nth(count).map_or(text.len(), |(index, _)| index);
    text.get(..end).unwrap_or(text)
}

/// The characters from a place on, from 0; negative places and lengths count from the end.
pub(super) fn substr(value: Value, arguments: Arguments<'_>, _: &mut Scope) -> Result {
    let start = arguments.integer(0).unwrap_or(0);
    let length = arguments.integer(1);
    Ok(map_text(value, |text| {
        let count = text.chars().count();
        let from_end = |distance: i64| count.saturating_sub(usize::try_from(distance.unsigned_abs()).unwrap_or(usize::MAX));
        let start = if start < 0 { from_end(start) } else { usize::try_from(start).unwrap_or(usize::MAX) };
        if start > count {
            return text.to_owned();
        }
        let end = match length {
            None => count,
            Some(length) if length < 0 => from_end(length),
            Some(length) => start.saturating_add(usize::try_from(length).unwrap_or(usize::MAX)),
        };
        text.chars().skip(start).take(end.saturating_sub(start)).collect()
    }))
}

/// What follows the first place where the argument stands, that included; or what stands before it.
pub(super) fn strstr(value: Value, arguments: Arguments<'_>, _: &mut Scope) -> Result {
    let needle = arguments.text(0, "");
    let before = arguments.truth(1);
    Ok(map_text(value, |text| match text.find(needle.as_ref()) {
        Some(place) if before => text.get(..place).unwrap_or_default().to_owned(),
        Some(place) => text.get(place..).unwrap_or_default().to_owned(),
        None => String::new(),
    }))
}

/// The place where the argument stands first, in characters; -1 where it does not.
pub(super) fn strpos(value: Value, arguments: Arguments<'_>, _: &mut Scope) -> Result {
    if value.is_collection() {
        return Ok(Value::Integer(-1));
    }
    let text = value.text();
    let place = text.find(arguments.text(0, "").as_ref()).and_then(|place| text.get(..place));
    Ok(Value::Integer(place.map_or(-1, |before| i64::try_from(before.chars().count()).unwrap_or(i64::MAX))))
}

pub(super) fn replace(value: Value, arguments: Arguments<'_>, scope: &mut Scope) -> Result {
    let (from, to) = (arguments.text(0, ""), arguments.text(1, ""));
    if value.is_collection() || from.is_empty() {
        return Ok(value);
    }
    let text = value.text();
    let hits = text.matches(from.as_ref()).count();
    scope.budget.text((text.len() - hits * from.len()).saturating_add(hits.saturating_mul(to.len())))?;
    Ok(text.replace(from.as_ref(), &to).into())
}

/// Replaces all matches; `$&` is the match, `$1` a group. A broken expression changes nothing.
pub(super) fn regex_replace(value: Value, arguments: Arguments<'_>, scope: &mut Scope) -> Result {
    if value.is_collection() {
        return Ok(value);
    }
    let Some(regex) = scope.regex(&arguments.text(0, ""))? else {
        return Ok(value);
    };
    let replacement = replacement(&arguments.text(1, ""));
    let text = value.text();
    scope.budget.work(text.len().saturating_mul(REGEX_STEP))?;
    let mut result = String::with_capacity(text.len());
    let mut done = 0;
    for captures in regex.captures_iter(&text) {
        let Some(hit) = captures.get(0) else { continue };
        result.push_str(text.get(done..hit.start()).unwrap_or_default());
        captures.expand(&replacement, &mut result);
        done = hit.end();
        scope.budget.work(REGEX_MATCH)?;
        scope.budget.fits(result.len())?;
    }
    result.push_str(text.get(done..).unwrap_or_default());
    Ok(result.into())
}

/// The replacement as the regex crate spells it: `$&` is `${0}`, `$1` is `${1}`, any other `$` is itself.
fn replacement(text: &str) -> String {
    let mut result = String::with_capacity(text.len() + 8);
    let mut characters = text.chars().peekable();
    while let Some(character) = characters.next() {
        if character != '$' {
            result.push(character);
            continue;
        }
        match characters.peek() {
            Some('&') => {
                characters.next();
                result.push_str("${0}");
            }
            Some(digit) if digit.is_ascii_digit() => {
                result.push_str("${");
                result.extend(characters.next());
                result.push('}');
            }
            Some('$') => {
                characters.next();
                result.push_str("$$");
            }
            _ => result.push_str("$$"),
        }
    }
    result
}

/// Puts characters before every line.
pub(super) fn indent(value: Value, arguments: Arguments<'_>, scope: &mut Scope) -> Result {
    if value.is_collection() {
        return Ok(value);
    }
    let (count, unit) = (arguments.size(0, 1), arguments.text(1, " "));
    let text = value.text();
    let lines = text.split('\n').count();
    scope.budget.text(count.saturating_mul(unit.len()).saturating_mul(lines).saturating_add(text.len()))?;
    let prefix = unit.repeat(count);
    Ok(text.split('\n').map(|line| format!("{prefix}{line}")).collect::<Vec<_>>().join("\n").into())
}

/// Puts a text between all characters.
pub(super) fn spacify(value: Value, arguments: Arguments<'_>, scope: &mut Scope) -> Result {
    if value.is_collection() {
        return Ok(value);
    }
    let separator = arguments.text(0, " ");
    let text = value.text();
    scope.budget.text(text.len().saturating_add(text.chars().count().saturating_mul(separator.len())))?;
    let mut result = String::new();
    for (index, character) in text.chars().enumerate() {
        if index > 0 {
            result.push_str(&separator);
        }
        result.push(character);
    }
    Ok(result.into())
}

pub(super) fn line_breaks(value: Value, _: Arguments<'_>, scope: &mut Scope) -> Result {
    scope.budget.text(value.text().len())?;
    Ok(map_text(value, |text| text.replace('\n', "<br />")))
}
