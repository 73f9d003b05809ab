//! `requires` of rollouts: stages of other rollouts, without a circle.

use super::known_rollouts::KnownRollouts;
use crate::config::toml::context::Context;
use crate::config::toml::diagnostic::Finding;
use crate::config::toml::source::Span;
use crate::config::toml::spanned_string::SpannedString;
use crate::config::toml::value;
use crate::route::{Requirement, RolloutId};

/// The most requirements of a rollout.
const REQUIRES_MAX: usize = 32;

/// The most circles that are reported.
const CIRCLES_MAX: usize = 10;

/// A requirement between two rollouts, and where it is written.
#[derive(Clone, Copy)]
struct Edge {
    from: RolloutId,
    to: RolloutId,
    at: Span,
}

/// Resolves `requires` of all rollouts.
pub(super) fn resolve(context: &mut Context<'_>, known: &mut KnownRollouts<'_>) {
    let written: Vec<(RolloutId, Vec<SpannedString<'_>>)> =
        known.each().map(|(id, one)| (id, one.requires.clone())).collect();
    let mut edges = Vec::new();
    let mut found: Vec<Vec<Requirement>> = Vec::with_capacity(written.len());
    for (from, texts) in written {
        let mut requires: Vec<Requirement> = Vec::new();
        for (at, text) in texts.iter().enumerate() {
            if at >= REQUIRES_MAX {
                let message = format!("a rollout requires at most {REQUIRES_MAX} stages");
                context.report(Finding::error("too-many", text.span, message));
                break;
            }
            let Some((to, requirement)) = requirement(context, known, text) else { continue };
            if requires.contains(&requirement) {
                context.report(Finding::error("duplicate-key", text.span, "this is listed twice"));
                continue;
            }
            edges.push(Edge { from, to, at: text.span });
            requires.push(requirement);
        }
        found.push(requires);
    }
    refuse_circles(context, known, &edges);
    for (one, requires) in known.each_mut().zip(found) {
        one.rollout.plan.requires = requires;
    }
}

fn requirement(
    context: &mut Context<'_>,
    known: &mut KnownRollouts<'_>,
    text: &SpannedString<'_>,
) -> Option<(RolloutId, Requirement)> {
    let Some((rollout, stage)) = text.split_once(':') else {
        let message = format!("`{}` does not name a stage of a rollout", &**text);
        let finding = Finding::error("bad-requirement", text.span, message);
        context.report(finding.help("write `rollout:stage`, such as `cart-v2:beta`"));
        return None;
    };
    let at = value::inside(context, text, 0, rollout.len());
    let id = known.find(context, &SpannedString::plain(rollout.to_owned().into(), at))?;
    let at = value::inside(context, text, rollout.len() + 1, stage.len());
    known.find_stage(context, id, &SpannedString::plain(stage.to_owned().into(), at))?;
    Some((id, Requirement { rollout: rollout.to_owned(), stage: stage.to_owned() }))
}

/// Reports requirements in a circle: none of its rollouts could begin.
fn refuse_circles(context: &mut Context<'_>, known: &KnownRollouts<'_>, edges: &[Edge]) {
    let mut left = edges.to_vec();
    for _ in 0..CIRCLES_MAX {
        keep_circles(&mut left);
        let circle = circle(&left);
        let Some(first) = circle.first() else { break };
        let name = |id: RolloutId| known.get(id).map_or("", |one| one.rollout.name.as_str());
        let way: Vec<String> =
            circle.iter().map(|edge| edge.from).chain([first.from]).map(|id| format!("`{}`", name(id))).collect();
        let message = match &way[..] {
            [one, _] => format!("rollout {one} requires itself, so it would never begin"),
            _ => format!("these rollouts require each other, so none would begin: {}", way.join(" → ")),
        };
        let others = circle.iter().skip(1).take(8);
        let finding =
            others.fold(Finding::error("circle", first.at, message), |finding, edge| finding.also(edge.at, ""));
        context.report(finding.help("remove one of these from `requires`"));
        left.retain(|edge| circle.iter().all(|known| known.from != edge.from));
    }
}

/// Removes edges that lead out of all circles: to rollouts that require nothing that is left.
fn keep_circles(edges: &mut Vec<Edge>) {
    loop {
        let mut requiring: Vec<RolloutId> = edges.iter().map(|edge| edge.from).collect();
        requiring.sort_unstable();
        let before = edges.len();
        edges.retain(|edge| requiring.binary_search(&edge.to).is_ok());
        if edges.len() == before {
            return;
        }
    }
}

/// A circle among edges that all lead to others; empty without edges.
fn circle(edges: &[Edge]) -> Vec<Edge> {
    let mut way: Vec<Edge> = edges.first().copied().into_iter().collect();
    while let Some(last) = way.last().copied() {
        if let Some(begin) = way.iter().position(|edge| edge.from == last.to) {
            return way.split_off(begin);
        }
        debug_assert!(way.len() <= edges.len(), "a way without a circle ends");
        let Some(next) = edges.iter().find(|edge| edge.from == last.to) else { break };
        way.push(*next);
    }
    Vec::new()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn circles_are_found() {
        let check = |pairs: &[[u32; 2]], expected: &[u32]| {
            let edge = |pair: &[u32; 2]| Edge { from: RolloutId(pair[0]), to: RolloutId(pair[1]), at: Span::whole(0) };
            let mut edges: Vec<Edge> = pairs.iter().map(edge).collect();
            keep_circles(&mut edges);
            let found: Vec<u32> = circle(&edges).iter().map(|edge| edge.from.0).collect();
            assert_eq!(found, expected, "{pairs:?}");
        };
        check(&[], &[]);
        check(&[[0, 1], [1, 2], [0, 2]], &[]);
        check(&[[0, 0]], &[0]);
        check(&[[0, 1], [1, 0]], &[0, 1]);
        check(&[[0, 1], [1, 2], [2, 1], [2, 3]], &[1, 2]);
    }
}
