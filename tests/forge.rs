//! Programs that must not compile. Each forges something that the types forbid, and the compiler's refusal is pinned
//! beside it: should a change make one compile, or fail for another reason, this test says so.
//!
//! After a change of wording on purpose, `TRYBUILD=overwrite cargo test --test forge` pins anew; read the difference.

#[test]
fn forgeries_do_not_compile() {
    trybuild::TestCases::new().compile_fail("tests/forge/*.rs");
}
