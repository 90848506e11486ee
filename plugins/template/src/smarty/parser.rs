//! Makes a tree of a template.
//!
//! ```text
//! template   = *(text / tag)
//! tag        = "{" (output / assign / if / foreach / literal / "ldelim" / "rdelim" / "escape" / "mode" "=" word) "}"
//! assign     = "assign" expression "to" variable / variable "=" expression
//! if         = "if" expression "}" template *("{elseif" expression "}" template) ["{else}" template] "{/if"
//! foreach    = "foreach" (variable "in" expression / expression "as" [variable "=>"] variable) "}" template
//!              ["{foreachelse}" template] "{/foreach"
//! expression = operand *(operator operand)
//! operand    = ("not" / "!" / "-") operand / primary *("|" word *(":" argument))
//! primary    = literal / variable *("." word / "[" expression "]") / "(" expression ")" / "hash" "(" expression *("," expression) ")"
//! ```

#![allow(clippy::wildcard_enum_match_arm, reason = "a grammar names the tokens that it takes; all others are errors")]

use super::{
    ast::{Access, Expression, Node, Operator},
    lexer::{Lexer, Piece, Token},
    modifiers::Modifier,
    value::Value,
};
use crate::limits::Error;

/// The deepest nesting of blocks.
const DEEPEST_BLOCK: usize = 50;
/// The most operators, brackets and modifiers of one tag: each may cost a level of the stack.
const LARGEST_EXPRESSION: usize = 200;

/// A template, parsed.
#[derive(Debug)]
pub(super) struct Parsed<'t> {
    pub(super) nodes: Vec<Node<'t>>,
    /// Whether the template asks for its outputs to be escaped.
    pub(super) escape: bool,
}

/// Parses a template.
pub(super) fn parse(source: &str, html: bool) -> Result<Parsed<'_>, Error> {
    let mut parser = Parser { lexer: Lexer::new(source, html), depth: 0, weight: 0, escape: false };
    let (nodes, stop) = parser.nodes(Block::Template)?;
    match stop {
        Stop::Nothing => Ok(Parsed { nodes, escape: parser.escape }),
        _ => Err(parser.lexer.error(format!("{} without its beginning", stop.spelling()))),
    }
}

/// What a block is, to say what is missing at its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Block {
    Template,
    If,
    Foreach,
}

/// The tag that ended a run of nodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stop {
    Nothing,
    ElseIf,
    Else,
    EndIf,
    ForeachElse,
    EndForeach,
}

impl Stop {
    fn spelling(self) -> &'static str {
        match self {
            Self::Nothing => "the end",
            Self::ElseIf => "{elseif}",
            Self::Else => "{else}",
            Self::EndIf => "{/if}",
            Self::ForeachElse => "{foreachelse}",
            Self::EndForeach => "{/foreach}",
        }
    }
}

/// What a tag turned out to be.
enum Tag<'t> {
    Node(Node<'t>),
    Empty,
    Stop(Stop),
}

struct Parser<'t> {
    lexer: Lexer<'t>,
    /// Blocks that are open.
    depth: usize,
    /// Operators, brackets and modifiers of the tag that is read.
    weight: usize,
    escape: bool,
}

impl<'t> Parser<'t> {
    /// Reads nodes up to a tag that ends them.
    fn nodes(&mut self, block: Block) -> Result<(Vec<Node<'t>>, Stop), Error> {
        let start = self.lexer.position();
        let mut nodes = Vec::new();
        loop {
            match self.lexer.piece()? {
                Piece::Text(text) => nodes.push(Node::Text(text)),
                Piece::Nothing => {
                    let reason = match block {
                        Block::Template => return Ok((nodes, Stop::Nothing)),
                        Block::If => "{if} without {/if}",
                        Block::Foreach => "{foreach} without {/foreach}",
                    };
                    return Err(Error::Syntax { line: self.lexer.line_at(start), reason: reason.to_owned() });
                }
                Piece::Tag => match self.tag()? {
                    Tag::Node(node) => nodes.push(node),
                    Tag::Empty => {}
                    Tag::Stop(stop) => return Ok((nodes, stop)),
                },
            }
        }
    }

    fn tag(&mut self) -> Result<Tag<'t>, Error> {
        self.weight = 0;
        match self.lexer.peek()? {
            Token::Slash => {
                self.lexer.token()?;
                let word = self.word()?;
                let stop = match word.to_ascii_lowercase().as_str() {
                    "if" => Stop::EndIf,
                    "foreach" => Stop::EndForeach,
                    _ => return Err(self.lexer.error(format!("{{/{word}}} ends nothing"))),
                };
                self.end()?;
                Ok(Tag::Stop(stop))
            }
            Token::Word(word) => self.word_tag(word),
            Token::Variable(name) => {
                let mut ahead = self.lexer.clone();
                ahead.token()?;
                if ahead.token()? == Token::Assign {
                    self.lexer = ahead;
                    let value = self.expression()?;
                    self.end()?;
                    return Ok(Tag::Node(Node::Assign { name: name.to_owned(), value }));
                }
                self.output()
            }
            _ => self.output(),
        }
    }

    fn output(&mut self) -> Result<Tag<'t>, Error> {
        let expression = self.expression()?;
        self.end()?;
        Ok(Tag::Node(Node::Output(expression)))
    }

    fn word_tag(&mut self, word: &str) -> Result<Tag<'t>, Error> {
        let lower = word.to_ascii_lowercase();
        if matches!(lower.as_str(), "hash" | "true" | "false" | "not") {
            return self.output();
        }
        self.lexer.token()?;
        let simple = match lower.as_str() {
            "if" => return self.if_block(),
            "foreach" => return self.foreach_block(),
            "assign" => return self.assign(),
            "elseif" => return Ok(Tag::Stop(Stop::ElseIf)),
            "else" => {
                // `{else if ...}` is what many write for `{elseif ...}`.
                if matches!(self.lexer.peek()?, Token::Word(word) if word.eq_ignore_ascii_case("if")) {
                    self.lexer.token()?;
                    return Ok(Tag::Stop(Stop::ElseIf));
                }
                Tag::Stop(Stop::Else)
            }
            "endif" => Tag::Stop(Stop::EndIf),
            "foreachelse" => Tag::Stop(Stop::ForeachElse),
            "endforeach" => Tag::Stop(Stop::EndForeach),
            "ldelim" => Tag::Node(Node::Text("{")),
            "rdelim" => Tag::Node(Node::Text("}")),
            "literal" => {
                self.end()?;
                return Ok(Tag::Node(Node::Text(self.lexer.literal()?)));
            }
            "escape" => {
                self.escape = true;
                Tag::Empty
            }
            "mode" => {
                self.expect(&Token::Assign, "`=`")?;
                self.escape = match self.lexer.token()? {
                    Token::Word(mode) => mode.eq_ignore_ascii_case("html"),
                    Token::Text(mode) => mode.eq_ignore_ascii_case("html"),
                    _ => return Err(self.lexer.error("`mode=` without a mode")),
                };
                Tag::Empty
            }
            _ => return Err(self.lexer.error(format!("there is no tag {{{word}}}"))),
        };
        self.end()?;
        Ok(simple)
    }

    fn enter(&mut self) -> Result<(), Error> {
        self.depth += 1;
        if self.depth > DEEPEST_BLOCK {
            return Err(self.lexer.error(format!("blocks are nested deeper than {DEEPEST_BLOCK}")));
        }
        Ok(())
    }

    fn if_block(&mut self) -> Result<Tag<'t>, Error> {
        self.enter()?;
        let mut branches = Vec::new();
        let mut otherwise = Vec::new();
        loop {
            self.weight = 0;
            let test = self.expression()?;
            self.end()?;
            let (nodes, stop) = self.nodes(Block::If)?;
            branches.push((test, nodes));
            match stop {
                Stop::ElseIf => {}
                Stop::EndIf => break,
                Stop::Else => {
                    let (nodes, stop) = self.nodes(Block::If)?;
                    if stop != Stop::EndIf {
                        return Err(self.lexer.error(format!("{} where {{/if}} should be", stop.spelling())));
                    }
                    otherwise = nodes;
                    break;
                }
                Stop::Nothing | Stop::ForeachElse | Stop::EndForeach => {
                    return Err(self.lexer.error(format!("{} where {{/if}} should be", stop.spelling())));
                }
            }
        }
        self.depth -= 1;
        Ok(Tag::Node(Node::If { branches, otherwise }))
    }

    fn foreach_block(&mut self) -> Result<Tag<'t>, Error> {
        self.enter()?;
        let first = self.expression()?;
        let (list, key, value) = match self.word()?.to_ascii_lowercase().as_str() {
            "in" => match first {
                Expression::Variable { name, path } if path.is_empty() => (self.expression()?, None, name),
                _ => return Err(self.lexer.error("{foreach} needs a variable before `in`")),
            },
            "as" => {
                let value = self.variable()?;
                if self.lexer.peek()? == Token::Arrow {
                    self.lexer.token()?;
                    (first, Some(value), self.variable()?)
                } else {
                    (first, None, value)
                }
            }
            _ => return Err(self.lexer.error("{foreach} needs `in` or `as`")),
        };
        self.end()?;
        let (body, stop) = self.nodes(Block::Foreach)?;
        let (otherwise, stop) = if stop == Stop::ForeachElse { self.nodes(Block::Foreach)? } else { (Vec::new(), stop) };
        if stop != Stop::EndForeach {
            return Err(self.lexer.error(format!("{} where {{/foreach}} should be", stop.spelling())));
        }
        self.depth -= 1;
        Ok(Tag::Node(Node::Foreach { list, key, value, body, otherwise }))
    }

    fn assign(&mut self) -> Result<Tag<'t>, Error> {
        let value = self.expression()?;
        if !self.word()?.eq_ignore_ascii_case("to") {
            return Err(self.lexer.error("{assign} needs `to`"));
        }
        let name = self.variable()?;
        self.end()?;
        Ok(Tag::Node(Node::Assign { name, value }))
    }

    fn expect(&mut self, token: &Token<'_>, spelling: &str) -> Result<(), Error> {
        if self.lexer.token()? == *token { Ok(()) } else { Err(self.lexer.error(format!("there should be {spelling}"))) }
    }

    fn end(&mut self) -> Result<(), Error> {
        self.expect(&Token::End, "`}`")
    }

    fn word(&mut self) -> Result<&'t str, Error> {
        match self.lexer.token()? {
            Token::Word(word) => Ok(word),
            _ => Err(self.lexer.error("there should be a word")),
        }
    }

    fn variable(&mut self) -> Result<String, Error> {
        match self.lexer.token()? {
            Token::Variable(name) => Ok(name.to_owned()),
            _ => Err(self.lexer.error("there should be a variable")),
        }
    }

    fn weigh(&mut self) -> Result<(), Error> {
        self.weight += 1;
        if self.weight > LARGEST_EXPRESSION {
            return Err(self.lexer.error(format!("an expression has more than {LARGEST_EXPRESSION} parts")));
        }
        Ok(())
    }

    fn expression(&mut self) -> Result<Expression, Error> {
        self.binary(1)
    }

    /// Reads operators that bind at least as tightly as `strength` (precedence climbing).
    fn binary(&mut self, strength: u8) -> Result<Expression, Error> {
        let mut left = self.operand()?;
        while let Some(operator) = self.operator()?.filter(|operator| operator.strength() >= strength) {
            self.weigh()?;
            self.lexer.token()?;
            let right = self.binary(operator.strength() + 1)?;
            left = Expression::Binary { operator, left: Box::new(left), right: Box::new(right) };
        }
        Ok(left)
    }

    /// The operator that comes next, if one does.
    fn operator(&mut self) -> Result<Option<Operator>, Error> {
        Ok(match self.lexer.peek()? {
            Token::Operator(operator) => Some(operator),
            Token::Minus => Some(Operator::Subtract),
            Token::Slash => Some(Operator::Divide),
            Token::Word(word) => match word.to_ascii_lowercase().as_str() {
                "or" => Some(Operator::Or),
                "and" => Some(Operator::And),
                "eq" => Some(Operator::Equal),
                "ne" | "neq" => Some(Operator::NotEqual),
                "gt" => Some(Operator::Greater),
                "gte" | "ge" => Some(Operator::GreaterOrEqual),
                "lt" => Some(Operator::Less),
                "lte" | "le" => Some(Operator::LessOrEqual),
                "mod" => Some(Operator::Remainder),
                _ => None,
            },
            _ => None,
        })
    }

    fn operand(&mut self) -> Result<Expression, Error> {
        self.weigh()?;
        match self.lexer.peek()? {
            Token::Not => {
                self.lexer.token()?;
                Ok(Expression::Not(Box::new(self.operand()?)))
            }
            // The word reaches further than the sign: `not $a == 1` is `not ($a == 1)`.
            Token::Word(word) if word.eq_ignore_ascii_case("not") => {
                self.lexer.token()?;
                Ok(Expression::Not(Box::new(self.binary(Operator::Equal.strength())?)))
            }
            Token::Minus => {
                self.lexer.token()?;
                Ok(Expression::Negative(Box::new(self.operand()?)))
            }
            _ => {
                let value = self.primary()?;
                self.modified(value)
            }
        }
    }

    fn modified(&mut self, mut value: Expression) -> Result<Expression, Error> {
        while self.lexer.peek()? == Token::Pipe {
            self.weigh()?;
            self.lexer.token()?;
            let modifier = Modifier::find(self.word()?);
            let mut arguments = Vec::new();
            while self.lexer.peek()? == Token::Colon {
                self.weigh()?;
                self.lexer.token()?;
                arguments.push(self.argument()?);
            }
            value = Expression::Modified { value: Box::new(value), modifier, arguments };
        }
        Ok(value)
    }

    fn argument(&mut self) -> Result<Expression, Error> {
        if self.lexer.peek()? == Token::Minus {
            self.lexer.token()?;
            return Ok(Expression::Negative(Box::new(self.primary()?)));
        }
        // A bare word is its own text: `escape:html` is `escape:"html"`.
        if let Token::Word(word) = self.lexer.peek()?
            && !["true", "false", "hash"].iter().any(|known| known.eq_ignore_ascii_case(word))
        {
            self.lexer.token()?;
            return Ok(Expression::Literal(word.into()));
        }
        self.primary()
    }

    fn primary(&mut self) -> Result<Expression, Error> {
        match self.lexer.token()? {
            Token::Variable(name) => self.path(name),
            Token::Text(text) => Ok(Expression::Literal(text.into())),
            Token::Integer(number) => Ok(Expression::Literal(Value::Integer(number))),
            Token::Decimal(number) => Ok(Expression::Literal(Value::Decimal(number))),
            Token::Word(word) if word.eq_ignore_ascii_case("true") => Ok(Expression::Literal(Value::Boolean(true))),
            Token::Word(word) if word.eq_ignore_ascii_case("false") => Ok(Expression::Literal(Value::Boolean(false))),
            Token::Word(word) if word.eq_ignore_ascii_case("hash") => self.hash(),
            Token::Word(word) => Err(self.lexer.error(format!("there is no function {word:?}"))),
            Token::Open => {
                self.weigh()?;
                let inner = self.expression()?;
                self.expect(&Token::Close, "`)`")?;
                Ok(inner)
            }
            _ => Err(self.lexer.error("there should be a value")),
        }
    }

    fn path(&mut self, name: &str) -> Result<Expression, Error> {
        let mut path = Vec::new();
        loop {
            match self.lexer.peek()? {
                Token::Dot => {
                    self.lexer.token()?;
                    path.push(Access::Member(self.lexer.member()?.to_owned()));
                }
                Token::OpenBracket => {
                    self.weigh()?;
                    self.lexer.token()?;
                    path.push(Access::Index(self.expression()?));
                    self.expect(&Token::CloseBracket, "`]`")?;
                }
                _ => {
                    return Ok(Expression::Variable { name: name.to_owned(), path });
                }
            }
        }
    }

    fn hash(&mut self) -> Result<Expression, Error> {
        self.expect(&Token::Open, "`(`")?;
        let mut arguments = vec![self.expression()?];
        while self.lexer.peek()? == Token::Comma {
            self.lexer.token()?;
            arguments.push(self.expression()?);
        }
        self.expect(&Token::Close, "`)`")?;
        match arguments.get(1) {
            Some(Expression::Literal(algorithm)) if super::modifiers::hash_by_name(&algorithm.text()).is_none() => {
                Err(self.lexer.error(format!("there is no algorithm {:?}", algorithm.text())))
            }
            Some(_) => Ok(Expression::Hash(arguments)),
            None => Err(self.lexer.error("hash() needs a text and the name of an algorithm")),
        }
    }
}
