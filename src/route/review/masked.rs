//! Masks the values of environment variables in explanations and comparisons, because their readers may not be allowed
//! to see every value of the file. Every field is named here, so that a new one is not forgotten.

use crate::route::{
    ConfigDiff, ExplainStep, ExplainedOutcome, Explanation, FailureExplanation, Masks, MatchedRoute, RouteChange,
    ServedVariant, ShadowExplanation,
};

impl Explanation {
    /// Masks the texts of the explanation, including parts of the request in them. The request itself is not masked.
    /// Header edits, redirects and forwarded paths are masked where they are built.
    pub(super) fn covered(mut self, masks: &Masks) -> Self {
        if masks.is_empty() {
            return self;
        }
        let Self {
            method: _,
            host: _,
            path: _,
            client_ip: _,
            tenant,
            user,
            route,
            steps,
            answered_by: _,
            outcome,
            denied,
            dropped,
            request_headers: _,
            response_headers: _,
            nearly,
        } = &mut self;
        for (_, place) in tenant.iter_mut().chain(user) {
            cover(place, masks);
        }
        // Names are never masked.
        for MatchedRoute { name: _, place: _, why } in route.iter_mut().chain(nearly) {
            cover(why, masks);
        }
        for step in steps {
            step.cover(masks);
        }
        for text in denied.iter_mut().chain(dropped) {
            cover(text, masks);
        }
        match outcome {
            ExplainedOutcome::Refused(_)
            | ExplainedOutcome::NoRoute
            | ExplainedOutcome::Respond(_)
            | ExplainedOutcome::Redirect(..) => {}
            ExplainedOutcome::Serve(served) => served.cover(masks),
        }
        self
    }
}

impl ServedVariant {
    fn cover(&mut self, masks: &Masks) {
        let Self {
            decision: _,
            variant: _,
            upstream: _,
            variants: _,
            per_request: _,
            forwarded_path: _,
            forwarded_host: _,
            on_failure,
            copied,
        } = self;
        let FailureExplanation { retry, rescue } = &mut **on_failure;
        for text in retry.iter_mut().chain(rescue) {
            cover(text, masks);
        }
        if let Some(copied) = copied {
            let ShadowExplanation { upstream: _, chance: _, step } = &mut **copied;
            step.cover(masks);
        }
    }
}

impl ExplainStep {
    fn cover(&mut self, masks: &Masks) {
        let Self { text, bucket: _, salt, range: _ } = self;
        cover(text, masks);
        if let Some(salt) = salt {
            *salt = masks.cover_configured(salt).into_owned();
        }
    }
}

impl ConfigDiff {
    /// Masks the values of both configurations.
    pub(super) fn covered(mut self, [old, new]: [&Masks; 2]) -> Self {
        let Self { added: _, removed: _, changed, others, moved_upstreams: _ } = &mut self;
        let words = changed.iter_mut().flat_map(|RouteChange { route: _, words, moved: _ }| words);
        for text in words.chain(others) {
            cover(text, new);
            cover(text, old);
        }
        self
    }
}

fn cover(text: &mut String, masks: &Masks) {
    *text = masks.covered(std::mem::take(text));
}
