//! A place where an admin listener answers, as people name it.

use std::fmt;
use std::path::PathBuf;

use http::Uri;

use crate::cli::address;

/// How places are written, for messages.
const FORMS: &str = "write http://HOST:PORT, HOST:PORT, a port or unix:/path";

/// A place where an admin listener may answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AdminPlace {
    /// A URL without a slash at the end.
    Url(String),
    /// A Unix socket.
    Socket(PathBuf),
}

impl AdminPlace {
    /// The place that a text names: a URL, `host:port`, a port or `unix:/path`.
    ///
    /// # Errors
    /// It is none of these.
    pub fn named(text: &str) -> Result<Self, String> {
        if let Some(path) = text.strip_prefix("unix:") {
            // `unix:///path` is how other programs write it.
            let path = path.strip_prefix("//").unwrap_or(path);
            return if path.is_empty() { Err(FORMS.to_owned()) } else { Ok(Self::Socket(path.into())) };
        }
        let url = match text.split_once("://") {
            Some(("http" | "https", _)) => text.to_owned(),
            Some(_) => return Err("the URL must begin with http:// or https://".to_owned()),
            None if text.starts_with(['/', '.']) => return Err(format!("a socket is written unix:{text}")),
            None => format!("http://{}", address::with_host(text)),
        };
        let base = url.trim_end_matches('/').to_owned();
        let uri: Result<Uri, _> = format!("{base}/").parse();
        match uri {
            Ok(uri) if uri.query().is_none() && uri.host().is_some_and(|host| !host.is_empty()) => Ok(Self::Url(base)),
            Ok(_) | Err(_) => Err(FORMS.to_owned()),
        }
    }

    /// The URL of a page. Over a socket the host is `localhost`.
    ///
    /// # Errors
    /// The path has a character that a URL cannot have.
    pub fn uri(&self, path: &str) -> anyhow::Result<Uri> {
        let base = match self {
            Self::Url(base) => base,
            Self::Socket(_) => "http://localhost",
        };
        let uri = format!("{base}{path}");
        uri.parse().map_err(|error| anyhow::anyhow!("`{uri}` is not a valid URL: {error}"))
    }
}

impl fmt::Display for AdminPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Url(base) => f.write_str(base),
            Self::Socket(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_as_people_name_them() {
        for (typed, name) in [
            ("http://10.0.0.1:9900", "http://10.0.0.1:9900"),
            ("http://10.0.0.1:9900/", "http://10.0.0.1:9900"),
            ("http://kube/pods/a:9900/proxy/", "http://kube/pods/a:9900/proxy"),
            ("https://admin.internal", "https://admin.internal"),
            ("localhost:9900", "http://localhost:9900"),
            ("[::1]:9900", "http://[::1]:9900"),
            ("9901", "http://127.0.0.1:9901"),
            (":9901", "http://127.0.0.1:9901"),
            ("unix:/run/pm/admin.sock", "unix:/run/pm/admin.sock"),
            ("unix:///run/pm/admin.sock", "unix:/run/pm/admin.sock"),
            ("unix:state/run/admin.sock", "unix:state/run/admin.sock"),
        ] {
            assert_eq!(AdminPlace::named(typed).unwrap().to_string(), name);
        }
        for (typed, why) in [
            ("ftp://localhost", "must begin with http://"),
            ("", "HOST:PORT"),
            ("http://", "HOST:PORT"),
            ("http://a b/", "HOST:PORT"),
            ("http://a/?b", "HOST:PORT"),
            ("unix:", "unix:/path"),
            ("/run/admin.sock", "unix:/run/admin.sock"),
            ("./admin.sock", "unix:./admin.sock"),
        ] {
            let refused = AdminPlace::named(typed).expect_err(typed);
            assert!(refused.contains(why), "{typed}: {refused}");
        }
    }
}
