//! `endpoints` of an upstream: a list in the file, or a file of its own with one endpoint a line.

use super::endpoint_list::{ENDPOINTS_MAX, PlacedEndpoint, by_url, refuse_duplicates};
use super::endpoints_file;
use super::endpoints_file::ENDPOINTS_FILE;
use crate::config::toml::address::ListenAddresses;
use crate::config::toml::context::Context;
use crate::config::toml::diagnostic::Finding;
use crate::config::toml::endpoint::is_endpoint;
use crate::config::toml::item::Item;
use crate::config::toml::quote::{REPEATED_MAX, quoted};
use crate::config::toml::reader::Reader;
use crate::config::toml::spanned_string::SpannedString;
use crate::config::toml::spec::{KeySpec, Shape, TableSpec, default, required};
use crate::route::{EndpointRole, EndpointSpec};

/// The pattern of the URL of an endpoint.
const URL: &str = r"^(https?|h2c)://|\$\{";

/// `endpoints`.
pub(super) const ENDPOINTS: KeySpec = required(
    "endpoints",
    Shape::Either(&[
        Shape::OneOrMore(&Shape::Either(&[Shape::Pattern(URL), Shape::Table(&ENDPOINT)])),
        Shape::Table(&ENDPOINTS_FILE),
    ]),
    "URLs of the endpoints: `http://host:port`, `https://host:port` or `h2c://host:port`; or `{ file = \"…\" }`.",
);

const ENDPOINT: TableSpec = TableSpec {
    title: "an endpoint",
    doc: "An endpoint with a weight or a role.",
    keys: &[
        required("url", Shape::Pattern(URL), "URL of the endpoint."),
        default("weight", Shape::Integer(1, 1_000), "1", "Weight relative to the other endpoints."),
        default("backup", Shape::Boolean, "false", "The endpoint gets requests only while no other one is usable."),
        default("drain", Shape::Boolean, "false", "The endpoint gets no new request; those under way finish."),
    ],
    later: &[],
};

/// Compiles the endpoints of an upstream.
pub(super) fn endpoints(
    context: &mut Context<'_>,
    upstream: &Reader<'_>,
    listening: &ListenAddresses,
) -> Vec<EndpointSpec> {
    let Some(item) = upstream.require(context, "endpoints") else { return Vec::new() };
    let errors = context.errors();
    let all = if is_file(context, &item) {
        endpoints_file::read(context, &item, upstream)
    } else {
        inline(context, upstream, &item)
    };
    if errors == context.errors() && !all.is_empty() {
        check_roles(context, upstream, &item, &all);
        warn_of_own(context, upstream, listening, &all);
    }
    all.into_iter().map(|(endpoint, _)| endpoint).collect()
}

/// Whether the endpoints are in a file: `{ file = … }`, perhaps misspelt.
fn is_file(context: &mut Context<'_>, item: &Item<'_>) -> bool {
    let is_misspelt = |context: &mut Context<'_>| {
        let reader = item.table(context, &ENDPOINTS_FILE);
        reader.is_some_and(|reader| reader.misspells(context, "file"))
    };
    item.has_key("file") || (item.is_table() && !item.has_key("url") && is_misspelt(context))
}

fn inline(context: &mut Context<'_>, upstream: &Reader<'_>, item: &Item<'_>) -> Vec<PlacedEndpoint> {
    let items = item.one_or_more();
    if items.is_empty() {
        item.refuse(context, "empty-list", format!("{} has no endpoint", upstream.title()));
    }
    if items.len() > ENDPOINTS_MAX {
        item.refuse(context, "too-many", format!("an upstream has at most {ENDPOINTS_MAX} endpoints"));
        return Vec::new();
    }
    let all: Vec<_> = items.iter().filter_map(|item| Some((endpoint(context, item)?, item.span()))).collect();
    let help = "to send it more requests, write `{ url = \"…\", weight = 2 }`";
    refuse_duplicates(context, &all, help);
    all
}

fn endpoint(context: &mut Context<'_>, item: &Item<'_>) -> Option<EndpointSpec> {
    if !item.is_table() {
        let text = item.shown_text(context)?;
        if let Some(all) = several(&text) {
            let message = format!("`{}` is more than one URL", &*text);
            let all = all.iter().map(|url| quoted(url)).collect::<Vec<_>>().join(", ");
            let (how, all) = if item.element { ("each in quotes", all) } else { ("a list", format!("[{all}]")) };
            context.report(Finding::error("bad-endpoint", text.span, message).help(format!("write `{all}`, {how}")));
            return None;
        }
        return url(context, &text);
    }
    let reader = item.table(context, &ENDPOINT)?;
    let text = reader.require(context, "url").and_then(|item| item.shown_text(context));
    let weight = reader.count(context, "weight").unwrap_or(1);
    let mut is_on = |key| reader.get(key).and_then(|item| item.boolean(context)).unwrap_or(false);
    let role = match (is_on("drain"), is_on("backup")) {
        (true, _) => EndpointRole::Drained,
        (false, true) => EndpointRole::Backup,
        (false, false) => EndpointRole::Primary,
    };
    reader.finish(context);
    let endpoint = url(context, &text?)?;
    Some(EndpointSpec { weight, role, ..endpoint })
}

fn url(context: &mut Context<'_>, text: &SpannedString<'_>) -> Option<EndpointSpec> {
    match by_url(text) {
        Ok(endpoint) => Some(endpoint),
        Err((message, help)) => {
            context.report(Finding::error("bad-endpoint", text.span, message).help(help));
            None
        }
    }
}

/// The URLs of a text with more than one.
fn several(text: &str) -> Option<Vec<&str>> {
    let parts = || text.split([',', ' ', '\t']).filter(|part| !part.is_empty());
    (parts().count() > 1 && text.len() <= REPEATED_MAX && parts().all(is_endpoint)).then(|| parts().collect())
}

/// Refuses an upstream whose endpoints are all drained; warns of one whose endpoints are all backups.
fn check_roles(context: &mut Context<'_>, upstream: &Reader<'_>, item: &Item<'_>, all: &[PlacedEndpoint]) {
    let has = |role| all.iter().any(|(endpoint, _)| endpoint.role == role);
    let at = all.first().map_or(item.span(), |(_, at)| if item.is_table() { *at } else { item.span() });
    if has(EndpointRole::Primary) {
        return;
    }
    let name = upstream.name();
    if !has(EndpointRole::Backup) {
        let finding =
            Finding::error("all-drained", at, format!("every endpoint of `{name}` is drained: none would answer"));
        let help = "leave at least one without `drain`; to take the upstream out of use, give its routes another one, or \
                    `respond = { status = 503 }`";
        context.report(finding.help(help));
        return;
    }
    let message = format!("`{name}` has no endpoint but backups: they get all requests");
    let finding = Finding::warning("all-backups", at, message);
    context.report(finding.help("remove `backup` from those that should serve"));
}

/// Warns of endpoints that are a listener of this configuration: each request comes back until the proxy finds its own
/// `Via` header.
fn warn_of_own(context: &mut Context<'_>, upstream: &Reader<'_>, listening: &ListenAddresses, all: &[PlacedEndpoint]) {
    let mut own = all.iter().filter_map(|(endpoint, at)| {
        let listener = listening.find_own(&endpoint.host, endpoint.port)?;
        Some((endpoint, *at, listener))
    });
    let Some((endpoint, at, listener)) = own.next() else { return };
    let more = own.count();
    let url = endpoint.url();
    let message = if more == 0 {
        format!("the endpoint `{url}` of `{}` is a listener of this proxy", upstream.name())
    } else {
        format!("the endpoint `{url}` of `{}`, and {more} more, are listeners of this proxy", upstream.name())
    };
    let finding = Finding::warning("own-listener", at, message).also(listener, "listens here");
    context.report(finding.help(
        "a request that comes back is answered with 508 as soon as the proxy finds its own `Via` header; if the proxy is to \
         call itself, ignore this",
    ));
}
