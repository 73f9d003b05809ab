//! Links from the pages of the dashboard to the panels of `deploy/grafana/pointsman.json`, which have longer ranges.

use std::fmt::Write as _;

/// The uid of the dashboard in `deploy/grafana/pointsman.json`.
const UID: &str = "pointsman";

/// The most routes that a link names; with more it shows all.
const ROUTES_MAX: usize = 20;

/// A page of the dashboard, and what it is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum GrafanaPage<'a> {
    Overview,
    /// A rollout, and the routes that it moves.
    Rollout {
        name: &'a str,
        routes: &'a [&'a str],
    },
    Routes,
    /// A route, or the release of a weight on it.
    Route(&'a str),
    Upstreams,
    Shadows,
    Experiments,
    Config,
    Journal,
    Kills,
}

/// The link of a page; `base` is `[admin] grafana`: the URL of a Grafana, or that of a dashboard in it.
pub(super) fn grafana_link(base: &str, page: GrafanaPage<'_>) -> String {
    let (path, given) = base.split_once('?').unwrap_or((base, ""));
    let mut link = path.trim_end_matches('/').to_owned();
    if !is_dashboard(path) {
        link.push_str("/d/");
        link.push_str(UID);
    }
    let mut separator = '?';
    let mut add = |part: &str| {
        link.push(separator);
        link.push_str(part);
        separator = '&';
    };
    if !given.is_empty() {
        add(given);
    }
    let is_given = |name: &str| given.split('&').any(|part| part.split('=').next() == Some(name));
    if !is_given("from") && !is_given("to") {
        add(&format!("from={}&to=now", page.from()));
    }
    for (name, value) in page.variables() {
        add(&format!("{name}={}", encoded(value)));
    }
    if let Some(panel) = page.panel() {
        add(&format!("viewPanel={panel}"));
    }
    link
}

/// Whether a URL without its query is that of a dashboard: `https://HOST/…/d/UID/…`.
fn is_dashboard(url: &str) -> bool {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let path = rest.split_once('/').map_or("", |(_, path)| path);
    let mut parts = path.split('/');
    parts.any(|part| part == "d") && parts.next().is_some_and(|uid| !uid.is_empty())
}

/// A value in a query, percent-encoded (RFC 3986): unreserved characters alone stay.
fn encoded(value: &str) -> String {
    value.bytes().fold(String::with_capacity(value.len()), |mut out, byte| {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            // Writing to a string cannot fail.
            let _ = write!(out, "%{byte:02X}");
        }
        out
    })
}

impl<'a> GrafanaPage<'a> {
    /// The panel that it leads to. Pages whose subject the variables choose lead to the whole dashboard, which begins with
    /// the overview and the rollout.
    const fn panel(self) -> Option<u16> {
        match self {
            Self::Overview | Self::Rollout { .. } | Self::Route(_) => None,
            Self::Routes => Some(13),
            Self::Upstreams => Some(70),
            Self::Shadows => Some(42),
            Self::Experiments => Some(105),
            Self::Config => Some(27),
            Self::Journal => Some(66),
            Self::Kills => Some(64),
        }
    }

    /// The variables of the dashboard that are set.
    fn variables(self) -> Vec<(&'static str, &'a str)> {
        match self {
            Self::Rollout { name, routes } => {
                let routes = if routes.len() > ROUTES_MAX { &[] } else { routes };
                [("var-rollout", name)].into_iter().chain(routes.iter().map(|route| ("var-route", *route))).collect()
            }
            Self::Route(name) => vec![("var-route", name)],
            Self::Overview
            | Self::Routes
            | Self::Upstreams
            | Self::Shadows
            | Self::Experiments
            | Self::Config
            | Self::Journal
            | Self::Kills => Vec::new(),
        }
    }

    /// The begin of the range: more than the page itself shows.
    const fn from(self) -> &'static str {
        match self {
            Self::Rollout { .. } | Self::Experiments => "now-7d",
            Self::Overview
            | Self::Routes
            | Self::Route(_)
            | Self::Upstreams
            | Self::Shadows
            | Self::Config
            | Self::Journal
            | Self::Kills => "now-24h",
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    const PAGES: [GrafanaPage<'_>; 10] = [
        GrafanaPage::Overview,
        GrafanaPage::Rollout { name: "shop-v2", routes: &["shop"] },
        GrafanaPage::Routes,
        GrafanaPage::Route("shop"),
        GrafanaPage::Upstreams,
        GrafanaPage::Shadows,
        GrafanaPage::Experiments,
        GrafanaPage::Config,
        GrafanaPage::Journal,
        GrafanaPage::Kills,
    ];

    #[test]
    fn a_link_names_the_dashboard_its_variables_and_a_panel() {
        let rollout = GrafanaPage::Rollout { name: "shop-v2", routes: &["shop", "api"] };
        for (base, page, link) in [
            ("https://g", GrafanaPage::Overview, "https://g/d/pointsman?from=now-24h&to=now"),
            ("https://g/sub", GrafanaPage::Kills, "https://g/sub/d/pointsman?from=now-24h&to=now&viewPanel=64"),
            (
                "http://g:3000?orgId=2",
                GrafanaPage::Config,
                "http://g:3000/d/pointsman?orgId=2&from=now-24h&to=now&viewPanel=27",
            ),
            (
                "https://g/d/abc/edge",
                rollout,
                "https://g/d/abc/edge?from=now-7d&to=now&var-rollout=shop-v2&var-route=shop&var-route=api",
            ),
            ("https://g/x/d/abc?from=now-2d", GrafanaPage::Route("a"), "https://g/x/d/abc?from=now-2d&var-route=a"),
            ("https://d/d", GrafanaPage::Overview, "https://d/d/d/pointsman?from=now-24h&to=now"),
            ("https://d/d/", GrafanaPage::Overview, "https://d/d/d/pointsman?from=now-24h&to=now"),
        ] {
            assert_eq!(grafana_link(base, page), link);
        }
    }

    #[test]
    fn hostile_names_stay_in_their_value() {
        let long = "x".repeat(4096);
        for name in ["\"><img src=x onerror=alert(1)>", "a&viewPanel=1#x", "\u{202e}txt", "a b+c", &long] {
            let link = grafana_link("https://g", GrafanaPage::Route(name));
            let value = link.split_once("var-route=").map_or("", |(_, value)| value);
            assert!(value.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._~%".contains(&byte)), "{link}");
        }
        let many: Vec<&str> = vec!["r"; ROUTES_MAX + 1];
        let link = grafana_link("https://g", GrafanaPage::Rollout { name: "all", routes: &many });
        assert!(link.ends_with("&var-rollout=all"), "{link}");
    }

    #[test]
    fn the_shipped_dashboard_has_what_links_name() {
        let shipped: Value = serde_json::from_str(include_str!("../../../deploy/grafana/pointsman.json")).unwrap();
        assert_eq!(shipped["uid"], UID);
        let panels: Vec<u64> =
            shipped["panels"].as_array().unwrap().iter().filter_map(|one| one["id"].as_u64()).collect();
        let variables: Vec<String> = (shipped["templating"]["list"].as_array().unwrap().iter())
            .map(|one| format!("var-{}", one["name"].as_str().unwrap()))
            .collect();
        for page in PAGES {
            assert!(page.panel().is_none_or(|panel| panels.contains(&panel.into())), "{page:?}");
            for (name, _) in page.variables() {
                assert!(variables.iter().any(|known| known == name), "{page:?}: {name}");
            }
        }
    }
}
