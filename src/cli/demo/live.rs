//! The live line: once a second, who got what over the last seconds, read from `/status` like anybody could.

use std::collections::VecDeque;
use std::io::Write;
use std::time::Duration;

use http::Uri;
use serde_json::Value;
use tokio::time::{MissedTickBehavior, interval};

use super::findings::Findings;
use super::service::{Fault, Switch};
use crate::cli::fetch;
use crate::cli::paint::Paint;

/// Readings that are kept: the window is one shorter, and in it every caller of the demo's traffic comes once.
const READINGS: usize = 5;
/// How wide the bar is.
const BAR: usize = 32;

/// Where the line goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Screen {
    /// A terminal: one line that is painted over every second.
    Terminal,
    /// A file or a pipe: a line every ten seconds.
    Plain,
}

/// One look at `/status`.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Reading {
    generation: u64,
    weight: f64,
    stable: u64,
    canary: u64,
    errors: u64,
    reload: Option<Reload>,
}

/// What the last reload came to.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Reload {
    at: String,
    rejected: Option<String>,
    summary: Vec<String>,
}

/// The last readings.
#[derive(Debug, Default)]
struct Window(VecDeque<Reading>);

/// Watches until the runtime ends.
pub(super) async fn watch((status, mut findings): (Uri, Findings), switch: Switch, screen: Screen, paint: Paint) {
    let mut ticks = interval(Duration::from_secs(1));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let mut window = Window::default();
    for second in 0_u64.. {
        ticks.tick().await;
        let Some(reading) = read(&status).await else { continue };
        let mut news: Vec<String> = window.push(reading).into_iter().collect();
        news.extend(findings.news().await);
        let fault = switch.fault();
        let mut out = std::io::stdout().lock();
        // The demo goes on when nobody looks.
        let _ = match screen {
            Screen::Terminal => {
                let news: String = news.into_iter().map(|line| line + "\n").collect();
                write!(out, "\r\x1b[2K{}{}", news, window.line(fault, paint)).and_then(|()| out.flush())
            }
            Screen::Plain => {
                let line = (second % 10 == 9).then(|| window.line(fault, paint));
                news.into_iter().chain(line).try_for_each(|line| writeln!(out, "{line}"))
            }
        };
    }
}

async fn read(status: &Uri) -> Option<Reading> {
    let answer = fetch::get(status).await.ok()?;
    Reading::parse(&serde_json::from_slice(&answer.body).ok()?)
}

impl Reading {
    fn parse(status: &Value) -> Option<Self> {
        let route = status["routes"].as_array()?.iter().find(|route| route["name"] == "shop");
        let variant = |name: &str| {
            let variants = route.and_then(|route| route["variants"].as_array());
            variants
                .and_then(|variants| variants.iter().find(|variant| variant["name"] == name))
                .unwrap_or(&Value::Null)
        };
        let (stable, canary) = (variant("stable"), variant("canary"));
        let requests = |variant: &Value| variant["requests"].as_u64().unwrap_or(0);
        let errors = |variant: &Value| variant["errors"].as_u64().unwrap_or(0);
        Some(Self {
            generation: status["generation"].as_u64()?,
            weight: canary["weight"].as_f64().unwrap_or(0.0),
            stable: requests(stable),
            canary: requests(canary),
            errors: errors(stable) + errors(canary),
            reload: Reload::parse(&status["last_reload"]),
        })
    }
}

impl Reload {
    fn parse(reload: &Value) -> Option<Self> {
        let texts = |value: &Value| {
            let list = value.as_array().map(Vec::as_slice).unwrap_or_default();
            list.iter().filter_map(|text| text.as_str().map(str::to_owned)).collect()
        };
        Some(Self {
            at: reload.get("at")?.to_string(),
            rejected: (reload["outcome"] == "rejected")
                .then(|| reload["text"].as_str().unwrap_or("the file is refused").trim_end().to_owned()),
            summary: texts(&reload["summary"]),
        })
    }
}

impl Window {
    /// Takes a reading, and tells what is new since the one before.
    fn push(&mut self, reading: Reading) -> Option<String> {
        let news = self.0.back().and_then(|last| {
            let reload = reading.reload.as_ref().filter(|reload| last.reload.as_ref() != Some(reload))?;
            match &reload.rejected {
                Some(text) => Some(format!("{text}\nrejected: generation {} goes on", reading.generation)),
                None if reading.generation == last.generation => None,
                None => Some(format!("generation {}: {}", reading.generation, reload.summary.join("; "))),
            }
        });
        // What was before an edit says nothing about what comes after it.
        if self.0.back().is_some_and(|last| last.generation != reading.generation) {
            self.0.clear();
        }
        self.0.push_back(reading);
        if self.0.len() > READINGS {
            self.0.pop_front();
        }
        news
    }

    /// The line.
    #[expect(clippy::cast_precision_loss, reason = "shares of a few seconds, for people")]
    fn line(&self, fault: Fault, paint: Paint) -> String {
        let (Some(first), Some(last)) = (self.0.front(), self.0.back()) else { return String::new() };
        if self.0.len() < 2 {
            return "measuring…".to_owned();
        }
        let seconds = (self.0.len() - 1) as f64;
        let stable = last.stable.saturating_sub(first.stable);
        let canary = last.canary.saturating_sub(first.canary);
        let errors = last.errors.saturating_sub(first.errors) as f64 / seconds;
        let all = stable + canary;
        let share = if all == 0 { 0.0 } else { canary as f64 / all as f64 };
        let errors = format!("{errors:.0} errors/s");
        let fault = if fault == Fault::Off { String::new() } else { paint.red(&format!("  fault: {}", fault.name())) };
        format!(
            "stable {} canary {:>5.1} % (set {})  {:.0} req/s  {}  generation {}{fault} ",
            bar(share, paint),
            share * 100.0,
            last.weight,
            all as f64 / seconds,
            if errors.starts_with("0 ") { errors } else { paint.red(&errors) },
            last.generation,
        )
    }
}

/// A bar whose right part is the canary's share; a share above zero is always seen.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss, reason = "0 to BAR")]
fn bar(share: f64, paint: Paint) -> String {
    let cells = (share * BAR as f64).round() as usize;
    let cells = if share > 0.0 { cells.max(1) } else { 0 }.min(BAR);
    format!("{}{}", paint.variant(0, &"█".repeat(BAR - cells)), paint.variant(1, &"▒".repeat(cells)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reading(generation: u64, stable: u64, canary: u64) -> Reading {
        Reading { generation, weight: 10.0, stable, canary, ..Reading::default() }
    }

    #[test]
    fn a_share_is_that_of_the_window() {
        let mut window = Window::default();
        for second in 0..20 {
            assert_eq!(window.push(reading(1, 45 * second, 5 * second)), None);
        }
        let line = window.line(Fault::Off, Paint::Plain);
        assert!(line.contains("canary  10.0 % (set 10)  50 req/s  0 errors/s  generation 1"), "{line}");
        assert!(!line.contains("fault"), "{line}");
        assert!(window.line(Fault::Slow, Paint::Plain).contains("fault: slow"));
    }

    #[test]
    fn nobody_yet_is_no_division() {
        let mut window = Window::default();
        window.push(reading(1, 0, 0));
        assert_eq!(window.line(Fault::Off, Paint::Plain), "measuring…");
        window.push(reading(1, 0, 0));
        assert!(window.line(Fault::Off, Paint::Plain).contains("canary   0.0 %"));
    }

    #[test]
    fn an_edit_begins_anew() {
        let mut window = Window::default();
        for now in [reading(1, 0, 0), reading(1, 1000, 0), reading(2, 1000, 0), reading(2, 1000, 50)] {
            window.push(now);
        }
        assert!(window.line(Fault::Off, Paint::Plain).contains("canary 100.0 %"));
    }

    #[test]
    fn a_small_share_is_seen() {
        for (share, cells) in [(0.0, 0), (0.001, 1), (0.5, BAR / 2), (1.0, BAR)] {
            assert_eq!(bar(share, Paint::Plain).matches('▒').count(), cells, "{share}");
        }
    }

    #[test]
    fn reloads_are_news_once() {
        let reload = |at: &str, rejected: Option<&str>| {
            let summary = vec!["shop canary 10 → 50".to_owned()];
            Some(Reload { at: at.to_owned(), rejected: rejected.map(str::to_owned), summary })
        };
        let mut window = Window::default();
        assert_eq!(window.push(Reading { reload: reload("1", None), ..reading(1, 0, 0) }), None);
        let news = window.push(Reading { reload: reload("2", None), ..reading(2, 0, 0) });
        assert_eq!(news.as_deref(), Some("generation 2: shop canary 10 → 50"));
        assert_eq!(window.push(Reading { reload: reload("2", None), ..reading(2, 0, 0) }), None);
        let news = window.push(Reading { reload: reload("3", Some("error: no")), ..reading(2, 0, 0) });
        assert_eq!(news.as_deref(), Some("error: no\nrejected: generation 2 goes on"));
    }
}
