//! Parses the URL of a program that is asked over HTTP: a webhook, or Prometheus.

use http::uri::{Scheme, Uri};

use super::address::PORTS;

/// Help for an invalid URL.
pub(in crate::config) const EXAMPLE: &str = "write `https://ci.example.com/gate`, or `http://host:port/path`";

/// The parts of a URL.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::config) struct WebUrl {
    pub(in crate::config) secured: bool,
    pub(in crate::config) host: String,
    pub(in crate::config) port: u16,
    /// The path with its query, from `/`.
    pub(in crate::config) path: String,
}

/// Parses a URL; the error is the end of a message, and a help.
pub(in crate::config) fn parse_web_url(text: &str) -> Result<WebUrl, (&'static str, &'static str)> {
    let uri = text.parse::<Uri>().map_err(|_| ("is not a URL", EXAMPLE))?;
    let secured = uri.scheme() == Some(&Scheme::HTTPS);
    let authority = uri.authority().filter(|_| secured || uri.scheme() == Some(&Scheme::HTTP));
    let authority = authority.ok_or(("is not an `http://` or `https://` URL with a host", EXAMPLE))?;
    if authority.as_str().contains('@') {
        return Err(("has credentials before the host", "write them into `headers`, such as `authorization`"));
    }
    if text.contains('#') {
        return Err(("has a fragment, which is never sent", "remove `#` and what follows"));
    }
    let host = authority.host();
    if host.is_empty() {
        return Err(("has no host", EXAMPLE));
    }
    let port = match authority.as_str().strip_prefix(host) {
        Some("") | None if secured => 443,
        Some("") | None => 80,
        Some(port) => {
            let digits = port.strip_prefix(':').filter(|port| port.bytes().all(|byte| byte.is_ascii_digit()));
            let port = digits.and_then(|digits| digits.parse().ok()).filter(|port| *port > 0);
            port.ok_or(("has an invalid port", PORTS))?
        }
    };
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
    Ok(WebUrl { secured, host: host.trim_matches(['[', ']']).to_owned(), port, path })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls() {
        let url = |secured, host: &str, port, path: &str| WebUrl {
            secured,
            host: host.to_owned(),
            port,
            path: path.to_owned(),
        };
        for (text, expected) in [
            ("http://gate", url(false, "gate", 80, "/")),
            ("https://ci.example.com/gate?x=1", url(true, "ci.example.com", 443, "/gate?x=1")),
            ("http://[::1]:9/p/", url(false, "::1", 9, "/p/")),
            ("http://a?x", url(false, "a", 80, "/?x")),
        ] {
            assert_eq!(parse_web_url(text), Ok(expected), "{text}");
        }
        for bad in
            ["", "gate", "/gate", "ftp://a/b", "http://", "http://u:p@a", "http://a:0", "http://a:99999", "http://a#x"]
        {
            assert!(parse_web_url(bad).is_err(), "{bad}");
        }
    }
}
