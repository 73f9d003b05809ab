//! TLS of the admin listener, and client certificates as identities.

use serde_json::Value;

use super::{SHOP, all_tokens, bearer};
use crate::harness::{Authority, Proxy, Raw};

#[test]
fn a_client_certificate_has_the_roles_of_the_token_of_its_name() {
    let authority = Authority::new("ca");
    let folder = tempfile::tempdir().unwrap();
    authority.leaf(&["admin.test"]).write(folder.path(), "admin");
    std::fs::write(folder.path().join("ca.pem"), &authority.pem).unwrap();
    let at = folder.path().display();
    let admin = format!(
        "[admin]\naddress = \"127.0.0.1:0\"\nhosts = [\"admin.test\"]\ntokens = \"tokens.toml\"\n[admin.tls]\n\
         certificates = [{{ cert = \"{at}/admin.crt\", key = \"{at}/admin.key\" }}]\n\
         client_auth = {{ mode = \"request\", ca = \"{at}/ca.pem\" }}\n"
    );
    let proxy = Proxy::workers(1).file("tokens.toml", &all_tokens()).start(&format!("{admin}{SHOP}"));
    let ask = |name: Option<&str>, lines: &str| {
        let own = name.map(|name| authority.client(name, Vec::new()));
        let client = authority.trusting_client().alpn("h2").alpn("http/1.1");
        let client = match &own {
            Some(own) => client.presenting(own).make(),
            None => client.make(),
        };
        let mut client = Raw::secured(proxy.admin(), &client, "admin.test");
        let head = format!(
            "POST /v1/kill HTTP/1.1\r\nHost: admin.test\r\nContent-Type: application/json\r\nContent-Length: 2\r\n{lines}\r\n{{}}"
        );
        let answer = client.send(head).read_response();
        let kind: Value = answer.json()["type"].clone();
        kind.as_str().unwrap().rsplit(':').next().unwrap().to_owned()
    };
    assert_eq!(ask(Some("operator"), ""), "bad-body", "it may act");
    assert_eq!(ask(Some("viewer"), ""), "role-missing");
    assert_eq!(ask(Some("expired"), ""), "token-expired");
    assert_eq!(ask(Some("stranger"), ""), "token-unknown");
    assert_eq!(ask(None, ""), "token-missing");
    assert_eq!(ask(None, &bearer("operator")), "bad-body");
}
