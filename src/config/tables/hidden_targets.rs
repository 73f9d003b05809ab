//! Warns of targets that are never reached, because an earlier one of their route matches all of their callers, and of
//! rate limits that no caller counts for.

use std::cell::Cell;

use super::rate_limit::RATE_LIMIT;
use super::route_text::RouteText;
use super::target::TARGET;
use crate::config::toml::context::Context;
use crate::config::toml::diagnostic::Finding;
use crate::config::toml::reader::Reader;
use crate::config::toml::source::Span;
use crate::route::{AccessVerdict, Predicate, Route, Segment, StringMatch, VariantId};

/// At most this many earlier targets are compared with each target.
const COMPARED_MAX: usize = 50;

/// The most comparisons of predicates for a configuration; beyond, nothing more is found.
const BUDGET: u32 = 1_000_000;

/// What a target does.
#[derive(Clone, Copy)]
enum Outcome<'a> {
    Answers(u16),
    Serves(&'a str),
}

/// A target of a route, in the order of the file.
struct OrderedTarget<'a> {
    predicates: &'a [Predicate],
    outcome: Outcome<'a>,
}

/// Warns of all hidden targets and of limits without effect.
pub(in crate::config) fn warn(
    context: &mut Context<'_>,
    routes: &[Route],
    written: &[RouteText<'_>],
    segments: &[Segment],
) {
    let implication = Implication { segments, left: Cell::new(BUDGET) };
    for (route, text) in routes.iter().zip(written) {
        warn_of_exempt(context, route, text, &implication);
        let targets = in_order(route);
        if targets.len() < 2 {
            continue;
        }
        for (at, under) in targets.iter().enumerate().skip(1) {
            let first = targets.iter().take(at.min(COMPARED_MAX)).position(|over| implication.covers(over, under));
            let Some(over) = first else { continue };
            let Some(named) = text.named(context) else { continue };
            let places: Vec<Span> = named.reader.tables(context, "target", &TARGET).iter().map(Reader::span).collect();
            debug_assert_eq!(places.len(), targets.len(), "each target is written once");
            let Some(place) = places.get(at) else { continue };
            let message = format!(
                "target {} of route `{}` is never reached: target {} matches all of its callers",
                at + 1,
                route.name,
                over + 1
            );
            let comes = match targets[over].outcome {
                Outcome::Answers(status) => format!("answers them with {status}"),
                Outcome::Serves("stable") => "serves them stable".to_owned(),
                Outcome::Serves(variant) => format!("serves them `{variant}`, unless it is killed or rolled back"),
            };
            let finding = Finding::warning("hidden-target", *place, message);
            let finding = finding.also(places[over], comes);
            context.report(finding.help("the first target that matches decides: write the narrower one first"));
        }
    }
}

/// The targets of a route, in the order of the file.
fn in_order(route: &Route) -> Vec<OrderedTarget<'_>> {
    let split = route.split();
    let name = |id: VariantId| {
        split.and_then(|split| split.variants.get(usize::from(id.0))).map_or("stable", |variant| variant.name.as_str())
    };
    let mut serving = split.map(|split| split.targets.as_slice()).unwrap_or_default().iter();
    let mut all = Vec::new();
    for rule in &route.access {
        let outcome = match &rule.verdict {
            AccessVerdict::Answer(respond) => Outcome::Answers(respond.status.as_u16()),
            AccessVerdict::Pass => Outcome::Serves(serving.next().map_or("stable", |target| name(target.serve))),
        };
        all.push(OrderedTarget { predicates: &rule.predicates, outcome });
    }
    all.extend(
        serving.map(|target| OrderedTarget {
            predicates: &target.predicates,
            outcome: Outcome::Serves(name(target.serve)),
        }),
    );
    all
}

/// Warns of limits that no caller counts for.
fn warn_of_exempt(context: &mut Context<'_>, route: &Route, text: &RouteText<'_>, implication: &Implication<'_>) {
    for (at, limit) in route.rate_limits.iter().enumerate() {
        let except = limit.except.and_then(|id| implication.segments.get(id.0 as usize));
        let Some(segment) = except.filter(|segment| implication.all(&[], &segment.predicates)) else { continue };
        let Some(named) = text.named(context) else { continue };
        let message = format!(
            "rate limit `{}` of route `{}` limits no caller: each one is in segment `{}`",
            limit.name, route.name, segment.name
        );
        let readers = named.reader.tables(context, "rate_limit", &RATE_LIMIT);
        let place = readers.get(at).map_or(named.reader.span(), |reader| reader.place("except"));
        context.report(Finding::warning("exempt-callers", place, message).help("name a narrower segment in `except`"));
    }
}

/// Whether conditions follow from others. What it does not find out, it denies.
struct Implication<'a> {
    segments: &'a [Segment],
    left: Cell<u32>,
}

impl Implication<'_> {
    fn covers(&self, over: &OrderedTarget<'_>, under: &OrderedTarget<'_>) -> bool {
        let known: Vec<&Predicate> = under.predicates.iter().collect();
        self.all(&known, over.predicates)
    }

    /// Whether all of `wanted` match whenever all of `known` do.
    fn all(&self, known: &[&Predicate], wanted: &[Predicate]) -> bool {
        wanted.iter().all(|one| self.one(known, one))
    }

    fn one(&self, known: &[&Predicate], wanted: &Predicate) -> bool {
        match wanted {
            Predicate::All(all) => return self.all(known, all),
            Predicate::Segment(id) => {
                let same = |one: &&Predicate| matches!(one, Predicate::Segment(known) if known == id);
                let inside = self.segments.get(id.0 as usize);
                return known.iter().any(same) || inside.is_some_and(|segment| self.all(known, &segment.predicates));
            }
            Predicate::Any(all) if all.iter().any(|one| self.one(known, one)) => return true,
            Predicate::Cidr(nets)
                if ["0.0.0.0/0", "::/0"].iter().all(|net| net.parse().is_ok_and(|net| nets.contains(&net))) =>
            {
                return true;
            }
            Predicate::Header(..)
            | Predicate::Cookie(..)
            | Predicate::Query(..)
            | Predicate::Grpc
            | Predicate::Listener(_)
            | Predicate::Tenant(_)
            | Predicate::User(_)
            | Predicate::Cidr(_)
            | Predicate::Claim(..)
            | Predicate::Country(_)
            | Predicate::ClientCert(..)
            | Predicate::Not(_)
            | Predicate::Any(_) => {}
        }
        known.iter().any(|one| self.follows(one, wanted))
    }

    /// Whether `wanted` matches whenever `known` does.
    fn follows(&self, known: &Predicate, wanted: &Predicate) -> bool {
        use Predicate as P;
        let Some(left) = self.left.get().checked_sub(1) else { return false };
        self.left.set(left);
        match (known, wanted) {
            (P::All(all), _) => self.one(&all.iter().collect::<Vec<_>>(), wanted),
            (P::Any(all), _) => all.iter().all(|one| self.one(&[one], wanted)),
            (P::Segment(id), _) => self
                .segments
                .get(id.0 as usize)
                .is_some_and(|segment| self.one(&segment.predicates.iter().collect::<Vec<_>>(), wanted)),
            (P::Not(known), P::Not(wanted)) => self.one(&[wanted], known),
            (P::Header(a, x), P::Header(b, y)) => a == b && narrows(x, y),
            (P::Cookie(a, x), P::Cookie(b, y))
            | (P::Query(a, x), P::Query(b, y))
            | (P::Claim(a, x), P::Claim(b, y)) => a == b && narrows(x, y),
            (P::ClientCert(a, x), P::ClientCert(b, y)) => a == b && narrows(x, y),
            (P::Tenant(a), P::Tenant(b)) | (P::User(a), P::User(b)) => {
                a == b || (a.len() <= b.len() && a.iter().all(|name| b.contains(name)))
            }
            (P::Cidr(a), P::Cidr(b)) => a.iter().all(|net| b.iter().any(|wider| wider.contains(net))),
            (P::Country(a), P::Country(b)) => a.iter().all(|country| b.contains(country)),
            (P::Listener(a), P::Listener(b)) => a.iter().all(|name| b.contains(name)),
            (P::Grpc, P::Grpc) => true,
            (
                P::Header(..)
                | P::Cookie(..)
                | P::Query(..)
                | P::Grpc
                | P::Listener(_)
                | P::Tenant(_)
                | P::User(_)
                | P::Cidr(_)
                | P::Claim(..)
                | P::Country(_)
                | P::ClientCert(..)
                | P::Not(_),
                _,
            ) => false,
        }
    }
}

/// Whether every value that fits `narrow` fits `wide`.
fn narrows(narrow: &StringMatch, wide: &StringMatch) -> bool {
    use StringMatch as M;
    match (narrow, wide) {
        (M::Exact(_) | M::Prefix(_) | M::Regex(_), M::Present(true)) => true,
        (M::Exact(text), M::Exact(other)) => text == other,
        (M::Exact(text) | M::Prefix(text), M::Prefix(other)) => text.starts_with(other.as_str()),
        (M::Exact(text), M::Regex(regex)) => regex.is_match(text),
        (M::Regex(one), M::Regex(other)) => one.as_str() == other.as_str(),
        (M::Present(one), M::Present(other)) => one == other,
        (M::Exact(_) | M::Prefix(_) | M::Regex(_) | M::Present(_), _) => false,
    }
}

#[cfg(test)]
mod tests {
    use crate::config::load_text;

    /// The warnings of a route with these targets.
    fn said(targets: &[&str]) -> Vec<String> {
        let targets = ["", targets.join("\n[[route.target]]\n").as_str()].join("[[route.target]]\n");
        let text = format!(
            "schema = 1\n[[listener]]\naddress = '127.0.0.1:0'\n[identity]\ntenant = 'header:x-tenant'\n\
             [segment.staff]\ncidr = '10.20.0.0/16'\n[segment.beta]\ntenant = ['acme', 'globex']\nheader = {{ x = '1' }}\n\
             [segment.all]\ncidr = ['0.0.0.0/0', '::/0']\n[upstream.a]\nendpoints = 'http://10.0.0.1'\n[upstream.b]\n\
             endpoints = 'http://10.0.0.2'\n[[route]]\nname = 'r'\nstable = 'a'\nsticky = 'client_ip'\n\
             canary = {{ upstream = 'b' }}\n{targets}"
        );
        let loaded = load_text("routes.toml", &text, &|_| None).unwrap_or_else(|diagnostics| panic!("{diagnostics}"));
        let hidden =
            loaded.warnings.iter().filter(|warning| matches!(warning.code, "hidden-target" | "exempt-callers"));
        hidden.map(|warning| format!("{}; {}", warning.message, warning.labels.last().unwrap().text)).collect()
    }

    #[test]
    fn a_target_that_an_earlier_one_covers_is_found() {
        for (over, under) in [
            ("segment = 'staff'", "segment = 'staff'"),
            ("segment = 'staff'", "cidr = '10.20.3.0/24'"),
            ("cidr = '10.0.0.0/8'", "segment = 'staff'"),
            ("cidr = ['0.0.0.0/0', '::/0']", "tenant = 'acme'"),
            ("segment = 'all'", "header = { x = '1' }"),
            ("tenant = ['acme', 'globex']", "segment = 'beta'"),
            ("tenant = ['acme', 'globex', 'x']", "tenant = 'acme'"),
            ("header = { x = { present = true } }", "header = { x = '1' }"),
            ("header = { x = { prefix = 'a' } }", "header = { x = ['ab', { prefix = 'ac' }] }"),
            ("header = { x = ['1', '2'] }", "header = { x = '2' }"),
            ("cookie = { c = { regex = '^a' } }", "cookie = { c = 'ab' }"),
            ("query = { q = '1' }", "query = { q = '1' }\nheader = { x = '1' }"),
            ("not = { cidr = '10.1.0.0/16' }", "not = { cidr = '10.0.0.0/8' }"),
            ("not = { segment = 'staff' }", "not = { segment = 'staff' }"),
        ] {
            for (act, what) in
                [("respond = { status = 403 }", "answers them with 403"), ("serve = 'canary'", "`canary`")]
            {
                let said = said(&[&format!("{over}\n{act}"), &format!("{under}\nserve = 'stable'")]);
                assert_eq!(said.len(), 1, "{over} then {under}: {said:?}");
                assert!(
                    said[0].contains("target 2 of route `r` is never reached") && said[0].contains(what),
                    "{said:?}"
                );
            }
        }
    }

    #[test]
    fn other_targets_are_reached() {
        for (over, under) in [
            ("segment = 'staff'", "cidr = '10.0.0.0/8'"),
            ("cidr = '10.20.3.0/24'", "segment = 'staff'"),
            ("segment = 'beta'", "tenant = 'acme'"),
            ("tenant = 'acme'", "tenant = ['acme', 'globex']"),
            ("header = { x = '1' }", "header = { x = { present = true } }"),
            ("header = { x = '1' }", "header = { y = '1' }"),
            ("header = { x = '1' }\nquery = { q = '1' }", "query = { q = '1' }"),
            ("header = { x = { present = false } }", "header = { x = '1' }"),
            ("not = { cidr = '10.0.0.0/8' }", "not = { cidr = '10.1.0.0/16' }"),
            ("not = { segment = 'staff' }", "segment = 'staff'"),
            ("cidr = '0.0.0.0/0'", "tenant = 'acme'"),
        ] {
            let said = said(&[&format!("{over}\nrespond = {{ status = 403 }}"), &format!("{under}\nserve = 'stable'")]);
            assert!(said.is_empty(), "{over} then {under}: {said:?}");
        }
    }

    #[test]
    fn the_numbers_count_all_targets() {
        let said = said(&[
            "header = { a = '1' }\nserve = 'canary'",
            "segment = 'staff'\nrespond = { status = 451 }",
            "header = { b = '1' }\nserve = 'canary'",
            "header = { b = '1' }\nserve = 'stable'",
            "segment = 'staff'\nserve = 'stable'",
        ]);
        let [first, second] = &said[..] else { panic!("two: {said:?}") };
        assert!(first.contains("target 4 of route `r` is never reached: target 3"), "{first}");
        assert!(
            second.contains("target 5 of route `r` is never reached: target 2") && second.contains("451"),
            "{second}"
        );
    }

    #[test]
    fn a_hostile_file_takes_bounded_time() {
        let values: Vec<String> = (0..2_000).map(|at| format!("'{at}'")).collect();
        let target = format!("header = {{ x = [{}] }}\nserve = 'stable'", values.join(", "));
        let other = format!("header = {{ x = ['z', {}] }}\nserve = 'stable'", values.join(", "));
        assert!(said(&[&target, &other, &target, &other]).len() <= 3);
    }

    #[test]
    fn a_limit_for_no_caller_is_found() {
        let limit = "segment = 'staff'\nserve = 'stable'\n[[route.rate_limit]]\nper = 'route'\nrate = 1\nexcept = ";
        assert_eq!(said(&[&format!("{limit}'all'")]).len(), 1);
        assert_eq!(said(&[&format!("{limit}'staff'")]), Vec::<String>::new());
    }
}
