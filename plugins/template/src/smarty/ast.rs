//! What a template is made of.

use super::{modifiers::Modifier, value::Value};

/// A piece of a template.
#[derive(Debug)]
pub(crate) enum Node<'t> {
    /// Text that stays as it is.
    Text(&'t str),
    /// `{EXPRESSION}`.
    Output(Expression),
    /// `{$name = EXPRESSION}` and `{assign EXPRESSION to $name}`.
    Assign { name: String, value: Expression },
    /// `{if}`: the first branch whose test holds, or what stands behind `{else}`.
    If { branches: Vec<(Expression, Vec<Node<'t>>)>, otherwise: Vec<Node<'t>> },
    /// `{foreach}`: once per element, or, where there is none, what stands behind `{foreachelse}`.
    Foreach { list: Expression, key: Option<String>, value: String, body: Vec<Node<'t>>, otherwise: Vec<Node<'t>> },
}

/// Something that has a value.
#[derive(Debug)]
pub(crate) enum Expression {
    Literal(Value),
    Variable {
        name: String,
        path: Vec<Access>,
    },
    Not(Box<Expression>),
    Negative(Box<Expression>),
    Binary {
        operator: Operator,
        left: Box<Expression>,
        right: Box<Expression>,
    },
    /// `value|modifier:argument`. An unknown modifier is `None` and does nothing.
    Modified {
        value: Box<Expression>,
        modifier: Option<Modifier>,
        arguments: Vec<Expression>,
    },
    /// `hash(text, 'algorithm')`, the one function there is.
    Hash(Vec<Expression>),
}

/// A step into a list or an object.
#[derive(Debug)]
pub(crate) enum Access {
    /// `.name`
    Member(String),
    /// `[EXPRESSION]`
    Index(Expression),
}

/// What stands between two expressions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Operator {
    Or,
    And,
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
    Matches,
    Add,
    Subtract,
    Multiply,
    Divide,
    Remainder,
}

impl Operator {
    /// How tightly the operator binds, from 1.
    pub(crate) fn strength(self) -> u8 {
        match self {
            Self::Or => 1,
            Self::And => 2,
            Self::Equal | Self::NotEqual | Self::Less | Self::LessOrEqual | Self::Greater | Self::GreaterOrEqual | Self::Matches => 3,
            Self::Add | Self::Subtract => 4,
            Self::Multiply | Self::Divide | Self::Remainder => 5,
        }
    }
}
