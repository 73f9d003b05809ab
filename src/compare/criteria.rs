//! The criteria of a comparison: fields that are ignored, unordered, compared with a tolerance, or redacted.

use std::hash::{BuildHasher, RandomState};
use std::ops::Range;

use super::path::looks_like_id;
use super::pattern::{PathStep, Pattern, Subject};

/// The difference up to which numbers count as equal.
#[derive(Clone, Debug, PartialEq)]
pub struct Tolerance {
    /// The numbers.
    pub pattern: Pattern,
    /// The absolute difference.
    pub within: f64,
}

/// Fields that carry credentials (RFC 9110 §11, RFC 6265).
const CREDENTIALS: [&str; 7] = [
    "authorization",
    "authentication-info",
    "cookie",
    "proxy-authenticate",
    "proxy-authentication-info",
    "proxy-authorization",
    "www-authenticate",
];

/// Suffixes of other fields that carry credentials: `x-auth-token`, `x-api-key`, `client-secret`.
const CREDENTIAL_ENDS: [&str; 9] =
    ["token", "api-key", "apikey", "access-key", "secret", "password", "session", "session-id", "signature"];

/// The compiled patterns of a route.
#[derive(Clone, Debug, Default)]
pub struct Criteria {
    ignored: Vec<Subject>,
    redacted: Vec<Subject>,
    /// The steps of all patterns for JSON values, one pattern after the other, each ended by its effect.
    steps: Vec<PatternOp>,
    /// The start of each pattern in `steps`.
    starts: Vec<usize>,
    /// The salt of reported digests, so that a reader cannot find the body by trying candidates.
    salt: RandomState,
}

#[derive(Clone, Debug, PartialEq)]
enum PatternOp {
    Step(PathStep),
    Effect(Effect),
}

/// The effect of a pattern on its values.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Effect {
    Ignored,
    Unordered,
    Redacted,
    Within(f64),
}

/// A step from a value to one of its children.
#[derive(Clone, Copy, Debug)]
pub(super) enum ChildStep<'a> {
    Key(&'a str),
    Index,
}

impl Criteria {
    /// Compiles patterns. A pattern under `unordered` or `tolerance` that does not match JSON values has no effect.
    #[must_use]
    pub fn new(ignore: &[Pattern], unordered: &[Pattern], tolerance: &[Tolerance], redact: &[Pattern]) -> Self {
        let mut criteria = Self::default();
        for pattern in ignore {
            criteria.ignored.push(pattern.subject.clone());
            criteria.add(pattern, Effect::Ignored);
        }
        for pattern in unordered {
            criteria.add(pattern, Effect::Unordered);
        }
        for tolerance in tolerance {
            criteria.add(&tolerance.pattern, Effect::Within(tolerance.within));
        }
        for pattern in redact {
            criteria.redacted.push(pattern.subject.clone());
            criteria.add(pattern, Effect::Redacted);
        }
        criteria
    }

    fn add(&mut self, pattern: &Pattern, effect: Effect) {
        let Subject::Json(steps) = &pattern.subject else { return };
        self.starts.push(self.steps.len());
        self.steps.extend(steps.iter().cloned().map(PatternOp::Step));
        self.steps.push(PatternOp::Effect(effect));
        debug_assert!(self.starts.last() < Some(&self.steps.len()), "a pattern has at least its effect");
    }

    pub(super) fn ignores_transport(&self) -> bool {
        self.ignored.contains(&Subject::Transport)
    }

    pub(super) fn ignores_status(&self) -> bool {
        self.ignored.contains(&Subject::Status)
    }

    pub(super) fn ignores_body(&self) -> bool {
        self.ignored.iter().any(is_body)
    }

    pub(super) fn ignores_header(&self, name: &str) -> bool {
        self.ignored.iter().any(|subject| matches!(subject, Subject::Header(own) if own.matches(name)))
    }

    pub(super) fn ignores_trailer(&self, name: &str) -> bool {
        self.ignored.iter().any(|subject| matches!(subject, Subject::Trailer(own) if own.matches(name)))
    }

    /// Whether the values of a header or trailer are redacted; fields with credentials always are.
    pub(super) fn redacts(&self, name: &str) -> bool {
        CREDENTIALS.contains(&name)
            || CREDENTIAL_ENDS.iter().any(|end| name.ends_with(end))
            || self.redacted.iter().any(|subject| match subject {
                Subject::Header(own) | Subject::Trailer(own) => own.matches(name),
                Subject::Transport | Subject::Status | Subject::Body | Subject::Json(_) => false,
            })
    }

    pub(super) fn redacts_body(&self) -> bool {
        self.redacted.iter().any(is_body)
    }

    /// A digest as it is reported.
    pub(super) fn salted(&self, digest: u128) -> u64 {
        self.salt.hash_one(digest)
    }

    /// Whether any pattern matches JSON values.
    pub(super) fn looks_into_json(&self) -> bool {
        !self.starts.is_empty()
    }

    /// The effects on the root of a body, and the positions of the patterns there.
    pub(super) fn begin(&self, positions: &mut Vec<usize>, effects: &mut Vec<Effect>) {
        for &start in &self.starts {
            self.add_position(start, positions, 0, effects);
        }
    }

    /// The effects on a child of a value whose patterns are at `positions[active]`. Appends the positions of the
    /// patterns at the child.
    pub(super) fn advance(
        &self,
        positions: &mut Vec<usize>,
        active: Range<usize>,
        taken: ChildStep<'_>,
        effects: &mut Vec<Effect>,
    ) {
        debug_assert!(active.end <= positions.len(), "the positions of the parent are still on the stack");
        let begin = positions.len();
        for number in active {
            let mut at = positions[number];
            if self.steps[at] == PatternOp::Step(PathStep::Descend) {
                self.add_position(at, positions, begin, effects);
                at += 1;
            }
            let fits = match (&self.steps[at], taken) {
                (PatternOp::Step(PathStep::Key(key)), ChildStep::Key(own)) => **key == *own,
                (PatternOp::Step(PathStep::AnyId), ChildStep::Key(own)) => looks_like_id(own),
                (PatternOp::Step(PathStep::AnyKey), ChildStep::Key(_))
                | (PatternOp::Step(PathStep::AnyIndex), ChildStep::Index) => true,
                (PatternOp::Step(_) | PatternOp::Effect(_), _) => false,
            };
            if fits {
                self.add_position(at + 1, positions, begin, effects);
            }
        }
    }

    /// Adds a position once, or the effect if the pattern ends there.
    fn add_position(&self, at: usize, positions: &mut Vec<usize>, begin: usize, effects: &mut Vec<Effect>) {
        match self.steps[at] {
            PatternOp::Effect(effect) => effects.push(effect),
            PatternOp::Step(_) if positions[begin..].contains(&at) => {}
            PatternOp::Step(_) => positions.push(at),
        }
    }
}

fn is_body(subject: &Subject) -> bool {
    match subject {
        Subject::Body => true,
        Subject::Json(steps) => steps.is_empty(),
        Subject::Transport | Subject::Status | Subject::Header(_) | Subject::Trailer(_) => false,
    }
}
