//! `/explain`: asks the functions that route what they would do with a request, under the snapshot that is in use.

use std::net::IpAddr;

use http::{HeaderMap, HeaderName, HeaderValue, Method, header};
use serde_json::{Value, json};

use crate::route::{Asked, EncodedSlash, Rules};
use crate::snapshot::Snapshot;
use crate::telemetry::explained;

/// A request as the query describes it.
#[derive(Debug, PartialEq)]
struct Question {
    method: Method,
    host: String,
    path: String,
    headers: HeaderMap,
    client_ip: IpAddr,
}

/// Explains what the query asks for.
///
/// # Errors
/// When the query is no question, in words.
pub(super) fn ask(snapshot: &Snapshot, query: Option<&str>) -> Result<Value, String> {
    let question = Question::parse(query.unwrap_or_default())?;
    let asked = question.asked(&snapshot.rules);
    let mut value = explained(&snapshot.rules, &asked);
    value["generation"] = json!(snapshot.generation.0);
    Ok(value)
}

impl Question {
    fn parse(query: &str) -> Result<Self, String> {
        let mut question = Self {
            method: Method::GET,
            host: String::new(),
            path: "/".to_owned(),
            headers: HeaderMap::new(),
            client_ip: IpAddr::from([127, 0, 0, 1]),
        };
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            question.set(name, decoded(value)?)?;
        }
        Ok(question)
    }

    fn set(&mut self, name: &str, value: String) -> Result<(), String> {
        match name {
            "host" => self.host = value,
            "path" => self.path = if value.is_empty() { "/".to_owned() } else { value },
            "method" => self.method = value.parse().map_err(|_| format!("{value:?} is no method"))?,
            "client_ip" => self.client_ip = value.parse().map_err(|_| format!("{value:?} is no address"))?,
            "header" => {
                let (name, text) = value.split_once(':').ok_or_else(|| format!("header={value:?} is not K:V"))?;
                let blank = [' ', '\t'];
                self.add(name.trim_matches(blank), text.trim_matches(blank))?;
            }
            "cookie" if value.contains('=') => self.add(header::COOKIE.as_str(), &value)?,
            "cookie" => return Err(format!("cookie={value:?} is not K=V")),
            other => {
                return Err(format!("{other:?} is not known: use host, path, method, header, cookie and client_ip"));
            }
        }
        Ok(())
    }

    fn add(&mut self, name: &str, value: &str) -> Result<(), String> {
        let name: HeaderName = name.parse().map_err(|_| format!("{name:?} is no header name"))?;
        let value: HeaderValue = value.parse().map_err(|_| format!("{value:?} is no header value"))?;
        self.headers.append(name, value);
        Ok(())
    }

    fn asked<'a>(&'a self, rules: &Rules) -> Asked<'a> {
        // Which listener takes the request is not said: the first one's policy is as good as another.
        let encoded_slash =
            rules.listeners.first().map_or(EncodedSlash::Keep, |listener| listener.limits.encoded_slash);
        Asked {
            method: &self.method,
            host: &self.host,
            path_and_query: &self.path,
            headers: &self.headers,
            peer: self.client_ip,
            encoded_slash,
        }
    }
}

/// A value of a query: percent-encoded, `+` for a space.
fn decoded(value: &str) -> Result<String, String> {
    let mut bytes = Vec::with_capacity(value.len());
    let mut rest = value.as_bytes();
    while let [first, after @ ..] = rest {
        rest = after;
        match (first, after) {
            (b'+', _) => bytes.push(b' '),
            (b'%', [high, low, after @ ..]) => {
                let hex = |digit: &u8| char::from(*digit).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
                let (Some(high), Some(low)) = (hex(high), hex(low)) else {
                    return Err(format!("{value:?} is not percent-encoded"));
                };
                bytes.push(high << 4 | low);
                rest = after;
            }
            (b'%', _) => return Err(format!("{value:?} is not percent-encoded")),
            (byte, _) => bytes.push(*byte),
        }
    }
    String::from_utf8(bytes).map_err(|_| format!("{value:?} is not UTF-8"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_describes_a_request() {
        let query = "host=shop.example.com&path=%2Fa%20b%3Fq%3D1&method=POST&header=X-A:%20b+c&header=x-a:d\
                     &cookie=uid%3Dx&client_ip=::1";
        let question = Question::parse(query).expect("a question");
        assert_eq!((question.host.as_str(), question.path.as_str()), ("shop.example.com", "/a b?q=1"));
        assert_eq!(question.method, Method::POST);
        assert_eq!(question.client_ip, "::1".parse::<IpAddr>().expect("an address"));
        let values: Vec<&HeaderValue> = question.headers.get_all("x-a").iter().collect();
        assert_eq!(values, ["b c", "d"]);
        assert_eq!(question.headers["cookie"], "uid=x");
    }

    #[test]
    fn what_is_no_question_is_said_so() {
        for (query, part) in [
            ("hots=x", "\"hots\" is not known"),
            ("method=a%20b", "is no method"),
            ("client_ip=x", "is no address"),
            ("header=x", "is not K:V"),
            ("header=a%20b:c", "is no header name"),
            ("header=a:%0d%0ab", "is no header value"),
            ("cookie=x", "is not K=V"),
            ("host=%zz", "is not percent-encoded"),
            ("host=%f", "is not percent-encoded"),
            ("host=%ff", "is not UTF-8"),
        ] {
            let error = Question::parse(query).expect_err(query);
            assert!(error.contains(part), "{query}: {error}");
        }
    }
}
