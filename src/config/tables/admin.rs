//! `[admin]`: the admin listener and its socket, and who may use them. Public addresses are refused, unless `tokens` say
//! who is who and `tls` hides them.
//!
//! Loopback, link-local and private addresses are not public. The shared address space 100.64.0.0/10 (RFC 6598) counts
//! as public unless `private_networks` lists it: some Kubernetes networks use it for pods, but internet providers use
//! it for their customers, too.

use std::borrow::Cow;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ipnet::{IpNet, Ipv4Net};

use super::state::CompiledState;
use super::tls::ADMIN_TLS;
use super::{admin_tokens, grafana, tls};
use crate::config::toml::address::{AddressUse, ListenAddresses, address, canonical, is_public};
use crate::config::toml::context::Context;
use crate::config::toml::diagnostic::Finding;
use crate::config::toml::grammar::host_pattern;
use crate::config::toml::item::Item;
use crate::config::toml::reader::Reader;
use crate::config::toml::source::Span;
use crate::config::toml::spanned_string::SpannedString;
use crate::config::toml::spec::{Shape, TableSpec, default, optional};
use crate::config::toml::value;
use crate::route::{AdminSpec, HostPattern};
use crate::tls::Server;

/// `[admin]`.
pub(in crate::config) const ADMIN: TableSpec = TableSpec {
    title: "[admin]",
    doc: "The admin listener: metrics, health, status, and the calls of operators.",
    keys: &[
        default(
            "address",
            Shape::OneOrMore(&Shape::Text),
            "\"127.0.0.1:9900\"",
            "IP address and port to listen on, or a list of at most 16; public addresses need `tokens` and `tls`.",
        ),
        optional(
            "private_networks",
            Shape::OneOrMore(&Shape::Text),
            "Parts of 100.64.0.0/10 that count as private, such as the network of the pods; none by default.",
        ),
        optional(
            "socket",
            Shape::Text,
            "Path of the Unix socket for operators on this machine, at most 107 bytes, or `off`; default: \
             `run/admin.sock` in `state.dir`.",
        ),
        optional("socket_group", Shape::Text, "Group whose members can connect to the socket; none by default."),
        optional(
            "socket_operators",
            Shape::OneOrMore(&Shape::Text),
            "Users (names, or `uid:N`) that may act by the socket, besides root and the user of the proxy; at most 1000.",
        ),
        optional(
            "hosts",
            Shape::OneOrMore(&Shape::Text),
            "Host names that requests may have in `Host`, besides IP addresses and `localhost`; at most 100.",
        ),
        optional(
            "tokens",
            Shape::Text,
            "TOML file with the tokens of operators and programs, relative to the file that names it; it is watched for \
             changes.",
        ),
        optional(
            "grafana",
            Shape::Text,
            "URL of a Grafana with `deploy/grafana/pointsman.json`, or of a dashboard in it: the pages of the dashboard link \
             to its panels.",
        ),
        optional("tls", Shape::Table(&ADMIN_TLS), "TLS; without this table the admin listener serves cleartext."),
    ],
    later: &[],
};

/// The shared address space (RFC 6598).
const SHARED: Ipv4Net = Ipv4Net::new_assert(Ipv4Addr::new(100, 64, 0, 0), 10);

/// The most addresses of the admin listener.
const ADDRESSES_MAX: usize = 16;

/// The most users in `socket_operators`.
const OPERATORS_MAX: usize = 1_000;

/// The most names in `hosts`.
const HOSTS_MAX: usize = 100;

/// The longest path of a Unix socket on Linux, in bytes, without the zero at its end (unix(7)).
const SOCKET_PATH_MAX: usize = 107;

/// An account that may be written as `uid:N`.
const USER: &str = "user";

/// The longest name of a user or a group, in bytes.
const ACCOUNT_BYTES_MAX: usize = 256;

/// Compiles `[admin]`.
pub(in crate::config) fn admin(
    context: &mut Context<'_>,
    reader: Option<&Reader<'_>>,
    listeners: &ListenAddresses,
    state: &CompiledState,
) -> (AdminSpec, Option<Arc<Server>>) {
    let default_address = SocketAddr::from((Ipv4Addr::LOCALHOST, 9900));
    let Some(reader) = reader else {
        refuse_default(context, default_address, listeners);
        let (addresses, path) = (vec![default_address], state.spec.socket());
        warn_long_path(context, &path, state.at);
        return (AdminSpec { addresses, socket: Some(path), ..AdminSpec::default() }, None);
    };
    let addresses = addresses(context, reader, default_address, listeners);
    let errors = context.errors();
    let socket = socket(context, reader, state);
    let is_off = socket.is_none() && errors == context.errors();
    let socket_group = reader.get("socket_group").and_then(|item| account(context, &item, "group"));
    let socket_operators = short_list(context, reader, "socket_operators", OPERATORS_MAX);
    let socket_operators =
        value::parse_unique(context, &socket_operators, |context, item| account(context, item, USER));
    let hosts = short_list(context, reader, "hosts", HOSTS_MAX);
    let hosts = value::parse_unique(context, &hosts, host);
    let tokens = reader.get("tokens").and_then(|item| admin_tokens::tokens(context, &item));
    let grafana = reader.get("grafana").and_then(|item| grafana::grafana(context, &item));
    let secured = reader.get("tls").and_then(|item| tls::tls(context, &item, &ADMIN_TLS));
    reader.finish(context);
    if is_off {
        for key in ["socket_group", "socket_operators"].into_iter().filter(|key| reader.get(key).is_some()) {
            let message = format!("`{key}` has no effect: `socket` is `off`");
            context.report(Finding::warning("no-socket", reader.place(key), message));
        }
    }
    let (tls, server) = secured.unzip();
    if tls.is_some_and(|tls| tls.client_auth.is_some()) && reader.get("tokens").is_none() {
        let message = "client certificates permit nothing: there are no `tokens`, whose roles they have by their names";
        let finding = Finding::warning("no-roles", reader.place("tls"), message);
        context.report(finding.help("write `tokens = \"certs/admin-tokens.toml\"` in `[admin]`"));
    }
    (AdminSpec { addresses, tls, socket, socket_group, socket_operators, hosts, tokens, grafana }, server)
}

/// Compiles `address`.
fn addresses(
    context: &mut Context<'_>,
    reader: &Reader<'_>,
    default_address: SocketAddr,
    listeners: &ListenAddresses,
) -> Vec<SocketAddr> {
    let items = reader.get("address").map(|item| (item, item.one_or_more()));
    if let Some((item, _)) = items.as_ref().filter(|(_, all)| all.is_empty()) {
        item.refuse(context, "empty-list", "`address` is empty: the admin listener needs at least one address");
    }
    if let Some((item, all)) = items.as_ref().filter(|(_, all)| all.len() > ADDRESSES_MAX) {
        let message = format!("`address` has {} addresses; at most {ADDRESSES_MAX} are supported", all.len());
        item.refuse(context, "too-many", message);
    }
    let mut items = items.map(|(_, all)| all).unwrap_or_default();
    items.truncate(ADDRESSES_MAX);
    let private: Vec<IpNet> = match reader.get("private_networks") {
        Some(item) => item.one_or_more().iter().filter_map(|item| private_network(context, item)).collect(),
        None => Vec::new(),
    };
    let mut known: Vec<(SocketAddr, Span, bool)> = Vec::new();
    for item in items {
        let Some(text) = item.shown_text(context) else { continue };
        let Some(address) = address(context, &text, AddressUse::Admin) else { continue };
        let same = |other: SocketAddr| canonical(other) == canonical(address) && address.port() != 0;
        let first = known.iter().find(|(before, ..)| same(*before));
        if let Some((_, first, is_expanded)) = first {
            // `["127.0.0.1:9900", "${POD_IP:-127.0.0.1}:9900"]` is one address if the variable is not set.
            if !is_expanded && text.written.is_none() {
                let finding =
                    Finding::error("duplicate-address", text.span, format!("`{}` is listed twice", canonical(address)));
                context.report(finding.label("and again here").also(*first, "first here"));
            }
            continue;
        }
        known.push((address, text.span, text.written.is_some()));
        let ip = address.ip().to_canonical();
        if is_public(ip) && !private.iter().any(|net| net.contains(&ip)) {
            refuse_public(context, &text, address, reader);
        }
        if let Some((_, at)) = listeners.find_overlap(address) {
            let message = format!("`{}` is already the address of a listener", &*text);
            context.report(Finding::error("duplicate-address", text.span, message).also(at, "here"));
        }
    }
    if known.is_empty() && reader.get("address").is_none() {
        refuse_default(context, default_address, listeners);
    }
    debug_assert!(known.len() <= ADDRESSES_MAX, "the list of addresses was cut");
    if known.is_empty() { vec![default_address] } else { known.into_iter().map(|(address, ..)| address).collect() }
}

/// Refuses a listener on the default address of the admin listener.
fn refuse_default(context: &mut Context<'_>, default_address: SocketAddr, listeners: &ListenAddresses) {
    if let Some((_, at)) = listeners.find_overlap(default_address) {
        let message = format!("`{default_address}` is the default address of the admin listener");
        let help =
            "use another port for this listener, or set another `address` in `[admin]`, such as `127.0.0.1:9901`";
        context.report(Finding::error("duplicate-address", at, message).help(help));
    }
}

/// Refuses a public address, unless requests need a token there, which TLS protects on its way.
fn refuse_public(context: &mut Context<'_>, text: &SpannedString<'_>, address: SocketAddr, reader: &Reader<'_>) {
    const TOKENS: &str = "`tokens = \"certs/admin-tokens.toml\"`";
    const TLS: &str = "`tls = { certificates = [\"certs/\"] }`";
    let (missing, needed) = match (reader.get("tokens").is_some(), reader.get("tls").is_some()) {
        (true, true) => return,
        (true, false) => ("no `tls`: tokens could be read on their way", format!("{TLS} in `[admin]`")),
        (false, true) => ("no `tokens`: it would have no authentication", format!("{TOKENS} in `[admin]`")),
        (false, false) => ("no authentication", format!("{TOKENS} and {TLS} in `[admin]`")),
    };
    let message = format!("`{}` is a public address, and the admin listener has {missing}", &**text);
    // Borrowed, since help with a value of a variable is not shown.
    let help = if IpNet::V4(SHARED).contains(&address.ip().to_canonical()) {
        Cow::Borrowed(
            "100.64.0.0/10 is shared address space, which internet providers use for their customers; if it is the network \
             of your pods, write `private_networks = [\"100.64.0.0/10\"]` in `[admin]`; otherwise it needs `tokens` and `tls`",
        )
    } else {
        let port = address.port();
        let private = format!("write `127.0.0.1:{port}`, or a private address that only operators can reach");
        Cow::Owned(format!("{private}; or write {needed}"))
    };
    context.report(Finding::error("public-admin", text.span, message).help(help));
}

/// The path of the socket; `None` if it is off.
fn socket(context: &mut Context<'_>, reader: &Reader<'_>, state: &CompiledState) -> Option<PathBuf> {
    let Some(item) = reader.get("socket") else {
        let path = state.spec.socket();
        warn_long_path(context, &path, state.at);
        return Some(path);
    };
    let text = item.shown_text(context)?;
    if &*text == "off" {
        return None;
    }
    // The CLI writes sockets as `unix:/path`.
    let written = text.strip_prefix("unix:").unwrap_or(&text);
    if written.is_empty() || written.contains('\0') || written.starts_with('@') {
        let message = format!("`{}` is not the path of a Unix socket", text.shown());
        let help = "write `socket = \"/run/pointsman/admin.sock\"`, a path relative to this file, or `off`";
        context.report(Finding::error("bad-path", text.span, message).help(help));
        return None;
    }
    let path = context.beside(text.span.file, written);
    warn_long_path(context, &path, text.span);
    Some(path)
}

/// Warns of a path that no socket can have.
fn warn_long_path(context: &mut Context<'_>, path: &Path, at: Span) {
    let bytes = path.as_os_str().len();
    if bytes > SOCKET_PATH_MAX {
        let message = format!(
            "the path of the admin socket has {bytes} bytes; sockets have at most {SOCKET_PATH_MAX}: there will be none"
        );
        let help = "write a shorter `dir` in `[state]`, or `socket = \"/run/pointsman/admin.sock\"` in `[admin]`";
        context.report(Finding::warning("long-socket-path", at, message).help(help));
    }
}

/// The items of a list of at most `max` items.
fn short_list<'d>(context: &mut Context<'_>, reader: &Reader<'d>, key: &'static str, max: usize) -> Vec<Item<'d>> {
    let Some(item) = reader.get(key) else { return Vec::new() };
    let mut items = item.one_or_more();
    if items.len() > max {
        let message = format!("`{key}` has {} names; at most {max} are supported", items.len());
        item.refuse(context, "too-many", message);
        items.truncate(max);
    }
    items
}

/// The name of a user or a group, or `uid:N` for a user without one. Whether the system has it is seen at the start.
fn account(context: &mut Context<'_>, item: &Item<'_>, what: &str) -> Option<String> {
    let text = item.shown_text(context)?;
    let number = text.strip_prefix("uid:").filter(|_| what == USER);
    if number.is_some_and(|number| number.parse::<u32>().is_ok_and(|uid| uid.to_string() == number)) {
        return Some(text.to_string());
    }
    let is_name = !text.is_empty() && text.trim() == &*text && !text.contains(|c: char| c.is_control() || c == ':');
    if is_name && text.len() <= ACCOUNT_BYTES_MAX {
        return Some(text.to_string());
    }
    let message = format!("`{}` is not the name of a {what}", text.shown());
    context.report(
        Finding::error("bad-account", text.span, message)
            .help("write a name as in `/etc/passwd` or `/etc/group`, or `uid:N` for a user without a name"),
    );
    None
}

/// A name in `hosts`, lower case.
fn host(context: &mut Context<'_>, item: &Item<'_>) -> Option<String> {
    const HELP: &str = "write names without a port, such as `hosts = [\"admin.example.com\"]`";
    let text = item.shown_text(context)?;
    let refusal = match host_pattern(&text) {
        Ok(HostPattern::Exact(name)) => return Some(name),
        Ok(HostPattern::Wildcard(_)) => format!("`{}` is a pattern: `hosts` lists names", text.shown()),
        Err((message, _)) => message,
    };
    context.report(Finding::error("bad-host", text.span, refusal).help(HELP));
    None
}

/// A part of the shared address space. All other addresses are either private or public, and no list changes that.
fn private_network(context: &mut Context<'_>, item: &Item<'_>) -> Option<IpNet> {
    let net = value::network(context, item)?;
    if IpNet::V4(SHARED).contains(&net) {
        return Some(net);
    }
    let message = if is_public(net.network()) || is_public(net.broadcast()) {
        format!("`{net}` has public addresses outside 100.64.0.0/10")
    } else {
        format!("`{net}` is always private")
    };
    let help = "`private_networks` accepts parts of 100.64.0.0/10 only; 10.0.0.0/8, 172.16.0.0/12, 192.168.0.0/16 and \
                fc00::/7 are always private, and all other networks are public";
    context.report(Finding::error("not-private", item.span(), message).help(help));
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(admin: &str, pod_ip: Option<&str>) -> Result<(Vec<SocketAddr>, String), String> {
        let text = format!(
            "schema = 1\n[[listener]]\naddress = \"127.0.0.1:0\"\n[admin]\n{admin}\n\
             [[route]]\nname = \"a\"\nrespond = {{ status = 200 }}\n"
        );
        let env = |name: &str| pod_ip.filter(|_| name == "POD_IP").map(str::to_owned);
        match crate::config::load_text("routes.toml", &text, &env) {
            Ok(loaded) => Ok((loaded.rules.admin.addresses, loaded.warnings.to_string())),
            Err(errors) => Err(errors.to_string()),
        }
    }

    fn check(admin: &str, pod_ip: Option<&str>, expected: Result<&[&str], &str>) {
        match (load(admin, pod_ip), expected) {
            (Ok((addresses, warnings)), Ok(expected)) => {
                let expected: Vec<SocketAddr> = expected.iter().map(|text| text.parse().expect("an address")).collect();
                assert_eq!((addresses, &*warnings), (expected, ""), "{admin} {pod_ip:?}");
            }
            (Err(errors), Err(expected)) => assert!(errors.contains(expected), "{admin} {pod_ip:?}: {errors}"),
            (loaded, _) => panic!("{admin} {pod_ip:?}: {loaded:?}"),
        }
    }

    #[test]
    fn a_duplicate_from_a_variable_counts_once() {
        let shipped = r#"address = ["127.0.0.1:9900", "${POD_IP:-127.0.0.1}:9900"]"#;
        check(shipped, None, Ok(&["127.0.0.1:9900"]));
        check(shipped, Some("127.0.0.1"), Ok(&["127.0.0.1:9900"]));
        check(shipped, Some("10.1.2.3"), Ok(&["127.0.0.1:9900", "10.1.2.3:9900"]));
        check(shipped, Some("203.0.113.8"), Err("public-admin"));
        check(r#"address = ["127.0.0.1:9900", "127.0.0.1:9900"]"#, None, Err("is listed twice"));
        check(r#"address = ["127.0.0.1:0", "127.0.0.1:0"]"#, None, Ok(&["127.0.0.1:0", "127.0.0.1:0"]));
        check(
            r#"address = ["[::1]:9900", "[${POD_IP:-::1}]:9900"]"#,
            Some("fd00::1"),
            Ok(&["[::1]:9900", "[fd00::1]:9900"]),
        );
        check(r#"address = "${POD_IP:-127.0.0.1}:9900""#, None, Ok(&["127.0.0.1:9900"]));
        let mapped = r#"address = ["127.0.0.1:9900", "[::ffff:127.0.0.1]:9900"]"#;
        check(mapped, None, Err("`127.0.0.1:9900` is listed twice"));
        check("address = []", None, Err("empty-list"));
        check("", None, Ok(&["127.0.0.1:9900"]));
    }

    #[test]
    fn addresses_are_bounded() {
        let many = |count: u32| {
            let all: Vec<_> = (0..count).map(|port| format!("\"127.0.0.1:{}\"", 20_000 + port)).collect();
            format!("address = [{}]", all.join(", "))
        };
        assert!(load(&many(16), None).is_ok_and(|(all, _)| all.len() == 16));
        check(&many(17), None, Err("`address` has 17 addresses; at most 16 are supported"));
    }

    #[test]
    fn shared_address_space_is_public_unless_it_is_listed() {
        let at = |address: &str, key: &str| format!("address = \"{address}\"\n{key}");
        let key = r#"private_networks = ["100.64.0.0/10"]"#;
        check(&at("100.64.1.2:9900", ""), None, Err("private_networks = [\"100.64.0.0/10\"]"));
        check(&at("100.64.1.2:9900", key), None, Ok(&["100.64.1.2:9900"]));
        check(&at("100.127.255.254:9900", key), None, Ok(&["100.127.255.254:9900"]));
        check(&at("[::ffff:100.64.1.2]:9900", key), None, Ok(&["[::ffff:100.64.1.2]:9900"]));
        check(&at("100.128.0.1:9900", key), None, Err("public-admin"));
        check(&at("0.0.0.0:9900", key), None, Err("public-admin"));
        check(&at("100.65.1.2:9900", "private_networks = \"100.64.0.0/16\""), None, Err("public-admin"));
        check(&at("127.0.0.1:9900", "private_networks = \"0.0.0.0/0\""), None, Err("not-private"));
        check(&at("127.0.0.1:9900", "private_networks = \"192.168.1.0/24\""), None, Err("is always private"));
        check(&at("127.0.0.1:9900", "private_networks = \"10.0.0.0/7\""), None, Err("has public addresses outside"));
        check(&at("127.0.0.1:9900", "private_networks = []"), None, Ok(&["127.0.0.1:9900"]));
    }
}
