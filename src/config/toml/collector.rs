//! Parses the URL of an OpenTelemetry collector.

use http::uri::{Scheme, Uri};

use super::address::PORTS;

/// The port of an `https://` URL without a port.
const HTTPS_PORT: u16 = 443;

/// Help for an invalid URL.
const EXAMPLE: &str = "write `http://127.0.0.1:4318` or `https://collector.example.com`, or a path after it";

/// The parts of the URL of a collector.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::config) struct CollectorUrl {
    pub(in crate::config) secured: bool,
    pub(in crate::config) host: String,
    pub(in crate::config) port: u16,
    pub(in crate::config) path: String,
}

/// Whether a text is the URL of a collector.
pub(in crate::config) fn is_collector(text: &str) -> bool {
    parse(text).is_ok()
}

/// Parses the URL of a collector; the error is a message and a help.
pub(in crate::config) fn parse(text: &str) -> Result<CollectorUrl, (&'static str, &'static str)> {
    let uri = text.parse::<Uri>().map_err(|_| ("is not a URL", EXAMPLE))?;
    let secured = uri.scheme() == Some(&Scheme::HTTPS);
    let authority = uri.authority().filter(|_| secured || uri.scheme() == Some(&Scheme::HTTP));
    let authority = authority.ok_or(("is not an `http://` or `https://` URL with a host", EXAMPLE))?;
    if authority.as_str().contains('@') || uri.query().is_some() {
        return Err(("contains more than host, port and path", "write credentials into `headers`"));
    }
    let host = authority.host();
    let port = match authority.as_str().strip_prefix(host) {
        Some("") if secured => HTTPS_PORT,
        Some("") | None => return Err(("has no port", EXAMPLE)),
        Some(port) => {
            let digits = port.strip_prefix(':').filter(|port| port.bytes().all(|byte| byte.is_ascii_digit()));
            let port = digits.and_then(|digits| digits.parse().ok()).filter(|port| *port > 0);
            port.ok_or(("has an invalid port", PORTS))?
        }
    };
    let host = host.trim_matches(['[', ']']).to_owned();
    Ok(CollectorUrl { secured, host, port, path: uri.path().trim_end_matches('/').to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn collectors() {
        let url = |secured, host: &str, port, path: &str| CollectorUrl {
            secured,
            host: host.to_owned(),
            port,
            path: path.to_owned(),
        };
        let check = |text: &str, expected: CollectorUrl| assert_eq!(parse(text), Ok(expected), "{text}");
        check("http://127.0.0.1:4318", url(false, "127.0.0.1", 4318, ""));
        check("http://collector:4318/a/b/", url(false, "collector", 4318, "/a/b"));
        check("http://[::1]:4318", url(false, "::1", 4318, ""));
        check("https://otlp.example.com", url(true, "otlp.example.com", 443, ""));
        check("https://[::1]", url(true, "::1", 443, ""));
        check("https://otlp.example.com:4318/x", url(true, "otlp.example.com", 4318, "/x"));
        for bad in [
            "",
            "collector",
            "collector:4318",
            "ftp://collector:21",
            "http://collector",
            "http://collector:0",
            "https://collector:0",
            "https://collector:",
            "https://collector:43l8",
            "https://collector:+43",
            "https://collector:65536",
            "https://me@collector",
            "https://collector?x=1",
            "https://",
        ] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }
}
