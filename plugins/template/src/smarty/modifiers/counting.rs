//! Modifiers that count, measure, and choose.

use std::rc::Rc;

use super::Arguments;
use crate::{
    limits::Error,
    smarty::{evaluator::Scope, value::Value},
};

type Result = std::result::Result<Value, Error>;

fn count_of(number: usize) -> Value {
    Value::Integer(i64::try_from(number).unwrap_or(i64::MAX))
}

/// What is counted in a text; lists and objects have none.
fn counted(value: &Value, count: impl FnOnce(&str) -> usize) -> Value {
    if value.is_collection() { Value::Integer(0) } else { count_of(count(&value.text())) }
}

pub(super) fn default(value: Value, arguments: Arguments<'_>, _: &mut Scope) -> Result {
    Ok(if value.is_empty() { arguments.get(0).cloned().unwrap_or(Value::Missing) } else { value })
}

pub(super) fn empty(value: Value, _: Arguments<'_>, _: &mut Scope) -> Result {
    Ok(Value::Boolean(value.is_empty()))
}

pub(super) fn count(value: Value, _: Arguments<'_>, _: &mut Scope) -> Result {
    Ok(match value {
        Value::List(items) => count_of(items.len()),
        Value::Object(members) => count_of(members.len()),
        Value::Missing | Value::Boolean(_) | Value::Integer(_) | Value::Decimal(_) | Value::Text(_) => Value::Integer(0),
    })
}

/// Characters without white space, or with it where the argument says so.
pub(super) fn characters(value: Value, arguments: Arguments<'_>, _: &mut Scope) -> Result {
    let all = arguments.truth(0);
    Ok(counted(&value, |text| text.chars().filter(|character| all || !character.is_whitespace()).count()))
}

/// Words that hold a letter or a digit.
pub(super) fn words(value: Value, _: Arguments<'_>, _: &mut Scope) -> Result {
    Ok(counted(&value, |text| text.split_whitespace().filter(|word| word.contains(char::is_alphanumeric)).count()))
}

/// Runs of text between line ends.
pub(super) fn paragraphs(value: Value, _: Arguments<'_>, _: &mut Scope) -> Result {
    Ok(counted(&value, |text| text.lines().filter(|line| !line.trim().is_empty()).count()))
}

pub(super) fn length(value: Value, _: Arguments<'_>, _: &mut Scope) -> Result {
    Ok(counted(&value, |text| text.chars().count()))
}

/// A slice of a list or an object: `range:end` or `range:start:end`, from 0, without the end.
pub(super) fn range(value: Value, arguments: Arguments<'_>, _: &mut Scope) -> Result {
    let (start, end) = match arguments.0 {
        [] => return Ok(value),
        [_] => (0, arguments.size(0, 0)),
        _ => (arguments.size(0, 0), arguments.size(1, 0)),
    };
    let length = end.saturating_sub(start);
    Ok(match value {
        Value::List(items) => Value::List(Rc::new(items.iter().skip(start).take(length).cloned().collect())),
        Value::Object(members) => {
            let slice = members.iter().skip(start).take(length);
            Value::Object(Rc::new(slice.map(|(name, value)| (name.clone(), value.clone())).collect()))
        }
        Value::Missing | Value::Boolean(_) | Value::Integer(_) | Value::Decimal(_) | Value::Text(_) => value,
    })
}

/// The most decimals that are written: a double has no more to say.
const MOST_DECIMALS: usize = 20;

/// `number_format:decimals:point:separator`, as in 123,123.45.
pub(super) fn number_format(value: Value, arguments: Arguments<'_>, _: &mut Scope) -> Result {
    if value.is_collection() {
        return Ok(value);
    }
    let decimals = arguments.size(0, 0).min(MOST_DECIMALS);
    let (point, separator) = (arguments.text(1, "."), arguments.text(2, ","));
    let number = value.number().decimal();
    // Halves go away from zero, as people do it; a double's own last digits must not decide (1.005 is a little less than that).
    let scale = 10_f64.powi(i32::try_from(decimals).unwrap_or(0));
    let scaled = number.abs() * scale;
    let rounded = if scaled < 1e15 { (scaled + scaled * f64::EPSILON).round() / scale } else { number.abs() };
    let spelling = format!("{rounded:.decimals$}");
    let (whole, fraction) = spelling.split_once('.').unwrap_or((&spelling, ""));
    let mut result = String::new();
    if number < 0.0 && rounded != 0.0 {
        result.push('-');
    }
    for (index, digit) in whole.chars().enumerate() {
        if index > 0 && (whole.len() - index) % 3 == 0 {
            result.push_str(&separator);
        }
        result.push(digit);
    }
    if !fraction.is_empty() {
        result.push_str(&point);
        result.push_str(fraction);
    }
    Ok(result.into())
}
