//! `grafana` of `[admin]`: the URL of a Grafana, or of a dashboard in it, that pages of the dashboard link to.

use crate::config::toml::context::Context;
use crate::config::toml::diagnostic::Finding;
use crate::config::toml::item::Item;
use crate::config::toml::web_url::{EXAMPLE, parse_web_url};

/// Help for a URL that is none.
const FORMS: &str = "write `grafana = \"https://grafana.example.com\"`, or the URL of a dashboard: `…/d/UID/NAME`";

/// The longest URL, in bytes.
const URL_BYTES_MAX: usize = 2_048;

/// Compiles `grafana`: the URL without `/` at the end of its path.
pub(super) fn grafana(context: &mut Context<'_>, item: &Item<'_>) -> Option<String> {
    let text = item.shown_text(context)?;
    let Some(GrafanaFault { message, help }) = fault(&text) else { return Some(bare(&text)) };
    // A long text, or one that holds a password, is not repeated in the message.
    let shown =
        if text.len() > URL_BYTES_MAX || text.contains('@') { "the URL" } else { &format!("`{}`", text.shown()) };
    context.report(Finding::error("bad-url", text.span, format!("{shown} {message}")).help(help));
    None
}

/// What is wrong with a URL: the end of a message, and a help.
struct GrafanaFault {
    message: String,
    help: &'static str,
}

fn fault(text: &str) -> Option<GrafanaFault> {
    let fault = |message: &str, help| Some(GrafanaFault { message: message.to_owned(), help });
    if text.len() > URL_BYTES_MAX {
        return fault(&format!("is longer than {URL_BYTES_MAX} bytes"), FORMS);
    }
    if text
        .split_once("://")
        .is_some_and(|(_, rest)| rest.split(['/', '?', '#']).next().is_some_and(|at| at.contains('@')))
    {
        let help = "remove them: everyone who opens the dashboard sees this URL, and signs in to Grafana alone";
        return fault("has credentials before the host", help);
    }
    match parse_web_url(text) {
        Err((message, EXAMPLE)) => fault(message, FORMS),
        Err((message, help)) => fault(message, help),
        // A link would be another one than what is written: browsers drop or replace these characters.
        Ok(_) if !text.bytes().all(|byte| byte.is_ascii_graphic() && !b"\"<>\\^`{|}".contains(&byte)) => {
            fault("has a character that a URL cannot have", "percent-encode it, such as `%20` for a blank")
        }
        Ok(_) => None,
    }
}

/// The URL without `/` at the end of its path. A query stays.
fn bare(text: &str) -> String {
    match text.split_once('?') {
        Some((path, query)) => format!("{}?{query}", path.trim_end_matches('/')),
        None => text.trim_end_matches('/').to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_lose_the_slash_at_their_end() {
        for (text, expected) in [
            ("https://grafana.example.com", "https://grafana.example.com"),
            ("https://grafana.example.com/", "https://grafana.example.com"),
            ("http://10.0.0.7:3000/grafana//", "http://10.0.0.7:3000/grafana"),
            ("HTTPS://[::1]:3000/?orgId=2", "HTTPS://[::1]:3000?orgId=2"),
            ("https://g/d/abc/edge?orgId=2&theme=light", "https://g/d/abc/edge?orgId=2&theme=light"),
        ] {
            assert!(fault(text).is_none(), "{text}");
            assert_eq!(bare(text), expected, "{text}");
        }
    }

    #[test]
    fn what_is_no_web_url_has_a_help() {
        let long = format!("https://g/{}", "x".repeat(URL_BYTES_MAX));
        for (text, message, help) in [
            ("", "is not", "grafana = "),
            ("grafana.example.com", "is not an `http://`", "grafana = "),
            ("javascript:alert(1)", "is not", "grafana = "),
            ("ftp://g", "is not an `http://`", "grafana = "),
            ("https://ana:secret@g/d/x", "has credentials", "remove them"),
            ("https://@g", "has credentials", "remove them"),
            ("https://g/#x", "has a fragment", "remove `#`"),
            ("https://g:0", "invalid port", "65535"),
            ("https://g/\u{202e}x", "", ""),
            ("https://g/\"onmouseover=x", "cannot have", "percent-encode"),
            (&long, "is longer than 2048 bytes", "grafana = "),
        ] {
            let GrafanaFault { message: found, help: advice } =
                fault(text).unwrap_or_else(|| panic!("{text} is a URL"));
            assert!(found.contains(message) && advice.contains(help), "{text}: {found} {advice}");
        }
    }
}
