//! The running proxy of a command: the address of its admin listener, and one request to it.

use anyhow::{Context, anyhow, bail, ensure};
use http::{StatusCode, Uri};
use serde_json::Value;

use super::address;
use super::fetch::{self, AdminResponse, FetchOptions};

/// The variable that names the admin listener where no option does.
pub const VARIABLE: &str = "POINTSMAN_ADMIN";
/// The admin listener where nothing names it.
const DEFAULT: &str = "http://127.0.0.1:9900";

/// An admin listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AdminEndpoint {
    /// Its URL, without a slash at the end.
    base: String,
    origin: Origin,
}

/// What named it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Origin {
    Option,
    Variable,
    Default,
}

impl AdminEndpoint {
    /// The listener that an option names: a URL, `host:port` or a port.
    ///
    /// # Errors
    /// When it is none of these.
    pub fn named(text: &str) -> Result<Self, String> {
        let url = match text.split_once("://") {
            Some(("http", _)) => text.to_owned(),
            Some(("https", _)) => {
                return Err("the admin listener uses http, not https: the URL must begin with http://".to_owned());
            }
            Some(_) => return Err("the URL must begin with http://".to_owned()),
            None => format!("http://{}", address::with_host(text)),
        };
        let base = url.trim_end_matches('/').to_owned();
        let uri: Result<Uri, _> = format!("{base}/").parse();
        match uri {
            Ok(uri) if uri.query().is_none() && uri.host().is_some_and(|host| !host.is_empty()) => {
                Ok(Self { base, origin: Origin::Option })
            }
            Ok(_) | Err(_) => Err("write http://HOST:PORT, HOST:PORT or a port".to_owned()),
        }
    }

    /// The listener that an option names, else the variable, else the default.
    ///
    /// # Errors
    /// When the value of the variable is no address.
    pub fn find(option: Option<&Self>, variable: Option<&str>) -> anyhow::Result<Self> {
        match (option, variable.filter(|text| !text.is_empty())) {
            (Some(option), _) => Ok(option.clone()),
            (None, Some(text)) => {
                let named = Self::named(text).map_err(|why| anyhow!("{VARIABLE} is `{text}`: {why}"))?;
                Ok(Self { origin: Origin::Variable, ..named })
            }
            (None, None) => Ok(Self { base: DEFAULT.to_owned(), origin: Origin::Default }),
        }
    }

    /// Its URL.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.base
    }

    /// The URL of a page.
    ///
    /// # Errors
    /// When the path has a character that a URL cannot have.
    pub fn uri(&self, path: &str) -> anyhow::Result<Uri> {
        format!("{}{path}", self.base).parse().with_context(|| format!("`{}{path}` is not a valid URL", self.base))
    }

    /// Sends the request and waits for the response, on its own runtime.
    ///
    /// # Errors
    /// When it does not answer, with what to do.
    pub fn ask_blocking(&self, path: &str, options: FetchOptions) -> anyhow::Result<AdminResponse> {
        fetch::ask_blocking(&self.uri(path)?, options).map_err(|error| self.unreachable(&error))
    }

    /// Sends the request.
    ///
    /// # Errors
    /// When it does not answer, with what to do.
    pub async fn ask(&self, path: &str, options: FetchOptions) -> anyhow::Result<AdminResponse> {
        fetch::ask(&self.uri(path)?, options).await.map_err(|error| self.unreachable(&error))
    }

    /// The JSON of a page.
    ///
    /// # Errors
    /// When it is none, with what to do.
    pub fn page(&self, answer: &AdminResponse) -> anyhow::Result<Value> {
        self.expect_ok(answer)?;
        let page: Option<Value> = serde_json::from_slice(&answer.body).ok().filter(Value::is_object);
        page.ok_or_else(|| anyhow!("{} answers without JSON: is this the admin listener?", self.base))
    }

    fn expect_ok(&self, answer: &AdminResponse) -> anyhow::Result<()> {
        let status = answer.status;
        if status == StatusCode::FORBIDDEN {
            bail!("{} answers {status}: {}", self.base, answer.line());
        }
        ensure!(status == StatusCode::OK, "{} answers {status}: is this the admin listener?", self.base);
        Ok(())
    }

    fn unreachable(&self, error: &anyhow::Error) -> anyhow::Error {
        let named = match self.origin {
            Origin::Option => "--admin names this address".to_owned(),
            Origin::Variable => format!("{VARIABLE} names this address"),
            Origin::Default => format!("this is the default; --admin URL or {VARIABLE} names another"),
        };
        anyhow!("{error:#}\n  = help: {named}\n  = help: the address is `[admin] address` of the proxy's routes file")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn listeners_as_people_name_them() {
        for (typed, url) in [
            ("http://10.0.0.1:9900", "http://10.0.0.1:9900"),
            ("http://10.0.0.1:9900/", "http://10.0.0.1:9900"),
            ("http://kube/pods/a:9900/proxy/", "http://kube/pods/a:9900/proxy"),
            ("localhost:9900", "http://localhost:9900"),
            ("[::1]:9900", "http://[::1]:9900"),
            ("9901", "http://127.0.0.1:9901"),
            (":9901", "http://127.0.0.1:9901"),
        ] {
            assert_eq!(AdminEndpoint::named(typed).unwrap().url(), url);
        }
        for (typed, why) in [
            ("https://localhost:9900", "not https"),
            ("ftp://localhost", "must begin with http://"),
            ("", "HOST:PORT"),
            ("http://", "HOST:PORT"),
            ("http://a b/", "HOST:PORT"),
            ("http://a/?b", "HOST:PORT"),
        ] {
            let refused = AdminEndpoint::named(typed).expect_err(typed);
            assert!(refused.contains(why), "{typed}: {refused}");
        }
    }

    #[test]
    fn an_option_comes_before_the_variable_and_the_default_last() {
        let option = AdminEndpoint::named("a:1").unwrap();
        let find = |option: Option<&AdminEndpoint>, variable| AdminEndpoint::find(option, variable).unwrap().base;
        assert_eq!(find(Some(&option), Some("b:2")), "http://a:1");
        assert_eq!(find(None, Some("b:2")), "http://b:2");
        assert_eq!(find(None, Some("")), DEFAULT);
        assert_eq!(find(None, None), DEFAULT);
        let refused = AdminEndpoint::find(None, Some("https://b")).unwrap_err().to_string();
        assert!(refused.contains(VARIABLE) && refused.contains("https"), "{refused}");
    }
}
