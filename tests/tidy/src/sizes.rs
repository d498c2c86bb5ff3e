//! Files, functions and parameter lists that are too long.

use syn::{spanned::Spanned, visit::Visit};

use crate::{Violation, repository::SourceFile};

/// Lines of a file without its tests: beyond the first a warning, beyond the second a failure.
const FILE_LINES: (usize, usize) = (500, 800);
/// Lines of a function, likewise.
const FUNCTION_LINES: (usize, usize) = (70, 100);
/// Parameters of a function, `self` among them.
const PARAMETERS: usize = 7;

/// Checks one Rust file.
pub fn check(file: &SourceFile) -> Vec<Violation> {
    let Ok(parsed) = syn::parse_file(&file.text) else {
        return vec![Violation::new(&file.path, 0, "does not parse")];
    };
    let mut visitor = Sizes { path: &file.path, found: Vec::new(), test_lines: 0 };
    visitor.visit_file(&parsed);
    let (mut found, test_lines) = (visitor.found, visitor.test_lines);
    let lines = file.text.lines().count().saturating_sub(test_lines);
    let message = |most: usize| format!("{lines} lines without tests, at most {most}: split it by concern");
    if lines > FILE_LINES.1 {
        found.push(Violation::new(&file.path, 0, message(FILE_LINES.1)));
    } else if lines > FILE_LINES.0 && !file.is_test_code() {
        found.push(Violation::warning(&file.path, 0, message(FILE_LINES.0)));
    }
    found
}

/// Whether an item is there for tests only.
pub(crate) fn is_test_only(attributes: &[syn::Attribute]) -> bool {
    attributes.iter().any(|attribute| match &attribute.meta {
        syn::Meta::List(list) => list.path.is_ident("cfg") && list.tokens.to_string() == "test",
        meta => meta.path().segments.last().is_some_and(|segment| segment.ident == "test"),
    })
}

struct Sizes<'a> {
    path: &'a str,
    found: Vec<Violation>,
    test_lines: usize,
}

impl Sizes<'_> {
    fn function(&mut self, signature: &syn::Signature, body: proc_macro2::Span) {
        let (begin, name) = (signature.fn_token.span.start().line, &signature.ident);
        let lines = body.end().line.saturating_sub(begin) + 1;
        let message = |most: usize| format!("function {name} has {lines} lines, at most {most}: cut it into steps");
        if lines > FUNCTION_LINES.1 {
            self.found.push(Violation::new(self.path, begin, message(FUNCTION_LINES.1)));
        } else if lines > FUNCTION_LINES.0 {
            self.found.push(Violation::warning(self.path, begin, message(FUNCTION_LINES.0)));
        }
        let parameters = signature.inputs.len();
        if parameters > PARAMETERS {
            let message = format!("function {name} has {parameters} parameters, at most {PARAMETERS}: make a struct");
            self.found.push(Violation::new(self.path, begin, message));
        }
    }
}

impl<'ast> Visit<'ast> for Sizes<'_> {
    fn visit_item_mod(&mut self, module: &'ast syn::ItemMod) {
        if is_test_only(&module.attrs) {
            let (begin, end) = (module.span().start().line, module.span().end().line);
            self.test_lines += end - begin + 1;
        }
        syn::visit::visit_item_mod(self, module);
    }

    fn visit_item_fn(&mut self, function: &'ast syn::ItemFn) {
        self.function(&function.sig, function.block.span());
        syn::visit::visit_item_fn(self, function);
    }

    fn visit_impl_item_fn(&mut self, function: &'ast syn::ImplItemFn) {
        self.function(&function.sig, function.block.span());
        syn::visit::visit_impl_item_fn(self, function);
    }

    fn visit_trait_item_fn(&mut self, function: &'ast syn::TraitItemFn) {
        self.function(&function.sig, function.span());
        syn::visit::visit_trait_item_fn(self, function);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn messages(text: &str) -> Vec<(usize, bool)> {
        check(&SourceFile::new("crates/a/src/lib.rs", text)).into_iter().map(|v| (v.line, v.warning)).collect()
    }

    fn function(lines: usize) -> String {
        format!("fn f() {{\n{}}}\n", "g();\n".repeat(lines - 2))
    }

    #[test]
    fn long_functions_are_found() {
        assert_eq!(messages(&function(70)), []);
        assert_eq!(messages(&function(71)), [(1, true)]);
        assert_eq!(messages(&format!("struct A;\nimpl A {{\n{}}}\n", function(101))), [(3, false)]);
    }

    #[test]
    fn long_files_are_found_and_their_tests_do_not_count() {
        let tests = format!("#[cfg(test)]\nmod tests {{\n{}}}\n", "struct A;\n".repeat(900));
        assert_eq!(messages(&tests), []);
        assert_eq!(messages(&"struct A;\n".repeat(501)), [(0, true)]);
        assert_eq!(messages(&format!("{}{tests}", "struct A;\n".repeat(801))), [(0, false)]);
    }

    #[test]
    fn long_parameter_lists_are_found() {
        assert_eq!(messages("fn f(a: A, b: A, c: A, d: A, e: A, f: A, g: A) {}"), []);
        assert_eq!(messages("fn f(a: A, b: A, c: A, d: A, e: A, f: A, g: A, h: A) {}"), [(1, false)]);
    }
}
