//! The parameters of an explanation, from the command line or from a URL.

use std::net::{IpAddr, Ipv4Addr};

use http::{HeaderName, HeaderValue, Method, header};

use super::chosen_stage::{ChosenStage, at_stages};
use crate::fields::Fields;
use crate::route::{
    CertField, EffectiveConfig, EncodedSlash, ExplainRequest, Facts, Identity, ListenerSpec, Overlay, Route, Rules,
    VerifiedCert,
};

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// A request as described by parameters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExplainQuery {
    /// The method.
    pub method: Method,
    /// The host; by default [`ExplainQuery::HOST`], if no route matches on the host.
    pub host: Option<String>,
    /// The path and the query.
    pub path_and_query: String,
    /// The fields.
    pub fields: Fields,
    /// The client's address.
    pub client_ip: Option<IpAddr>,
    /// The address of the peer.
    pub peer: Option<IpAddr>,
    /// The client's certificate, treated as verified.
    pub client_cert: Option<VerifiedCert>,
    /// The name of the listener; by default the first one that does not redirect.
    pub listener: Option<String>,
    /// The stages of rollouts, as `NAME=STAGE`; by default those that they have reached, in a file the first ones.
    pub rollouts: Vec<String>,
}

impl Default for ExplainQuery {
    fn default() -> Self {
        Self {
            method: Method::GET,
            host: None,
            path_and_query: "/".to_owned(),
            fields: Fields::new(),
            client_ip: None,
            peer: None,
            client_cert: None,
            listener: None,
            rollouts: Vec::new(),
        }
    }
}

impl ExplainQuery {
    /// The default host.
    pub const HOST: &'static str = "localhost";

    /// Why a host is required, if it is missing.
    #[must_use]
    pub fn missing_host(&self, rules: &Rules) -> Option<String> {
        let of = |route: &'_ Route| Some((route.name.clone(), route.matches.hosts.first()?.to_string()));
        let (route, host) = rules.routes.iter().find_map(of).filter(|_| self.host.is_none())?;
        let host = rules.masks.covered(host);
        Some(format!("the host is missing, but routes match on it: `{route}` is for {host}"))
    }

    /// Sets the peer. The default is the first trusted proxy, which forwards the address of the client, as in the
    /// `[[test]]` requests of a file; without trusted proxies it is the client. The default client is this machine.
    ///
    /// # Errors
    /// If the peer is not trusted and the client has another address.
    pub fn set_peer(&mut self, identity: &Identity) -> Result<(), String> {
        const HERE: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
        let proxy = identity.trusted_proxies.first().map(ipnet::IpNet::addr);
        let peer = self.peer.or(proxy).or(self.client_ip).unwrap_or(HERE);
        if identity.trusts(peer) {
            let fields = [&X_FORWARDED_FOR, &header::FORWARDED];
            let is_client_given = fields.iter().any(|name| self.fields.contains(name)) || self.peer.is_some();
            let client = self.client_ip.or((!is_client_given).then_some(HERE));
            if let Some(Ok(client)) = client.map(|client| HeaderValue::try_from(client.to_string())) {
                self.fields.insert(&X_FORWARDED_FOR, &client);
            }
        } else if self.client_ip.is_some_and(|client| client != peer) {
            return Err(format!("{peer} is not in identity.trusted_proxies, so it cannot name another client"));
        }
        self.peer = Some(peer);
        Ok(())
    }

    /// Adds `FIELD:VALUE` of the client's certificate, such as `cn:till-7`.
    ///
    /// # Errors
    /// If there is no such field.
    pub fn add_certificate_field(&mut self, text: &str) -> Result<(), String> {
        let (name, value) = text.split_once([':', '=']).unwrap_or((text, ""));
        let field = CertField::ALL.into_iter().find(|field| field.name() == name);
        let (Some(field), false) = (field, value.is_empty()) else {
            return Err(format!(
                "{text:?} is not a field of a certificate: write `cn:NAME`, `dns:…`, `uri:…` or `email:…`"
            ));
        };
        let certificate = self.client_cert.get_or_insert_default();
        match field {
            CertField::Cn => certificate.cn = Some(value.to_owned()),
            CertField::Dns => certificate.dns.push(value.to_owned()),
            CertField::Uri => certificate.uri.push(value.to_owned()),
            CertField::Email => certificate.email.push(value.to_owned()),
        }
        Ok(())
    }

    /// The overlay with the stages that it names; `None` if it names none.
    ///
    /// # Errors
    /// If there is no such rollout or stage.
    pub fn overlay(&self, config: EffectiveConfig<'_>) -> Result<Option<Overlay>, String> {
        let chosen = self.rollouts.iter().map(|text| ChosenStage::parse(text, config.rules));
        let chosen = chosen.collect::<Result<Vec<_>, String>>()?;
        Ok((!chosen.is_empty()).then(|| at_stages(config, &chosen)))
    }

    /// The request, for these rules.
    ///
    /// # Errors
    /// If there is no such listener, or if the host is missing and routes match on it.
    pub fn request<'a>(&'a self, rules: &'a Rules) -> Result<ExplainRequest<'a>, String> {
        if let Some(why) = self.missing_host(rules) {
            return Err(why);
        }
        let listener = match &self.listener {
            None => rules.default_listener(),
            Some(name) => Some(rules.listeners.iter().find(|listener| listener.name == *name).ok_or_else(|| {
                let known: Vec<&str> = rules.listeners.iter().map(|listener| listener.name.as_str()).collect();
                format!("there is no listener {name:?}; the listeners are {}", known.join(", "))
            })?),
        };
        let policy = listener.map(|listener| listener.limits.encoded_slash);
        Ok(ExplainRequest {
            method: &self.method,
            host: self.host.as_deref().unwrap_or(Self::HOST),
            path_and_query: &self.path_and_query,
            fields: &self.fields,
            client_cert: self.client_cert.as_ref(),
            listener: listener.map_or("", |listener| listener.name.as_str()),
            scheme: listener.map_or("http", ListenerSpec::scheme),
            peer: self.peer.unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST)),
            encoded_slash: policy.unwrap_or(EncodedSlash::Keep),
            facts: Facts::default(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trusting(nets: &[&str]) -> Identity {
        Identity { trusted_proxies: nets.iter().map(|net| net.parse().unwrap()).collect(), ..Identity::default() }
    }

    #[test]
    fn a_host_is_required_if_routes_match_on_it() {
        use crate::route::tests::{route, rules};
        let any = rules(vec![route("a", "", "/a")]);
        let some = rules(vec![route("a", "", "/a"), route("b", "*.example.com", "/b")]);
        let without = ExplainQuery::default();
        assert_eq!(without.request(&any).map(|asked| asked.host.to_owned()), Ok("localhost".to_owned()));
        let why = "the host is missing, but routes match on it: `b` is for *.example.com";
        assert_eq!(without.request(&some).err().as_deref(), Some(why));
        let with = ExplainQuery { host: Some("x.example.com".to_owned()), ..ExplainQuery::default() };
        assert!(with.missing_host(&some).is_none() && with.request(&some).is_ok());
    }

    /// The addresses that a query gives.
    #[derive(Clone, Copy, Default)]
    struct Given {
        client: Option<&'static str>,
        peer: Option<&'static str>,
    }

    const fn client(client: &'static str) -> Given {
        Given { client: Some(client), peer: None }
    }

    /// Checks the peer, and the client in its `X-Forwarded-For`.
    #[track_caller]
    fn check(nets: &[&str], given: Given, expected: Result<(&str, Option<&str>), ()>) {
        let address = |text: Option<&str>| text.map(|text| text.parse().unwrap());
        let mut query =
            ExplainQuery { client_ip: address(given.client), peer: address(given.peer), ..ExplainQuery::default() };
        let settled = query.set_peer(&trusting(nets)).map(|()| {
            let is_client_given = query.fields.get_text(X_FORWARDED_FOR);
            (query.peer.unwrap().to_string(), is_client_given)
        });
        assert_eq!(
            settled.as_ref().map(|(peer, is_client_given)| (peer.as_str(), *is_client_given)).map_err(drop),
            expected
        );
    }

    #[test]
    fn a_trusted_proxy_names_the_client() {
        check(&["10.0.0.0/8"], client("203.0.113.9"), Ok(("10.0.0.0", Some("203.0.113.9"))));
        check(&["10.0.0.0/8"], Given::default(), Ok(("10.0.0.0", Some("127.0.0.1"))));
        check(
            &["10.0.0.0/8"],
            Given { peer: Some("10.1.2.3"), ..client("203.0.113.9") },
            Ok(("10.1.2.3", Some("203.0.113.9"))),
        );
        check(&["10.0.0.0/8"], Given { client: None, peer: Some("10.1.2.3") }, Ok(("10.1.2.3", None)));
    }

    #[test]
    fn any_other_peer_is_the_client() {
        check(&[], Given::default(), Ok(("127.0.0.1", None)));
        check(&[], client("203.0.113.9"), Ok(("203.0.113.9", None)));
        check(&[], Given { peer: Some("203.0.113.9"), ..client("203.0.113.9") }, Ok(("203.0.113.9", None)));
        check(&["10.0.0.0/8"], Given { client: None, peer: Some("192.0.2.1") }, Ok(("192.0.2.1", None)));
        check(&["10.0.0.0/8"], Given { peer: Some("192.0.2.1"), ..client("203.0.113.9") }, Err(()));
    }
}
