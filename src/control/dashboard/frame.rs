//! The frame of every page: head, navigation, the state of the proxy, the dialogs.

use maud::{DOCTYPE, Markup, html};
use serde_json::Value;

use super::banner::{BannerPlace, banner};
use super::dialogs::{act_dialog, help_dialog, kill_dialog};
use super::needs::{NeedFacts, needs};
use super::viewer::Viewer;

/// The mark of the project as an address of an image: points that lead one track into two.
const ICON: &str = "data:image/svg+xml,%3Csvg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 16 16' fill='none' \
                    stroke='%23777f88' stroke-width='2'%3E%3Cpath d='M1 12h14M5 12 14 4'/%3E%3C/svg%3E";

/// The pages, in the order of the navigation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PageName {
    Overview,
    Routes,
    Upstreams,
    Shadows,
    Experiments,
    Config,
    Journal,
    Kills,
    SignIn,
}

/// What every page shows around its content.
#[derive(Clone, Debug)]
pub struct Frame<'a> {
    pub page: PageName,
    /// The title, such as `checkout-v2`.
    pub title: &'a str,
    pub viewer: &'a Viewer,
    /// The sequence number of the journal that the page has seen: acts send it as `expect`.
    pub seq: u64,
    /// The moment of the server, RFC 3339.
    pub now: &'a str,
    /// `/v1/status`, in part: `version`, `generation`, `phase`, `ready`, `unready_because`, `last_reload`, `journal`, `kill`,
    /// `kills`.
    pub status: &'a Value,
    /// The dashboard of Grafana that fits to the page, when `[admin] grafana` is set.
    pub grafana: Option<&'a str>,
}

impl PageName {
    /// Those of the navigation.
    pub const ALL: [Self; 8] = [
        Self::Overview,
        Self::Routes,
        Self::Upstreams,
        Self::Shadows,
        Self::Experiments,
        Self::Config,
        Self::Journal,
        Self::Kills,
    ];

    /// Its path.
    pub const fn path(self) -> &'static str {
        match self {
            Self::Overview => "/",
            Self::Routes => "/routes",
            Self::Upstreams => "/upstreams",
            Self::Shadows => "/shadows",
            Self::Experiments => "/experiments",
            Self::Config => "/config",
            Self::Journal => "/journal",
            Self::Kills => "/kills",
            Self::SignIn => "/sign-in",
        }
    }

    /// Its name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Overview => "Overview",
            Self::Routes => "Routes",
            Self::Upstreams => "Upstreams",
            Self::Shadows => "Shadows",
            Self::Experiments => "Experiments",
            Self::Config => "Config",
            Self::Journal => "Journal",
            Self::Kills => "Kills",
            Self::SignIn => "Sign in",
        }
    }

    /// Its name in `data-page`.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Overview => "overview",
            Self::Routes => "routes",
            Self::Upstreams => "upstreams",
            Self::Shadows => "shadows",
            Self::Experiments => "experiments",
            Self::Config => "config",
            Self::Journal => "journal",
            Self::Kills => "kills",
            Self::SignIn => "sign-in",
        }
    }
}

impl Frame<'_> {
    /// The whole page with this content.
    pub fn around(&self, main: &Markup) -> String {
        self.with_needs(main, None)
    }

    /// The whole page with this content, and how many things need a person; `None`: it is not known here.
    pub fn with_needs(&self, main: &Markup, needs: Option<usize>) -> String {
        let signs_in = self.page == PageName::SignIn;
        let page = html! {
            (DOCTYPE)
            html lang="en" {
                head {
                    (head(self.title))
                    script src="/assets/dashboard.js" defer {}
                }
                body data-page=(self.page.word()) data-seq=(self.seq) data-now=(self.now)
                    data-viewer=(self.viewer.word()) data-version=(env!("CARGO_PKG_VERSION"))
                    data-signed-in[self.viewer.name.is_some()] {
                    a class="skip" href="#main" { "Skip to the content" }
                    header class="top" {
                        (mark())
                        @if !signs_in {
                            (self.nav(needs.or_else(|| self.known_needs())))
                            (self.tools())
                        }
                    }
                    @if !signs_in { (self.strip(needs)) }
                    main id="main" tabindex="-1" { (main) }
                    p id="announcer" class="sr-only" aria-live="polite" {}
                    (act_dialog())
                    @if self.viewer.may_operate { (kill_dialog()) }
                    (help_dialog())
                }
            }
        };
        without_today(&page.into_string(), self.now)
    }

    /// How many things need a person, where the status has releases and upstreams, too.
    fn known_needs(&self) -> Option<usize> {
        let facts = NeedFacts { status: self.status, rollouts: self.status, upstreams: self.status, now: self.now };
        self.status["rollouts"].is_array().then(|| needs(facts).len())
    }

    fn nav(&self, needs: Option<usize>) -> Markup {
        let count = needs.filter(|needs| *needs > 0);
        html! {
            nav aria-label="Pages" {
                ul {
                    @for page in PageName::ALL {
                        li {
                            a href=(page.path()) aria-current=[(page == self.page).then_some("page")] {
                                (page.name())
                                @if page == PageName::Overview {
                                    span id="needs-count" class="count" {
                                        @if let Some(count) = count { (count) span class="sr-only" { " need a person" } }
                                    }
                                }
                            }
                        }
                    }
                }
            }
        }
    }

    /// Who looks, and what is on every page.
    fn tools(&self) -> Markup {
        let to = self.page.path();
        html! {
            div class="tools" {
                @if let Some(name) = &self.viewer.name {
                    span class="who" { bdi { (name) } " " span class="soft" { "by " (self.viewer.via) } }
                    @if self.viewer.has_session {
                        form id="sign-out" method="post" action="/sign-out" { button type="submit" { "Sign out" } }
                    }
                } @else {
                    a class="button" href={ "/sign-in?to=" (to) } { "Sign in" }
                }
                button type="button" id="help-open" data-key="?" aria-keyshortcuts="?" aria-label="Keys" { "?" }
                @if self.viewer.may_operate {
                    button type="button" id="kill-open" class="grave" data-key="x" aria-keyshortcuts="x" { "Kill…" }
                }
            }
        }
    }

    /// The state of the proxy, and how old the page is.
    fn strip(&self, needs: Option<usize>) -> Markup {
        let place = if needs.is_some() { BannerPlace::AboveNeeds } else { BannerPlace::Elsewhere };
        html! {
            section class="strip" aria-label="State of the proxy" {
                div id="banner" { (banner(self.status, place)) }
                div class="age" {
                    @if let Some(grafana) = self.grafana {
                        a href=(grafana) rel="noreferrer noopener" target="_blank" { "Longer ranges in Grafana" }
                    }
                    p id="freshness" role="status" { "as of " time datetime=(self.now) { (self.now) } }
                }
                noscript {
                    p class="note" {
                        "Without script this page is for reading: load it again for newer figures. The command "
                        code { "pointsman" } " acts."
                    }
                }
            }
        }
    }
}

/// Moments of today are without their date: the frame has it.
fn without_today(page: &str, now: &str) -> String {
    match now.split_once('T') {
        Some((date, _)) if !date.is_empty() => page.replace(&format!("<span class=\"date\">{date} </span>"), ""),
        _ => page.to_owned(),
    }
}

/// What the head of every page has.
fn head(title: &str) -> Markup {
    html! {
        meta charset="utf-8";
        meta name="viewport" content="width=device-width, initial-scale=1";
        meta name="color-scheme" content="light dark";
        meta name="robots" content="noindex";
        title { (title) " · Pointsman" }
        link rel="icon" href=(ICON);
        link rel="stylesheet" href="/assets/dashboard.css";
    }
}

fn mark() -> Markup {
    html! {
        a class="mark" href="/" {
            svg viewBox="0 0 16 16" width="16" height="16" aria-hidden="true" { path d="M1 12h14M5 12 14 4" {} }
            "Pointsman"
        }
    }
}

/// A page in place of one that is refused: what happened, and what to do.
pub fn refusal_page(title: &str, detail: &str, help: &str) -> String {
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head { (head(title)) }
            body {
                header class="top" { (mark()) }
                main id="main" class="alone" {
                    h1 { (title) }
                    p { (detail) }
                    p class="help" { (help) }
                    p { a href="/" { "Overview" } }
                }
            }
        }
    };
    page.into_string()
}

#[cfg(test)]
mod tests {
    use maud::html;
    use serde_json::json;

    use super::*;

    fn frame<'a>(viewer: &'a Viewer, status: &'a Value) -> Frame<'a> {
        Frame {
            page: PageName::Journal,
            title: "Journal",
            viewer,
            seq: 42,
            now: "2026-12-01T01:00:20.123Z",
            status,
            grafana: None,
        }
    }

    fn shown(viewer: &Viewer) -> String {
        frame(viewer, &json!({ "phase": "running", "ready": true })).around(&html! { p { "content" } })
    }

    #[test]
    fn every_page_has_its_frame() {
        let page = shown(&Viewer { name: Some("ana".to_owned()), may_operate: true, ..Viewer::default() });
        for part in [
            "<!DOCTYPE html><html lang=\"en\">",
            "name=\"viewport\"",
            "name=\"color-scheme\"",
            "<title>Journal · Pointsman</title>",
            "data-page=\"journal\" data-seq=\"42\" data-now=\"2026-12-01T01:00:20.123Z\" data-viewer=\"",
            " data-signed-in",
            "class=\"skip\" href=\"#main\"",
            "<a href=\"/journal\" aria-current=\"page\">",
            "id=\"banner\"",
            "id=\"needs-count\"",
            "id=\"freshness\" role=\"status\"",
            "id=\"announcer\"",
            "<noscript>",
            "id=\"act-dialog\"",
            "id=\"kill-dialog\"",
            "id=\"help-dialog\"",
            "id=\"kill-open\"",
        ] {
            assert_eq!(page.matches(part).count(), 1, "{part}: {page}");
        }
        assert_eq!(page.matches("aria-current").count(), 1);
        let status = json!({ "rollouts": [{ "kind": "rollout", "needs_person": true }] });
        let counted = frame(&Viewer::default(), &status).around(&html! {});
        assert!(counted.contains("class=\"count\">1<span class=\"sr-only\"> need a person"), "{counted}");
        for forbidden in [" style=", " onclick", " onload", "<script>", "http://", "https://"] {
            let own = page.replace("http://www.w3.org/2000/svg", "");
            assert!(!own.contains(forbidden), "{forbidden}: {page}");
        }
    }

    #[test]
    fn a_viewer_sees_only_what_they_may_do() {
        let reader = shown(&Viewer::default());
        assert!(reader.contains("href=\"/sign-in?to=/journal\"") && !reader.contains("data-signed-in"), "{reader}");
        assert!(
            !reader.contains("kill-open") && !reader.contains("kill-dialog") && !reader.contains("Sign out"),
            "{reader}"
        );
        let session = shown(&Viewer { name: Some("ana".to_owned()), has_session: true, ..Viewer::default() });
        assert!(
            session.contains("<form id=\"sign-out\" method=\"post\"") && !session.contains("sign-in?to"),
            "{session}"
        );
    }

    #[test]
    fn hostile_names_stay_text() {
        let hostile = "<img src=x onerror=alert(1)>\"'\u{202e}".repeat(100);
        let viewer = Viewer { name: Some(hostile.clone()), via: hostile.clone(), ..Viewer::default() };
        let status = json!({ "version": hostile, "generation": hostile });
        let page = Frame { title: &hostile, now: &hostile, grafana: Some(&hostile), ..frame(&viewer, &status) }
            .around(&html! {});
        assert!(!page.contains("<img"), "{page}");
        assert!(!refusal_page(&hostile, &hostile, &hostile).contains("<img"));
        assert!(refusal_page("not found", "there is none", "look there").contains("look there"));
    }

    #[test]
    fn moments_of_today_are_without_their_date() {
        let page = "<span class=\"date\">2026-12-01 </span>a<span class=\"date\">2026-11-30 </span>b";
        assert_eq!(without_today(page, "2026-12-01T01:00:20.123Z"), "a<span class=\"date\">2026-11-30 </span>b");
        for now in ["", "T", "soon"] {
            assert_eq!(without_today(page, now), page);
        }
    }

    /// The relative luminance of a colour `#rrggbb` (WCAG 2).
    fn luminance(colour: &str) -> f64 {
        let part = |at: usize| {
            let value = f64::from(u8::from_str_radix(&colour[at..at + 2], 16).expect("two digits")) / 255.0;
            if value <= 0.040_45 { value / 12.92 } else { ((value + 0.055) / 1.055).powf(2.4) }
        };
        0.2126 * part(1) + 0.7152 * part(3) + 0.0722 * part(5)
    }

    fn contrast(one: &str, other: &str) -> f64 {
        let (one, other) = (luminance(one), luminance(other));
        (one.max(other) + 0.05) / (one.min(other) + 0.05)
    }

    /// The colour of a property in a block of the style sheet.
    fn colour<'c>(block: &'c str, name: &str) -> &'c str {
        let found = block.split_once(&format!("--{name}: ")).map(|(_, rest)| &rest[..7]);
        found.filter(|colour| colour.starts_with('#')).unwrap_or_else(|| panic!("--{name}"))
    }

    #[test]
    fn colours_have_enough_contrast_in_both_themes() {
        let css = include_str!("assets/base.css");
        let dark = css.split_once("prefers-color-scheme: dark").expect("a dark theme").1;
        for (theme, block) in [("light", css), ("dark", dark)] {
            for name in
                ["ink", "soft", "stable", "canary", "bad", "asks", "held", "watch", "serving", "unknown", "focus"]
            {
                for ground in ["paper", "band"] {
                    let ratio = contrast(colour(block, name), colour(block, ground));
                    assert!(ratio >= 4.5, "{theme}: --{name} on --{ground} has {ratio:.2}, text needs 4.5");
                }
            }
            let edge = contrast(colour(block, "edge"), colour(block, "paper"));
            assert!(edge >= 3.0, "{theme}: borders of fields have {edge:.2} and need 3");
        }
        assert!((contrast("#000000", "#ffffff") - 21.0).abs() < 0.01);
    }
}
