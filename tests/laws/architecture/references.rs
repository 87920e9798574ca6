//! Reads a source file and finds what it refers to: paths in `use`, in code and inside macros, and names of methods.
//!
//! It reads tokens, not a syntax tree: to a parser, the body of a `tokio::select!` is only tokens.

use std::{path::Path, str::FromStr as _};

use proc_macro2::{Delimiter, Ident, LexError, Span, TokenStream, TokenTree};

/// Something that a source file refers to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reference {
    /// A path that begins with a crate's name; the last segment of a glob is `*`.
    Path(Vec<String>),
    /// The name of a method called with `.`.
    Method(String),
}

/// A reference, and where it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    pub line: usize,
    /// Whether it is inside a module `tests`.
    pub in_tests: bool,
    pub reference: Reference,
}

/// The path of a file's module: `crates/schedule/src/ease.rs` is `["lrs_schedule", "ease"]`, `src/main.rs` is
/// `["lrs"]`.
pub fn module_of(file: &Path) -> Vec<String> {
    let parts: Vec<String> =
        file.with_extension("").components().map(|part| part.as_os_str().to_string_lossy().into_owned()).collect();
    let (own, modules) = match parts.as_slice() {
        [folder, name, source, modules @ ..] if folder == "crates" && source == "src" => {
            (format!("lrs_{name}"), modules)
        }
        [_, modules @ ..] => ("lrs".to_owned(), modules),
        [] => panic!("a file has a name"),
    };
    let is_root = matches!(modules, [root] if root == "lib" || root == "main");
    let modules = if is_root { &[] } else { modules };
    std::iter::once(own).chain(modules.iter().cloned()).collect()
}

/// All references of a source text in the module named.
pub fn references(module: &[String], source: &str) -> Result<Vec<Found>, LexError> {
    let mut found = Vec::new();
    read_tokens(TokenStream::from_str(source)?, module, &mut found);
    Ok(found)
}

fn read_tokens(tokens: TokenStream, module: &[String], found: &mut Vec<Found>) {
    let tokens: Vec<TokenTree> = tokens.into_iter().collect();
    let mut rest = tokens.as_slice();
    let mut before_dot = false; // the token before was a single `.`, as of a method or a field
    while let Some((token, after)) = rest.split_first() {
        let after_dot = std::mem::take(&mut before_dot);
        rest = after;
        match token {
            TokenTree::Ident(keyword) if keyword == "mod" => {
                if let [TokenTree::Ident(name), TokenTree::Group(body), after @ ..] = rest {
                    let inner: Vec<String> = module.iter().cloned().chain([name.to_string()]).collect();
                    read_tokens(body.stream(), &inner, found);
                    rest = after;
                }
            }
            // `use<'a>` is a bound, not an import.
            TokenTree::Ident(keyword) if keyword == "use" && !rest.first().is_some_and(|next| is(next, '<')) => {
                let end = rest.iter().position(|token| is(token, ';')).unwrap_or(rest.len());
                let (import, after) = rest.split_at(end);
                read_import(import, &[], module, found);
                rest = after;
            }
            TokenTree::Ident(method) if after_dot => {
                found.push(at(method.span(), module, Reference::Method(text(method))));
            }
            TokenTree::Ident(first) => {
                let mut path = vec![text(first)];
                while let [colon, second_colon, TokenTree::Ident(next), after @ ..] = rest
                    && is(colon, ':')
                    && is(second_colon, ':')
                {
                    path.push(text(next));
                    rest = after;
                }
                if path.len() > 1 {
                    found.push(at(first.span(), module, Reference::Path(from_root(path, module))));
                }
            }
            TokenTree::Group(group) => read_tokens(group.stream(), module, found),
            // Of `..`, neither dot.
            TokenTree::Punct(dot) if dot.as_char() == '.' => match rest.split_first() {
                Some((next, after)) if is(next, '.') => rest = after,
                _ => before_dot = true,
            },
            TokenTree::Punct(_) | TokenTree::Literal(_) => {}
        }
    }
}

/// Reads what stands between `use` and `;`, or within the braces of it.
fn read_import(tokens: &[TokenTree], prefix: &[String], module: &[String], found: &mut Vec<Found>) {
    for item in tokens.split(|token| is(token, ',')) {
        let mut path = prefix.to_vec();
        let mut nested = false;
        for token in item {
            match token {
                TokenTree::Ident(keyword) if keyword == "as" => break,
                TokenTree::Ident(segment) => path.push(text(segment)),
                TokenTree::Group(group) if group.delimiter() == Delimiter::Brace => {
                    let items: Vec<TokenTree> = group.stream().into_iter().collect();
                    read_import(&items, &path, module, found);
                    nested = true;
                }
                _ if is(token, '*') => path.push("*".to_owned()),
                _ => {}
            }
        }
        if let (Some(first), false) = (item.first(), nested) {
            found.push(at(first.span(), module, Reference::Path(from_root(path, module))));
        }
    }
}

/// Replaces `crate`, `self` and `super`: the path begins with a crate's name.
fn from_root(path: Vec<String>, module: &[String]) -> Vec<String> {
    let mut root: Vec<String> = match path[0].as_str() {
        "crate" => module[..1].to_vec(),
        "self" | "super" => module.to_vec(),
        _ => Vec::new(),
    };
    for segment in path {
        match segment.as_str() {
            "crate" | "self" => {}
            "super" => drop(root.pop()),
            _ => root.push(segment),
        }
    }
    root
}

fn at(span: Span, module: &[String], reference: Reference) -> Found {
    Found { line: span.start().line, in_tests: module.iter().any(|module| module == "tests"), reference }
}

fn is(token: &TokenTree, wanted: char) -> bool {
    matches!(token, TokenTree::Punct(punct) if punct.as_char() == wanted)
}

fn text(ident: &Ident) -> String {
    ident.to_string().trim_start_matches("r#").to_owned()
}
