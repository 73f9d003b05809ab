//! The parsed `/status` document. Its text is untrusted: control characters are escaped.

use jiff::Timestamp;
use serde_json::Value;

use crate::cli::endpoint_row::UpstreamRow;
use crate::cli::kill_row::KillRow;
use crate::cli::receiver_row::ReceiverRow;
use crate::cli::release_row::{ReleaseRow, Urgency};
use crate::cli::rollout_row::RolloutRow;
use crate::compare::escape_controls;

/// The status of a proxy.
#[derive(Clone, Debug)]
pub struct StatusPage {
    pub version: String,
    pub pid: u64,
    pub uptime_s: u64,
    pub generation: u64,
    /// The routes file; nothing where the routes come from the command line.
    pub file: Option<String>,
    pub workers: u64,
    pub phase: String,
    /// Why it should get no traffic.
    pub unready: Option<String>,
    pub reload: Option<Reload>,
    pub hand_over_failure: Option<String>,
    pub listeners: Vec<ListenerStatus>,
    /// What is killed.
    pub kills: Vec<String>,
    /// The releases that need a person: the most urgent one first.
    pub releases: Vec<ReleaseRow>,
    /// The rollouts: those that need a person first.
    pub rollouts: Vec<RolloutRow>,
    /// Why there is no admin socket.
    pub socket_trouble: Option<String>,
    /// What is wrong with the journal.
    pub journal_trouble: Option<String>,
    /// Receivers of notifications that messages do not reach.
    pub receiver_troubles: Vec<String>,
    pub routes: Vec<RouteStatus>,
    pub shadows: Vec<ShadowStatus>,
    pub upstreams: Vec<UpstreamStatus>,
}

/// The last time that the file was read.
#[derive(Clone, Debug)]
pub struct Reload {
    pub cause: String,
    /// When, as it was sent.
    pub at: String,
    /// How long ago.
    pub ago_s: u64,
    pub summary: Vec<String>,
    /// Where it has changed nothing: how many seconds ago something was changed, and what.
    pub changed: Option<(u64, String)>,
    /// Why it was rejected, if it was.
    pub rejected: Option<Rejected>,
}

/// Why a file was rejected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejected {
    /// The first mistake.
    pub first: String,
    /// `routes.toml:18:1`, where it has a place.
    pub place: Option<String>,
    /// How to mend it.
    pub help: Option<String>,
    /// How many mistakes there are.
    pub mistakes: usize,
}

/// A listener.
#[derive(Clone, Debug)]
pub struct ListenerStatus {
    pub name: String,
    pub url: String,
    pub connections: u64,
    pub in_flight: u64,
    /// Certificates whose new files have an error.
    pub kept: Vec<String>,
}

/// A route.
#[derive(Clone, Debug)]
pub struct RouteStatus {
    pub name: String,
    /// `redirect` or `respond`, where it has no variants.
    pub action: String,
    /// Requests since the start.
    pub total: u64,
    pub traffic: Traffic,
    pub variants: Vec<VariantStatus>,
}

/// A variant of a route.
#[derive(Clone, Debug)]
pub struct VariantStatus {
    pub name: String,
    /// `killed`, `latched` or `held`, while it gets nothing.
    pub stopped: Option<&'static str>,
    /// Percent.
    pub weight: f64,
    /// Percent.
    pub share: Option<f64>,
    pub traffic: Traffic,
    pub p50_ms: Option<f64>,
    pub p99_ms: Option<f64>,
    /// What comparing it with stable shows.
    pub says: Option<String>,
}

/// Requests and those of them that failed.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Traffic {
    pub requests: u64,
    pub errors: u64,
    /// Requests per second, between two looks.
    pub rate: Option<f64>,
}

/// A dark launch.
#[derive(Clone, Debug)]
pub struct ShadowStatus {
    pub route: String,
    pub upstream: String,
    pub weight: f64,
    pub killed: bool,
}

/// An upstream.
#[derive(Clone, Debug)]
pub struct UpstreamStatus {
    pub name: String,
    pub endpoints: Vec<String>,
    /// Names without an address, each with the reason.
    pub unresolved: Vec<String>,
    pub connections: u64,
    pub in_flight: u64,
    pub tls_failure: Option<String>,
    /// Endpoints that are not well, in a line.
    pub trouble: Option<String>,
    /// Whether it has endpoints and none of them is usable.
    pub is_down: bool,
}

impl StatusPage {
    /// Reads a page; nothing when it is another document.
    #[must_use]
    pub fn parse(page: &Value) -> Option<Self> {
        let generation = page["generation"].as_u64()?;
        let routes = items(&page["routes"]);
        let uptime_s = number(&page["uptime_s"]);
        Some(Self {
            version: text(&page["version"]),
            pid: number(&page["pid"]),
            uptime_s,
            generation,
            file: optional(&page["file"]),
            workers: number(&page["workers"]),
            phase: text(&page["phase"]),
            unready: (page["ready"] == false).then(|| text(&page["unready_because"])),
            reload: reload(page, uptime_s),
            hand_over_failure: optional(&page["hand_over_failure"]),
            listeners: items(&page["listeners"]).map(listener).collect(),
            kills: kills(page),
            releases: releases(page),
            rollouts: RolloutRow::sorted(items(&page["rollouts"])),
            socket_trouble: optional(&page["admin_socket"]["trouble"])
                .map(|why| format!("no admin socket: {why}; act over TCP with a token")),
            journal_trouble: journal_trouble(&page["journal"]),
            receiver_troubles: items(&page["notify"]).filter_map(|one| ReceiverRow::read(one).trouble).collect(),
            routes: routes.clone().map(route).collect(),
            shadows: routes.filter(|route| route["shadow"].is_object()).map(shadow).collect(),
            upstreams: items(&page["upstreams"]).map(|one| upstream(one, &page["names"])).collect(),
        })
    }

    /// Sets what happened since an earlier look at the same process, `seconds` ago: rates, and errors of that time.
    pub fn since(&mut self, before: &Self, seconds: f64) {
        if self.pid != before.pid || self.uptime_s < before.uptime_s || seconds <= 0.0 {
            return;
        }
        for route in &mut self.routes {
            let Some(old) = before.routes.iter().find(|old| old.name == route.name) else { continue };
            route.traffic = route.traffic.since(&old.traffic, seconds);
            for variant in &mut route.variants {
                if let Some(old) = old.variants.iter().find(|old| old.name == variant.name) {
                    variant.traffic = variant.traffic.since(&old.traffic, seconds);
                }
            }
        }
    }
}

impl Traffic {
    /// The share of requests that failed.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "a ratio is for people")]
    pub fn error_ratio(&self) -> Option<f64> {
        (self.requests > 0).then(|| self.errors as f64 / self.requests as f64)
    }

    #[expect(clippy::cast_precision_loss, reason = "a rate is for people")]
    fn since(self, before: &Self, seconds: f64) -> Self {
        let requests = self.requests.saturating_sub(before.requests);
        let errors = self.errors.saturating_sub(before.errors);
        Self { requests, errors, rate: Some(requests as f64 / seconds) }
    }

    fn of(value: &Value) -> Self {
        let requests = number(&value["requests"]);
        #[expect(clippy::cast_precision_loss, reason = "counts far below 2^52")]
        let by_ratio = || (value["error_ratio"].as_f64().unwrap_or(0.0) * requests as f64).round();
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "at most the number of requests")]
        let errors = value["errors"].as_u64().unwrap_or_else(|| by_ratio() as u64);
        Self { requests, errors, rate: None }
    }
}

fn reload(page: &Value, uptime_s: u64) -> Option<Reload> {
    let last = &page["last_reload"];
    let at = last["at"].as_str()?;
    let read = |text: &Value| text.as_str()?.parse::<Timestamp>().ok();
    // By the proxy's own clock, which may differ from the one here.
    let began = read(&page["started_at"]).map_or(0, Timestamp::as_second);
    let now = began.saturating_add(i64::try_from(uptime_s).unwrap_or(i64::MAX));
    let ago = |at: &Value| now.saturating_sub(read(at).map_or(now, Timestamp::as_second));
    let seconds = |at: &Value| u64::try_from(ago(at)).unwrap_or(0);
    let change = &page["last_change"];
    let what: Vec<&str> = items(&change["summary"]).filter_map(Value::as_str).collect();
    let changed = (last["outcome"] == "unchanged" && !what.is_empty())
        .then(|| (seconds(&change["at"]), escape_controls(&what.join("; ")).into_owned()));
    let diagnostics = items(&last["diagnostics"]);
    let mistakes = diagnostics.clone().filter(|one| one["severity"] != "warning").count();
    let rejected = (last["outcome"] == "rejected").then(|| {
        let none = Value::Null;
        let first = diagnostics.clone().find(|one| one["severity"] != "warning").unwrap_or(&none);
        let label = &first["labels"][0];
        let place = match (label["line"].as_u64(), label["column"].as_u64()) {
            (Some(line), Some(column)) => Some(format!("{}:{line}:{column}", text(&label["file"]))),
            _ => optional(&label["file"]),
        };
        let message = optional(&first["message"]);
        let first_text = message.map(|message| format!("error[{}]: {message}", text(&first["code"])));
        let whole = || text(&last["text"]).lines().next().unwrap_or("the file is rejected").to_owned();
        Rejected { first: first_text.unwrap_or_else(whole), place, help: optional(&first["help"]), mistakes }
    });
    Some(Reload {
        cause: text(&last["cause"]),
        at: escape_controls(at).into_owned(),
        ago_s: seconds(&last["at"]),
        changed,
        summary: items(&last["summary"]).map(text).collect(),
        rejected,
    })
}

/// The page in an answer of `place`.
pub(super) fn parsed(place: &str, value: &Value) -> anyhow::Result<StatusPage> {
    StatusPage::parse(value)
        .ok_or_else(|| anyhow::anyhow!("{place} answers something else: is this the admin listener?"))
}

/// Why kills and revives are not recorded now, or what was wrong with the records at the start.
fn journal_trouble(journal: &Value) -> Option<String> {
    let failure = optional(&journal["failure"]).map(|why| {
        let (seq, durable) = (number(&journal["seq"]), number(&journal["durable_seq"]));
        let waiting = seq.saturating_sub(durable);
        let records = if waiting == 1 { "1 record waits".to_owned() } else { format!("{waiting} records wait") };
        format!("THE JOURNAL CANNOT BE WRITTEN: {why}; {records}, and a restart forgets kills that are not recorded")
    });
    let damage = || optional(&journal["damage"]).map(|why| format!("the journal was damaged at the start: {why}"));
    failure.or_else(damage)
}

/// Everything that is killed, in words: with who and why, where the proxy says so.
fn kills(page: &Value) -> Vec<String> {
    if page["kills"].is_array() {
        return items(&page["kills"]).map(|kill| KillRow::read(kill).sentence()).collect();
    }
    let mut kills = Vec::new();
    if page["kill"]["all"] == true {
        kills.push("all: every route serves stable, no copies are made".to_owned());
    }
    for route in items(&page["routes"]) {
        let name = text(&route["name"]);
        if route["killed"] == true {
            kills.push(format!("{name} (all variants)"));
        }
        let killed = items(&route["variants"]).filter(|variant| variant["killed"] == true);
        kills.extend(killed.map(|variant| format!("{name}:{}", text(&variant["name"]))));
    }
    match number(&page["kill"]["tenants"]) {
        0 => {}
        1 => kills.push("1 tenant".to_owned()),
        tenants => kills.push(format!("{tenants} tenants")),
    }
    kills
}

/// The releases that are rolled back, held or warned.
fn releases(page: &Value) -> Vec<ReleaseRow> {
    let all = items(&page["routes"]).flat_map(|route| items(&route["releases"])).map(ReleaseRow::read);
    ReleaseRow::sorted(all.filter(|row| row.urgency != Urgency::Calm).collect())
}

fn listener(listener: &Value) -> ListenerStatus {
    let scheme = if listener["tls"].is_object() { "https" } else { "http" };
    let kept = items(&listener["tls"]["certificates"]).filter(|one| one["kept_because"].is_string());
    ListenerStatus {
        name: text(&listener["name"]),
        url: format!("{scheme}://{}", text(&listener["address"])),
        connections: number(&listener["connections"]),
        in_flight: number(&listener["requests_in_flight"]),
        kept: kept.map(|one| format!("{}: {}", text(&one["name"]), text(&one["kept_because"]))).collect(),
    }
}

fn route(route: &Value) -> RouteStatus {
    let experiment = &route["experiment"];
    let variants = items(&route["variants"]).map(|one| {
        let name = text(&one["name"]);
        let named = |list: &Value, key: &str| items(list).find(|item| item[key] == one["name"]).cloned();
        // Finer, and of the time since the weights changed.
        let sampled = named(&experiment["variants"], "name").unwrap_or_default();
        let compared = named(&experiment["comparisons"], "variant").unwrap_or_default();
        let milliseconds = |key: &str| sampled[key].as_f64().or_else(|| one[key].as_f64());
        VariantStatus {
            stopped: stopped(one, route["killed"] == true && name != "stable"),
            weight: one["weight"].as_f64().unwrap_or(0.0),
            share: one["share"].as_f64(),
            traffic: Traffic::of(one),
            p50_ms: milliseconds("p50_ms"),
            p99_ms: milliseconds("p99_ms"),
            says: optional(&compared["says"]).map(|says| verdict(says, &text(&compared["against"]))),
            name,
        }
    });
    let traffic = Traffic::of(route);
    RouteStatus {
        name: text(&route["name"]),
        action: text(&route["action"]),
        total: traffic.requests,
        traffic,
        variants: variants.collect(),
    }
}

/// Why a variant gets nothing.
fn stopped(variant: &Value, is_route_killed: bool) -> Option<&'static str> {
    let is = |word: &str| variant[word] == true;
    if is_route_killed || is("killed") {
        return Some("killed");
    }
    ["latched", "held"].into_iter().find(|word| is(word))
}

/// What a comparison shows, as a sentence without its subject.
fn verdict(says: String, against: &str) -> String {
    if says.ends_with("often") { format!("{says} than {against}") } else { says }
}

fn shadow(route: &Value) -> ShadowStatus {
    let shadow = &route["shadow"];
    ShadowStatus {
        route: text(&route["name"]),
        upstream: text(&shadow["upstream"]),
        weight: shadow["weight"].as_f64().unwrap_or(0.0),
        killed: shadow["killed"] == true,
    }
}

fn upstream(upstream: &Value, names: &Value) -> UpstreamStatus {
    let unresolved = items(&upstream["unresolved"]).map(|name| {
        let error = name.as_str().and_then(|name| optional(&names[name]["error"]));
        format!("{}: {}", text(name), error.unwrap_or_else(|| "no address".to_owned()))
    });
    let failure = &upstream["last_tls_failure"];
    let row = UpstreamRow::read(upstream);
    UpstreamStatus {
        name: text(&upstream["name"]),
        endpoints: items(&upstream["endpoints"]).map(|one| text(&one["address"])).collect(),
        unresolved: unresolved.collect(),
        connections: number(&upstream["connections"]),
        in_flight: number(&upstream["in_flight"]),
        tls_failure: failure["cause"]
            .as_str()
            .map(|_| format!("{} at {}", text(&failure["cause"]), text(&failure["at"]))),
        is_down: row.usable == Some(0) && row.total > 0,
        trouble: row.trouble(),
    }
}

fn items(value: &Value) -> impl Iterator<Item = &Value> + Clone {
    value.as_array().into_iter().flatten()
}

fn number(value: &Value) -> u64 {
    value.as_u64().unwrap_or(0)
}

fn text(value: &Value) -> String {
    escape_controls(value.as_str().unwrap_or("")).into_owned()
}

fn optional(value: &Value) -> Option<String> {
    value.as_str().map(|text| escape_controls(text).into_owned())
}
