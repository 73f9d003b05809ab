//! Properties of any bytes as `routes.toml`: they load, or there are diagnostics; never a panic.

use pointsman::config::{Color, load_text, run_route_tests};

/// Any bytes.
pub fn any(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let env = |name: &str| (name == "SET").then(|| "value".to_owned());
    match load_text("routes.toml", &text, &env) {
        Ok(loaded) => {
            let again = load_text("routes.toml", &text, &env).map(|again| again.hash);
            assert_eq!(again.ok(), Some(loaded.hash.clone()), "the same text has the same hash");
            assert!(
                !run_route_tests(&loaded).diagnostics.render(Color::Never).contains('\u{1b}'),
                "no colour with Color::Never"
            );
        }
        Err(diagnostics) => {
            let rendered = diagnostics.render(Color::Never);
            assert!(!rendered.trim().is_empty(), "a rejection has a text");
            assert!(diagnostics.iter().next().is_some(), "a rejection has a diagnostic");
        }
    }
}
