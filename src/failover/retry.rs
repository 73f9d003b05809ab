//! Whether a request is tried again after a failed attempt, and where. A pure function of the facts.
//!
//! * Nothing was written: the request was never sent, so its method and body do not matter. A dead pooled connection is
//!   replaced by another one to the same endpoint; if a new connection fails, another endpoint is next.
//! * The peer did not process the request (`REFUSED_STREAM`, RFC 9113 §8.7, or `GOAWAY` with an earlier last
//!   stream, §6.8): any method may be sent again (RFC 9110 §9.2.2), provided that its body can be.
//! * A pooled connection ended before a byte of the response: such an end usually crosses the request on its way (RFC
//!   9112 §9.3.1). An idempotent request without a body is sent again at once, on another connection, once.
//! * Any other failure may follow upon processing. The request is tried again if the route's policy names the failure
//!   and the method, and the body can be sent again: at most `attempts` times, and within the upstream's budget.
//! * In all other cases the failure stands.

use http::Method;

use crate::route::{Rescue, RetryCondition, RetryPolicy};

/// Limit on the endpoints that one request tries to connect to.
pub const ENDPOINTS_MAX: usize = 4;

/// How far an attempt came before it failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reached {
    /// Nothing of the request was written.
    Unsent,
    /// The peer states that it did not process the request.
    Unprocessed,
    /// The request was written, perhaps in part; no byte of the response was read.
    Unanswered,
    /// Bytes of the response were read.
    Answered,
    /// The proxy ended the attempt, because the body of the request failed.
    Aborted,
}

/// The part of a request that is kept for a retry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resendable {
    /// Nothing, or not all of what was sent.
    No,
    /// The head and all that was sent of the body.
    Whole,
    /// The head; there is no body.
    Bodiless,
}

/// An attempt that has failed, and its request.
#[derive(Clone, Copy, Debug)]
pub struct FailedAttempt<'a> {
    /// How far it came.
    pub reached: Reached,
    /// What it is in the words of `on`; `None`: it is never tried again.
    pub condition: Option<RetryCondition>,
    /// The connection came from the pool.
    pub reused: bool,
    /// The request's method.
    pub method: &'a Method,
    /// The part of the request that is kept.
    pub resendable: Resendable,
    /// The attempt was the one that tries an ejected endpoint. The proxy gambled, not the client: the next try is
    /// outside `attempts` and the budget.
    pub trial: bool,
}

/// The earlier attempts.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tries {
    /// Endpoints that failed to connect, without the one of this attempt.
    pub endpoints: usize,
    /// How often a peer has stated before that it did not process the request.
    pub unprocessed: usize,
    /// The end of a pooled connection has crossed the request before: a second one is no coincidence.
    pub crossed: bool,
    /// Tries so far that count towards `attempts`.
    pub made: u32,
    /// Another proxy before this one tries again: this one does not, once the request was sent.
    pub upstream_of_retries: bool,
}

/// Where a request goes after a failed attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retry {
    /// To the same endpoint, on another connection.
    SameEndpoint,
    /// To an untried endpoint of the upstream. Nothing was processed.
    NextEndpoint,
    /// To another endpoint if there is one, else to the same one; the request may have been processed.
    Repeat {
        /// The try counts towards `attempts` and the budget.
        counts: bool,
    },
    /// Nowhere within this upstream.
    GiveUp(GiveUpReason),
}

/// Why a request is not tried again. The name is in the access log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GiveUpReason {
    /// `on` does not name the failure.
    NotListed,
    /// The request may have been processed, and `methods` does not name its method.
    Method,
    /// The body of the request was sent and is not kept.
    Body,
    /// As many tries were made as `attempts` allows, or as many endpoints were tried as is the limit.
    Attempts,
    /// The budget of the upstream is spent.
    Budget,
    /// `Retry-After` or `grpc-retry-pushback-ms` forbids it, or is later than the request's deadline.
    Deadline,
    /// Another proxy before this one has tried this request again.
    OtherProxy,
}

/// The cause of a failed connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unconnected {
    /// The endpoint.
    Endpoint,
    /// The connection limit of the upstream, which all endpoints share.
    Upstream,
}

impl GiveUpReason {
    /// The reason in the access log and in spans.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::NotListed => "not_listed",
            Self::Method => "method",
            Self::Body => "body",
            Self::Attempts => "attempts",
            Self::Budget => "budget",
            Self::Deadline => "deadline",
            Self::OtherProxy => "other_proxy",
        }
    }
}

/// Decides after an attempt has failed.
#[must_use]
pub fn next(policy: &RetryPolicy, failed: FailedAttempt<'_>, tries: Tries) -> Retry {
    match (failed.reached, failed.resendable) {
        (Reached::Unsent, _) if failed.reused => return Retry::SameEndpoint,
        (Reached::Unsent, _) => return elsewhere(policy, tries),
        (Reached::Unprocessed, Resendable::Whole | Resendable::Bodiless)
            if policy.on.contains(RetryCondition::RefusedStream) && tries.unprocessed + 1 < ENDPOINTS_MAX =>
        {
            return Retry::NextEndpoint;
        }
        (Reached::Unanswered, Resendable::Bodiless)
            // A try that took too long has no dead connection: its endpoint is slow.
            if failed.reused
                && is_idempotent(failed.method)
                && failed.condition != Some(RetryCondition::Timeout) =>
        {
            return Retry::SameEndpoint;
        }
        _ => {}
    }
    match refusal(policy, failed, tries) {
        Some(stop) => Retry::GiveUp(stop),
        None => Retry::Repeat { counts: !failed.trial },
    }
}

/// Why a request that may have been processed is not repeated.
fn refusal(policy: &RetryPolicy, failed: FailedAttempt<'_>, tries: Tries) -> Option<GiveUpReason> {
    let Some(condition) = failed.condition.filter(|_| failed.reached != Reached::Aborted) else {
        return Some(GiveUpReason::NotListed);
    };
    // A gRPC call is a POST: its status says whether it may be repeated, so only `on` counts.
    let by_status = matches!(condition, RetryCondition::Grpc(_));
    if !policy.on.contains(condition) {
        Some(GiveUpReason::NotListed)
    } else if !by_status && !policy.methods.contains(failed.method) {
        Some(GiveUpReason::Method)
    } else if failed.resendable == Resendable::No {
        Some(GiveUpReason::Body)
    } else if failed.trial {
        None
    } else if tries.upstream_of_retries {
        Some(GiveUpReason::OtherProxy)
    } else if tries.made >= policy.attempts {
        Some(GiveUpReason::Attempts)
    } else {
        None
    }
}

/// Decides after a failed connection to an endpoint: nothing of the request was sent.
#[must_use]
pub fn unconnected(policy: &RetryPolicy, trouble: Unconnected, tries: Tries) -> Retry {
    match trouble {
        Unconnected::Endpoint => elsewhere(policy, tries),
        Unconnected::Upstream => Retry::GiveUp(GiveUpReason::NotListed),
    }
}

fn elsewhere(policy: &RetryPolicy, tries: Tries) -> Retry {
    debug_assert!(tries.endpoints < ENDPOINTS_MAX, "a request tries at most ENDPOINTS_MAX endpoints");
    if !policy.on.contains(RetryCondition::Connect) {
        Retry::GiveUp(GiveUpReason::NotListed)
    } else if tries.endpoints + 1 < ENDPOINTS_MAX {
        Retry::NextEndpoint
    } else {
        Retry::GiveUp(GiveUpReason::Attempts)
    }
}

/// Whether stable answers after the variant's upstream has failed for good.
#[must_use]
pub fn rescues(rescue: &Rescue, failed: FailedAttempt<'_>) -> bool {
    let untouched = matches!(failed.reached, Reached::Unsent | Reached::Unprocessed);
    let repeatable = failed.resendable != Resendable::No && rescue.methods.contains(failed.method);
    let may = match failed.reached {
        Reached::Unsent => true,
        Reached::Unprocessed => failed.resendable != Resendable::No,
        Reached::Unanswered | Reached::Answered => repeatable,
        Reached::Aborted => false,
    };
    debug_assert!(may || failed.reached != Reached::Unsent, "an unsent request may go anywhere");
    let on = |condition| rescue.on.contains(condition);
    may && (failed.condition.is_some_and(on) || untouched && on(RetryCondition::Connect))
}

/// Whether sending a request with this method twice has the effect of sending it once (RFC 9110 §9.2.2).
#[inline]
fn is_idempotent(method: &Method) -> bool {
    is_safe(method) || matches!(*method, Method::PUT | Method::DELETE)
}

/// Whether a request with this method changes nothing at the server (RFC 9110 §9.2.1).
#[must_use]
#[inline]
pub fn is_safe(method: &Method) -> bool {
    matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS | Method::TRACE)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::route::{RetryConditions, RetryMethods};

    const REACHED: [Reached; 5] =
        [Reached::Unsent, Reached::Unprocessed, Reached::Unanswered, Reached::Answered, Reached::Aborted];
    const RESENDABLE: [Resendable; 3] = [Resendable::No, Resendable::Whole, Resendable::Bodiless];
    const CONDITIONS: [Option<RetryCondition>; 7] = [
        None,
        Some(RetryCondition::Connect),
        Some(RetryCondition::RefusedStream),
        Some(RetryCondition::ResetBeforeHead),
        Some(RetryCondition::Timeout),
        Some(RetryCondition::Status(503)),
        Some(RetryCondition::Grpc(14)),
    ];

    /// Policies: the default one, one with everything, one with nothing.
    fn policies() -> Vec<RetryPolicy> {
        let everything = RetryPolicy {
            attempts: 3,
            on: CONDITIONS.into_iter().flatten().collect(),
            methods: RetryMethods::new(vec![Method::GET, Method::POST]),
            body_buffer: 0,
        };
        let nothing = RetryPolicy { attempts: 0, on: RetryConditions::default(), ..RetryPolicy::default() };
        vec![RetryPolicy::default(), everything, nothing]
    }

    /// Fails for a combination that breaks `law`.
    fn check(law: impl Fn(&RetryPolicy, FailedAttempt<'_>, Tries, Retry) -> bool) {
        let mut combinations = 0;
        for policy in policies() {
            for reached in REACHED {
                for resendable in RESENDABLE {
                    for condition in CONDITIONS {
                        for method in [Method::GET, Method::PUT, Method::POST] {
                            for bits in 0..8_u8 {
                                let (reused, trial) = (bits & 1 != 0, bits & 2 != 0);
                                let failed =
                                    FailedAttempt { reached, condition, reused, method: &method, resendable, trial };
                                for at in 0..ENDPOINTS_MAX {
                                    let made = u32::try_from(at).expect("a small number");
                                    let tries = Tries {
                                        endpoints: at,
                                        unprocessed: at,
                                        made,
                                        crossed: at > 2,
                                        upstream_of_retries: bits & 4 != 0,
                                    };
                                    let next = next(&policy, failed, tries);
                                    assert!(law(&policy, failed, tries, next), "{failed:?} {tries:?}: {next:?}");
                                    combinations += 1;
                                }
                            }
                        }
                    }
                }
            }
        }
        assert_eq!(combinations, 3 * 5 * 3 * 7 * 3 * 8 * ENDPOINTS_MAX);
    }

    const fn is_over(next: Retry) -> bool {
        matches!(next, Retry::GiveUp(_))
    }

    #[test]
    fn a_request_is_not_sent_again_after_an_abort() {
        check(|_, failed, _, next| failed.reached != Reached::Aborted || is_over(next));
    }

    #[test]
    fn a_request_that_may_have_been_processed_is_repeated_only_by_method_or_grpc_status() {
        check(|policy, failed, _, next| {
            let perhaps = matches!(failed.reached, Reached::Unanswered | Reached::Answered);
            let by_status = matches!(failed.condition, Some(RetryCondition::Grpc(_)));
            let allowed = by_status || policy.methods.contains(failed.method);
            // An end that crosses the request on a pooled connection: by the idempotent methods of the RFC.
            let crossed = next == Retry::SameEndpoint && failed.reused && is_idempotent(failed.method);
            !perhaps || is_over(next) || allowed || crossed
        });
    }

    #[test]
    fn a_try_that_took_too_long_is_not_sent_to_the_same_endpoint() {
        check(|_, failed, _, next| {
            let late = failed.reached == Reached::Unanswered && failed.condition == Some(RetryCondition::Timeout);
            !late || next != Retry::SameEndpoint
        });
    }

    #[test]
    fn a_post_is_repeated_by_no_default() {
        let policy = RetryPolicy::default();
        check(|_, failed, tries, _| {
            let perhaps = matches!(failed.reached, Reached::Unanswered | Reached::Answered);
            let by_status = matches!(failed.condition, Some(RetryCondition::Grpc(_)));
            !perhaps || by_status || *failed.method != Method::POST || is_over(next(&policy, failed, tries))
        });
    }

    #[test]
    fn a_body_that_is_not_whole_is_never_sent_again() {
        check(|_, failed, _, next| {
            let written = failed.reached != Reached::Unsent;
            !(written && failed.resendable == Resendable::No) || is_over(next)
        });
    }

    #[test]
    fn repeated_tries_are_counted_but_for_those_after_a_trial() {
        check(|policy, failed, tries, next| match next {
            Retry::Repeat { counts } => {
                counts != failed.trial && (failed.trial || (tries.made < policy.attempts && !tries.upstream_of_retries))
            }
            Retry::SameEndpoint | Retry::NextEndpoint | Retry::GiveUp(_) => true,
        });
    }

    #[test]
    fn only_what_was_not_processed_goes_to_another_endpoint_outside_the_budget() {
        check(|policy, failed, tries, next| {
            let untouched = failed.reached == Reached::Unsent && !failed.reused
                || failed.reached == Reached::Unprocessed && failed.resendable != Resendable::No;
            let named = policy.on.contains(if failed.reached == Reached::Unsent {
                RetryCondition::Connect
            } else {
                RetryCondition::RefusedStream
            });
            (next == Retry::NextEndpoint) == (untouched && named && tries.endpoints + 1 < ENDPOINTS_MAX)
        });
    }

    #[test]
    fn endpoints_are_tried_up_to_their_bound() {
        let policy = RetryPolicy::default();
        let mut tries = Tries::default();
        while unconnected(&policy, Unconnected::Endpoint, tries) == Retry::NextEndpoint {
            tries.endpoints += 1;
        }
        assert_eq!(tries.endpoints + 1, ENDPOINTS_MAX);
        assert!(is_over(unconnected(&policy, Unconnected::Upstream, Tries::default())));
        let nothing = RetryPolicy { on: RetryConditions::default(), ..policy };
        assert!(is_over(unconnected(&nothing, Unconnected::Endpoint, Tries::default())));
    }

    #[test]
    fn stable_answers_by_condition_method_and_body() {
        let get = Method::GET;
        let failed = |reached, condition| FailedAttempt {
            reached,
            condition,
            reused: false,
            method: &get,
            resendable: Resendable::Bodiless,
            trial: false,
        };
        let refused = failed(Reached::Unsent, Some(RetryCondition::Connect));
        let unavailable = failed(Reached::Answered, Some(RetryCondition::Status(503)));
        let post = |failed| FailedAttempt { method: &Method::POST, ..failed };
        let connect = Rescue::default();
        assert!(rescues(&connect, refused) && rescues(&connect, post(refused)));
        assert!(!rescues(&connect, unavailable) && !rescues(&Rescue::off(), refused));
        let both =
            Rescue { on: [RetryCondition::Connect, RetryCondition::Status(503)].into_iter().collect(), ..connect };
        assert!(rescues(&both, unavailable) && !rescues(&both, post(unavailable)));
        assert!(!rescues(&both, FailedAttempt { resendable: Resendable::No, ..unavailable }));
        assert!(rescues(&both, FailedAttempt { resendable: Resendable::No, ..refused }));
        assert!(!rescues(&both, failed(Reached::Aborted, Some(RetryCondition::Status(503)))));
        assert!(!rescues(&both, failed(Reached::Answered, Some(RetryCondition::Status(502)))));
    }

    #[test]
    fn idempotent_methods_are_those_of_the_rfc() {
        for method in [Method::GET, Method::HEAD, Method::OPTIONS, Method::TRACE, Method::PUT, Method::DELETE] {
            assert!(is_idempotent(&method), "{method}");
        }
        let own = Method::from_bytes(b"PURGE").unwrap();
        for method in [Method::POST, Method::PATCH, Method::CONNECT, own] {
            assert!(!is_idempotent(&method) && !is_safe(&method), "{method}");
        }
        assert!(!is_safe(&Method::PUT) && !is_safe(&Method::DELETE));
    }
}
