//! Identities that need more than reading a field: verified tokens, and countries by address.

use std::sync::Arc;
use std::time::Duration;

use jsonwebtoken::Algorithm;
use pointsman::app::ReloadOutcome;
use pointsman::identity::{Algorithms, GeoDatabase, KeySet, TokenCache, TokenLocation, TokenPolicy, TokenVerifier};
use pointsman::route::{Claims, TokenFault};
use serde_json::{Value, json};

use super::harness::issuer::{Issuer, base64url, encoded, jwks, now};
use super::harness::mmdb;
use super::harness::{Proxy, Raw, Upstream, until};

fn trusted() -> TokenPolicy {
    TokenPolicy { leeway: Duration::from_secs(30), ..TokenPolicy::default() }
}

fn tokens(jwks: &str, trusted: TokenPolicy) -> TokenVerifier {
    let (keys, _) = KeySet::parse(jwks.as_bytes()).unwrap();
    TokenVerifier::new(TokenLocation::Header(http::header::AUTHORIZATION), keys, trusted)
}

fn verify(tokens: &TokenVerifier, token: &str) -> Result<Claims, TokenFault> {
    tokens.verify(token.as_bytes(), Duration::from_secs(now())).map(|verified| verified.claims)
}

#[track_caller]
fn holds(tokens: &TokenVerifier, token: &str) {
    match verify(tokens, token) {
        Ok(claims) => assert_eq!(claims.one("sub"), Some("u1")),
        Err(fault) => panic!("{}: {token}", fault.name()),
    }
}

#[track_caller]
fn refused(tokens: &TokenVerifier, token: &str, fault: TokenFault) {
    assert_eq!(verify(tokens, token).err(), Some(fault), "{token}");
}

const RSA: [Algorithm; 6] =
    [Algorithm::RS256, Algorithm::RS384, Algorithm::RS512, Algorithm::PS256, Algorithm::PS384, Algorithm::PS512];

#[test]
fn every_algorithm_with_a_public_key_verifies() {
    let claims = json!({ "sub": "u1" });
    for algorithm in [Algorithm::ES256, Algorithm::ES384, Algorithm::EdDSA] {
        let issuer = Issuer::new(algorithm, "k");
        holds(&tokens(&issuer.jwks(), trusted()), &issuer.token(&claims));
        let other = Issuer::new(algorithm, "k");
        refused(&tokens(&other.jwks(), trusted()), &issuer.token(&claims), TokenFault::Signature);
    }
    let issuer = Issuer::new(Algorithm::RS256, "k");
    let all = tokens(&issuer.jwks(), trusted());
    for algorithm in RSA {
        holds(&all, &issuer.by(algorithm).token(&claims));
    }
    let only = TokenPolicy { algorithms: Algorithms::named(["PS256"]), ..trusted() };
    let only = tokens(&issuer.jwks(), only);
    holds(&only, &issuer.by(Algorithm::PS256).token(&claims));
    refused(&only, &issuer.token(&claims), TokenFault::Algorithm);
    // The key itself may be restricted to one algorithm.
    let mut jwk = issuer.jwk();
    jwk["alg"] = json!("RS512");
    let only = tokens(&jwks(&[jwk]), trusted());
    holds(&only, &issuer.by(Algorithm::RS512).token(&claims));
    refused(&only, &issuer.token(&claims), TokenFault::UnknownKey);
}

#[test]
fn token_header_tricks_give_no_identity() {
    let issuer = Issuer::new(Algorithm::RS256, "k");
    let known = tokens(&issuer.jwks(), trusted());
    let claims = json!({ "sub": "u1" });
    let parts =
        |head: Value| format!("{}.{}.", base64url(&head), base64url(&json!({ "sub": "u1", "exp": now() + 60 })));
    for (name, signature) in
        [("none", ""), ("None", ""), ("NONE", "AA"), ("", ""), ("HS256", "AAAA"), ("RS257", "AAAA")]
    {
        refused(&known, &(parts(json!({ "alg": name, "kid": "k" })) + signature), TokenFault::Algorithm);
    }
    // A shared secret that is public: the public key.
    let modulus = issuer.jwk()["n"].as_str().unwrap().to_owned();
    for secret in [modulus.as_bytes(), issuer.jwks().as_bytes()] {
        let key = jsonwebtoken::EncodingKey::from_secret(secret);
        let head = jsonwebtoken::Header { kid: Some("k".to_owned()), ..jsonwebtoken::Header::new(Algorithm::HS256) };
        let forged = jsonwebtoken::encode(&head, &json!({ "sub": "u1", "exp": now() + 60 }), &key).unwrap();
        refused(&known, &forged, TokenFault::Algorithm);
    }
    refused(
        &known,
        &issuer.token_with(&json!({ "alg": "RS256", "kid": "k", "crit": ["b64"] }), &claims),
        TokenFault::Critical,
    );
    refused(
        &known,
        &issuer.token_with(&json!({ "alg": "RS256", "kid": "k", "crit": [] }), &claims),
        TokenFault::Critical,
    );
    refused(&known, &issuer.token_with(&json!({ "alg": "RS256", "kid": "other" }), &claims), TokenFault::UnknownKey);
    refused(&known, &issuer.token_with(&json!({ "alg": "ES256", "kid": "k" }), &claims), TokenFault::UnknownKey);
    // Other places of keys are ignored.
    let thief = Issuer::new(Algorithm::RS256, "k");
    let head = json!({ "alg": "RS256", "kid": "k", "jwk": thief.jwk(), "jku": "https://thief.example/", "x5u": "x" });
    refused(&known, &thief.token_with(&head, &claims), TokenFault::Signature);
    // The only possible key.
    holds(&known, &issuer.token_with(&json!({ "alg": "RS256" }), &claims));
    let two = tokens(&jwks(&[issuer.jwk(), Issuer::new(Algorithm::RS256, "l").jwk()]), trusted());
    refused(&two, &issuer.token_with(&json!({ "alg": "RS256" }), &claims), TokenFault::UnknownKey);
    holds(&two, &issuer.token(&claims));
}

#[test]
fn values_that_are_not_tokens_give_no_identity() {
    let issuer = Issuer::new(Algorithm::ES256, "k");
    let known = tokens(&issuer.jwks(), trusted());
    let good = issuer.token(&json!({ "sub": "u1" }));
    let [head, content, signature] = good.split('.').collect::<Vec<_>>()[..] else { panic!("three parts") };
    for bad in [
        String::new(),
        "x".to_owned(),
        "..".to_owned(),
        format!("{head}.{content}"),
        format!("{good}."),
        format!("{good}.{signature}"),
        format!("{head}=.{content}.{signature}"),
        format!("{head}.{content}.{signature}="),
        format!("{head} .{content}.{signature}"),
        format!("{}.{content}.{signature}", encoded(b"[]")),
        format!("{}.{content}.{signature}", encoded(b"\xff")),
        format!("{}.{content}.{signature}", encoded(b"{\"alg\":7}")),
    ] {
        refused(&known, &bad, TokenFault::Malformed);
    }
    for content in [&b"[]"[..], b"\"x\"", b"{", b"\xff"] {
        let message = format!("{head}.{}", encoded(content));
        refused(&known, &format!("{message}.{signature}"), TokenFault::Signature);
    }
    // One bit of the content, then of the signature.
    let changed = content.replacen(&content[8..9], if &content[8..9] == "A" { "B" } else { "A" }, 1);
    refused(&known, &format!("{head}.{changed}.{signature}"), TokenFault::Signature);
    refused(&known, &format!("{head}.{content}."), TokenFault::Signature);
    let large = issuer.token(&json!({ "sub": "u1", "pad": "x".repeat(8 * 1024) }));
    refused(&known, &large, TokenFault::Oversized);
}

#[test]
fn time_issuer_and_audience_are_checked() {
    let issuer = Issuer::new(Algorithm::EdDSA, "k");
    let strict = TokenPolicy {
        issuers: vec!["https://id.example".to_owned(), "b".to_owned()],
        audiences: vec!["shop".to_owned()],
        ..trusted()
    };
    let (lax, strict) = (tokens(&issuer.jwks(), trusted()), tokens(&issuer.jwks(), strict));
    let now = now();
    for (claims, fault) in [
        (json!({ "exp": now - 29 }), None),
        (json!({ "exp": now as f64 + 0.5 }), None),
        (json!({ "exp": 1e300 }), None),
        (json!({ "exp": now - 31 }), Some(TokenFault::Expired)),
        (json!({ "exp": 0 }), Some(TokenFault::Expired)),
        (json!({ "exp": null }), Some(TokenFault::NoExpiry)),
        (json!({ "exp": "tomorrow" }), Some(TokenFault::Malformed)),
        (json!({ "exp": -1 }), Some(TokenFault::Malformed)),
        (json!({ "nbf": now + 20 }), None),
        (json!({ "nbf": now + 60 }), Some(TokenFault::NotYetValid)),
        (json!({ "nbf": "now" }), Some(TokenFault::Malformed)),
    ] {
        assert_eq!(verify(&lax, &issuer.token(&claims)).err(), fault, "{claims}");
    }
    for (claims, fault) in [
        (json!({ "iss": "b", "aud": "shop" }), None),
        (json!({ "iss": "https://id.example", "aud": ["x", "shop"] }), None),
        (json!({ "aud": "shop" }), Some(TokenFault::Issuer)),
        (json!({ "iss": "c", "aud": "shop" }), Some(TokenFault::Issuer)),
        (json!({ "iss": ["b"], "aud": "shop" }), Some(TokenFault::Issuer)),
        (json!({ "iss": "b" }), Some(TokenFault::Audience)),
        (json!({ "iss": "b", "aud": "shopping" }), Some(TokenFault::Audience)),
        (json!({ "iss": "b", "aud": [] }), Some(TokenFault::Audience)),
        (json!({ "iss": "b", "aud": { "shop": 1 } }), Some(TokenFault::Audience)),
    ] {
        assert_eq!(verify(&strict, &issuer.token(&claims)).err(), fault, "{claims}");
    }
}

#[test]
fn a_verified_token_is_cached_until_it_expires() {
    let issuer = Issuer::new(Algorithm::ES256, "k");
    let known = Arc::new(tokens(&issuer.jwks(), TokenPolicy::default()));
    let token = issuer.token(&json!({ "sub": "u1", "exp": 1000, "nbf": 500 }));
    let mut cache = TokenCache::default();
    let at = |cache: &mut TokenCache, tokens: &Arc<TokenVerifier>, second| {
        cache
            .verify(tokens, token.as_bytes(), Duration::from_secs(second))
            .map(|claims| claims.one("sub").map(str::to_owned))
    };
    assert_eq!(at(&mut cache, &known, 499), Err(TokenFault::NotYetValid));
    assert!(cache.is_empty());
    assert_eq!(at(&mut cache, &known, 600), Ok(Some("u1".to_owned())));
    assert_eq!((at(&mut cache, &known, 999), cache.len()), (Ok(Some("u1".to_owned())), 1));
    assert_eq!(at(&mut cache, &known, 1000), Err(TokenFault::Expired));
    assert_eq!(at(&mut cache, &known, 400), Err(TokenFault::NotYetValid));
    // With other keys the result differs.
    let others = Arc::new(tokens(&Issuer::new(Algorithm::ES256, "k").jwks(), TokenPolicy::default()));
    assert_eq!((at(&mut cache, &others, 600), cache.len()), (Err(TokenFault::Signature), 0));
    // The number of cached tokens is limited.
    for number in 0..5000 {
        let token = issuer.token(&json!({ "sub": "u1", "n": number, "exp": 1000 }));
        cache.verify(&known, token.as_bytes(), Duration::ZERO).unwrap();
    }
    assert!((1024..=2048).contains(&cache.len()), "{}", cache.len());
}

#[test]
fn many_groups_do_not_hide_the_caller() {
    let issuer = Issuer::new(Algorithm::ES256, "k");
    let tokens = tokens(&issuer.jwks(), trusted());
    let groups: Vec<u32> = (0..300).collect();
    let claims = verify(&tokens, &issuer.token(&json!({ "groups": groups, "sub": "u1", "tid": "acme" }))).unwrap();
    assert_eq!((claims.one("sub"), claims.one("tid")), (Some("u1"), Some("acme")));
    assert_eq!(claims.all("groups").count(), 300);
    let crowd = vec![7; 2000];
    refused(&tokens, &issuer.token(&json!({ "groups": crowd, "sub": "u1" })), TokenFault::Crowded);
}

#[test]
fn invalid_key_sets_are_refused() {
    let issuer = Issuer::new(Algorithm::ES256, "k");
    let says = |text: String| KeySet::parse(text.as_bytes()).map(|(_, odd)| odd).unwrap_err().to_string();
    assert!(says("{".to_owned()).contains("is not JSON"));
    assert!(says("[]".to_owned()).contains("no list `keys`"));
    assert!(says(jwks(&[])).contains("public key for signatures"));
    assert!(says(jwks(&[json!({ "kty": "oct", "k": "AAAA" })])).contains("public key for signatures"));
    assert!(says(jwks(&[issuer.jwk(), issuer.jwk()])).contains("two keys with the kid \"k\""));
    let mut short = issuer.jwk();
    short["x"] = json!("AAAA");
    assert!(says(jwks(&[short])).contains("is not a point"));
    let weak = json!({ "kty": "RSA", "n": encoded(&[0xff; 128]), "e": "AQAB" });
    assert!(says(jwks(&[weak])).contains("has 1024 bits"));
    let mut other = issuer.jwk();
    other["use"] = json!("enc");
    assert!(says(jwks(&[other])).contains("public key for signatures"));
    // Unknown keys are skipped, and a secret is reported.
    let mut secret = issuer.jwk();
    secret["d"] = json!("AAAA");
    let set =
        jwks(&[secret, json!({ "kty": "NEW" }), json!(7), json!({ "kty": "EC", "crv": "P-521", "x": "", "y": "" })]);
    let (_, odd) = KeySet::parse(set.as_bytes()).unwrap();
    assert_eq!(odd.len(), 1);
    assert_eq!(odd[0].code, "secret-key");
    // A key of a known kind that cannot be read is reported.
    let broken = json!({ "kty": "EC", "crv": "P-256", "x": "AAAA", "kid": "half" });
    let encrypts = json!({ "kty": "RSA", "use": "enc", "n": 7 });
    let (_, odd) = KeySet::parse(jwks(&[issuer.jwk(), encrypts, broken]).as_bytes()).unwrap();
    let odd: Vec<String> = odd.iter().map(ToString::to_string).collect();
    assert_eq!(odd.len(), 1, "{odd:?}");
    assert!(odd[0].contains("without key 3 (kid \"half\")"), "{odd:?}");
}

#[test]
fn ed25519_has_two_names() {
    let issuer = Issuer::new(Algorithm::EdDSA, "k");
    let mut named = issuer.jwk();
    named["alg"] = json!("Ed25519");
    holds(&tokens(&jwks(&[named.clone()]), trusted()), &issuer.token(&json!({ "sub": "u1" })));
    named["alg"] = json!("EdDSA");
    holds(&tokens(&jwks(&[named]), trusted()), &issuer.token(&json!({ "sub": "u1" })));
}

#[test]
fn a_database_without_countries_is_refused() {
    let of = |kind, key| GeoDatabase::parse(mmdb::database(kind, key, &[("192.0.2.0/24", "SE")])).map(|_| ());
    of("GeoLite2-Country", "country").unwrap();
    of("Our-Own", "country").unwrap();
    let refused = of("GeoLite2-ASN", "isp").unwrap_err().to_string();
    assert_eq!(refused, "has no countries: it is of type `GeoLite2-ASN`");
}

const SHOP: &str = r#"
[identity]
tenant = ["jwt:org.tenant", "query:tenant"]
user = ["jwt:sub"]
jwt = { keys = "{dir}/jwks.json", audience = "shop" }
[upstream.a]
endpoints = ["http://{main}"]
[[route]]
name = "all"
match = { path = "/*" }
stable = "a"
sticky = ["user"]
headers = { request = { set = { x-tenant = "{tenant}" } } }
canary = { upstream = "a", weight = 0 }
[[route.target]]
jwt = { groups = ["admin", { prefix = "root" }] }
serve = "canary"
[[route]]
name = "plain"
match = { path = "/plain" }
respond = { status = 204 }
[[route]]
name = "moved"
match = { path = "/moved" }
redirect = { to = "https://{tenant}.test/", status = 308 }
"#;

fn bearer(token: &str) -> String {
    format!("Authorization: Bearer {token}\r\n")
}

/// A proxy with these keys.
fn shop(keys: &str, upstream: &Upstream) -> Proxy {
    let keys = keys.to_owned();
    Proxy::with("main", upstream).file("jwks.json", &keys).start(SHOP)
}

#[test]
fn claims_name_the_caller() {
    let echo = Upstream::echo();
    let issuer = Issuer::new(Algorithm::ES256, "k");
    let proxy = shop(&issuer.jwks(), &echo);
    let mut client = proxy.connect();
    let claims = json!({ "sub": "u1", "aud": "shop", "org": { "tenant": "acme" }, "groups": ["x", "admin"] });
    let token = issuer.token(&claims);
    for _ in 0..3 {
        assert_eq!(client.get("/", &bearer(&token)).echoed("x-tenant"), ["acme"]);
    }
    assert_eq!(client.get("/", &format!("Authorization: bEARER  {token} \r\n")).echoed("x-tenant"), ["acme"]);
    // A token reaches the upstream unchanged.
    assert_eq!(client.get("/", &bearer(&token)).echoed("authorization"), [format!("Bearer {token}")]);
    let lines = proxy.logged(5);
    assert_eq!(
        (&lines[0]["variant"], &lines[0]["reason"], &lines[0]["tenant"]),
        (&json!("canary"), &json!("target"), &json!("acme"))
    );
    assert_eq!(proxy.metric("pointsman_jwt_verified_total"), 5.0);
    // Other callers have no identity, and nothing fails.
    for (line, reason) in [
        (String::new(), None),
        ("Authorization: Basic dTpw\r\n".to_owned(), None),
        ("Authorization: Bearer\r\n".to_owned(), None),
        (bearer("x.y.z"), Some("malformed")),
        (bearer(&issuer.token(&json!({ "sub": "u1" }))), Some("audience")),
        (bearer(&issuer.token(&json!({ "aud": "shop", "exp": 1 }))), Some("expired")),
        (bearer(&"x".repeat(9000)), Some("oversized")),
        (bearer(&token) + &bearer("x.y.z"), Some("malformed")),
        (bearer(&Issuer::new(Algorithm::ES256, "k").token(&claims)), Some("signature")),
    ] {
        let answer = client.get("/?tenant=other", &line);
        assert_eq!((answer.status, answer.echoed("x-tenant")), (200, vec!["other".to_owned()]), "{reason:?}");
        if let Some(reason) = reason {
            let series = format!("pointsman_jwt_rejected_total{{reason=\"{reason}\"}}");
            assert!(proxy.metric(&series) >= 1.0, "{reason}");
        }
    }
    assert_eq!(proxy.metric_sum("pointsman_jwt_rejected_total"), 6.0);
    // Each line gives the reason.
    let tokens: Vec<_> = proxy.logged(14).iter().skip(5).map(|line| line["token"].clone()).collect();
    let reasons = [
        json!(null),
        json!(null),
        json!(null),
        json!("malformed"),
        json!("audience"),
        json!("expired"),
        json!("oversized"),
        json!("malformed"),
        json!("signature"),
    ];
    assert_eq!(tokens, reasons);
    // A route that decides nothing logs the tenant, too.
    assert_eq!(client.get("/plain", &bearer("x.y.z")).status, 204);
    assert_eq!(proxy.metric_sum("pointsman_jwt_rejected_total"), 7.0);
    assert_eq!(client.get("/plain", &bearer(&token)).status, 204);
    let lines = until("the request is logged", || Some(proxy.log_lines()).filter(|lines| lines.len() == 16));
    assert_eq!((&lines[15]["route"], &lines[15]["tenant"]), (&json!("plain"), &json!("acme")));
}

#[test]
fn explain_and_a_redirect_agree_about_the_tenant() {
    let echo = Upstream::echo();
    let issuer = Issuer::new(Algorithm::ES256, "k");
    let proxy = shop(&issuer.jwks(), &echo);
    let token = issuer.token(&json!({ "sub": "u1", "aud": "shop", "org": { "tenant": "acme" } }));
    let answer = proxy.connect().get("/moved", &bearer(&token));
    assert_eq!(answer.field("location"), Some("https://acme.test/"));
    let mut admin = Raw::connect(proxy.admin());
    let (host, ask) = (proxy.admin(), format!("/explain?path=/moved&header=authorization:Bearer%20{token}"));
    let text = admin.send(format!("GET {ask} HTTP/1.1\r\nHost: {host}\r\n\r\n")).read_response().text();
    assert!(text.contains("https://acme.test/"), "{text}");
}

#[test]
fn values_that_a_header_cannot_carry_give_no_identity() {
    let echo = Upstream::echo();
    let issuer = Issuer::new(Algorithm::ES256, "k");
    let proxy = shop(&issuer.jwks(), &echo);
    let mut client = proxy.connect();
    let odd = [
        "ac\0me",
        "acme\n",
        "ac\r\nme",
        "acme ",
        " acme",
        "\tacme",
        "ac\tme",
        "acme\x7f",
        "ac\u{85}me",
        "acme\u{a0}",
        "\u{3000}acme",
        " ",
    ];
    for tenant in odd {
        let claims = json!({ "sub": "u1", "aud": "shop", "org": { "tenant": tenant } });
        let token = bearer(&issuer.token(&claims));
        assert_eq!(client.get("/", &token).echoed("x-tenant"), [""], "{tenant:?}");
        // The next source is used, as if the first were absent.
        assert_eq!(client.get("/?tenant=other", &token).echoed("x-tenant"), ["other"], "{tenant:?}");
    }
    for line in proxy.logged(2 * odd.len()).iter().step_by(2) {
        assert!(line["tenant"].is_null(), "{line}");
    }
    for query in ["ac%00me", "acme%0a", "acme+", "%20acme", "%09acme", "acme%7f", "ac%C2%85me", "acme%C2%A0"] {
        assert_eq!(client.get(&format!("/?tenant={query}"), "").echoed("x-tenant"), [""], "{query}");
    }
    // Inside of a value, a blank is an ordinary letter, and so are letters of other scripts.
    for tenant in ["ac me", "Käse 七"] {
        let claims = json!({ "aud": "shop", "org": { "tenant": tenant } });
        assert_eq!(client.get("/", &bearer(&issuer.token(&claims))).echoed("x-tenant"), [tenant]);
    }
}

#[test]
fn keys_are_renewed_and_a_bad_file_changes_nothing() {
    let echo = Upstream::echo();
    let (old, new) = (Issuer::new(Algorithm::ES256, "old"), Issuer::new(Algorithm::EdDSA, "new"));
    let proxy = shop(&old.jwks(), &echo);
    let claims = json!({ "sub": "u1", "aud": "shop", "org": { "tenant": "acme" } });
    let tenant =
        |issuer: &Issuer| proxy.connect().get("/?tenant=none", &bearer(&issuer.token(&claims))).echoed("x-tenant");
    assert_eq!((tenant(&old), tenant(&new)), (vec!["acme".to_owned()], vec!["none".to_owned()]));
    let file = proxy.dir().join("jwks.json");
    for broken in [Some("{\"keys\": ["), Some("{\"keys\": []}"), Some(""), None] {
        match broken {
            Some(text) => std::fs::write(&file, text).unwrap(),
            None => std::fs::remove_file(&file).unwrap(),
        }
        assert!(matches!(proxy.app().reload(), ReloadOutcome::Rejected(_)), "{broken:?}");
        assert_eq!(tenant(&old), ["acme"]);
        assert_eq!(proxy.metric("pointsman_config_last_reload_success"), 0.0);
    }
    // Back again, noticed by the watcher.
    std::fs::write(&file, jwks(&[old.jwk(), new.jwk()])).unwrap();
    until("the new key is in effect", || (tenant(&new) == ["acme"]).then_some(()));
    assert_eq!(tenant(&old), ["acme"]);
    std::fs::write(&file, new.jwks()).unwrap();
    until("the old key is gone", || (tenant(&old) == ["none"]).then_some(()));
}

const WORLD: &str = r#"
[identity]
trusted_proxies = ["127.0.0.1"]
geo = { database = "{dir}/geo.mmdb" }
[segment.north]
country = ["SE", "NO"]
[upstream.a]
endpoints = ["http://{main}"]
[[route]]
name = "all"
match = { path = "/*" }
stable = "a"
canary = { upstream = "a", weight = 0 }
headers = { request = { set = { x-variant = "{variant}" } } }
[[route.target]]
segment = "north"
serve = "canary"
[[route.target]]
country = "DE"
serve = "canary"
"#;

#[test]
fn countries_are_those_of_the_client() {
    let echo = Upstream::echo();
    let proxy = Proxy::with("main", &echo).start(
        &WORLD
            .replace("geo = ", "# ")
            .replace("country", "cidr")
            .replace("[\"SE\", \"NO\"]", "\"192.0.2.0/24\"")
            .replace("\"DE\"", "\"198.51.100.0/24\""),
    );
    let file = proxy.dir().join("geo.mmdb");
    let write = |networks: &[(&str, &str)]| std::fs::write(&file, mmdb::countries(networks)).unwrap();
    write(&[("192.0.2.0/24", "SE"), ("198.51.100.0/25", "DE"), ("2001:db8::/32", "NO")]);
    assert!(!matches!(proxy.rewrite(WORLD), ReloadOutcome::Rejected(_)));
    let variant = |client: &str| {
        let answer = proxy.connect().get("/", &format!("X-Forwarded-For: {client}\r\n"));
        answer.echoed("x-variant").pop().unwrap_or_default()
    };
    for (client, expected) in [
        ("192.0.2.7", "canary"),
        ("198.51.100.7", "canary"),
        ("198.51.100.200", "stable"),
        ("2001:db8::7", "canary"),
        ("::ffff:192.0.2.7", "canary"),
        ("203.0.113.1", "stable"),
        ("2001:db9::7", "stable"),
    ] {
        assert_eq!(variant(client), expected, "{client}");
    }
    std::fs::write(&file, "broken").unwrap();
    assert!(matches!(proxy.app().reload(), ReloadOutcome::Rejected(_)));
    assert_eq!(variant("192.0.2.7"), "canary");
    write(&[("203.0.113.0/24", "NO")]);
    until("the new database is in effect", || (variant("203.0.113.1") == "canary").then_some(()));
    assert_eq!(variant("192.0.2.7"), "stable");
}
