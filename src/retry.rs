//! Whether a request is retried after a failed attempt, and where. A pure function of the facts.
//!
//! * Nothing was written: the request was never sent, so its method and body do not matter. A dead pooled connection is
//!   replaced by another one to the same endpoint; if a new connection fails, another endpoint is next.
//! * The peer did not process the request (`REFUSED_STREAM`, RFC 9113 §8.7, or `GOAWAY` with an earlier last
//!   stream, §6.8): any method may be sent again (RFC 9110 §9.2.2), once, provided that its body can be.
//! * A pooled connection ended before a byte of the response: the request may have been processed. It is sent again if
//!   its method is idempotent (RFC 9110 §9.2.2) and it has no body: such an end usually crosses the request on its way
//!   (RFC 9112 §9.3.1).
//! * In all other cases the failure stands.

use http::Method;

/// Limit on the endpoints that one request tries.
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
pub struct FailedAttempt {
    /// How far it came.
    pub reached: Reached,
    /// The connection came from the pool.
    pub reused: bool,
    /// The request's method is idempotent.
    pub idempotent: bool,
    /// The part of the request that is kept.
    pub resendable: Resendable,
}

/// The earlier attempts.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tries {
    /// Endpoints that failed, without the one of this attempt.
    pub endpoints: usize,
    /// A peer has stated before that it did not process the request.
    pub unprocessed: bool,
}

/// Where a request goes after a failed attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retry {
    /// To the same endpoint, on another connection.
    SameEndpoint,
    /// To an untried endpoint of the upstream, or else to the fallback.
    NextEndpoint,
    /// To the upstream that answers instead of this one, if there is one.
    Fallback,
    /// Nowhere: the failure stands.
    GiveUp,
}

/// The cause of a failed connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unconnected {
    /// The endpoint.
    Endpoint,
    /// The connection limit of the upstream, which all endpoints share.
    Upstream,
}

/// Decides after an attempt on a connection has failed.
#[must_use]
pub const fn next(failed: FailedAttempt, tries: Tries) -> Retry {
    match (failed.reached, failed.resendable) {
        (Reached::Unsent, _) if failed.reused => Retry::SameEndpoint,
        (Reached::Unsent, _) => elsewhere(tries),
        (Reached::Unprocessed, Resendable::Whole | Resendable::Bodiless) if !tries.unprocessed => Retry::SameEndpoint,
        (Reached::Unprocessed | Reached::Unanswered, Resendable::Bodiless) if failed.reused && failed.idempotent => {
            Retry::SameEndpoint
        }
        (Reached::Unprocessed | Reached::Unanswered | Reached::Answered | Reached::Aborted, _) => Retry::GiveUp,
    }
}

/// Decides after a failed connection to an endpoint: nothing of the request was sent.
#[must_use]
pub const fn unconnected(trouble: Unconnected, tries: Tries) -> Retry {
    match trouble {
        Unconnected::Endpoint => elsewhere(tries),
        Unconnected::Upstream => Retry::GiveUp,
    }
}

const fn elsewhere(tries: Tries) -> Retry {
    debug_assert!(tries.endpoints < ENDPOINTS_MAX, "a request tries at most ENDPOINTS_MAX endpoints");
    if tries.endpoints + 1 < ENDPOINTS_MAX { Retry::NextEndpoint } else { Retry::Fallback }
}

/// Whether sending a request with this method twice has the effect of sending it once (RFC 9110 §9.2.2).
#[must_use]
#[inline]
pub fn is_idempotent(method: &Method) -> bool {
    matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS | Method::PUT | Method::DELETE)
}

#[cfg(test)]
mod tests {
    use super::{
        ENDPOINTS_MAX, FailedAttempt, Method, Reached, Resendable, Retry, Tries, Unconnected, is_idempotent, next,
        unconnected,
    };

    const REACHED: [Reached; 5] =
        [Reached::Unsent, Reached::Unprocessed, Reached::Unanswered, Reached::Answered, Reached::Aborted];
    const RESENDABLE: [Resendable; 3] = [Resendable::No, Resendable::Whole, Resendable::Bodiless];

    /// Every combination of the facts.
    fn all() -> Vec<(FailedAttempt, Tries)> {
        let mut all = Vec::new();
        for reached in REACHED {
            for resendable in RESENDABLE {
                for bits in 0..8_u8 {
                    let (reused, idempotent, unprocessed) = (bits & 1 != 0, bits & 2 != 0, bits & 4 != 0);
                    let failed = FailedAttempt { reached, reused, idempotent, resendable };
                    all.extend((0..ENDPOINTS_MAX).map(|endpoints| (failed, Tries { endpoints, unprocessed })));
                }
            }
        }
        assert_eq!(all.len(), 5 * 3 * 8 * ENDPOINTS_MAX);
        all
    }

    /// Fails for a combination that breaks `law`.
    fn check(law: impl Fn(FailedAttempt, Tries, Retry) -> bool) {
        for (failed, tries) in all() {
            let next = next(failed, tries);
            assert!(law(failed, tries, next), "{failed:?} {tries:?}: {next:?}");
        }
    }

    #[test]
    fn the_rule_agrees_with_its_documentation() {
        check(|failed, tries, next| {
            let unsent = failed.reached == Reached::Unsent;
            let unprocessed = failed.reached == Reached::Unprocessed;
            let silent = unprocessed || failed.reached == Reached::Unanswered;
            let whole = failed.resendable != Resendable::No;
            let bodiless = failed.resendable == Resendable::Bodiless;
            let again = (unsent && failed.reused)
                || (unprocessed && whole && !tries.unprocessed)
                || (silent && failed.reused && failed.idempotent && bodiless);
            let elsewhere = unsent && !failed.reused;
            let expected = match (again, elsewhere, tries.endpoints) {
                (true, _, _) => Retry::SameEndpoint,
                (false, true, 0..=2) => Retry::NextEndpoint,
                (false, true, _) => Retry::Fallback,
                (false, false, _) => Retry::GiveUp,
            };
            next == expected
        });
    }

    #[test]
    fn a_request_is_not_sent_again_after_bytes_of_an_answer_or_an_abort() {
        let over = |reached| matches!(reached, Reached::Answered | Reached::Aborted);
        check(|failed, _, next| !over(failed.reached) || next == Retry::GiveUp);
    }

    #[test]
    fn a_request_that_may_have_been_processed_is_sent_again_only_when_idempotent() {
        check(|failed, _, next| {
            let perhaps_processed = failed.reached == Reached::Unanswered;
            !perhaps_processed || failed.idempotent || next == Retry::GiveUp
        });
    }

    #[test]
    fn a_body_that_is_not_whole_is_never_sent_again() {
        check(|failed, _, next| {
            let written = failed.reached != Reached::Unsent;
            !(written && failed.resendable == Resendable::No) || next == Retry::GiveUp
        });
    }

    #[test]
    fn a_body_is_sent_again_only_after_the_first_unprocessed_attempt() {
        check(|failed, tries, next| {
            let written = failed.reached != Reached::Unsent && failed.resendable == Resendable::Whole;
            let first = failed.reached == Reached::Unprocessed && !tries.unprocessed;
            !written || (next == Retry::SameEndpoint) == first
        });
    }

    #[test]
    fn the_second_unprocessed_attempt_counts_as_unanswered() {
        check(|failed, tries, next| {
            let silent = FailedAttempt { reached: Reached::Unanswered, ..failed };
            !(failed.reached == Reached::Unprocessed && tries.unprocessed) || next == super::next(silent, tries)
        });
    }

    #[test]
    fn only_an_unsent_request_goes_to_another_endpoint() {
        check(|failed, _, next| {
            let elsewhere = matches!(next, Retry::NextEndpoint | Retry::Fallback);
            elsewhere == (failed.reached == Reached::Unsent && !failed.reused)
        });
    }

    #[test]
    fn endpoints_are_tried_up_to_their_bound() {
        let unsent =
            FailedAttempt { reached: Reached::Unsent, reused: false, idempotent: false, resendable: Resendable::No };
        let mut tries = Tries::default();
        let mut endpoints = 1;
        while unconnected(Unconnected::Endpoint, tries) == Retry::NextEndpoint {
            assert_eq!(next(unsent, tries), Retry::NextEndpoint);
            tries.endpoints += 1;
            endpoints += 1;
        }
        assert_eq!(endpoints, ENDPOINTS_MAX);
        assert_eq!(unconnected(Unconnected::Endpoint, tries), Retry::Fallback);
        assert_eq!(next(unsent, tries), Retry::Fallback);
        assert_eq!(unconnected(Unconnected::Upstream, Tries::default()), Retry::GiveUp);
    }

    #[test]
    fn idempotent_methods_are_those_of_the_rfc() {
        for method in [Method::GET, Method::HEAD, Method::OPTIONS, Method::PUT, Method::DELETE] {
            assert!(is_idempotent(&method), "{method}");
        }
        let own = Method::from_bytes(b"PURGE").unwrap();
        for method in [Method::POST, Method::PATCH, Method::CONNECT, own] {
            assert!(!is_idempotent(&method), "{method}");
        }
    }
}
