//! Puts every mutant of a file behind a switch. What is written is added and nothing is taken away: `a < b` becomes
//! `(if crate::mutated(7) {(a == b)} else {(a < b)})`, a function begins with `if crate::mutated(8) { return true; }`,
//! a deleted arm gets a guard. Only one mutant is ever on, so that the changed half of such an `if` holds the text as it
//! was. Each change stands between two marks, by which an error of the compiler finds its mutant.

use std::collections::BTreeMap;
use std::ops::Range;

use anyhow::{Context as _, Result};
use proc_macro2::LineColumn;
use syn::spanned::Spanned as _;
use syn::visit::{self, Visit};
use syn::{Arm, BinOp, Block, Expr, Pat, ReturnType, Signature, Type, UnOp};

use crate::list::{Genre, Mutant, Place};

/// A file with its switches, and the mutants that got one.
pub struct Switched {
    pub text: String,
    pub numbers: Vec<usize>,
}

/// The mutants with these numbers, all of one file, in its text.
pub fn switch(text: &str, mutants: &BTreeMap<usize, &Mutant>) -> Result<Switched> {
    let file = syn::parse_file(text).context("it is no Rust")?;
    let mut at: BTreeMap<(Genre, Place), Vec<usize>> = BTreeMap::new();
    for (number, mutant) in mutants {
        at.entry((mutant.genre, mutant.span.start)).or_default().push(*number);
    }
    let mut visitor = Visitor { text, mutants, at, opened: Vec::new(), closed: Vec::new(), numbers: Vec::new() };
    visitor.visit_file(&file);
    Ok(Switched { text: visitor.written(), numbers: visitor.numbers })
}

/// The changed parts of a switched file: from where to where, and of which mutant.
pub fn changed(text: &str) -> Vec<(Range<usize>, usize)> {
    let parts = text.match_indices("/*<").filter_map(|(start, _)| {
        let number: usize = text[start + 3..].split("*/").next()?.parse().ok()?;
        let end = text[start..].find(&format!("/*{number}>*/"))?;
        Some((start..start + end, number))
    });
    parts.collect()
}

fn marked(number: usize, changed: &str) -> String {
    format!("/*<{number}*/{changed}/*{number}>*/")
}

struct Visitor<'a> {
    text: &'a str,
    mutants: &'a BTreeMap<usize, &'a Mutant>,
    at: BTreeMap<(Genre, Place), Vec<usize>>,
    /// What is added before a place, outer before inner.
    opened: Vec<(usize, String)>,
    /// What is added behind a place, outer before inner.
    closed: Vec<(usize, String)>,
    numbers: Vec<usize>,
}

impl Visitor<'_> {
    fn take(&mut self, genre: Genre, start: LineColumn) -> Vec<usize> {
        let place = Place { line: start.line, column: start.column + 1 };
        let numbers = self.at.remove(&(genre, place)).unwrap_or_default();
        self.numbers.extend(&numbers);
        numbers
    }

    fn around(&mut self, range: &Range<usize>, before: String, behind: &str) {
        self.opened.push((range.start, before));
        self.closed.push((range.end, behind.to_owned()));
    }

    /// An expression becomes a choice between itself and its mutants. One that cannot be read any more, as `a as u8 < b`
    /// for `a as u8 > b`, gets no switch.
    fn expression(&mut self, genre: Genre, start: LineColumn, whole: &Range<usize>) {
        let mut before = String::from("(");
        for number in self.take(genre, start) {
            let mutant = self.mutants[&number];
            let from = offset(self.text, mutant.span.start);
            let to = offset(self.text, mutant.span.end);
            let (head, tail) = (&self.text[whole.start..from], &self.text[to..whole.end]);
            let changed = format!("({head}{}{tail})", mutant.replacement);
            if syn::parse_str::<Expr>(&changed).is_err() {
                self.numbers.retain(|one| *one != number);
                continue;
            }
            before += &format!("if crate::mutated({number}) {{{}}} else ", marked(number, &changed));
        }
        if before.len() > 1 {
            self.around(whole, before + "{(", ")})");
        }
    }

    /// A body begins with the values that stand for it. What returns an unnamed type has one type only, and no switch.
    fn body(&mut self, sig: &Signature, block: &Block) {
        let unnamed = matches!(&sig.output, ReturnType::Type(_, of) if matches!(**of, Type::ImplTrait(_)));
        let Some(first) = block.stmts.first().filter(|_| !unnamed) else { return };
        let after_brace = block.brace_token.span.open().byte_range().end;
        for number in self.take(Genre::FnValue, first.span().start()) {
            let value = marked(number, &self.mutants[&number].replacement);
            self.opened.push((after_brace, format!(" if crate::mutated({number}) {{ return {value}; }}")));
        }
    }

    fn arm(&mut self, arm: &Arm) {
        if let Some((_, guard)) = &arm.guard {
            self.guard(guard);
        } else {
            for number in self.take(Genre::MatchArm, arm.span().start()) {
                let guard = marked(number, &format!("!crate::mutated({number})"));
                self.opened.push((arm.pat.span().byte_range().end, format!(" if {guard}")));
            }
        }
    }

    fn guard(&mut self, guard: &Expr) {
        let range = guard.span().byte_range();
        for number in self.take(Genre::MatchArmGuard, guard.span().start()) {
            let always = self.mutants[&number].replacement == "true";
            match (always, binds(guard)) {
                (true, true) => self.numbers.retain(|one| *one != number),
                (true, false) => self.around(&range, format!("(crate::mutated({number}) || ("), "))"),
                (false, true) => self.around(&range, format!("!crate::mutated({number}) && "), ""),
                (false, false) => self.around(&range, format!("(!crate::mutated({number}) && ("), "))"),
            }
        }
    }

    fn written(&self) -> String {
        let opened = self.opened.iter().enumerate().map(|(order, (at, text))| (*at, 1, order, text));
        // Behind a place, the inner one comes first.
        let closed = self.closed.iter().rev().enumerate().map(|(order, (at, text))| (*at, 0, order, text));
        let mut all: Vec<_> = opened.chain(closed).collect();
        all.sort();
        let (mut written, mut from) = (String::new(), 0);
        for (at, _, _, text) in all {
            written += &self.text[from..at];
            written += text;
            from = at;
        }
        written + &self.text[from..]
    }
}

impl<'ast> Visit<'ast> for Visitor<'_> {
    fn visit_item_fn(&mut self, item: &'ast syn::ItemFn) {
        if item.sig.constness.is_none() {
            self.body(&item.sig, &item.block);
            visit::visit_item_fn(self, item);
        }
    }

    fn visit_impl_item_fn(&mut self, item: &'ast syn::ImplItemFn) {
        if item.sig.constness.is_none() {
            self.body(&item.sig, &item.block);
            visit::visit_impl_item_fn(self, item);
        }
    }

    fn visit_trait_item_fn(&mut self, item: &'ast syn::TraitItemFn) {
        if let Some(block) = &item.default {
            self.body(&item.sig, block);
        }
        visit::visit_trait_item_fn(self, item);
    }

    fn visit_expr_binary(&mut self, expr: &'ast syn::ExprBinary) {
        // `||` stands in no chain of `let`.
        if !(matches!(expr.op, BinOp::And(_)) && (binds(&expr.left) || binds(&expr.right))) {
            self.expression(Genre::BinaryOperator, expr.op.span().start(), &expr.span().byte_range());
        }
        visit::visit_expr_binary(self, expr);
    }

    fn visit_expr_unary(&mut self, expr: &'ast syn::ExprUnary) {
        if matches!(expr.op, UnOp::Not(_) | UnOp::Neg(_)) {
            self.expression(Genre::UnaryOperator, expr.op.span().start(), &expr.span().byte_range());
        }
        visit::visit_expr_unary(self, expr);
    }

    fn visit_expr_struct(&mut self, expr: &'ast syn::ExprStruct) {
        for field in &expr.fields {
            self.expression(Genre::StructField, field.span().start(), &expr.span().byte_range());
        }
        visit::visit_expr_struct(self, expr);
    }

    fn visit_expr_match(&mut self, expr: &'ast syn::ExprMatch) {
        // Only where an arm takes whatever is left can another be left out.
        let rest = expr.arms.iter().any(|arm| matches!(arm.pat, Pat::Wild(_)) && arm.guard.is_none());
        expr.arms.iter().filter(|arm| rest || arm.guard.is_some()).for_each(|arm| self.arm(arm));
        visit::visit_expr_match(self, expr);
    }

    // What the compiler evaluates has no switch.
    fn visit_item_const(&mut self, _: &'ast syn::ItemConst) {}
    fn visit_item_static(&mut self, _: &'ast syn::ItemStatic) {}
    fn visit_impl_item_const(&mut self, _: &'ast syn::ImplItemConst) {}
    fn visit_trait_item_const(&mut self, _: &'ast syn::TraitItemConst) {}
    fn visit_expr_const(&mut self, _: &'ast syn::ExprConst) {}
    fn visit_variant(&mut self, _: &'ast syn::Variant) {}
    fn visit_type(&mut self, _: &'ast Type) {}
    fn visit_generic_argument(&mut self, _: &'ast syn::GenericArgument) {}
    fn visit_pat(&mut self, _: &'ast Pat) {}
    fn visit_expr_repeat(&mut self, expr: &'ast syn::ExprRepeat) {
        self.visit_expr(&expr.expr);
    }
}

/// Whether a condition binds names, as `a && let Some(b) = c` does: it cannot stand in parentheses.
fn binds(condition: &Expr) -> bool {
    match condition {
        Expr::Let(_) => true,
        Expr::Binary(both) if matches!(both.op, BinOp::And(_)) => binds(&both.left) || binds(&both.right),
        _ => false,
    }
}

fn offset(text: &str, place: Place) -> usize {
    let line = text.split_inclusive('\n').take(place.line - 1).map(str::len).sum::<usize>();
    let column = text[line..].char_indices().nth(place.column - 1).map_or(text.len() - line, |(at, _)| at);
    line + column
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::list::Span;

    /// Switches the given texts, each once in the file, for what stands beside them.
    fn switched(text: &str, changes: &[(Genre, &str, &str)]) -> String {
        let place = |at: usize| {
            let before = &text[..at];
            let line = before.matches('\n').count() + 1;
            Place { line, column: before.rsplit('\n').next().unwrap().chars().count() + 1 }
        };
        let mutants: Vec<Mutant> = changes
            .iter()
            .map(|(genre, was, is)| {
                let from = text.find(was).unwrap();
                let span = Span { start: place(from), end: place(from + was.len()) };
                let (name, file) = (String::new(), String::new());
                Mutant { name, file, span, replacement: (*is).to_owned(), genre: *genre }
            })
            .collect();
        let found = switch(text, &mutants.iter().enumerate().collect()).unwrap();
        syn::parse_file(&found.text).unwrap();
        let regions = changed(&found.text).len();
        format!("{} [{}, {regions}]", found.text.replace(|c: char| c == '\n', " "), found.numbers.len())
    }

    #[test]
    fn operators_nest_and_are_not_multiplied() {
        use Genre::BinaryOperator as B;
        assert_eq!(
            switched("fn f() -> bool { ä <= b && c }", &[(B, "<=", ">"), (B, "&&", "||")]),
            "fn f() -> bool { (if crate::mutated(1) {/*<1*/(ä <= b || c)/*1>*/} else {((if crate::mutated(0) \
             {/*<0*/(ä > b)/*0>*/} else {(ä <= b)}) && c)}) } [2, 2]"
        );
    }

    #[test]
    fn bodies_arms_and_guards_have_switches() {
        use Genre::{FnValue, MatchArm, MatchArmGuard, UnaryOperator};
        let text = "fn f() -> u8 { match x { 1 => 2, n if !n => 3, _ => 4 } }";
        let body = "match x { 1 => 2, n if !n => 3, _ => 4 }";
        assert_eq!(
            switched(text, &[(FnValue, body, "7"), (MatchArm, "1 => 2,", ""), (MatchArmGuard, "!n", "true")]),
            "fn f() -> u8 { if crate::mutated(0) { return /*<0*/7/*0>*/; } match x { 1 if /*<1*/!crate::mutated(1)/*1>*/ \
             => 2, n if (crate::mutated(2) || (!n)) => 3, _ => 4 } } [3, 2]"
        );
        assert!(
            switched(text, &[(UnaryOperator, "!", "")])
                .contains("n if (if crate::mutated(0) {/*<0*/(n)/*0>*/} else {(!n)}) =>")
        );
    }

    #[test]
    fn what_has_no_switch_is_left_alone() {
        use Genre::{BinaryOperator, FnValue};
        for (text, change) in [
            ("const A: u8 = 1 + 2;", (BinaryOperator, "+", "-")),
            ("fn f() { let a = [0; 1 + 2]; }", (BinaryOperator, "+", "-")),
            ("fn f() { if a && let Some(b) = c {} }", (BinaryOperator, "&&", "||")),
            ("fn f() { a as u8 > b; }", (BinaryOperator, ">", "<")),
            ("const fn f() -> u8 { 1 }", (FnValue, "1", "0")),
            ("fn f() -> impl Copy { 1 }", (FnValue, "1", "0")),
        ] {
            assert_eq!(switched(text, &[change]), format!("{text} [0, 0]"));
        }
    }
}
