//! An interval as a bar on an axis with zero in its middle.

use maud::{Markup, html};
use serde_json::Value;

/// The width of the bar.
const WIDTH: f64 = 120.0;
/// The part of the axis that the interval takes.
const FILL: f64 = 0.9;

/// An interval around an estimate; nothing when an end is not known. The words with the figures stand beside it.
pub fn interval_bar(estimate: &Value, low: &Value, high: &Value) -> Markup {
    let (Some(low), Some(high)) = (low.as_f64(), high.as_f64()) else { return html! {} };
    let reach = low.abs().max(high.abs());
    if !reach.is_finite() || low > high {
        return html! {};
    }
    let reach = if reach > 0.0 { reach } else { 1.0 };
    let at = |value: f64| (WIDTH / 2.0 * (1.0 + FILL * (value / reach).clamp(-1.0, 1.0)) * 10.0).round() / 10.0;
    let tone = match (low > 0.0, high < 0.0) {
        (true, _) => "worse",
        (_, true) => "better",
        (false, false) => "open",
    };
    html! {
        svg class={ "interval " (tone) } viewBox="0 0 120 14" width="120" height="14" aria-hidden="true" {
            path class="axis" d="M0 7H120" {}
            path class="zero" d="M60 1V13" {}
            path class="span" d={ "M" (at(low)) " 7H" (at(high)) } {}
            path class="ends" d={ "M" (at(low)) " 4V10M" (at(high)) " 4V10" } {}
            @if let Some(estimate) = estimate.as_f64().filter(|estimate| estimate.is_finite()) {
                circle class="estimate" cx=(at(estimate)) cy="7" r="2.5" {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn zero_is_in_the_middle() {
        let bar = |estimate: f64, low: f64, high: f64| {
            interval_bar(&json!(estimate), &json!(low), &json!(high)).into_string()
        };
        let both = bar(0.0, -0.01, 0.01);
        assert!(both.contains("interval open") && both.contains("M6 7H114") && both.contains("cx=\"60\""), "{both}");
        assert!(bar(0.02, 0.01, 0.04).contains("interval worse"));
        assert!(bar(-0.02, -0.04, -0.01).contains("interval better"));
        assert!(bar(0.0, 0.0, 0.0).contains("M60 7H60"));
    }

    #[test]
    fn what_is_not_known_is_not_drawn() {
        for (low, high) in [(json!(null), json!(1)), (json!(1), json!("x")), (json!(2), json!(1))] {
            assert_eq!(interval_bar(&json!(0), &low, &high).into_string(), "");
        }
        assert!(!interval_bar(&json!(null), &json!(-1), &json!(1)).into_string().contains("circle"));
    }
}
