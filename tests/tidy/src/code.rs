//! What must not stand in code: unfinished places, panics outside tests, lints switched off without a reason.

use proc_macro2::{TokenStream, TokenTree};
use quote::ToTokens;
use syn::{Attribute, Item};

use crate::{Violation, repository::SourceFile, sizes::is_test_only};

/// Macros that mean "not done yet".
const UNFINISHED: &[&str] = &["todo", "unimplemented"];
/// Methods that panic.
const PANICKING: &[&str] = &["unwrap", "expect", "unwrap_err", "expect_err"];

/// Words in comments that mean "not done yet"; in pieces, since this file is checked too.
fn unfinished_words() -> [String; 2] {
    [["FIX", "ME"].concat(), ["TO", "DO"].concat()]
}

/// Checks one Rust file.
pub fn check(file: &SourceFile) -> Vec<Violation> {
    let Ok(parsed) = syn::parse_file(&file.text) else {
        return vec![Violation::new(&file.path, 0, "does not parse")];
    };
    let mut found = words(file);
    let tokens: Vec<TokenTree> = flat(tokens_of(&file.text));
    found.extend(unfinished(&file.path, &tokens));
    found.extend(allowed_without_reason(&file.path, &tokens));
    if !file.is_test_code() {
        let mut outside = Vec::new();
        outside_tests(&parsed.items, &mut outside);
        found.extend(panics(&file.path, &outside));
    }
    found
}

fn words(file: &SourceFile) -> Vec<Violation> {
    let words = unfinished_words();
    let mut found = Vec::new();
    for (number, line) in file.text.lines().enumerate() {
        let comment = line.split_once("//").map_or("", |(_, comment)| comment);
        if let Some(word) = words.iter().find(|word| comment.contains(word.as_str())) {
            found.push(Violation::new(&file.path, number + 1, format!("{word}: finish it or file an issue")));
        }
    }
    found
}

fn unfinished(path: &str, tokens: &[TokenTree]) -> Vec<Violation> {
    let macros = tokens.windows(2).filter(|pair| is_punct(&pair[1], '!'));
    macros
        .filter_map(|pair| UNFINISHED.iter().find(|name| is_ident(&pair[0], name)).map(|name| (name, &pair[0])))
        .map(|(name, token)| Violation::new(path, token.span().start().line, format!("{name}! is unfinished code")))
        .collect()
}

/// `#[allow(..)]` and `#[expect(..)]` without `reason = ".."`.
fn allowed_without_reason(path: &str, tokens: &[TokenTree]) -> Vec<Violation> {
    let mut found = Vec::new();
    for (place, token) in tokens.iter().enumerate() {
        let TokenTree::Group(group) = token else { continue };
        let attribute = match tokens.get(..place) {
            Some([.., hash, bang]) if is_punct(bang, '!') => is_punct(hash, '#'),
            Some([.., hash]) => is_punct(hash, '#'),
            _ => false,
        };
        let mut inside = group.stream().into_iter();
        let allows = inside.next().is_some_and(|first| is_ident(&first, "allow") || is_ident(&first, "expect"));
        let reason = || flat(group.stream()).iter().any(|token| is_ident(token, "reason"));
        if attribute && allows && !reason() {
            let message = "a lint switched off without a reason: use #[expect(lint, reason = \"..\")]";
            found.push(Violation::new(path, token.span().start().line, message));
        }
    }
    found
}

fn panics(path: &str, tokens: &[TokenTree]) -> Vec<Violation> {
    // With nothing or a text in parentheses: other types may have methods of these names, with other arguments.
    let is_panic = |token: &TokenTree| match token {
        TokenTree::Group(group) => group.stream().into_iter().next().is_none_or(|first| is_text(&first)),
        _ => false,
    };
    let calls = tokens.windows(3).filter(|three| is_punct(&three[0], '.') && is_panic(&three[2]));
    calls
        .filter_map(|three| PANICKING.iter().find(|name| is_ident(&three[1], name)).map(|name| (name, &three[1])))
        .map(|(name, token)| {
            let message = format!(".{name}() outside tests: give an error, or make the value impossible");
            Violation::new(path, token.span().start().line, message)
        })
        .collect()
}

/// The tokens of every item that is not there for tests only.
fn outside_tests(items: &[Item], found: &mut Vec<TokenTree>) {
    for item in items {
        match item {
            item if is_test_only(attributes(item)) => {}
            Item::Mod(module) => outside_tests(module.content.as_ref().map_or(&[], |(_, items)| items), found),
            item => found.extend(flat(item.to_token_stream())),
        }
    }
}

fn attributes(item: &Item) -> &[Attribute] {
    match item {
        Item::Fn(item) => &item.attrs,
        Item::Mod(item) => &item.attrs,
        Item::Impl(item) => &item.attrs,
        Item::Struct(item) => &item.attrs,
        Item::Use(item) => &item.attrs,
        Item::Macro(item) => &item.attrs,
        Item::Static(item) => &item.attrs,
        Item::Const(item) => &item.attrs,
        _ => &[],
    }
}

fn tokens_of(text: &str) -> TokenStream {
    text.parse().unwrap_or_default()
}

/// The tokens with each group followed by what is inside it.
fn flat(stream: TokenStream) -> Vec<TokenTree> {
    let mut found = Vec::new();
    for token in stream {
        let inside = if let TokenTree::Group(group) = &token { group.stream() } else { TokenStream::new() };
        found.push(token);
        found.extend(flat(inside));
    }
    found
}

fn is_text(token: &TokenTree) -> bool {
    matches!(token, TokenTree::Literal(literal) if literal.to_string().starts_with('"'))
}

fn is_ident(token: &TokenTree, name: &str) -> bool {
    matches!(token, TokenTree::Ident(ident) if ident == name)
}

fn is_punct(token: &TokenTree, mark: char) -> bool {
    matches!(token, TokenTree::Punct(punct) if punct.as_char() == mark)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(path: &str, text: &str) -> Vec<usize> {
        check(&SourceFile::new(path, text)).into_iter().map(|v| v.line).collect()
    }

    const CODE: &str = "crates/a/src/lib.rs";
    const NONE: [usize; 0] = [];

    #[test]
    fn unfinished_code_is_found() {
        assert_eq!(lines(CODE, "fn f() {\n    todo!()\n}"), [2]);
        assert_eq!(lines(CODE, "fn f() {\n    tokio::select! { _ = a => unimplemented!() }\n}"), [2]);
        for word in unfinished_words() {
            assert_eq!(lines(CODE, &format!("struct A;\n// {word}: later")), [2]);
        }
        assert_eq!(lines(CODE, "fn f() { todo() }"), NONE);
    }

    #[test]
    fn panics_outside_tests_are_found() {
        assert_eq!(lines(CODE, "fn f() {\n    a.unwrap();\n}"), [2]);
        assert_eq!(lines(CODE, "fn f() {\n    tokio::select! { _ = a.expect(\"b\") => {} }\n}"), [2]);
        assert_eq!(lines(CODE, "mod inner {\n    fn f() { a.unwrap(); }\n}"), [2]);
    }

    #[test]
    fn panics_in_tests_are_allowed() {
        assert_eq!(lines(CODE, "#[cfg(test)]\nmod tests { fn f() { a.unwrap(); } }"), NONE);
        assert_eq!(lines(CODE, "#[tokio::test]\nasync fn f() { a.unwrap(); }"), NONE);
        assert_eq!(lines("crates/a/tests/b.rs", "fn f() { a.unwrap(); }"), NONE);
        assert_eq!(lines(CODE, "/// a.unwrap()\nfn f() { \"a.unwrap()\"; a.unwrap_or_default(); }"), NONE);
        assert_eq!(lines(CODE, "fn f() { parser.expect(Token::Comma); }"), NONE);
    }

    #[test]
    fn lints_switched_off_without_a_reason_are_found() {
        assert_eq!(lines(CODE, "#[allow(dead_code)]\nstruct A;"), [1]);
        assert_eq!(lines(CODE, "#![allow(dead_code)]"), [1]);
        assert_eq!(lines(CODE, "#[expect(dead_code)]\nstruct A;"), [1]);
        assert_eq!(lines(CODE, "fn f() { assert!(expect(a)); }"), NONE);
        assert_eq!(lines(CODE, "#[allow(dead_code, reason = \"made\")]\nstruct A;"), NONE);
    }
}
