//! Decides whether a client may make a call. Pure: the settings, the client, its token and the time are arguments.
//!
//! The order: a public call is for everyone. A token that is presented decides, where tokens are configured. On the Unix
//! socket the user of the peer decides. On TCP without tokens, reading is open (the file allows private addresses only),
//! a reload is accepted from this machine, and all other acting is refused. An approval needs the name of a person: a token
//! with `approver:ROLE`, or a user of the socket whom a rollout lists.

use std::time::Duration;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::digest::{SHA256, digest};

use super::approvers::ApproverRoles;
use super::client::{ClientOrigin, SocketPeer};
use crate::control::admin::problem::{CallProblem, ProblemKind};
use crate::journal::{Actor, Via};
use crate::route::{AdminRole, AdminSpec, AdminToken, ApproverRole, TokenList};

/// The user id that the kernel shows for users that have none in this namespace.
const OVERFLOW_UID: u32 = 65_534;
/// The longest token that is looked at, in bytes.
const TOKEN_BYTES_MAX: usize = 512;

/// What a call needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::control::admin) enum CallAccess {
    /// Nothing.
    Public,
    /// The role `metrics`, or one that reads.
    Metrics,
    /// A role that reads.
    Read,
    /// The role `operator`; without tokens, a client on this machine.
    Reload,
    /// The role `operator`; without tokens, the Unix socket.
    Operate,
    /// A role `approver:ROLE`; on the Unix socket, a user whom a rollout lists as approver.
    Approve,
}

/// An attempt to make a call.
#[derive(Clone, Copy, Debug)]
pub(in crate::control::admin) struct CallAttempt<'a> {
    pub access: CallAccess,
    pub client: &'a ClientOrigin,
    /// The `Authorization` field.
    pub authorization: Option<&'a [u8]>,
    /// The time since the Unix epoch.
    pub now: Duration,
    /// The user of this process.
    pub own_uid: u32,
    /// The approvers of all rollouts.
    pub approvers: &'a [&'a ApproverRole],
}

/// An admitted client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::control::admin) struct Admitted {
    /// Who it is.
    pub actor: Actor,
    /// As which roles it approves.
    pub roles: ApproverRoles,
}

impl CallAttempt<'_> {
    /// Who makes the call.
    ///
    /// # Errors
    /// Why it is refused.
    pub fn admit(&self, settings: &AdminSpec) -> Result<Admitted, CallProblem> {
        if self.access == CallAccess::Public {
            return Ok(anonymous(self.client));
        }
        if let (Some(tokens), Some(authorization)) = (&settings.tokens, self.authorization) {
            return self.admit_token(tokens, authorization);
        }
        match self.client {
            ClientOrigin::Socket(peer) => self.admit_peer(peer.as_ref(), settings),
            ClientOrigin::Tcp { certificate, .. } => match &settings.tokens {
                Some(tokens) => self.admit_certificate(tokens, certificate.as_deref()),
                None => self.admit_without_tokens(),
            },
        }
    }

    fn admit_token(&self, tokens: &TokenList, authorization: &[u8]) -> Result<Admitted, CallProblem> {
        let Some(presented) = bearer(authorization) else {
            let help = "send `Authorization: Bearer TOKEN`";
            return Err(ProblemKind::TokenUnknown.because("the Authorization field has no Bearer token", help));
        };
        let sha256 = sha256(presented);
        let Some(token) = find(tokens, &sha256) else {
            let help = "use a token of the file that `[admin] tokens` names; `pointsman token new` makes one";
            return Err(ProblemKind::TokenUnknown.because("the token is not known", help));
        };
        self.admit_as(token, Via::Token)
    }

    /// The name in the certificate is that of a token, whose roles it has.
    fn admit_certificate(&self, tokens: &TokenList, name: Option<&str>) -> Result<Admitted, CallProblem> {
        let Some(name) = name else { return Err(missing_token()) };
        let Some(token) = tokens.named(name) else {
            let detail = format!("no token has the name of the client certificate, `{name}`");
            let help = "add a token of this name to the file that `[admin] tokens` names, or send a token";
            return Err(ProblemKind::TokenUnknown.because(detail, help));
        };
        self.admit_as(token, Via::Certificate)
    }

    fn admit_as(&self, token: &AdminToken, via: Via) -> Result<Admitted, CallProblem> {
        if token.is_expired(self.now) {
            let detail = format!("the token `{}` has expired", token.name);
            let help = "make a new one with `pointsman token new`, or change `expires` in the file of tokens";
            return Err(ProblemKind::TokenExpired.because(detail, help));
        }
        if !self.access.is_granted_by(token) {
            let needed = self.access.role();
            let detail = format!("the token `{}` does not have the role `{needed}`", token.name);
            let help = format!("add \"{needed}\" to `roles` of this token, or use a token that has it");
            return Err(ProblemKind::RoleMissing.because(detail, help).with("role", needed));
        }
        let roles = ApproverRoles::of_token(token);
        Ok(Admitted { actor: Actor { name: token.name.clone(), via }, roles })
    }

    fn admit_peer(&self, peer: Option<&SocketPeer>, settings: &AdminSpec) -> Result<Admitted, CallProblem> {
        let Some(peer) = peer.filter(|peer| peer.uid != OVERFLOW_UID) else {
            let help = "run the command in the same user namespace as the proxy, or use a token";
            let detail = "the kernel gives no user id for the other end of the socket";
            return Err(ProblemKind::UserUnknown.because(detail, help));
        };
        let number = format!("uid:{}", peer.uid);
        let is_listed = settings.socket_operators.iter().any(|name| *name == peer.user || *name == number);
        let is_owner = peer.uid == 0 || peer.uid == self.own_uid;
        let is_approver = !is_owner && self.is_approver(&peer.user, &number);
        let roles = if is_approver { ApproverRoles::User } else { ApproverRoles::None };
        let admitted = || Ok(Admitted { actor: Actor { name: peer.user.clone(), via: Via::Socket }, roles });
        match self.access {
            CallAccess::Approve if is_approver => admitted(),
            CallAccess::Approve if is_owner || is_listed || settings.tokens.is_none() => Err(no_approver(peer)),
            _ if is_owner || is_listed => admitted(),
            CallAccess::Public | CallAccess::Metrics | CallAccess::Read if is_approver || settings.tokens.is_none() => {
                admitted()
            }
            _ if settings.tokens.is_some() => Err(missing_token()),
            CallAccess::Public
            | CallAccess::Metrics
            | CallAccess::Read
            | CallAccess::Reload
            | CallAccess::Operate
            | CallAccess::Approve => {
                let detail = format!("the user `{}` is not root, not the user of the proxy, and not listed", peer.user);
                let help = format!("add \"{}\" to `socket_operators` in `[admin]`", peer.user);
                Err(ProblemKind::UserNotListed.because(detail, help))
            }
        }
    }

    /// Whether a rollout lists this user, who has a name of its own.
    fn is_approver(&self, user: &str, number: &str) -> bool {
        user != number && self.approvers.iter().any(|role| role.people.iter().any(|name| name == user))
    }

    fn admit_without_tokens(&self) -> Result<Admitted, CallProblem> {
        match self.access {
            CallAccess::Public | CallAccess::Metrics | CallAccess::Read => Ok(anonymous(self.client)),
            CallAccess::Reload if self.client.is_local() => Ok(anonymous(self.client)),
            CallAccess::Reload => {
                let help = "make the call on the machine of the proxy, or configure `tokens` in `[admin]`";
                Err(ProblemKind::LocalOnly.because(format!("{} is not on this machine", self.client), help))
            }
            CallAccess::Operate | CallAccess::Approve => {
                let detail = "a TCP connection without a token has no identity";
                let help = "use the Unix socket on the machine of the proxy (its path is in /status), or configure \
                            `tokens` in `[admin]`";
                Err(ProblemKind::SocketOnly.because(detail, help))
            }
        }
    }
}

impl CallAccess {
    /// Whether a role of the token is enough. An operator, or an approver, reads what it decides on.
    fn is_granted_by(self, token: &AdminToken) -> bool {
        token.roles.iter().any(|role| match role {
            AdminRole::Operator => self != Self::Approve,
            AdminRole::Approver(_) => {
                matches!(self, Self::Public | Self::Metrics | Self::Read | Self::Approve)
            }
            AdminRole::Viewer => matches!(self, Self::Public | Self::Metrics | Self::Read),
            AdminRole::Metrics => matches!(self, Self::Public | Self::Metrics),
            AdminRole::Flags | AdminRole::Outcomes => self == Self::Public,
        })
    }

    /// The least role that is enough.
    pub const fn role(self) -> &'static str {
        match self {
            Self::Public => "none",
            Self::Metrics => "metrics",
            Self::Read => "viewer",
            Self::Reload | Self::Operate => "operator",
            Self::Approve => "approver:ROLE",
        }
    }
}

fn anonymous(client: &ClientOrigin) -> Admitted {
    let (name, via) = match client {
        ClientOrigin::Tcp { peer, .. } => (peer.to_string(), Via::Loopback),
        ClientOrigin::Socket(peer) => (peer.as_ref().map_or_else(String::new, |peer| peer.user.clone()), Via::Socket),
    };
    Admitted { actor: Actor { name, via }, roles: ApproverRoles::None }
}

/// The problem of a user of the socket who cannot approve.
fn no_approver(peer: &SocketPeer) -> CallProblem {
    let help = "a person whom `approvers` of the rollout lists approves: over the socket under the name of that user, or \
                with a token of that name that has \"approver:ROLE\"";
    let detail = if peer.uid == 0 {
        "root cannot approve: anyone may stand behind it".to_owned()
    } else if peer.user == format!("uid:{}", peer.uid) {
        format!("the user `{}` has no name on this machine", peer.user)
    } else {
        format!("no rollout lists `{}` as an approver, or it is the user of the proxy", peer.user)
    };
    ProblemKind::NotApprover.because(detail, help)
}

fn missing_token() -> CallProblem {
    let help = "send `Authorization: Bearer TOKEN` (the commands read POINTSMAN_TOKEN or --token-file)";
    ProblemKind::TokenMissing.because("tokens are configured, and the call carries none", help)
}

/// The token of `Bearer TOKEN` (RFC 6750).
fn bearer(authorization: &[u8]) -> Option<&[u8]> {
    let (scheme, token) = authorization.split_at_checked("Bearer ".len())?;
    let token = token.trim_ascii();
    let is_token = (1..=TOKEN_BYTES_MAX).contains(&token.len()) && token.iter().all(u8::is_ascii_graphic);
    (scheme.eq_ignore_ascii_case(b"Bearer ") && is_token).then_some(token)
}

fn sha256(bytes: &[u8]) -> [u8; 32] {
    let mut sha256 = [0; 32];
    sha256.copy_from_slice(digest(&SHA256, bytes).as_ref());
    sha256
}

/// The token with this digest. Every token is compared, each in constant time.
fn find<'a>(tokens: &'a TokenList, sha256: &[u8; 32]) -> Option<&'a AdminToken> {
    let mut found = None;
    for token in tokens.iter() {
        if verify_slices_are_equal(&token.sha256, sha256).is_ok() {
            found = Some(token);
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use super::*;

    const OWN_UID: u32 = 1_234;
    const NOW: Duration = Duration::from_secs(1_000);

    fn token(name: &str, role: &str, expires_at: Option<u64>) -> AdminToken {
        let roles = AdminRole::parse(role).into_iter().collect();
        let expires_at = expires_at.map(Duration::from_secs);
        AdminToken { name: name.to_owned(), roles, sha256: sha256(name.as_bytes()), expires_at }
    }

    fn settings(tokens: Tokens) -> AdminSpec {
        let all = [
            token("viewer", "viewer", None),
            token("operator", "operator", Some(1_001)),
            token("metrics", "metrics", None),
            token("approver", "approver:lead", None),
            token("flags", "flags", None),
            token("expired", "operator", Some(1_000)),
        ];
        let tokens = match tokens {
            Tokens::Some => Some(all.into_iter().collect()),
            Tokens::None => None,
        };
        AdminSpec { tokens, socket_operators: vec!["olga".to_owned(), "uid:9".to_owned()], ..AdminSpec::default() }
    }

    #[derive(Clone, Copy)]
    enum Tokens {
        None,
        Some,
    }

    fn way(name: &str) -> ClientOrigin {
        let peer = |uid, user: &str| ClientOrigin::Socket(Some(SocketPeer { uid, user: user.to_owned() }));
        let tcp = |peer: &str| ClientOrigin::Tcp {
            peer: peer.parse().expect("an address"),
            bound: SocketAddr::from(([10, 0, 0, 9], 9_900)),
            certificate: None,
        };
        match name {
            "own" => peer(OWN_UID, "pointsman"),
            "root" => peer(0, "root"),
            "operator" => peer(7, "olga"),
            "other" => peer(8, "otto"),
            "approver" => peer(11, "aron"),
            "listed by number" => peer(9, "nina"),
            "listed without a name" => peer(9, "uid:9"),
            "overflow" => peer(OVERFLOW_UID, "olga"),
            "unidentified" => ClientOrigin::Socket(None),
            address => tcp(address),
        }
    }

    fn leads() -> ApproverRole {
        let people = ["olga", "aron", "root", "pointsman", "uid:9", "approver"].map(str::to_owned).into();
        ApproverRole { role: "lead".to_owned(), people }
    }

    /// Public, metrics, read, reload, operate, approve: `+` when admitted, or the first letters of the problem.
    fn row(way_in: &str, tokens: Tokens, authorization: Option<&str>) -> String {
        let accesses = [
            CallAccess::Public,
            CallAccess::Metrics,
            CallAccess::Read,
            CallAccess::Reload,
            CallAccess::Operate,
            CallAccess::Approve,
        ];
        let (client, leads) = (way(way_in), leads());
        let outcomes = accesses.map(|access| {
            let authorization = authorization.map(str::as_bytes);
            let (client, approvers) = (&client, &[&leads][..]);
            let attempt = CallAttempt { access, client, authorization, now: NOW, own_uid: OWN_UID, approvers };
            match attempt.admit(&settings(tokens)) {
                Ok(_) => "+",
                Err(problem) => problem.kind.name(),
            }
        });
        outcomes.join(" ")
    }

    #[test]
    fn without_tokens_reading_is_open_and_acting_is_for_the_socket() {
        for (way_in, expected) in [
            ("127.0.0.1", "+ + + + socket-only socket-only"),
            ("::1", "+ + + + socket-only socket-only"),
            ("::ffff:127.0.0.1", "+ + + + socket-only socket-only"),
            ("10.1.2.3", "+ + + local-only socket-only socket-only"),
            ("own", "+ + + + + not-approver"),
            ("root", "+ + + + + not-approver"),
            ("operator", "+ + + + + +"),
            ("listed by number", "+ + + + + not-approver"),
            ("listed without a name", "+ + + + + not-approver"),
            ("other", "+ + + user-not-listed user-not-listed not-approver"),
            ("approver", "+ + + user-not-listed user-not-listed +"),
            ("overflow", "+ user-unknown user-unknown user-unknown user-unknown user-unknown"),
            ("unidentified", "+ user-unknown user-unknown user-unknown user-unknown user-unknown"),
        ] {
            assert_eq!(row(way_in, Tokens::None, None), expected, "{way_in}");
            assert_eq!(row(way_in, Tokens::None, Some("Bearer operator")), expected, "{way_in}: there are no tokens");
        }
    }

    #[test]
    fn with_tokens_every_call_but_the_public_ones_needs_a_role() {
        let missing = "+ token-missing token-missing token-missing token-missing token-missing";
        for (way_in, expected) in [
            ("127.0.0.1", missing),
            ("10.1.2.3", missing),
            ("203.0.113.9", missing),
            ("own", "+ + + + + not-approver"),
            ("root", "+ + + + + not-approver"),
            ("operator", "+ + + + + +"),
            ("other", missing),
            ("approver", "+ + + token-missing token-missing +"),
            ("overflow", "+ user-unknown user-unknown user-unknown user-unknown user-unknown"),
        ] {
            assert_eq!(row(way_in, Tokens::Some, None), expected, "{way_in}");
        }
    }

    #[test]
    fn a_token_gives_the_calls_of_its_roles_on_every_way_in() {
        for (authorization, expected) in [
            ("Bearer viewer", "+ + + role-missing role-missing role-missing"),
            ("bearer viewer", "+ + + role-missing role-missing role-missing"),
            ("Bearer operator", "+ + + + + role-missing"),
            ("Bearer metrics", "+ + role-missing role-missing role-missing role-missing"),
            ("Bearer approver", "+ + + role-missing role-missing +"),
            ("Bearer flags", "+ role-missing role-missing role-missing role-missing role-missing"),
            ("Bearer expired", "+ token-expired token-expired token-expired token-expired token-expired"),
            ("Bearer wrong", "+ token-unknown token-unknown token-unknown token-unknown token-unknown"),
            ("Bearer ", "+ token-unknown token-unknown token-unknown token-unknown token-unknown"),
            ("Basic dmlld2VyOg==", "+ token-unknown token-unknown token-unknown token-unknown token-unknown"),
            ("", "+ token-unknown token-unknown token-unknown token-unknown token-unknown"),
        ] {
            for way_in in ["127.0.0.1", "10.1.2.3", "203.0.113.9", "own", "root", "other", "overflow"] {
                assert_eq!(row(way_in, Tokens::Some, Some(authorization)), expected, "{way_in} {authorization}");
            }
        }
    }

    #[test]
    fn a_client_certificate_has_the_roles_of_the_token_with_its_name() {
        let admit = |name: &str, tokens, authorization: Option<&[u8]>| {
            let ClientOrigin::Tcp { peer, bound, .. } = way("10.1.2.3") else { panic!("an address") };
            let client = ClientOrigin::Tcp { peer, bound, certificate: Some(name.to_owned()) };
            let (access, client) = (CallAccess::Operate, &client);
            let attempt = CallAttempt { access, client, authorization, now: NOW, own_uid: OWN_UID, approvers: &[] };
            attempt.admit(&settings(tokens)).map(|admitted| admitted.actor.via).map_err(|problem| problem.kind)
        };
        assert_eq!(admit("operator", Tokens::Some, None), Ok(Via::Certificate));
        assert_eq!(admit("viewer", Tokens::Some, None), Err(ProblemKind::RoleMissing));
        assert_eq!(admit("expired", Tokens::Some, None), Err(ProblemKind::TokenExpired));
        assert_eq!(admit("stranger", Tokens::Some, None), Err(ProblemKind::TokenUnknown));
        assert_eq!(admit("viewer", Tokens::Some, Some(b"Bearer operator")), Ok(Via::Token), "a token comes first");
        assert_eq!(admit("operator", Tokens::None, None), Err(ProblemKind::SocketOnly), "it names no token");
    }

    #[test]
    fn the_actor_is_the_token_or_the_user() {
        let settings = settings(Tokens::Some);
        let admit = |client: &ClientOrigin, authorization: Option<&[u8]>| {
            let access = CallAccess::Operate;
            let attempt = CallAttempt { access, client, authorization, now: NOW, own_uid: OWN_UID, approvers: &[] };
            attempt.admit(&settings).expect("admitted")
        };
        let by_token = admit(&way("10.1.2.3"), Some(b"Bearer operator"));
        assert_eq!(by_token.actor, Actor { name: "operator".to_owned(), via: Via::Token });
        let by_user = admit(&way("operator"), None);
        assert_eq!(by_user.actor, Actor { name: "olga".to_owned(), via: Via::Socket });
    }
    #[test]
    fn a_role_needs_the_name_in_the_rollout_and_in_a_token() {
        let roles = |admitted: &Admitted| match &admitted.roles {
            ApproverRoles::None => "none".to_owned(),
            ApproverRoles::Token(roles) => roles.join(","),
            ApproverRoles::User => "user".to_owned(),
        };
        let leads = leads();
        let admit = |way_in: &str, access, authorization: Option<&[u8]>| {
            let (client, approvers) = (&way(way_in), &[&leads][..]);
            let attempt = CallAttempt { access, client, authorization, now: NOW, own_uid: OWN_UID, approvers };
            attempt.admit(&settings(Tokens::Some)).map(|admitted| roles(&admitted)).map_err(|problem| problem.kind)
        };
        let approve = CallAccess::Approve;
        assert_eq!(admit("10.1.2.3", approve, Some(b"Bearer approver")), Ok("lead".to_owned()));
        assert_eq!(admit("approver", approve, None), Ok("user".to_owned()));
        assert_eq!(admit("operator", approve, None), Ok("user".to_owned()), "an operator who is listed");
        assert_eq!(admit("own", CallAccess::Operate, None), Ok("none".to_owned()));
        assert_eq!(admit("root", approve, None), Err(ProblemKind::NotApprover));
        assert_eq!(admit("listed without a name", approve, None), Err(ProblemKind::NotApprover));
    }
}
