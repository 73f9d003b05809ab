//! What a comparison goes by: which fields are ignored, unordered, tolerant or redacted.

use std::hash::{BuildHasher, RandomState};
use std::ops::Range;

use super::path::looks_like_id;
use super::pattern::{Name, PathStep, Pattern, Subject};

/// How far numbers may be apart and still count as equal.
#[derive(Clone, Debug, PartialEq)]
pub struct Tolerance {
    /// Which numbers.
    pub pattern: Pattern,
    /// The absolute difference, in the numbers' own unit.
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

/// How the names of others end that do: `x-auth-token`, `x-api-key`, `client-secret`.
const CREDENTIAL_ENDS: [&str; 9] =
    ["token", "api-key", "apikey", "access-key", "secret", "password", "session", "session-id", "signature"];

/// The patterns of a route, ready to be matched.
#[derive(Clone, Debug, Default)]
pub struct Criteria {
    ignored: Vec<Subject>,
    redacted: Vec<Subject>,
    /// The steps of all patterns that mean JSON values, one after the other, each ended by what it says.
    steps: Vec<Move>,
    /// Where each of them begins.
    starts: Vec<usize>,
    /// What digests are told under: whoever reads one cannot try out which body it is of.
    salt: RandomState,
}

#[derive(Clone, Debug, PartialEq)]
enum Move {
    Take(PathStep),
    Say(Saying),
}

/// What a pattern says of the values that it means.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Saying {
    Ignored,
    Unordered,
    Redacted,
    Within(f64),
}

/// A step that is taken in a body.
#[derive(Clone, Copy, Debug)]
pub(super) enum Taken<'a> {
    Key(&'a str),
    Index,
}

impl Criteria {
    /// Puts patterns together. A pattern under `unordered` or `tolerance` that does not mean JSON values says nothing.
    #[must_use]
    pub fn new(ignore: &[Pattern], unordered: &[Pattern], tolerance: &[Tolerance], redact: &[Pattern]) -> Self {
        let mut criteria = Self::default();
        for pattern in ignore {
            criteria.ignored.push(pattern.subject.clone());
            criteria.add(pattern, Saying::Ignored);
        }
        for pattern in unordered {
            criteria.add(pattern, Saying::Unordered);
        }
        for tolerance in tolerance {
            criteria.add(&tolerance.pattern, Saying::Within(tolerance.within));
        }
        for pattern in redact {
            criteria.redacted.push(pattern.subject.clone());
            criteria.add(pattern, Saying::Redacted);
        }
        criteria
    }

    fn add(&mut self, pattern: &Pattern, saying: Saying) {
        let Subject::Json(steps) = &pattern.subject else { return };
        self.starts.push(self.steps.len());
        self.steps.extend(steps.iter().cloned().map(Move::Take));
        self.steps.push(Move::Say(saying));
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
        self.ignored.iter().any(|subject| matches!(subject, Subject::Header(own) if own.means(name)))
    }

    pub(super) fn ignores_trailer(&self, name: &str) -> bool {
        self.ignored.iter().any(|subject| matches!(subject, Subject::Trailer(own) if own.means(name)))
    }

    /// Whether the values of a header or trailer are never to be seen: those that carry credentials are not anyway.
    pub(super) fn redacts(&self, name: &str) -> bool {
        let means = |own: &Name| own.means(name);
        CREDENTIALS.contains(&name)
            || CREDENTIAL_ENDS.iter().any(|end| name.ends_with(end))
            || self.redacted.iter().any(|subject| match subject {
                Subject::Header(own) | Subject::Trailer(own) => means(own),
                Subject::Transport | Subject::Status | Subject::Body | Subject::Json(_) => false,
            })
    }

    pub(super) fn redacts_body(&self) -> bool {
        self.redacted.iter().any(is_body)
    }

    /// A digest as it is told.
    pub(super) fn salted(&self, digest: u128) -> u64 {
        self.salt.hash_one(digest)
    }

    /// Whether any pattern means JSON values.
    pub(super) fn looks_into_json(&self) -> bool {
        !self.starts.is_empty()
    }

    /// What is said of the body's root, and where the patterns stand there.
    pub(super) fn begin(&self, standing: &mut Vec<usize>, said: &mut Vec<Saying>) {
        for &start in &self.starts {
            self.stand(start, standing, 0, said);
        }
    }

    /// What is said of a member or an element of a value at which the patterns stand at `standing[from..until]`; where
    /// they stand then is appended.
    pub(super) fn advance(
        &self,
        standing: &mut Vec<usize>,
        active: Range<usize>,
        taken: Taken<'_>,
        said: &mut Vec<Saying>,
    ) {
        let begin = standing.len();
        for number in active {
            let mut at = standing[number];
            if self.steps[at] == Move::Take(PathStep::Descend) {
                self.stand(at, standing, begin, said);
                at += 1;
            }
            let fits = match (&self.steps[at], taken) {
                (Move::Take(PathStep::Key(key)), Taken::Key(own)) => **key == *own,
                (Move::Take(PathStep::AnyId), Taken::Key(own)) => looks_like_id(own),
                (Move::Take(PathStep::AnyKey), Taken::Key(_)) | (Move::Take(PathStep::AnyIndex), Taken::Index) => true,
                (Move::Take(_) | Move::Say(_), _) => false,
            };
            if fits {
                self.stand(at + 1, standing, begin, said);
            }
        }
    }

    /// A pattern stands at a move, once; or it has ended there and says something.
    fn stand(&self, at: usize, standing: &mut Vec<usize>, begin: usize, said: &mut Vec<Saying>) {
        match self.steps[at] {
            Move::Say(saying) => said.push(saying),
            Move::Take(_) if standing[begin..].contains(&at) => {}
            Move::Take(_) => standing.push(at),
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
