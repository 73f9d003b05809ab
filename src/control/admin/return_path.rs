//! The path that a browser goes to after it has signed in: one of this listener, and of no other.

use std::fmt::Write as _;

/// The longest path with its query, in bytes.
const BYTES_MAX: usize = 2_048;

/// A path of this listener, with its query. It fits into a header field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ReturnPath(String);

impl ReturnPath {
    /// The path in this text; `/` when it could lead elsewhere, or is too long.
    pub fn of(text: &str) -> Self {
        let path = text.split(['?', '#']).next().unwrap_or_default();
        let is_path = path.starts_with('/') && !path.contains("//");
        let is_plain = !text.contains(|letter: char| letter == '\\' || letter.is_control());
        if !is_path || !is_plain || text.len() > BYTES_MAX {
            return Self("/".to_owned());
        }
        Self(encoded(text, |byte| byte.is_ascii_graphic()))
    }

    /// The path itself.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The path of the page for signing in that leads to it.
    pub fn sign_in(&self) -> String {
        let to = encoded(&self.0, |byte| byte.is_ascii_alphanumeric() || b"/-_.~".contains(&byte));
        format!("/sign-in?to={to}")
    }
}

/// The text with all other bytes percent-encoded.
fn encoded(text: &str, is_plain: impl Fn(u8) -> bool) -> String {
    text.bytes().fold(String::with_capacity(text.len()), |mut all, byte| {
        if is_plain(byte) {
            all.push(char::from(byte));
        } else {
            // Writing to a string cannot fail.
            let _ = write!(all, "%{byte:02X}");
        }
        all
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_that_could_lead_elsewhere_is_the_overview() {
        let long = format!("/{}", "a".repeat(2_048));
        for text in [
            "",
            "routes",
            "//evil.example",
            "///evil.example",
            "/a//evil.example",
            "/\\evil.example",
            "\\\\evil.example",
            "/a?b=\\",
            "https://evil.example/",
            "javascript:alert(1)",
            "/\t/evil.example",
            "/a\r\nSet-Cookie: x=y",
            "/\u{85}",
            "?to=/",
            " /routes",
            &long,
        ] {
            assert_eq!(ReturnPath::of(text).as_str(), "/", "{text:?}");
        }
    }

    #[test]
    fn a_path_of_this_listener_stays() {
        for (text, expected, sign_in) in [
            ("/", "/", "/sign-in?to=/"),
            ("/rollouts/shop-v2", "/rollouts/shop-v2", "/sign-in?to=/rollouts/shop-v2"),
            (
                "/journal?text=a//b&act=kill",
                "/journal?text=a//b&act=kill",
                "/sign-in?to=/journal%3Ftext%3Da//b%26act%3Dkill",
            ),
            ("/routes/ü x", "/routes/%C3%BC%20x", "/sign-in?to=/routes/%25C3%25BC%2520x"),
            ("/a?<img src=x>", "/a?<img%20src=x>", "/sign-in?to=/a%3F%3Cimg%2520src%3Dx%3E"),
            ("/\u{202e}x", "/%E2%80%AEx", "/sign-in?to=/%25E2%2580%25AEx"),
        ] {
            let path = ReturnPath::of(text);
            assert_eq!((path.as_str(), path.sign_in().as_str()), (expected, sign_in), "{text}");
        }
    }
}
