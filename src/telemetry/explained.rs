//! An explanation as JSON: the output of `explain --json` and of `/explain`, the same object from a file and from a
//! running proxy.

use serde_json::{Value, json};

use crate::route::{
    Counted, EffectiveConfig, ExplainRequest, ExplainStep, ExplainedOutcome, Explanation, Facts, FailureExplanation,
    Guard, HeaderEdit, MatchedRoute, Route, RouteId, ServedVariant, ShadowExplanation, Split, TokenFault, VariantId,
    Weight, explain,
};

/// Explains a request, with the routes that nearly matched and the bucket ranges of the variants.
#[must_use]
pub fn explained(config: EffectiveConfig<'_>, request: &ExplainRequest<'_>) -> Value {
    let explanation = explain(config, request);
    let taken = explanation.route.as_ref();
    let taken = taken.and_then(|taken| config.rules.numbered().find(|(_, route)| route.name == taken.name));
    let mut value = json!({
        "method": explanation.method,
        "host": explanation.host,
        "path": explanation.path,
        "client_ip": explanation.client_ip,
        "tenant": identity(explanation.tenant.as_ref()),
        "user": identity(explanation.user.as_ref()),
        "country": request.facts.country.map(|country| country.code().to_owned()),
        "token": token(&request.facts),
        "route": explanation.route.as_ref().map(matched),
        "steps": explanation.steps.iter().map(step).collect::<Vec<_>>(),
        "variants": taken.and_then(|(id, route)| variants(config, id, route)),
        "guards": taken.and_then(|(_, route)| guards(route)),
    });
    outcome(&mut value, &explanation);
    value["dropped"] = explanation.dropped.as_slice().into();
    value["denied"] = explanation.denied.as_slice().into();
    value["request_headers"] = explanation.request_headers.iter().map(edit).collect();
    value["response_headers"] = explanation.response_headers.iter().map(edit).collect();
    value["nearly"] = explanation.nearly.iter().map(matched).collect();
    value["line"] = explanation.line().into();
    value
}

/// The result for the token; `None` when there is none.
fn token(facts: &Facts<'_>) -> Option<&'static str> {
    facts.fault.map(TokenFault::name).or_else(|| facts.claims.map(|_| "verified"))
}

fn identity(identity: Option<&(String, String)>) -> Value {
    identity.map_or(Value::Null, |(value, from)| json!({ "value": value, "from": from }))
}

fn matched(route: &MatchedRoute) -> Value {
    json!({ "name": route.name, "place": route.place.to_string(), "why": route.why })
}

fn step(step: &ExplainStep) -> Value {
    let range = step.range.as_ref().map(|range| [range.start, range.end]);
    json!({ "text": step.text, "bucket": step.bucket, "salt": step.salt, "range": range })
}

fn variants(config: EffectiveConfig<'_>, id: RouteId, route: &Route) -> Option<Vec<Value>> {
    let arms = route.split()?.variants.iter().zip(config.overlay.split(id).arms());
    let owned = arms.map(|(variant, arm)| {
        let upstream = config.rules.upstreams.get(variant.upstream.0 as usize).map(|upstream| upstream.name.as_str());
        json!({
            "name": variant.name,
            "upstream": upstream,
            "weight": arm.weight.percent(),
            "range": [arm.start, arm.start + arm.weight.millionths()],
            "killed": arm.killed,
            "latched": arm.latched,
            "held": arm.held,
        })
    });
    Some(owned.collect())
}

/// The guards of a route.
fn guards(route: &Route) -> Option<Vec<Value>> {
    let Split { variants, guards, .. } = route.split()?;
    let name = |id: VariantId| variants.get(usize::from(id.0)).map(|variant| variant.name.as_str());
    let guard = |guard: &Guard| {
        let (name, variant) = (&guard.name, guard.variant.and_then(name));
        json!({ "name": name, "act": guard.act.name(), "alpha": guard.alpha, "variant": variant })
    };
    Some(guards.all.iter().map(guard).collect())
}

/// Adds the members of the outcome; the member `outcome` says which ones.
fn outcome(value: &mut Value, explanation: &Explanation) {
    let members = match &explanation.outcome {
        ExplainedOutcome::Refused(why) => json!({ "outcome": "refused", "status": 400, "because": why }),
        ExplainedOutcome::NoRoute => json!({ "outcome": "no_route", "status": 404 }),
        ExplainedOutcome::Redirect(status, to) => {
            json!({ "outcome": "redirect", "status": status.as_u16(), "location": to })
        }
        ExplainedOutcome::Respond(status) => match &explanation.answered_by {
            Some(place) => json!({ "outcome": "respond", "status": status.as_u16(), "target": place.to_string() }),
            None => json!({ "outcome": "respond", "status": status.as_u16() }),
        },
        ExplainedOutcome::Serve(served) => serve(served),
    };
    if let (Value::Object(value), Value::Object(members)) = (value, members) {
        value.extend(members);
    }
}

fn serve(served: &ServedVariant) -> Value {
    let decision = &served.decision;
    let mut value = json!({
        "outcome": "serve",
        "variant": served.variant,
        "reason": decision.reason.name(),
        "upstream": served.upstream,
        "anew": per_request_shares(served),
        "bucket": decision.bucket.map(crate::route::Bucket::number),
        "counted": decision.counted == Counted::Yes,
        "unkeyed": decision.unkeyed,
        "forwarded_host": served.forwarded_host,
        "on_failure": on_failure(&served.on_failure),
        "shadow": served.copied.as_deref().map(shadow),
    });
    match &served.forwarded_path {
        Ok(path) => value["forwarded_path"] = path.as_str().into(),
        Err(why) => value["because"] = why.as_str().into(),
    }
    value
}

fn on_failure(failure: &FailureExplanation) -> Value {
    json!({ "retry": failure.retry, "rescue": failure.rescue })
}

/// The copy, if there is one; `copied` is null where chance decides.
fn shadow(copied: &ShadowExplanation) -> Value {
    let decided =
        [(Weight::ZERO, false), (Weight::FULL, true)].into_iter().find(|(chance, _)| *chance == copied.chance);
    let mut value = step(&copied.step);
    value["upstream"] = copied.upstream.as_str().into();
    value["percent"] = copied.chance.percent().into();
    value["copied"] = decided.map(|(_, is_copied)| is_copied).into();
    value
}

/// The share of each variant, where each request is decided separately; null where callers are sticky.
fn per_request_shares(served: &ServedVariant) -> Value {
    let share = |(variant, share): &(String, Weight)| json!({ "variant": variant, "percent": share.percent() });
    if served.per_request.is_empty() { Value::Null } else { served.per_request.iter().map(share).collect() }
}

fn edit(edit: &HeaderEdit) -> Value {
    match edit {
        HeaderEdit::Remove(name) => json!({ "edit": "remove", "name": name }),
        HeaderEdit::Set(name, value) => json!({ "edit": "set", "name": name.as_str(), "value": value }),
        HeaderEdit::Add(name, value) => json!({ "edit": "add", "name": name.as_str(), "value": value }),
    }
}
