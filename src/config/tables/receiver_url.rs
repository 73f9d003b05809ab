//! Parses a receiver of notifications: `KIND:URL`. User and password before the host are sent as basic authentication.

use std::borrow::Cow;
use std::net::IpAddr;

use http::HeaderValue;

use crate::config::toml::address::is_public;
use crate::config::toml::suggest::did_you_mean;
use crate::config::toml::web_url::{EXAMPLE, WebUrl, parse_web_url};
use crate::route::ReceiverKind;
use crate::tls;

/// Help for a text that is no receiver.
const FORMS: &str =
    "write `webhook:https://…`, `slack:https://hooks.slack.com/services/…` or `alertmanager:http://…:9093`";

/// Help for a mail address.
const MAIL: &str = "an Alertmanager can send mail: write `alertmanager:http://…:9093`";

/// Help for other services.
const OTHERS: &str = "an Alertmanager passes alerts on to many services: write `alertmanager:http://…:9093`; \
                      `webhook:https://…` sends all facts as JSON to a program of yours";

/// The end of the URL that the API of Alertmanager has.
const ALERTS: &str = "/api/v2/alerts";

const KINDS: [ReceiverKind; 3] = [ReceiverKind::Webhook, ReceiverKind::Slack, ReceiverKind::Alertmanager];

/// A receiver as it is written.
pub(super) struct ReceiverUrl {
    pub(super) kind: ReceiverKind,
    pub(super) url: WebUrl,
    /// `authorization`, from the user and password of the URL.
    pub(super) authorization: Option<HeaderValue>,
    /// The same for the same kind and URL.
    pub(super) id: String,
}

/// What is wrong with a receiver: a message, and a help.
pub(super) type ReceiverFault = (String, Cow<'static, str>);

/// Parses a receiver.
pub(super) fn receiver_url(text: &str) -> Result<ReceiverUrl, ReceiverFault> {
    let text = text.trim();
    let Some((word, url)) = text.split_once(':') else {
        return Err(("this is not a receiver: it has no kind and no URL".to_owned(), FORMS.into()));
    };
    let kind = kind(word, url)?;
    let (bare, user) = without_user(url);
    let mut found = parse_web_url(&bare).map_err(|(message, help)| {
        let form = || format!("write `{}:https://host/path`", kind.name()).into();
        let help = if help == EXAMPLE { form() } else { help.into() };
        (format!("the URL of this receiver {message}"), help)
    })?;
    if kind == ReceiverKind::Alertmanager
        && let Some(base) = found.path.trim_end_matches('/').strip_suffix(ALERTS)
    {
        found.path = if base.is_empty() { "/".to_owned() } else { base.to_owned() };
    }
    let WebUrl { secured, host, port, path } = &found;
    // It stands in the outbox, also that of a later version: it must stay the same.
    let key = format!("{} {secured} {user:?} {host} {port} {path}", kind.name());
    let authorization = user.map(|user| basic(&user));
    let mut id = tls::sha256_hex(key.as_bytes());
    id.truncate(16);
    debug_assert!(id.len() == 16, "the digest is longer");
    Ok(ReceiverUrl { kind, url: found, authorization, id })
}

fn kind(word: &str, url: &str) -> Result<ReceiverKind, ReceiverFault> {
    let lower = word.trim().to_ascii_lowercase();
    if let Some(kind) = KINDS.into_iter().find(|kind| kind.name() == lower) {
        return Ok(kind);
    }
    let message = format!("`{word}` is not a kind of receiver");
    match lower.as_str() {
        "http" | "https" => {
            let kind = guess(url).name();
            let help = format!("write `{kind}:{lower}://…`: the kind, then the URL; kinds are {}", all_kinds());
            Err(("this receiver has a URL and no kind".to_owned(), help.into()))
        }
        "mailto" | "mail" | "email" | "smtp" => Err((message, MAIL.into())),
        "pagerduty" | "opsgenie" | "teams" | "msteams" | "discord" | "telegram" | "sns" | "victorops" => {
            Err((message, OTHERS.into()))
        }
        _ => {
            let similar = did_you_mean(&lower, KINDS.iter().map(|kind| kind.name()));
            Err((message, similar.map_or_else(|| FORMS.into(), Into::into)))
        }
    }
}

/// The kind that a URL without one probably has.
fn guess(url: &str) -> ReceiverKind {
    if url.contains("slack") {
        ReceiverKind::Slack
    } else if url.contains(":9093") || url.contains("alertmanager") {
        ReceiverKind::Alertmanager
    } else {
        ReceiverKind::Webhook
    }
}

fn all_kinds() -> String {
    KINDS.map(|kind| format!("`{}`", kind.name())).join(", ")
}

/// A URL without `user:password@`, and that.
fn without_user(url: &str) -> (Cow<'_, str>, Option<Vec<u8>>) {
    let Some((scheme, rest)) = url.split_once("://") else { return (url.into(), None) };
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let Some((user, host)) = rest[..end].rsplit_once('@') else { return (url.into(), None) };
    let mut user = percent_decoded(user);
    if !user.contains(&b':') {
        user.push(b':');
    }
    (format!("{scheme}://{host}{}", &rest[end..]).into(), Some(user))
}

fn percent_decoded(text: &str) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, behind)) = rest.split_first() {
        let digits = behind.get(..2).and_then(|two| std::str::from_utf8(two).ok());
        let digits = digits.filter(|two| *first == b'%' && two.bytes().all(|digit| digit.is_ascii_hexdigit()));
        let decoded = digits.and_then(|two| u8::from_str_radix(two, 16).ok());
        out.push(decoded.unwrap_or(*first));
        rest = if decoded.is_some() { &behind[2..] } else { behind };
    }
    debug_assert!(out.len() <= text.len(), "decoding shortens");
    out
}

/// Basic authentication (RFC 7617).
fn basic(user: &[u8]) -> HeaderValue {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::from("Basic ");
    for three in user.chunks(3) {
        let bits = three.iter().fold(0, |bits, byte| bits << 8 | u32::from(*byte)) << (8 * (3 - three.len()));
        for place in 0..4 {
            let letter = LETTERS[(bits >> (18 - 6 * place) & 63) as usize];
            text.push(if place <= three.len() { char::from(letter) } else { '=' });
        }
    }
    let mut value = HeaderValue::try_from(text).unwrap_or(HeaderValue::from_static(""));
    value.set_sensitive(true);
    value
}

impl ReceiverUrl {
    /// Kind, host and a port that is not the usual one: without path and credentials.
    pub(super) fn name(&self) -> String {
        let WebUrl { secured, host, port, .. } = &self.url;
        let host = if host.contains(':') { format!("[{host}]") } else { host.clone() };
        let usual = if *secured { 443 } else { 80 };
        let port = if *port == usual { String::new() } else { format!(":{port}") };
        format!("{}:{host}{port}", self.kind.name())
    }

    /// Whether what only the receiver may know would cross a public network without TLS.
    pub(super) fn is_exposed(&self) -> bool {
        let has_secret = self.authorization.is_some() || self.kind == ReceiverKind::Slack;
        !self.url.secured && has_secret && is_remote(&self.url.host)
    }
}

/// Whether a host is probably beyond the private network.
fn is_remote(host: &str) -> bool {
    const PRIVATE: [&str; 7] = ["localhost", "local", "internal", "svc", "lan", "home.arpa", "test"];
    if let Ok(ip) = host.parse::<IpAddr>() {
        return is_public(ip);
    }
    let name = host.trim_end_matches('.').to_ascii_lowercase();
    let is_below = |zone: &str| name.strip_suffix(zone).is_some_and(|left| left.ends_with('.'));
    name.contains('.') && !PRIVATE.iter().any(|zone| is_below(zone))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> ReceiverUrl {
        receiver_url(text).unwrap_or_else(|(message, _)| panic!("{text}: {message}"))
    }

    #[test]
    fn receivers_have_a_name_without_secrets() {
        for (text, name) in [
            ("webhook:https://hooks.example.com/x?key=s3cret", "webhook:hooks.example.com"),
            ("slack:https://hooks.slack.com/services/T/B/s3cret", "slack:hooks.slack.com"),
            ("alertmanager:http://ana:s3cret@am:9093/base/", "alertmanager:am:9093"),
            (" Slack:http://[::1]:8080/ ", "slack:[::1]:8080"),
            ("webhook:http://a", "webhook:a"),
        ] {
            assert_eq!(parsed(text).name(), name, "{text}");
        }
    }

    #[test]
    fn an_id_is_that_of_kind_and_url() {
        let id = |text: &str| parsed(text).id;
        assert_eq!(id("webhook:https://a/x"), id("webhook:https://a:443/x"));
        assert_eq!(id("alertmanager:http://a:9093"), id("alertmanager:http://a:9093/api/v2/alerts"));
        let all = ["webhook:https://a/x", "slack:https://a/x", "webhook:http://a:443/x", "webhook:https://u:p@a/x"];
        for (at, one) in all.iter().enumerate() {
            assert!(all[..at].iter().all(|other| id(other) != id(one)), "{one}");
            assert!(id(one).len() == 16 && id(one).bytes().all(|byte| byte.is_ascii_hexdigit()), "{one}");
        }
    }

    #[test]
    fn the_path_of_the_api_is_no_part_of_the_url() {
        for (text, path) in [
            ("alertmanager:http://a", "/"),
            ("alertmanager:http://a/api/v2/alerts", "/"),
            ("alertmanager:http://a/am/api/v2/alerts/", "/am"),
            ("webhook:http://a/api/v2/alerts", "/api/v2/alerts"),
        ] {
            assert_eq!(parsed(text).url.path, path, "{text}");
        }
    }

    #[test]
    fn users_are_sent_as_basic_authentication() {
        for (user, value) in [
            ("Aladdin:open sesame", "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ=="),
            ("a:", "Basic YTo="),
            ("ab:c", "Basic YWI6Yw=="),
            ("abc:de", "Basic YWJjOmRl"),
        ] {
            assert_eq!(basic(user.as_bytes()), value, "{user}");
        }
        for (text, value) in [
            ("webhook:https://ana:p%40ss@a/", Some("Basic YW5hOnBAc3M=")),
            ("webhook:https://ana@a/", Some("Basic YW5hOg==")),
            ("webhook:https://a%+1:b@a/", Some("Basic YSUrMTpi")),
            ("webhook:https://a/@", None),
        ] {
            let found = parsed(text);
            assert_eq!(found.authorization.map(|it| it.to_str().unwrap().to_owned()).as_deref(), value, "{text}");
            assert_eq!(found.url.host, "a", "{text}");
        }
    }

    #[test]
    fn secrets_do_not_leave_in_clear_text_unnoticed() {
        for (text, exposed) in [
            ("slack:http://hooks.slack.com/x", true),
            ("slack:https://hooks.slack.com/x", false),
            ("webhook:http://hooks.example.com/x", false),
            ("webhook:http://u:p@hooks.example.com/x", true),
            ("alertmanager:http://u:p@alertmanager:9093", false),
            ("alertmanager:http://u:p@am.monitoring.svc:9093", false),
            ("alertmanager:http://u:p@10.1.2.3:9093", false),
            ("alertmanager:http://u:p@192.0.2.1:9093", true),
        ] {
            assert_eq!(parsed(text).is_exposed(), exposed, "{text}");
        }
    }

    #[test]
    fn what_is_no_receiver_has_a_help() {
        for (text, help) in [
            ("", "webhook:"),
            ("hooks", "webhook:"),
            ("https://hooks.slack.com/x", "slack:https://…"),
            ("http://am:9093", "alertmanager:http://…"),
            ("https://a/b", "webhook:https://…"),
            ("slak:https://a", "slack"),
            ("mailto:ana@example.com", "alertmanager:"),
            ("teams:https://a", "webhook:"),
            ("webhook:", "webhook:https://"),
            ("webhook:ftp://a", "webhook:https://"),
            ("webhook://a", "webhook:https://"),
            ("webhook:https://a#b", "remove `#`"),
        ] {
            let Err((_, found)) = receiver_url(text) else { panic!("{text} is a receiver") };
            assert!(found.contains(help), "{text}: {found}");
        }
    }
}
