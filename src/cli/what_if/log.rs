//! The JSON access log as input of a replay: the request of a line, and how it was decided.

use std::collections::HashSet;
use std::net::{IpAddr, SocketAddr};

use http::{HeaderName, HeaderValue, Method, header};
use serde::Deserialize;

use crate::fields::Fields;
use crate::route::{
    CertField, Claims, ConfigDiff, EffectiveConfig, EncodedSlash, ExplainRequest, Extractor, Facts, LoggedDecision,
    LoggedRequest, LoggedRoute, Predicate, Replay, Replayed, Route, VerifiedCert,
};

/// What is read of a line.
#[derive(Debug, Deserialize)]
pub(super) struct Line {
    method: String,
    host: String,
    path: String,
    peer: SocketAddr,
    client_ip: IpAddr,
    tenant: Option<String>,
    route: Option<String>,
    reason: Option<String>,
    bucket: Option<u32>,
    event: Option<String>,
    grpc_status: Option<u8>,
    listener: Option<String>,
}

impl Line {
    /// Reads a line; nothing when it is not one of ours.
    pub(super) fn parse(line: &[u8]) -> Option<Self> {
        serde_json::from_slice(line).ok()
    }

    fn logged_route(&self) -> LoggedRoute<'_> {
        self.route.as_deref().map_or(LoggedRoute::None, LoggedRoute::Name)
    }

    fn logged_decision(&self) -> LoggedDecision<'_> {
        let reason = self.reason.as_deref().unwrap_or_default();
        match (&self.route, reason.split('+').next().unwrap_or_default()) {
            // A latch is decided where the weights are, by the caller's bucket.
            (Some(route), "weight" | "stable" | "latch") => LoggedDecision::ByWeight { route, bucket: self.bucket },
            (Some(_), "target" | "kill") => LoggedDecision::ByRule,
            _ => LoggedDecision::Complete,
        }
    }
}

/// A log being replayed.
pub(super) struct LogReplay<'a> {
    replay: Replay<'a>,
    tenant_places: Vec<&'a Extractor>,
    /// The old file's routes that take nothing but gRPC calls.
    grpc_routes: HashSet<&'a str>,
    /// The routes of either file that have rate limits.
    limited_routes: HashSet<&'a str>,
    foreign: u64,
}

/// The result of replaying a log.
#[derive(Debug)]
pub(super) struct LogReplayed {
    /// The results of its requests.
    pub(super) replayed: Replayed,
    /// Lines that are none of ours.
    pub(super) foreign: u64,
    /// A route with rate limits has changed, and its limits are not replayed.
    pub(super) leaves_out_limits: bool,
}

impl<'a> LogReplay<'a> {
    pub(super) fn new(old: EffectiveConfig<'a>, new: EffectiveConfig<'a>) -> Self {
        let (before, after) = (old.rules, new.rules);
        let tenant_places = before.identity.tenant.iter().chain(&after.identity.tenant).collect();
        let is_grpc = |route: &&Route| route.matches.predicates.iter().any(|one| matches!(one, Predicate::Grpc));
        let grpc_routes = before.routes.iter().filter(is_grpc).map(|route| route.name.as_str()).collect();
        let both = before.routes.iter().chain(&after.routes);
        let limited_routes =
            both.filter(|route| !route.rate_limits.is_empty()).map(|route| route.name.as_str()).collect();
        Self { replay: Replay::new(old, new), tenant_places, grpc_routes, limited_routes, foreign: 0 }
    }

    /// Replays a line.
    pub(super) fn take(&mut self, line: Option<&Line>) {
        if line.is_some_and(|line| matches!(line.event.as_deref(), Some("open" | "shadow"))) {
            // Its request is logged again when the connection closes.
            return;
        }
        let Some(line) = line else {
            self.foreign += 1;
            return;
        };
        let Ok(method) = Method::from_bytes(line.method.as_bytes()) else {
            self.foreign += 1;
            return;
        };
        let fields = self.fields(line);
        let claims = self.claims(line);
        let certificate = self.certificate(line);
        let request = ExplainRequest {
            method: &method,
            host: &line.host,
            path_and_query: &line.path,
            fields: &fields,
            peer: line.peer.ip(),
            client_cert: certificate.as_ref(),
            listener: line.listener.as_deref().unwrap_or_default(),
            scheme: "http",
            encoded_slash: EncodedSlash::Keep,
            facts: Facts { claims: Some(&claims), ..Facts::default() },
        };
        self.replay.add(&LoggedRequest { request, route: line.logged_route(), decision: line.logged_decision() });
    }

    pub(super) fn finish(self, comparison: &ConfigDiff) -> LogReplayed {
        let ConfigDiff { added, removed, changed, .. } = comparison;
        let changed = changed.iter().map(|change| &change.route);
        let mut routes = added.iter().chain(removed).chain(changed);
        let leaves_out_limits = routes.any(|route| self.limited_routes.contains(route.as_str()));
        LogReplayed { replayed: self.replay.finish(), foreign: self.foreign, leaves_out_limits }
    }

    /// The claims of a token that carry the line's tenant, where either file looks for it.
    fn claims(&self, line: &Line) -> Claims {
        let mut claims = Claims::default();
        for place in &self.tenant_places {
            if let (Extractor::Claim(name), Some(tenant)) = (place, &line.tenant) {
                claims.add(name, tenant);
            }
        }
        claims
    }

    /// The certificate that the tenant was read from, if that may be.
    fn certificate(&self, line: &Line) -> Option<VerifiedCert> {
        let tenant = || line.tenant.clone();
        let place = self.tenant_places.iter().find_map(|place| match place {
            Extractor::ClientCert(field) => Some(*field),
            Extractor::Header(_)
            | Extractor::Cookie(_)
            | Extractor::Host(_)
            | Extractor::Path(_)
            | Extractor::Query(_)
            | Extractor::Claim(_) => None,
        })?;
        let mut certificate = VerifiedCert::default();
        match place {
            CertField::Cn => certificate.cn = tenant(),
            CertField::Dns => certificate.dns.extend(tenant()),
            CertField::Uri => certificate.uri.extend(tenant()),
            CertField::Email => certificate.email.extend(tenant()),
        }
        Some(certificate)
    }

    /// The fields with what the line contains about the request and its caller. The tenant is where either file looks
    /// for it.
    fn fields(&self, line: &Line) -> Fields {
        let mut fields = Fields::new();
        if line.grpc_status.is_some() || line.route.as_deref().is_some_and(|name| self.grpc_routes.contains(name)) {
            fields.insert(&header::CONTENT_TYPE, &HeaderValue::from_static("application/grpc"));
        }
        if line.client_ip != line.peer.ip()
            && let Ok(value) = HeaderValue::try_from(line.client_ip.to_string())
        {
            fields.insert(&HeaderName::from_static("x-forwarded-for"), &value);
        }
        let Some(tenant) = &line.tenant else { return fields };
        for place in &self.tenant_places {
            let (name, value) = match place {
                Extractor::Header(name) => (name.clone(), HeaderValue::try_from(tenant)),
                Extractor::Cookie(name) => (header::COOKIE, HeaderValue::try_from(format!("{name}={tenant}"))),
                // The host and the path are in the log, a query is not; claims and certificates are passed separately.
                Extractor::Host(_)
                | Extractor::Path(_)
                | Extractor::Query(_)
                | Extractor::Claim(_)
                | Extractor::ClientCert(_) => continue,
            };
            if let Ok(value) = value {
                fields.insert(&name, &value);
            }
        }
        fields
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_counts_where_the_weights_or_a_latch_decided() {
        let noted = |reason: &str| {
            let line = format!(
                r#"{{"method":"GET","host":"h","path":"/","peer":"10.0.0.1:1","client_ip":"10.0.0.1","route":"r","reason":"{reason}","bucket":7}}"#
            );
            let line = Line::parse(line.as_bytes()).unwrap();
            matches!(line.logged_decision(), LoggedDecision::ByWeight { route: "r", bucket: Some(7) })
        };
        assert!(["weight", "weight+fallback", "stable", "latch"].into_iter().all(noted));
        assert!(!["target", "kill"].into_iter().any(noted));
    }
}
