//! Renders a parsed template.

use std::{collections::HashMap, rc::Rc};

use indexmap::IndexMap;
use regex::Regex;

use super::{
    ast::{Access, Expression, Node, Operator},
    modifiers::{self, Effect},
    value::{Number, Value, member_of},
};
use crate::{
    addresses::Marks,
    limits::{Budget, Error, Limits},
};

/// The most compiled memory of a regular expression, in octets; one that wants more counts as broken.
const LARGEST_REGEX: usize = 256 * 1024;
/// What a step of a regular expression costs, in octets of plain text.
pub(super) const REGEX_STEP: usize = 16;
/// What a match costs, in octets of plain text.
pub(super) const REGEX_MATCH: usize = 128;
/// The most regular expressions that are kept for the next time.
const KEPT_REGEXES: usize = 32;

/// What a template is rendered with, and what is left of its limits.
pub(crate) struct Scope {
    variables: IndexMap<String, Value>,
    regexes: HashMap<Rc<str>, Option<Regex>>,
    /// Seconds since 1970, for `{$smarty.now}` and dates.
    pub(super) now: i64,
    pub(super) budget: Budget,
    /// Where outputs go, if marks take their place.
    marks: Option<Marks>,
}

impl Scope {
    pub(crate) fn new(variables: IndexMap<String, Value>, now: i64, limits: Limits, marks: Option<Marks>) -> Self {
        Self { variables, regexes: HashMap::new(), now, budget: Budget::new(limits), marks }
    }

    pub(super) fn into_marks(self) -> Option<Marks> {
        self.marks
    }

    /// The compiled expression; nothing where it is broken.
    pub(super) fn regex(&mut self, pattern: &str) -> Result<Option<Regex>, Error> {
        if let Some(known) = self.regexes.get(pattern) {
            return Ok(known.clone());
        }
        // Compiling costs many times the length of what is compiled.
        self.budget.work(pattern.len().saturating_mul(1000))?;
        let regex = regex::RegexBuilder::new(pattern).size_limit(LARGEST_REGEX).dfa_size_limit(LARGEST_REGEX).build().ok();
        if self.regexes.len() < KEPT_REGEXES {
            self.regexes.insert(pattern.into(), regex.clone());
        }
        Ok(regex)
    }

    fn variable(&self, name: &str) -> Value {
        if let Some(value) = member_of(&self.variables, name) {
            return value.clone();
        }
        if name == "smarty" {
            return Value::Object(Rc::new(IndexMap::from([("now".to_owned(), Value::Integer(self.now))])));
        }
        Value::Missing
    }

    fn assign(&mut self, name: &str, value: Value) {
        self.variables.insert(name.to_owned(), value);
    }
}

/// Renders `nodes` behind what `output` holds.
pub(super) fn render(nodes: &[Node<'_>], escape: bool, scope: &mut Scope, output: &mut String) -> Result<(), Error> {
    for node in nodes {
        match node {
            Node::Text(text) => append(text, scope, output)?,
            Node::Output(expression) => {
                let value = evaluate(expression, scope)?;
                if escape && !is_raw(expression) {
                    put(&modifiers::escape_html(&value.text()), scope, output)?;
                } else {
                    put(&value.text(), scope, output)?;
                }
            }
            Node::Assign { name, value } => {
                let value = evaluate(value, scope)?;
                scope.assign(name, value);
            }
            Node::If { branches, otherwise } => {
                let mut chosen = otherwise;
                for (test, nodes) in branches {
                    if evaluate(test, scope)?.truth() {
                        chosen = nodes;
                        break;
                    }
                }
                render(chosen, escape, scope, output)?;
            }
            Node::Foreach { list, key, value, body, otherwise } => {
                let elements = elements(&evaluate(list, scope)?);
                if elements.is_empty() {
                    render(otherwise, escape, scope, output)?;
                    continue;
                }
                // What the loop calls its element is the loop's own; what is assigned inside stays.
                let names = [Some(value), key.as_ref()];
                let before = names.map(|name| name.map(|name| (name.clone(), scope.variables.get(name).cloned())));
                for (name, element) in elements {
                    scope.budget.turn()?;
                    scope.assign(value, element);
                    if let Some(key) = key {
                        scope.assign(key, name);
                    }
                    render(body, escape, scope, output)?;
                }
                for (name, value) in before.into_iter().flatten() {
                    match value {
                        Some(value) => scope.assign(&name, value),
                        None => drop(scope.variables.swap_remove(&name)),
                    }
                }
            }
        }
    }
    Ok(())
}

/// Appends what an output gives, or its mark.
fn put(text: &str, scope: &mut Scope, output: &mut String) -> Result<(), Error> {
    let Some(marks) = &mut scope.marks else { return append(text, scope, output) };
    let mark = marks.put(text)?;
    scope.budget.work(text.len())?;
    append(&mark, scope, output)
}

fn append(text: &str, scope: &mut Scope, output: &mut String) -> Result<(), Error> {
    scope.budget.work(1 + text.len())?;
    scope.budget.fits(output.len() + text.len())?;
    output.push_str(text);
    Ok(())
}

/// Whether an output says itself how it is escaped.
fn is_raw(expression: &Expression) -> bool {
    let mut expression = expression;
    while let Expression::Modified { value, modifier, .. } = expression {
        if modifier.is_some_and(|modifier| modifier.effect() == Effect::Escaped) {
            return true;
        }
        expression = value;
    }
    false
}

/// Names and values of a list or an object.
fn elements(value: &Value) -> Vec<(Value, Value)> {
    match value {
        Value::List(items) => (0..).map(Value::Integer).zip(items.iter().cloned()).collect(),
        Value::Object(members) => members.iter().map(|(name, value)| (name.as_str().into(), value.clone())).collect(),
        Value::Missing | Value::Boolean(_) | Value::Integer(_) | Value::Decimal(_) | Value::Text(_) => Vec::new(),
    }
}

fn evaluate(expression: &Expression, scope: &mut Scope) -> Result<Value, Error> {
    scope.budget.work(1)?;
    Ok(match expression {
        Expression::Literal(value) => value.clone(),
        Expression::Variable { name, path } => {
            let mut value = scope.variable(name);
            for access in path {
                value = match access {
                    Access::Member(name) => value.member(name),
                    Access::Index(index) => value.at(&evaluate(index, scope)?),
                };
            }
            value
        }
        Expression::Not(inner) => Value::Boolean(!evaluate(inner, scope)?.truth()),
        Expression::Negative(inner) => match evaluate(inner, scope)?.number() {
            Number::Integer(number) => Value::Integer(number.saturating_neg()),
            Number::Decimal(number) => Number::Decimal(-number).into(),
        },
        Expression::Binary { operator, left, right } => binary(*operator, left, right, scope)?,
        Expression::Modified { value, modifier, arguments } => {
            let value = evaluate(value, scope)?;
            match modifier {
                Some(modifier) => {
                    let arguments = arguments.iter().map(|argument| evaluate(argument, scope)).collect::<Result<Vec<_>, _>>()?;
                    modifier.apply(value, &arguments, scope)?
                }
                None => value,
            }
        }
        Expression::Hash(arguments) => {
            let arguments = arguments.iter().map(|argument| evaluate(argument, scope)).collect::<Result<Vec<_>, _>>()?;
            match arguments.as_slice() {
                [text, algorithm, ..] => match modifiers::hash_by_name(&algorithm.text()) {
                    Some(hash) => modifiers::hashed(text, hash, scope)?,
                    None => Value::Missing,
                },
                _ => Value::Missing,
            }
        }
    })
}

fn binary(operator: Operator, left: &Expression, right: &Expression, scope: &mut Scope) -> Result<Value, Error> {
    let left = evaluate(left, scope)?;
    // The right side is not looked at where the left one decides.
    if (operator == Operator::Or && left.truth()) || (operator == Operator::And && !left.truth()) {
        return Ok(Value::Boolean(operator == Operator::Or));
    }
    let right = evaluate(right, scope)?;
    let order = || left.order(&right);
    Ok(match operator {
        Operator::Or | Operator::And => Value::Boolean(right.truth()),
        Operator::Equal => Value::Boolean(left.equals(&right)),
        Operator::NotEqual => Value::Boolean(!left.equals(&right)),
        Operator::Less => Value::Boolean(order().is_some_and(std::cmp::Ordering::is_lt)),
        Operator::LessOrEqual => Value::Boolean(order().is_some_and(std::cmp::Ordering::is_le)),
        Operator::Greater => Value::Boolean(order().is_some_and(std::cmp::Ordering::is_gt)),
        Operator::GreaterOrEqual => Value::Boolean(order().is_some_and(std::cmp::Ordering::is_ge)),
        Operator::Matches => {
            let text = left.text();
            scope.budget.work(text.len().saturating_mul(REGEX_STEP))?;
            let regex = scope.regex(&right.text())?;
            Value::Boolean(regex.is_some_and(|regex| regex.is_match(&text)))
        }
        Operator::Add => calculate(&left, &right, i64::checked_add, |left, right| left + right),
        Operator::Subtract => calculate(&left, &right, i64::checked_sub, |left, right| left - right),
        Operator::Multiply => calculate(&left, &right, i64::checked_mul, |left, right| left * right),
        Operator::Divide | Operator::Remainder if right.number().decimal() == 0.0 => Value::Integer(0),
        Operator::Divide => calculate(&left, &right, exact_quotient, |left, right| left / right),
        Operator::Remainder => calculate(&left, &right, |left, right| Some(left.wrapping_rem(right)), |left, right| left % right),
    })
}

/// Calculates with whole numbers as long as the result is one, and with decimals otherwise.
fn calculate(left: &Value, right: &Value, whole: fn(i64, i64) -> Option<i64>, decimal: fn(f64, f64) -> f64) -> Value {
    let (left, right) = (left.number(), right.number());
    if let (Number::Integer(left), Number::Integer(right)) = (left, right)
        && let Some(exact) = whole(left, right)
    {
        return Value::Integer(exact);
    }
    Number::Decimal(decimal(left.decimal(), right.decimal())).into()
}

/// The quotient, where nothing remains.
fn exact_quotient(left: i64, right: i64) -> Option<i64> {
    if left.checked_rem(right)? == 0 { left.checked_div(right) } else { None }
}
