//! Signing in: by a token, or by a link for one use.

use maud::{Markup, html};

use super::frame::Frame;

/// The page. `to`: the path to return to; `problem`: why the last try failed.
pub fn sign_in_page(frame: &Frame<'_>, to: &str, problem: Option<&str>) -> String {
    let main: Markup = html! {
        section class="sign-in" {
            h1 { "Sign in" }
            div id="sign-in-problem" role="alert" {
                @if let Some(problem) = problem {
                    p class="problem" { span aria-hidden="true" { "✕ " } "Not signed in: " (problem) "." }
                }
            }
            form method="post" action="/sign-in" {
                p class="field" {
                    label for="token" { "Token" }
                    input id="token" name="token" type="password" required autocomplete="off" autocapitalize="off"
                        spellcheck="false" aria-describedby="token-help" autofocus;
                }
                input type="hidden" name="to" value=(own_path(to));
                p class="buttons" { button type="submit" { "Sign in" } }
            }
            p id="token-help" class="soft" {
                code { "pointsman token new NAME --role operator" } " makes a token. On the machine itself, "
                code { "pointsman dashboard" } " opens this page signed in, by a link for one use."
            }
        }
    };
    frame.around(&main)
}

/// A path of this origin; anything else is the overview.
fn own_path(to: &str) -> &str {
    let is_own =
        to.starts_with('/') && !to.starts_with("//") && !to.contains('\\') && !to.chars().any(char::is_control);
    if is_own { to } else { "/" }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::super::frame::PageName;
    use super::super::viewer::Viewer;
    use super::*;

    fn page(to: &str, problem: Option<&str>) -> String {
        let (viewer, status) = (Viewer::default(), Value::Null);
        let frame = Frame {
            page: PageName::SignIn,
            title: "Sign in",
            viewer: &viewer,
            seq: 0,
            now: "2026-12-01T00:00:00.000Z",
            status: &status,
            grafana: None,
        };
        sign_in_page(&frame, to, problem)
    }

    #[test]
    fn the_form_works_without_script() {
        let page = page("/rollouts/a%20b", Some("the token is not known"));
        assert!(
            page.contains("<form method=\"post\" action=\"/sign-in\">")
                && page.contains("name=\"token\" type=\"password\""),
            "{page}"
        );
        assert!(
            page.contains("name=\"to\" value=\"/rollouts/a%20b\"")
                && page.contains("Not signed in: the token is not known."),
            "{page}"
        );
        assert!(
            !page.contains("<nav") && !page.contains("id=\"banner\""),
            "who is not signed in sees nothing of the proxy"
        );
    }

    #[test]
    fn it_returns_only_to_paths_of_its_own() {
        for to in ["", "https://evil.example/", "//evil.example", "/\\evil.example", "javascript:alert(1)", "/a\r\nb"] {
            assert!(page(to, None).contains("name=\"to\" value=\"/\""), "{to}");
        }
        let hostile = page("/\"><img src=x onerror=alert(1)>", Some("<img src=x onerror=alert(1)>"));
        assert!(!hostile.contains("<img"), "{hostile}");
    }
}
