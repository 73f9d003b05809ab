//! The room as a whole: the shipped example, good values, files on the disk.

use super::*;

fn no_env(_: &str) -> Option<String> {
    None
}

fn good(text: &str) -> Loaded {
    match load_text("routes.toml", text, &no_env) {
        Ok(loaded) => loaded,
        Err(diagnostics) => panic!("{diagnostics}"),
    }
}

const SHIPPED: &str = include_str!("../../routes.toml");

#[test]
fn the_shipped_example_holds() {
    let loaded = good(SHIPPED);
    assert!(loaded.warnings.is_empty(), "{}", loaded.warnings);
    assert_eq!(loaded.goldens.len(), 6);
    let failed = run_goldens(&loaded);
    assert!(failed.is_empty(), "{failed}");
}
