//! The words of a filter and their positions.

use std::{iter::Peekable, str::Chars};

use lrs_model::filter::Comparison;

/// A word of a filter.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Token {
    /// The position in the filter of the word's first character, from 1.
    position: usize,
    pub(super) kind: Kind,
}

/// The kind of a word.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Kind {
    /// Any characters up to a space, a quote or an operator.
    Word(String),
    /// A text in quotes, single or double, without the quotes.
    Text(String),
    Operator(Comparison),
}

impl Token {
    /// The characters of a word or text.
    pub(super) fn text(&self) -> String {
        match &self.kind {
            Kind::Word(text) | Kind::Text(text) => text.clone(),
            Kind::Operator(comparison) => symbol(*comparison).to_owned(),
        }
    }

    /// The error that this word is not allowed here; `allowed` says which words are.
    pub(super) fn refused(&self, allowed: &str) -> String {
        format!("at {}: {:?} is not allowed: must be {allowed}", self.position, self.text())
    }
}

/// The words of a filter, one after another.
pub(super) struct Tokens<'a> {
    rest: Peekable<Chars<'a>>,
    /// How many characters have been read.
    read: usize,
}

impl<'a> Tokens<'a> {
    pub(super) fn of(filter: &'a str) -> Self {
        Self { rest: filter.chars().peekable(), read: 0 }
    }

    /// Whether only spaces are left.
    pub(super) fn is_at_end(&mut self) -> bool {
        self.take_while(char::is_whitespace);
        self.rest.peek().is_none()
    }

    /// The next word; it is an error if there is none.
    pub(super) fn expect(&mut self, allowed: &str) -> Result<Token, String> {
        self.next()?.ok_or_else(|| format!("at the end: must be followed by {allowed}"))
    }

    /// The next word; `None` at the end.
    pub(super) fn next(&mut self) -> Result<Option<Token>, String> {
        self.take_while(char::is_whitespace);
        let position = self.read + 1;
        let Some(&first) = self.rest.peek() else { return Ok(None) };
        let kind = match first {
            '"' | '\'' => Kind::Text(self.quoted(first, position)?),
            '=' | '!' | '<' | '>' => Kind::Operator(self.operator(position)?),
            _ => Kind::Word(self.take_while(|c| !c.is_whitespace() && !matches!(c, '"' | '=' | '!' | '<' | '>'))),
        };
        Ok(Some(Token { position, kind }))
    }

    fn quoted(&mut self, mark: char, position: usize) -> Result<String, String> {
        self.take();
        let mut text = String::new();
        loop {
            match self.take() {
                Some(end) if end == mark => return Ok(text),
                Some('\\') => text.extend(self.take()),
                Some(c) => text.push(c),
                None => return Err(format!("at {position}: this text in quotes does not end")),
            }
        }
    }

    fn operator(&mut self, position: usize) -> Result<Comparison, String> {
        let first = self.take();
        let has_equals = self.rest.next_if_eq(&'=').is_some();
        self.read += usize::from(has_equals);
        match (first, has_equals) {
            (Some('='), _) => Ok(Comparison::Equal),
            (Some('!'), true) => Ok(Comparison::NotEqual),
            (Some('<'), false) => Ok(Comparison::Less),
            (Some('<'), true) => Ok(Comparison::LessOrEqual),
            (Some('>'), false) => Ok(Comparison::Greater),
            (Some('>'), true) => Ok(Comparison::GreaterOrEqual),
            _ => Err(format!("at {position}: \"!\" is not allowed: must be =, !=, <, <=, > or >=")),
        }
    }

    fn take(&mut self) -> Option<char> {
        let next = self.rest.next();
        self.read += usize::from(next.is_some());
        next
    }

    fn take_while(&mut self, belongs: impl Fn(char) -> bool) -> String {
        let mut taken = String::new();
        while let Some(c) = self.rest.next_if(|&c| belongs(c)) {
            taken.push(c);
            self.read += 1;
        }
        taken
    }
}

fn symbol(comparison: Comparison) -> &'static str {
    match comparison {
        Comparison::Equal => "=",
        Comparison::NotEqual => "!=",
        Comparison::Less => "<",
        Comparison::LessOrEqual => "<=",
        Comparison::Greater => ">",
        Comparison::GreaterOrEqual => ">=",
    }
}
