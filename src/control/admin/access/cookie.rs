//! The cookie of a session: how it is read and written.

use http::{HeaderMap, HeaderValue, header};

use super::client::{ClientOrigin, ClientTransport};
use super::sessions::{PassKey, PassSecret, SESSION_LIFE};

/// The name of the cookie over cleartext.
const NAME: &str = "pointsman_session";
/// The same over TLS: a browser takes it from this host alone, over TLS alone.
const SECURE_NAME: &str = "__Host-pointsman_session";

/// What a request says by the cookie of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::control::admin) enum SessionCookie {
    /// There is none.
    Absent,
    /// It is no secret of a session, or there are several of its name.
    Unusable,
    /// The session of this key, if there is one.
    Key(PassKey),
}

impl SessionCookie {
    /// The cookie of a request. No browser connects to the Unix socket.
    pub fn of(client: &ClientOrigin, headers: &HeaderMap) -> Self {
        let ClientOrigin::Tcp { transport, .. } = client else { return Self::Absent };
        let name = name_over(transport);
        let pairs =
            headers.get_all(header::COOKIE).iter().flat_map(|field| field.as_bytes().split(|byte| *byte == b';'));
        let mut found = pairs.filter_map(|pair| value_of(pair.trim_ascii(), name)).map(Self::of_value);
        let Some(first) = found.next() else { return Self::Absent };
        // Another server of this host can set a cookie of this name for a part of the paths.
        if found.all(|other| other == first) { first } else { Self::Unusable }
    }

    fn of_value(value: &[u8]) -> Self {
        if PassSecret::has_form(value) { Self::Key(PassKey::of(value)) } else { Self::Unusable }
    }
}

/// The field that sets the cookie.
pub(in crate::control::admin) fn set_cookie(client: &ClientOrigin, secret: &PassSecret) -> HeaderValue {
    field(client, secret.reveal(), SESSION_LIFE.as_secs())
}

/// The field that removes the cookie.
pub(in crate::control::admin) fn clear_cookie(client: &ClientOrigin) -> HeaderValue {
    field(client, "", 0)
}

fn field(client: &ClientOrigin, value: &str, max_age_s: u64) -> HeaderValue {
    let (name, secure) = match client {
        ClientOrigin::Tcp { transport: ClientTransport::Tls { .. }, .. } => (SECURE_NAME, "; Secure"),
        ClientOrigin::Tcp { transport: ClientTransport::Cleartext, .. } | ClientOrigin::Socket(_) => (NAME, ""),
    };
    let field = format!("{name}={value}; HttpOnly; SameSite=Strict; Path=/; Max-Age={max_age_s}{secure}");
    // A secret has hexadecimal digits only.
    HeaderValue::from_str(&field).unwrap_or_else(|_| HeaderValue::from_static(""))
}

const fn name_over(transport: &ClientTransport) -> &'static str {
    match transport {
        ClientTransport::Cleartext => NAME,
        ClientTransport::Tls { .. } => SECURE_NAME,
    }
}

fn value_of<'a>(pair: &'a [u8], name: &str) -> Option<&'a [u8]> {
    pair.strip_prefix(name.as_bytes())?.strip_prefix(b"=")
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr, SocketAddr};

    use super::*;
    use crate::control::admin::access::client::SocketPeer;
    use crate::control::admin::access::identity::AdminIdentity;
    use crate::control::admin::access::sessions::Sessions;

    fn client(transport: ClientTransport) -> ClientOrigin {
        let peer = IpAddr::V4(Ipv4Addr::LOCALHOST);
        ClientOrigin::Tcp { peer, bound: SocketAddr::new(peer, 1), transport }
    }

    const TLS: ClientTransport = ClientTransport::Tls { certificate: None };

    fn read(transport: ClientTransport, fields: &[&str]) -> SessionCookie {
        let mut headers = HeaderMap::new();
        for field in fields {
            headers.append(header::COOKIE, field.parse().expect("a value"));
        }
        SessionCookie::of(&client(transport), &headers)
    }

    #[test]
    fn one_cookie_of_the_name_counts() {
        let [one, other] = ["a", "b"].map(|digit| digit.repeat(64));
        let key = SessionCookie::Key(PassKey::of(one.as_bytes()));
        let clear = |fields: &[&str]| read(ClientTransport::Cleartext, fields);
        let own = format!("pointsman_session={one}");
        for fields in [
            &[own.as_str()][..],
            &[&format!("theme=dark; {own}")],
            &[&format!("x; {own} ;;=; y=\"")],
            &["theme=dark", &own],
            &[&own, &own],
        ] {
            assert_eq!(clear(fields), key, "{fields:?}");
        }
        for fields in
            [&[][..], &["theme=dark"], &[&format!("__Host-{own}")], &[&format!("x{own}")], &["pointsman_sessions=1"]]
        {
            assert_eq!(clear(fields), SessionCookie::Absent, "{fields:?}");
        }
        let two = format!("{own}; pointsman_session={other}");
        let garbage = format!("pointsman_session={}", "é\"<img>".repeat(600));
        for fields in [
            &[two.as_str()][..],
            &[&own, "pointsman_session="],
            &["pointsman_session="],
            &[&garbage],
            &[&format!("pointsman_session={}", "a".repeat(4_096))],
            &[&format!("pointsman_session={}", one.to_uppercase())],
            &[&format!("pointsman_session=\"{one}\"")],
        ] {
            assert_eq!(clear(fields), SessionCookie::Unusable, "{fields:?}");
        }
    }

    #[test]
    fn over_tls_only_the_cookie_of_this_host_counts() {
        let one = "a".repeat(64);
        let (own, plain) = (format!("__Host-pointsman_session={one}"), format!("pointsman_session={one}"));
        assert_eq!(read(TLS, &[&own]), SessionCookie::Key(PassKey::of(one.as_bytes())));
        assert_eq!(read(TLS, &[&plain]), SessionCookie::Absent);
        let mut headers = HeaderMap::new();
        headers.insert(header::COOKIE, plain.parse().expect("a value"));
        assert_eq!(SessionCookie::of(&ClientOrigin::Socket(None), &headers), SessionCookie::Absent);
    }

    #[test]
    fn a_cookie_is_for_this_server_alone() {
        let identity = AdminIdentity::User(SocketPeer { uid: 1, user: "ana".to_owned() });
        let secret = Sessions::default().begin(identity, SESSION_LIFE).expect("random numbers");
        let (clear, tls) = (client(ClientTransport::Cleartext), client(TLS));
        let attributes = "HttpOnly; SameSite=Strict; Path=/; Max-Age=";
        let value = secret.reveal();
        assert_eq!(set_cookie(&clear, &secret), format!("pointsman_session={value}; {attributes}43200").as_str());
        assert_eq!(
            set_cookie(&tls, &secret),
            format!("__Host-pointsman_session={value}; {attributes}43200; Secure").as_str()
        );
        assert_eq!(clear_cookie(&clear), format!("pointsman_session=; {attributes}0").as_str());
        assert_eq!(clear_cookie(&tls), format!("__Host-pointsman_session=; {attributes}0; Secure").as_str());
    }
}
