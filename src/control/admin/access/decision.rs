//! Decides whether a client may make a call. Pure: the settings, the client, its token and the time are arguments.
//!
//! The order: a public call is for everyone. A token that is presented decides, where tokens are configured. Without one,
//! the session of the cookie decides: its identity may do what it may do now, without the session. On the Unix socket the
//! user of the peer decides. On TCP without tokens, reading is open (the file allows private addresses only),
//! a reload is accepted from this machine, and all other acting is refused. An approval needs the name of a person: a token
//! with `approver:ROLE`, or a user of the socket whom a rollout lists.

use std::time::Duration;

use aws_lc_rs::constant_time::verify_slices_are_equal;

use super::approvers::ApproverRoles;
use super::client::{ClientOrigin, SocketPeer};
use super::identity::{AdminIdentity, LiveSession, TokenIdentity, sha256};
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
    /// The session of its cookie; it counts where there is no `Authorization`.
    pub session: Option<&'a LiveSession>,
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
    /// What it can have a session as; `None`: it has no identity.
    pub identity: Option<AdminIdentity>,
    /// As which roles it approves.
    pub roles: ApproverRoles,
    /// What else it may do.
    pub rights: ActRights,
    /// When its session ends, since the Unix epoch; `None`: it did not come by one.
    pub session_ends_at: Option<Duration>,
}

/// What an admitted client may do besides reading and approving.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::control::admin) struct ActRights {
    /// Kill, hold, roll back and the like.
    pub operate: bool,
    /// Reload the files.
    pub reload: bool,
}

/// Who makes a call.
#[derive(Clone, Copy, Debug)]
enum Caller<'a> {
    /// The holder of a token, or of a client certificate with its name.
    Holder { token: &'a AdminToken, via: Via },
    /// A user of the Unix socket.
    User(&'a SocketPeer),
    /// A client without an identity.
    Anonymous,
}

impl<'a> CallAttempt<'a> {
    /// Who makes the call.
    ///
    /// # Errors
    /// Why it is refused.
    pub fn admit(&self, settings: &'a AdminSpec) -> Result<Admitted, CallProblem> {
        if self.access == CallAccess::Public {
            return Ok(self.admitted(Caller::Anonymous, ActRights::default()));
        }
        let caller = self.caller(settings)?;
        self.grant(caller, self.access, settings)?;
        let may = |access| self.grant(caller, access, settings).is_ok();
        let rights = ActRights { operate: may(CallAccess::Operate), reload: may(CallAccess::Reload) };
        Ok(self.admitted(caller, rights))
    }

    fn caller(&self, settings: &'a AdminSpec) -> Result<Caller<'a>, CallProblem> {
        match (&settings.tokens, self.authorization, self.session) {
            (Some(tokens), Some(authorization), _) => return self.holder_of(tokens, authorization),
            (_, None, Some(session)) => return self.holder_of_session(session, settings).ok_or_else(session_ended),
            (None, Some(_), _) | (_, None, None) => {}
        }
        match self.client {
            ClientOrigin::Socket(peer) => {
                peer.as_ref().filter(|peer| peer.uid != OVERFLOW_UID).map(Caller::User).ok_or_else(unknown_user)
            }
            ClientOrigin::Tcp { transport, .. } => match &settings.tokens {
                Some(tokens) => self.holder_of_certificate(tokens, transport.certificate()),
                None => Ok(Caller::Anonymous),
            },
        }
    }

    fn holder_of(&self, tokens: &'a TokenList, authorization: &[u8]) -> Result<Caller<'a>, CallProblem> {
        let Some(presented) = bearer(authorization) else {
            let help = "send `Authorization: Bearer TOKEN`";
            return Err(ProblemKind::TokenUnknown.because("the Authorization field has no Bearer token", help));
        };
        let sha256 = sha256(presented);
        let Some(token) = find(tokens, &sha256) else {
            let help = "use a token of the file that `[admin] tokens` names; `pointsman token new` makes one";
            return Err(ProblemKind::TokenUnknown.because("the token is not known", help));
        };
        self.unexpired(token, Via::Token)
    }

    /// The name in the certificate is that of a token, whose roles it has.
    fn holder_of_certificate(&self, tokens: &'a TokenList, name: Option<&str>) -> Result<Caller<'a>, CallProblem> {
        let Some(name) = name else { return Err(missing_token()) };
        let Some(token) = tokens.named(name) else {
            let detail = format!("no token has the name of the client certificate, `{name}`");
            let help = "add a token of this name to the file that `[admin] tokens` names, or send a token";
            return Err(ProblemKind::TokenUnknown.because(detail, help));
        };
        self.unexpired(token, Via::Certificate)
    }

    /// The identity of a session, as it is now; `None`: the session ends, because its token is gone, is another one or
    /// has expired, or because it may not even read any more.
    fn holder_of_session(&self, session: &'a LiveSession, settings: &'a AdminSpec) -> Option<Caller<'a>> {
        let holder = |held: &TokenIdentity, via| {
            let token = settings.tokens.as_ref()?.named(&held.name)?;
            let is_same = verify_slices_are_equal(&token.sha256, &held.sha256).is_ok();
            self.unexpired(token, via).ok().filter(|_| is_same)
        };
        let caller = match &session.identity {
            AdminIdentity::Token(held) => holder(held, Via::Token),
            AdminIdentity::Certificate(held) => holder(held, Via::Certificate),
            AdminIdentity::User(peer) => Some(Caller::User(peer)),
        };
        caller.filter(|caller| self.grant(*caller, CallAccess::Read, settings).is_ok())
    }

    fn unexpired(&self, token: &'a AdminToken, via: Via) -> Result<Caller<'a>, CallProblem> {
        if token.is_expired(self.now) {
            let detail = format!("the token `{}` has expired", token.name);
            let help = "make a new one with `pointsman token new`, or change `expires` in the file of tokens";
            return Err(ProblemKind::TokenExpired.because(detail, help));
        }
        Ok(Caller::Holder { token, via })
    }

    /// Checks that the caller may make calls with this access.
    fn grant(&self, caller: Caller<'_>, access: CallAccess, settings: &AdminSpec) -> Result<(), CallProblem> {
        match caller {
            Caller::Holder { token, .. } => grant_holder(token, access),
            Caller::User(peer) => self.grant_user(peer, access, settings),
            Caller::Anonymous => self.grant_anonymous(access),
        }
    }

    fn grant_user(&self, peer: &SocketPeer, access: CallAccess, settings: &AdminSpec) -> Result<(), CallProblem> {
        let is_listed = settings.socket_operators.iter().any(|name| *name == peer.user || *name == peer.number());
        let (is_owner, is_approver) = (self.is_owner(peer), self.is_approver(peer));
        match access {
            CallAccess::Approve if is_approver => Ok(()),
            CallAccess::Approve if is_owner || is_listed || settings.tokens.is_none() => Err(no_approver(peer)),
            _ if is_owner || is_listed => Ok(()),
            CallAccess::Public | CallAccess::Metrics | CallAccess::Read if is_approver || settings.tokens.is_none() => {
                Ok(())
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

    fn is_owner(&self, peer: &SocketPeer) -> bool {
        peer.uid == 0 || peer.uid == self.own_uid
    }

    /// Whether a rollout lists this user, who has a name of its own.
    fn is_approver(&self, peer: &SocketPeer) -> bool {
        let is_listed = || self.approvers.iter().any(|role| role.people.contains(&peer.user));
        !self.is_owner(peer) && peer.user != peer.number() && is_listed()
    }

    fn grant_anonymous(&self, access: CallAccess) -> Result<(), CallProblem> {
        match access {
            CallAccess::Public | CallAccess::Metrics | CallAccess::Read => Ok(()),
            CallAccess::Reload if self.client.is_local() => Ok(()),
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

    fn admitted(&self, caller: Caller<'_>, rights: ActRights) -> Admitted {
        let (actor, identity, roles) = match caller {
            Caller::Holder { token, via } => {
                let held = TokenIdentity { name: token.name.clone(), sha256: token.sha256 };
                let by_certificate = via == Via::Certificate;
                let identity =
                    if by_certificate { AdminIdentity::Certificate(held) } else { AdminIdentity::Token(held) };
                (Actor { name: token.name.clone(), via }, Some(identity), ApproverRoles::of_token(token))
            }
            Caller::User(peer) => {
                let roles = if self.is_approver(peer) { ApproverRoles::User } else { ApproverRoles::None };
                let actor = Actor { name: peer.user.clone(), via: Via::Socket };
                (actor, Some(AdminIdentity::User(peer.clone())), roles)
            }
            Caller::Anonymous => (anonymous(self.client), None, ApproverRoles::None),
        };
        let by_session = self.session.filter(|_| self.authorization.is_none() && identity.is_some());
        Admitted { actor, identity, roles, rights, session_ends_at: by_session.map(|session| session.ends_at) }
    }
}

fn grant_holder(token: &AdminToken, access: CallAccess) -> Result<(), CallProblem> {
    if access.is_granted_by(token) {
        return Ok(());
    }
    let needed = access.role();
    let detail = format!("the token `{}` does not have the role `{needed}`", token.name);
    let help = format!("add \"{needed}\" to `roles` of this token, or use a token that has it");
    Err(ProblemKind::RoleMissing.because(detail, help).with("role", needed))
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

fn anonymous(client: &ClientOrigin) -> Actor {
    match client {
        ClientOrigin::Tcp { peer, .. } => Actor { name: peer.to_string(), via: Via::Loopback },
        ClientOrigin::Socket(peer) => {
            let name = peer.as_ref().map_or_else(String::new, |peer| peer.user.clone());
            Actor { name, via: Via::Socket }
        }
    }
}

fn unknown_user() -> CallProblem {
    let help = "run the command in the same user namespace as the proxy, or use a token";
    ProblemKind::UserUnknown.because("the kernel gives no user id for the other end of the socket", help)
}

/// The problem of a session that is over, or whose identity is.
pub(super) fn session_ended() -> CallProblem {
    let help = "sign in again: with a token at /sign-in, or by `pointsman dashboard` on the machine of the proxy";
    ProblemKind::SessionEnded.because("it is over, it was ended, or its token or user is no longer admitted", help)
}

/// The problem of a user of the socket who cannot approve.
fn no_approver(peer: &SocketPeer) -> CallProblem {
    let help = "a person whom `approvers` of the rollout lists approves: over the socket under the name of that user, or \
                with a token of that name that has \"approver:ROLE\"";
    let detail = if peer.uid == 0 {
        "root cannot approve: anyone may stand behind it".to_owned()
    } else if peer.user == peer.number() {
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
    use crate::control::admin::access::client::ClientTransport;

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
            transport: ClientTransport::Cleartext,
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

    /// A call that kills.
    fn operating(client: &ClientOrigin) -> CallAttempt<'_> {
        let (access, now, own_uid) = (CallAccess::Operate, NOW, OWN_UID);
        CallAttempt { access, client, authorization: None, session: None, now, own_uid, approvers: &[] }
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
            let (now, own_uid, session) = (NOW, OWN_UID, None);
            let attempt = CallAttempt { access, client, authorization, session, now, own_uid, approvers };
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
            let transport = ClientTransport::Tls { certificate: Some(name.to_owned()) };
            let client = ClientOrigin::Tcp { peer, bound, transport };
            let attempt = CallAttempt { authorization, ..operating(&client) };
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
            CallAttempt { authorization, ..operating(client) }.admit(&settings).expect("admitted")
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
            let attempt = CallAttempt { access, authorization, approvers, ..operating(client) };
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

    /// The identity of a session by its name: that of a token, or `user:` and a way in.
    fn live(name: &str) -> LiveSession {
        let held = |name: &str| TokenIdentity { name: name.to_owned(), sha256: sha256(name.as_bytes()) };
        let identity = match name.split_once(':') {
            Some(("user", name)) => {
                let ClientOrigin::Socket(Some(peer)) = way(name) else { panic!("a user") };
                AdminIdentity::User(peer)
            }
            Some(("certificate", name)) => AdminIdentity::Certificate(held(name)),
            Some(_) | None => AdminIdentity::Token(held(name)),
        };
        LiveSession { identity, ends_at: NOW }
    }

    /// As [`row`], with a session, from an address.
    fn session_row(name: &str, settings: &AdminSpec) -> String {
        let (client, leads, session) = (way("10.1.2.3"), leads(), live(name));
        let approvers = &[&leads][..];
        let accesses =
            [CallAccess::Metrics, CallAccess::Read, CallAccess::Reload, CallAccess::Operate, CallAccess::Approve];
        let outcomes = accesses.map(|access| {
            let attempt = CallAttempt { access, approvers, session: Some(&session), ..operating(&client) };
            match attempt.admit(settings) {
                Ok(_) => "+",
                Err(problem) => problem.kind.name(),
            }
        });
        outcomes.join(" ")
    }

    #[test]
    fn a_session_may_what_its_identity_may() {
        let ended = "session-ended session-ended session-ended session-ended session-ended";
        for (name, expected) in [
            ("viewer", "+ + role-missing role-missing role-missing"),
            ("operator", "+ + + + role-missing"),
            ("certificate:operator", "+ + + + role-missing"),
            ("approver", "+ + role-missing role-missing +"),
            ("metrics", ended),
            ("flags", ended),
            ("expired", ended),
            ("stranger", ended),
            ("user:own", "+ + + + not-approver"),
            ("user:root", "+ + + + not-approver"),
            ("user:operator", "+ + + + +"),
            ("user:approver", "+ + token-missing token-missing +"),
            ("user:other", ended),
        ] {
            assert_eq!(session_row(name, &settings(Tokens::Some)), expected, "{name}");
        }
        for (name, expected) in [
            ("operator", ended),
            ("user:own", "+ + + + not-approver"),
            ("user:other", "+ + user-not-listed user-not-listed not-approver"),
        ] {
            assert_eq!(session_row(name, &settings(Tokens::None)), expected, "{name}, without tokens");
        }
    }

    #[test]
    fn a_session_follows_the_file() {
        let with = |tokens: &[AdminToken], operators: &[&str]| {
            let socket_operators = operators.iter().map(|name| (*name).to_owned()).collect();
            AdminSpec { tokens: Some(tokens.iter().cloned().collect()), socket_operators, ..AdminSpec::default() }
        };
        let ended = "session-ended session-ended session-ended session-ended session-ended";
        let renewed = AdminToken { sha256: sha256(b"another secret"), ..token("operator", "operator", None) };
        for (tokens, expected) in [
            (&[token("operator", "operator", None)][..], "+ + + + role-missing"),
            (&[token("operator", "viewer", None)], "+ + role-missing role-missing role-missing"),
            (&[token("operator", "metrics", None)], ended),
            (&[token("other", "operator", None)], ended),
            (&[renewed], ended),
            (&[token("operator", "operator", Some(1_000))], ended),
            (&[], ended),
        ] {
            assert_eq!(session_row("operator", &with(tokens, &[])), expected, "{tokens:?}");
            assert_eq!(session_row("certificate:operator", &with(tokens, &[])), expected, "{tokens:?}");
        }
        assert_eq!(session_row("user:other", &with(&[], &["otto"])), "+ + + + not-approver", "it is listed now");
        assert_eq!(session_row("user:other", &with(&[], &["uid:8"])), "+ + + + not-approver");
        assert_eq!(session_row("user:operator", &with(&[], &[])), "+ + token-missing token-missing +", "it approves");
    }

    #[test]
    fn a_session_never_helps_a_token() {
        let (client, session, settings) = (way("127.0.0.1"), live("operator"), settings(Tokens::Some));
        let admit = |authorization: Option<&'static [u8]>| {
            let attempt = CallAttempt { authorization, session: Some(&session), ..operating(&client) };
            attempt.admit(&settings).map_err(|problem| problem.kind)
        };
        assert_eq!(admit(Some(b"Bearer wrong")), Err(ProblemKind::TokenUnknown));
        assert_eq!(admit(Some(b"")), Err(ProblemKind::TokenUnknown));
        assert_eq!(admit(Some(b"Bearer viewer")), Err(ProblemKind::RoleMissing));
        assert_eq!(admit(Some(b"Bearer operator")).expect("admitted").session_ends_at, None);
        assert_eq!(admit(None).expect("admitted").session_ends_at, Some(NOW));
        let open = AdminSpec::default();
        let attempt = CallAttempt { authorization: Some(b"Bearer x"), session: Some(&session), ..operating(&client) };
        assert_eq!(attempt.admit(&open).map_err(|problem| problem.kind), Err(ProblemKind::SocketOnly));
    }

    #[test]
    fn the_actor_of_a_session_is_its_identity() {
        let (client, leads, settings) = (way("10.1.2.3"), leads(), settings(Tokens::Some));
        let admit = |name: &str| {
            let (session, approvers) = (live(name), &[&leads][..]);
            let attempt = CallAttempt { session: Some(&session), approvers, ..operating(&client) };
            CallAttempt { access: CallAccess::Read, ..attempt }.admit(&settings).expect("admitted")
        };
        for (name, actor, via, may) in [
            ("operator", "operator", Via::Token, [true, true]),
            ("viewer", "viewer", Via::Token, [false, false]),
            ("certificate:operator", "operator", Via::Certificate, [true, true]),
            ("user:operator", "olga", Via::Socket, [true, true]),
            ("user:approver", "aron", Via::Socket, [false, false]),
        ] {
            let admitted = admit(name);
            assert_eq!(admitted.actor, Actor { name: actor.to_owned(), via }, "{name}");
            assert_eq!([admitted.rights.operate, admitted.rights.reload], may, "{name}");
            assert_eq!(admitted.identity, Some(live(name).identity), "{name}");
        }
        assert_eq!(admit("user:approver").roles, ApproverRoles::User);
        assert_eq!(admit("viewer").roles, ApproverRoles::Token(Vec::new()));
    }

    #[test]
    fn a_client_without_an_identity_has_the_rights_of_its_place() {
        let rights = |way_in| {
            let (client, settings) = (way(way_in), AdminSpec::default());
            let attempt = CallAttempt { access: CallAccess::Read, ..operating(&client) };
            let admitted = attempt.admit(&settings).expect("admitted");
            assert_eq!((admitted.identity, admitted.session_ends_at), (None, None));
            [admitted.rights.operate, admitted.rights.reload]
        };
        assert_eq!((rights("127.0.0.1"), rights("10.1.2.3")), ([false, true], [false, false]));
    }
}
