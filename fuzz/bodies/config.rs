//! What holds for any bytes given as `routes.toml`: they load, or everything that is wrong is said; never a panic.

use pointsman::config::{Color, load_text, run_route_tests};

/// Any bytes.
pub fn any(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let env = |name: &str| (name == "SET").then(|| "value".to_owned());
    match load_text("routes.toml", &text, &env) {
        Ok(loaded) => {
            let again = load_text("routes.toml", &text, &env).map(|again| again.hash);
            assert_eq!(again.ok(), Some(loaded.hash.clone()), "the same text means the same");
            assert!(
                !run_route_tests(&loaded).diagnostics.render(Color::Never).contains('\u{1b}'),
                "no colour where none was asked for"
            );
        }
        Err(diagnostics) => {
            let rendered = diagnostics.render(Color::Never);
            assert!(!rendered.trim().is_empty(), "a refusal says why");
            assert!(diagnostics.iter().next().is_some(), "a refusal has a diagnostic");
        }
    }
}
