//! The variants of a route and their weights: `stable`, `canary`, `[[route.variant]]`.

use std::fmt;

use super::known_rollouts::ReadRollout;
use super::retry::RESCUE;
use super::route_context::{NameRegistries, NamedRoute};
use super::shadow::{ShadowContext, StickyKeys};
use super::target::RouteTargets;
use super::{guard, identity_warnings, retry, rollout_guard, shadow, target};
use crate::config::toml::context::Context;
use crate::config::toml::diagnostic::Finding;
use crate::config::toml::item::Item;
use crate::config::toml::reader::Reader;
use crate::config::toml::source::Span;
use crate::config::toml::spanned_string::SpannedString;
use crate::config::toml::spec::{KeySpec, NAME, Shape, TableSpec, default, optional, required};
use crate::config::toml::value;
use crate::route::{
    AccessRule, Rescue, RolloutId, Salt, Split, SplitState, Stage, StickyKey, Target, UpstreamId, Variant, VariantId,
    Weight,
};

/// The most variants of a route.
const VARIANTS_MAX: usize = 100;

const WEIGHT: Shape = Shape::Number(0, 100);

const RESCUED: Shape = Shape::Either(&[Shape::Boolean, Shape::Table(&RESCUE)]);
const RESCUED_DOC: &str = "When stable answers instead of the variant; `false` turns this off.";

const ROLLOUT_KEY: KeySpec = optional(
    "rollout",
    Shape::Text,
    "Rollout that moves the weight, instead of `weight`: `[rollout.NAME]`. Only the last variant of a route has one.",
);

/// `[route.canary]`.
pub(super) const CANARY: TableSpec = TableSpec {
    title: "[route.canary]",
    doc: "A variant with the name `canary`.",
    keys: &[
        required("upstream", Shape::Text, "Upstream of the variant."),
        default("weight", WEIGHT, "0", "Share of the callers in percent, with at most four decimals."),
        ROLLOUT_KEY,
        default("rescue", RESCUED, "{}", RESCUED_DOC),
    ],
    later: &[],
};

/// `[[route.variant]]`.
pub(in crate::config) const VARIANT: TableSpec = TableSpec {
    title: "[[route.variant]]",
    doc: "A variant with a name.",
    keys: &[
        required("name", Shape::Pattern(NAME), "Name of the variant, unique in the route; `stable` is reserved."),
        required("upstream", Shape::Text, "Upstream of the variant."),
        default("weight", WEIGHT, "0", "Share of the callers in percent, with at most four decimals."),
        ROLLOUT_KEY,
        default("rescue", RESCUED, "{}", RESCUED_DOC),
    ],
    later: &[],
};

/// A variant as it is written.
struct Arm {
    name: String,
    /// The name with its variables not expanded, for display.
    shown: String,
    name_at: Span,
    /// In the file; of a rollout that of its first stage.
    weight: Weight,
    weight_at: Span,
    /// The highest that it can be.
    ceiling: Weight,
    /// At times it has some of the callers by weight, and stable the others.
    splits: bool,
    rollout: Option<RolloutId>,
    upstream: Option<UpstreamId>,
    rescue: Rescue,
}

/// The split of a route with the weights of its variants, if it forwards, and the callers that the proxy answers.
pub(in crate::config) struct RouteSplit {
    pub(in crate::config) split: Option<(Split, SplitState)>,
    pub(in crate::config) access: Vec<AccessRule>,
}

/// Compiles the split of a route and its weights. All keys are read, so that all errors are found, even if `stable` is
/// missing.
pub(in crate::config) fn split(
    context: &mut Context<'_>,
    headed: &NamedRoute<'_>,
    names: &mut NameRegistries<'_, '_>,
) -> RouteSplit {
    let reader = &headed.reader;
    let stable = reader.text(context, "stable").and_then(|text| upstream(context, &text, names));
    let arms = arms(context, reader, names);
    let rollout = moving(context, &arms);
    check_ceilings(context, reader, &arms);
    let total = arms.iter().map(|arm| arm.weight.millionths()).fold(0, u32::saturating_add).min(1_000_000);
    let left = Weight::from_millionths(1_000_000_u32.saturating_sub(total)).unwrap_or_default();
    let sum = u64::from(left.millionths()) + u64::from(total);
    debug_assert_eq!(sum, 1_000_000, "stable gets what the other variants leave");
    let sticky = sticky(context, reader);
    let cookie = reader.text(context, "sticky_cookie").filter(|text| value::token(context, text, text.span));
    let keyed = sticky_keys(context, &sticky, cookie.as_ref());
    let salt = salt(context, headed, rollout.and_then(|id| names.rollouts.get(id)));
    let (RouteTargets { serving: targets, access }, guards) = {
        let known: Vec<&str> = std::iter::once("stable").chain(arms.iter().map(|arm| &*arm.name)).collect();
        let moved = rollout.and_then(|id| names.rollouts.get(id));
        let guards = guard::guards(context, reader, &known, moved.map(|one| one.rollout.name.as_str()));
        let last = u16::try_from(arms.len()).map_or(VariantId::STABLE, VariantId);
        let guards = match moved {
            Some(one) => rollout_guard::merged(context, reader, guards, &one.rollout.guards, last),
            None => guards,
        };
        (target::targets(context, reader, &known, &salt, names), guards)
    };
    let rewrite = super::rewrite::rewrite(context, reader);
    let shadow = {
        let others = arms.iter().map(|arm| (&*arm.name, arm.upstream, arm.weight));
        let variants = std::iter::once(("stable", stable, left)).chain(others).collect();
        shadow::shadow(context, reader, &ShadowContext { variants, salt: &salt, sticks: keyed }, names)
    };
    if reader.get("stable").is_some() {
        match keyed {
            StickyKeys::Yes => warn_canary_needs_key(context, reader, &arms, &sticky),
            StickyKeys::No => warn_not_sticky(context, reader, &arms),
            StickyKeys::Never => warn_of_no_key(context, reader, &arms, &targets, &sticky),
        }
    }
    let sticky_cookie = cookie.map(|text| text.to_string());
    let weights: Vec<Weight> = arms.iter().map(|arm| arm.weight).collect();
    let compiled = variants(stable, arms).map(|variants| Split {
        variants,
        sticky,
        sticky_cookie,
        salt: Salt::new(&salt),
        targets,
        rewrite,
        shadow: shadow.map(Box::new),
        guards: Box::new(guards),
        rollout,
    });
    RouteSplit { split: compiled.zip(SplitState::new(&weights)), access }
}

/// The variants with their upstreams; `None` if one has none.
fn variants(stable: Option<UpstreamId>, arms: Vec<Arm>) -> Option<Vec<Variant>> {
    let mut variants = vec![Variant { name: "stable".to_owned(), upstream: stable?, rescue: Rescue::off() }];
    for Arm { shown, upstream, rescue, .. } in arms {
        variants.push(Variant { name: shown, upstream: upstream?, rescue });
    }
    debug_assert!(variants.first().is_some_and(|variant| variant.name == "stable"), "stable is variant 0");
    Some(variants)
}

/// Whether requests can have a sticky key.
fn sticky_keys(context: &Context<'_>, sticky: &[StickyKey], cookie: Option<&SpannedString<'_>>) -> StickyKeys {
    let is_read = |key: &StickyKey| *key == StickyKey::ClientIp || context.identified.contains(&key.name());
    match sticky {
        [] if cookie.is_none() => StickyKeys::No,
        [_, ..] if cookie.is_none() && !sticky.iter().any(is_read) => StickyKeys::Never,
        _ => StickyKeys::Yes,
    }
}

/// Warns of weights in a route without a sticky key, where each request is decided on its own.
fn warn_not_sticky(context: &mut Context<'_>, reader: &Reader<'_>, arms: &[Arm]) {
    // An empty list of keys is intentional.
    if reader.get("sticky").is_none() && arms.iter().any(|arm| arm.splits) {
        let at = arms.iter().find(|arm| arm.splits).map_or(reader.span(), |arm| arm.weight_at);
        let finding =
            Finding::warning("not-sticky", at, "callers will switch between the variants: the route has no sticky key");
        context.report(finding.help("add `sticky = [\"user\", \"client_ip\"]` or `sticky_cookie = \"…\"`"));
    }
}

/// Warns of a canary that callers without a sticky key never get. There is no warning for other variants: they are
/// experiments, whose audience is selected by the key.
fn warn_canary_needs_key(context: &mut Context<'_>, reader: &Reader<'_>, arms: &[Arm], sticky: &[StickyKey]) {
    let splits = |arm: &Arm| arm.name == "canary" && arm.splits;
    if !arms.iter().any(splits) || reader.get("sticky_cookie").is_some() || sticky.contains(&StickyKey::ClientIp) {
        return;
    }
    let keys: Vec<_> = sticky.iter().map(|key| key.name()).collect();
    let message = format!("a caller without a {} never gets `canary`", keys.join(" or a "));
    let finding = Finding::warning("unkeyed-callers", reader.place("sticky"), message);
    let help = "such a caller gets stable: add `client_ip` to `sticky`, or `sticky_cookie = \"…\"`, so that every caller has a key";
    context.report(finding.help(help));
}

/// Warns of weights that have no effect, since no request has the sticky key. A weight of 100 needs no key.
fn warn_of_no_key(
    context: &mut Context<'_>,
    reader: &Reader<'_>,
    arms: &[Arm],
    targets: &[Target],
    sticky: &[StickyKey],
) {
    let splits = |weight: Weight| weight > Weight::ZERO && weight < Weight::FULL;
    let by_target = targets.iter().filter(|target| target.weight.as_ref().is_some_and(|(weight, _)| splits(*weight)));
    let served = by_target.map(|target| usize::from(target.serve.0)).collect::<Vec<_>>();
    let lost = arms.iter().zip(1..).filter(|(arm, at)| arm.splits || served.contains(at));
    let lost: Vec<_> = lost.map(|(arm, _)| format!("`{}`", arm.name)).collect();
    if lost.is_empty() {
        return;
    }
    let keys: Vec<_> = sticky.iter().map(|key| key.name()).collect();
    let message = format!(
        "no caller gets {} by weight: no request has a {}, the sticky key of this route",
        lost.join(" or "),
        keys.join(" or a ")
    );
    let finding = Finding::warning("no-sticky-key", reader.place("sticky"), message);
    context
        .report(finding.help(format!("{}; or add `client_ip` to `sticky`", identity_warnings::how_to_read(keys[0]))));
}

fn upstream(
    context: &mut Context<'_>,
    text: &SpannedString<'_>,
    names: &mut NameRegistries<'_, '_>,
) -> Option<UpstreamId> {
    names.upstreams.find(context, text).map(UpstreamId)
}

fn arms(context: &mut Context<'_>, reader: &Reader<'_>, names: &mut NameRegistries<'_, '_>) -> Vec<Arm> {
    let mut arms = Vec::new();
    if let Some(canary) = reader.table(context, "canary", &CANARY) {
        let arm = arm(context, &canary, names, "canary".to_owned(), reader.place("canary"));
        arms.push(arm);
    }
    for variant in reader.tables(context, "variant", &VARIANT) {
        let name = variant.require(context, "name").and_then(|item| item.text(context));
        let name = name.filter(|name| value::name(context, name, name.span));
        let at = name.as_ref().map_or(variant.span(), |name| name.span);
        let shown = name.as_ref().map_or_else(String::new, |name| name.shown().to_owned());
        let name = name.map_or_else(String::new, |name| name.to_string());
        context.variables.record_name(&name, &shown);
        let arm = Arm { shown, ..arm(context, &variant, names, name, at) };
        if arm.name == "stable" {
            let message = "the name `stable` is reserved for the upstream in the route's `stable`";
            context.report(Finding::error("reserved-name", at, message));
        } else if let Some(first) = arms.iter().find(|known: &&Arm| !arm.name.is_empty() && known.name == arm.name) {
            let finding = Finding::error("duplicate-name", at, format!("variant `{}` is defined twice", arm.name));
            context.report(finding.label("and again here").also(first.name_at, "first defined here"));
        }
        arms.push(arm);
        if arms.len() > VARIANTS_MAX {
            let message = format!("a route has at most {VARIANTS_MAX} variants");
            context.report(Finding::error("too-many", variant.span(), message));
            break;
        }
    }
    arms
}

fn arm(
    context: &mut Context<'_>,
    reader: &Reader<'_>,
    names: &mut NameRegistries<'_, '_>,
    name: String,
    name_at: Span,
) -> Arm {
    let text = reader.require(context, "upstream").and_then(|item| item.text(context));
    let upstream = text.and_then(|text| upstream(context, &text, names));
    let item = reader.get("weight");
    let weight = item.and_then(|item| value::weight(context, &item)).unwrap_or_default();
    let rollout = reader.text(context, "rollout");
    let found = rollout.as_ref().and_then(|text| names.rollouts.find(context, text));
    if let (Some(text), Some(item)) = (&rollout, item) {
        let message = "a variant cannot have both `weight` and `rollout`";
        let finding = Finding::error("ambiguous", item.span(), message).also(text.span, "");
        context.report(finding.help("remove `weight`: the stages of the rollout have the weights"));
    }
    let plan = found.and_then(|id| names.rollouts.get(id)).map(|one| &one.rollout.plan);
    let between = |weight: Weight| weight > Weight::ZERO && weight < Weight::FULL;
    let (weight, ceiling, splits) = match plan {
        Some(plan) => {
            let ceiling = plan.ceiling();
            let first = plan.stages.first().map_or(Weight::ZERO, Stage::weight).min(ceiling);
            (first, ceiling, plan.stages.iter().any(|stage| between(stage.weight().min(ceiling))))
        }
        None => (weight, weight, between(weight)),
    };
    let weight_at = rollout.map(|text| text.span).or(item.map(|item: Item<'_>| item.span())).unwrap_or(name_at);
    let rescue = reader.get("rescue").map_or_else(Rescue::default, |item| retry::rescue(context, &item));
    reader.finish(context);
    let shown = name.clone();
    Arm { shown, name, name_at, weight, weight_at, ceiling, splits, rollout: found, upstream, rescue }
}

/// Reports weights that can add up to more than 100 %: they are never scaled.
fn check_ceilings(context: &mut Context<'_>, reader: &Reader<'_>, arms: &[Arm]) {
    let sum: u64 = arms.iter().map(|arm| u64::from(arm.ceiling.millionths())).sum();
    if sum <= 1_000_000 {
        return;
    }
    let weighted: Vec<_> = arms.iter().filter(|arm| arm.ceiling > Weight::ZERO).collect();
    let parts: Vec<_> = weighted.iter().take(20).map(|arm| arm.ceiling.to_string()).collect();
    let percent = Percent(sum);
    let is_moved = arms.iter().any(|arm| arm.rollout.is_some());
    let can = if is_moved { "can add" } else { "add" };
    let message = format!("the weights of this route {can} up to {percent}: {}", parts.join(" + "));
    let mut finding = Finding::error("weights-exceed-100", reader.place("name"), message);
    for arm in weighted.iter().take(20) {
        let most = if arm.rollout.is_some() { ", by `max_weight` of its rollout" } else { "" };
        finding = finding.also(arm.weight_at, format!("`{}`{most}", arm.name));
    }
    context.report(finding.help(if is_moved {
        "stable gets the rest: lower `max_weight` of the rollout, or the other weights, so that they add up to at most 100"
    } else {
        "stable gets the rest: the other weights may add up to at most 100"
    }));
}

/// A sum of weights in millionths, shown in percent.
struct Percent(u64);

impl fmt::Display for Percent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        #[expect(clippy::cast_precision_loss, reason = "at most a hundred weights, for people")]
        let percent = self.0 as f64 / 10_000.0;
        write!(f, "{percent}")
    }
}

/// The rollout of the last variant. Reports rollouts of others: their ranges would move those after them.
fn moving(context: &mut Context<'_>, arms: &[Arm]) -> Option<RolloutId> {
    let moved: Vec<&Arm> = arms.iter().filter(|arm| arm.rollout.is_some()).collect();
    let last = arms.last().filter(|arm| arm.rollout.is_some());
    if let [first, second, ..] = moved[..] {
        let finding =
            Finding::error("several-rollouts", second.weight_at, "a route has at most one variant with a rollout");
        let finding = finding.also(first.weight_at, "the other one");
        context.report(finding.help("write `weight` for one of them, or make another route"));
        return None;
    }
    if let ([one], None) = (&moved[..], last) {
        let message = format!("the variant with a rollout must be the last of its route, but `{}` is not", one.name);
        let finding = Finding::error("rollout-not-last", one.weight_at, message);
        let finding = finding.also(arms.last().map_or(one.weight_at, |arm| arm.name_at), "the last one");
        let help = if one.name == "canary" {
            "`canary` comes first: write this variant as the last `[[route.variant]]`"
        } else {
            "move its `[[route.variant]]` to the end: else callers of the others would change with its weight"
        };
        context.report(finding.help(help));
    }
    last?.rollout
}

fn sticky(context: &mut Context<'_>, reader: &Reader<'_>) -> Vec<StickyKey> {
    let mut keys: Vec<StickyKey> = Vec::new();
    for item in reader.get("sticky").map(|item| item.one_or_more()).unwrap_or_default() {
        let key = match item.word(context, &["tenant", "user", "client_ip"]) {
            Some(0) => StickyKey::Tenant,
            Some(1) => StickyKey::User,
            Some(_) => StickyKey::ClientIp,
            None => continue,
        };
        if keys.contains(&key) {
            item.refuse(context, "duplicate-key", "this is listed twice");
        }
        keys.push(key);
    }
    keys
}

/// The salt of the buckets: `salt`, or else the name of the rollout, so that a caller gets the same variant on all of its
/// routes, or else the name of the route.
fn salt(context: &mut Context<'_>, headed: &NamedRoute<'_>, rollout: Option<&ReadRollout<'_>>) -> String {
    let given = headed.reader.text(context, "salt");
    if let Some(text) = given.as_ref().filter(|text| text.is_empty() || text.len() > 255) {
        context.report(Finding::error("bad-salt", text.span, "a salt has 1 to 255 bytes"));
    }
    match (given, rollout) {
        (Some(text), _) => text.to_string(),
        (None, Some(one)) => one.rollout.name.clone(),
        (None, None) => headed.name.as_ref().map_or_else(String::new, |text| text.to_string()),
    }
}
