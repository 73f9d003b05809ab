//! Addresses as people type them on a command line: `3000`, `:3000`, `host:3000`, a URL.

use std::net::SocketAddr;

use http::uri::Authority;

/// What an address may look like, for messages.
const FORMS: &str = "write 3000, :3000, HOST:3000 or http://HOST:3000";

/// `3000` and `:3000` with the loopback address before them; anything else as it is.
#[must_use]
pub fn with_host(text: &str) -> String {
    let port = text.strip_prefix(':').unwrap_or(text);
    let is_port = !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
    if is_port { format!("127.0.0.1:{port}") } else { text.to_owned() }
}

/// An endpoint of an upstream, as the routes file writes it: `http://127.0.0.1:3000`.
///
/// # Errors
/// What is wrong with it, and how it is written.
pub fn endpoint(text: &str) -> Result<String, String> {
    let (scheme, rest) = text.split_once("://").unwrap_or(("http", text));
    if !["http", "https", "h2c"].contains(&scheme) {
        return Err(format!("`{scheme}` is not supported: an endpoint is http, https or h2c"));
    }
    let rest = rest.strip_suffix('/').unwrap_or(rest);
    if rest.contains(['/', '?', '#']) {
        return Err("an endpoint has no path; a routes file adds one with `[route.rewrite]`".to_owned());
    }
    let address = with_host(rest);
    let authority: Authority = address.parse().map_err(|_| FORMS.to_owned())?;
    if authority.host().is_empty() || address.contains('@') {
        return Err(FORMS.to_owned());
    }
    let has_port = address.len() > authority.host().len();
    if has_port && authority.port_u16().is_none_or(|port| port == 0) {
        return Err("a port is a number from 1 to 65535".to_owned());
    }
    Ok(format!("{scheme}://{address}"))
}

/// An address to listen at: `8080`, `:8080` and `localhost:8080` are on the loopback address.
///
/// # Errors
/// How it is written.
pub fn listening(text: &str) -> Result<SocketAddr, String> {
    let text = text.strip_prefix("localhost").filter(|rest| rest.starts_with(':')).unwrap_or(text);
    let read = with_host(text).parse();
    read.map_err(|_| "write a port, or IP:PORT such as 127.0.0.1:8080, 0.0.0.0:8080 or [::]:8080".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_as_people_type_them() {
        for (typed, expected) in [
            ("3000", "http://127.0.0.1:3000"),
            (":3000", "http://127.0.0.1:3000"),
            ("app:3000", "http://app:3000"),
            ("app.internal", "http://app.internal"),
            ("[::1]:3000", "http://[::1]:3000"),
            ("http://10.0.0.1:3000/", "http://10.0.0.1:3000"),
            ("https://app.internal", "https://app.internal"),
            ("h2c://:50051", "h2c://127.0.0.1:50051"),
        ] {
            assert_eq!(endpoint(typed).as_deref(), Ok(expected), "{typed}");
        }
        for (typed, why) in [
            ("", "HOST:3000"),
            ("http://", "HOST:3000"),
            ("a b:1", "HOST:3000"),
            ("user@app:1", "HOST:3000"),
            ("::1", "HOST:3000"),
            ("80800", "1 to 65535"),
            ("app:0", "1 to 65535"),
            ("app:", "1 to 65535"),
            ("ftp://app", "http, https or h2c"),
            ("http://app/x", "no path"),
            ("app?x=1", "no path"),
        ] {
            let refused = endpoint(typed).expect_err(typed);
            assert!(refused.contains(why), "{typed}: {refused}");
        }
    }

    #[test]
    fn places_to_listen_at() {
        for (typed, expected) in [
            ("8080", "127.0.0.1:8080"),
            (":8080", "127.0.0.1:8080"),
            ("localhost:8080", "127.0.0.1:8080"),
            ("0.0.0.0:80", "0.0.0.0:80"),
            ("[::]:80", "[::]:80"),
            ("127.0.0.1:0", "127.0.0.1:0"),
        ] {
            assert_eq!(listening(typed), Ok(expected.parse().unwrap()), "{typed}");
        }
        for typed in ["", "80800", "app:80", "127.0.0.1", "localhost"] {
            assert!(listening(typed).unwrap_err().contains("IP:PORT"), "{typed}");
        }
    }
}
