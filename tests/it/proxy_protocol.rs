//! The PROXY protocol over real sockets: which peers may send a header, and which header upstreams get.

use super::harness::{ONE_ROUTE, Proxy, Raw, Upstream, until};

const LISTENER: &str = "[[listener]]\nname = \"http\"\naddress = \"127.0.0.1:0\"\n";
const FROM_HERE: &str = "[listener.proxy_protocol]\nfrom = [\"127.0.0.0/8\"]\n";

fn text(more: &str) -> String {
    format!("{LISTENER}{FROM_HERE}{more}{ONE_ROUTE}")
}

/// A header of version 2.
fn v2(command: u8, family: u8, content: &[u8]) -> Vec<u8> {
    let length = u16::try_from(content.len()).unwrap().to_be_bytes();
    [&b"\r\n\r\n\0\r\nQUIT\n"[..], &[command, family], &length, content].concat()
}

/// A client at 192.0.2.7:4711 that connected to 198.51.100.2:443, and a TLV.
fn v2_inet() -> Vec<u8> {
    v2(0x21, 0x11, &[192, 0, 2, 7, 198, 51, 100, 2, 0x12, 0x67, 1, 0xbb, 4, 0, 1, 0])
}

const V1: &str = "PROXY TCP4 192.0.2.7 198.51.100.2 4711 443\r\n";

#[test]
fn the_proxy_header_sets_the_client() {
    let echo = Upstream::echo();
    let proxy = Proxy::with("main", &echo).start(&text(""));
    let six = [&[0x20, 1, 0xd, 0xb8], &[0; 11][..], &[7], &[0; 15], &[1], &[0x12, 0x67, 1, 0xbb]].concat();
    for (header, client, port) in [
        (V1.as_bytes().to_vec(), "192.0.2.7", "443"),
        (v2_inet(), "192.0.2.7", "443"),
        (v2(0x21, 0x21, &six), "2001:db8::7", "443"),
        (b"PROXY TCP6 2001:db8::7 ::1 4711 80\r\n".to_vec(), "2001:db8::7", "80"),
        (b"PROXY UNKNOWN\r\n".to_vec(), "127.0.0.1", ""),
        (v2(0x20, 0, b""), "127.0.0.1", ""),
        (v2(0x21, 0, b"unspecified"), "127.0.0.1", ""),
        (v2(0x21, 0x31, &[b'/'; 216]), "127.0.0.1", ""),
    ] {
        let mut connection = proxy.connect();
        let answer = connection.send(header).get("/a", "X-Forwarded-For: 6.6.6.6\r\n");
        assert_eq!(answer.status, 200, "{}", answer.text());
        assert_eq!(answer.echoed("x-forwarded-for"), [client]);
        if !port.is_empty() {
            assert_eq!(answer.echoed("x-forwarded-port"), [port]);
        }
        // One header is enough.
        assert_eq!(connection.get("/b", "").echoed("x-forwarded-for"), [client]);
    }
    let logged = proxy.logged(16);
    assert_eq!(logged[0]["client_ip"], "192.0.2.7");
    assert_eq!(logged[0]["peer"], "192.0.2.7:4711");
    assert!(logged[0]["sender"].as_str().is_some_and(|sender| sender.starts_with("127.0.0.1:")), "{}", logged[0]);
    assert!(logged[8].get("sender").is_none(), "{}", logged[8]);
}

#[test]
fn a_header_in_any_pieces_is_read_and_no_later_byte_is_lost() {
    let echo = Upstream::echo();
    let proxy = Proxy::with("main", &echo).start(&text(""));
    for header in [V1.as_bytes().to_vec(), v2_inet()] {
        let whole = [&header[..], b"GET /x HTTP/1.1\r\nHost: test\r\n\r\n"].concat();
        let answer = proxy.connect().send(&whole).read_response();
        assert_eq!(answer.echoed("x-forwarded-for"), ["192.0.2.7"]);
        let mut slowly = proxy.connect();
        for byte in &whole {
            slowly.send([*byte]);
            std::thread::yield_now();
        }
        assert_eq!(slowly.read_response().echoed("x-forwarded-for"), ["192.0.2.7"]);
    }
    // Also with the preface of HTTP/2 right behind.
    let mut connection = proxy.connect();
    connection.send([&v2_inet()[..], b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0"].concat());
    until("SETTINGS come", || connection.wire.has_bytes().then_some(()));
}

#[test]
fn a_listed_peer_without_a_header_is_closed() {
    let echo = Upstream::echo();
    let proxy = Proxy::with("main", &echo).start(&text(""));
    let longest = [b"PROXY UNKNOWN ".as_slice(), &[b'x'; 91], b"\r\n"].concat();
    for (bytes, reason) in [
        (b"GET / HTTP/1.1\r\nHost: test\r\n\r\n".to_vec(), "proxy_header_missing"),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(), "proxy_header_missing"),
        (b"\x16\x03\x01\x02\0\x01".to_vec(), "proxy_header_missing"),
        (b"PROXY TCP4 192.0.2.7 198.51.100.2 4711 443\n".to_vec(), "proxy_header_malformed"),
        (b"PROXY TCP4 192.0.2.7 198.51.100.2 4711\r\n".to_vec(), "proxy_header_malformed"),
        (b"PROXY TCP5 192.0.2.7 198.51.100.2 4711 443\r\n".to_vec(), "proxy_header_malformed"),
        ([&longest[..105], b"xxx"].concat(), "proxy_header_malformed"),
        (v2(0x22, 0x11, &[0; 12]), "proxy_header_malformed"),
        (v2(0x21, 0x11, &[0; 11]), "proxy_header_malformed"),
        (v2(0x21, 0x41, &[0; 12]), "proxy_header_malformed"),
        (v2(0x21, 0x11, &[0; 14]), "proxy_header_malformed"),
        (v2(0x20, 0x00, &[0; 4081]), "proxy_header_malformed"),
    ] {
        let before = proxy.refused(reason);
        let mut connection = proxy.connect();
        connection.offer(&bytes).ends();
        until("it is counted", || (proxy.refused(reason) == before + 1.0).then_some(()));
    }
    let mut connection = proxy.connect();
    assert_eq!(connection.send(&longest).get("/", "").status, 200);
    drop(connection);
    proxy.settles();
    assert_eq!(echo.requests(), 1);
}

#[test]
fn a_missing_header_times_out() {
    let echo = Upstream::echo();
    let proxy = Proxy::with("main", &echo).start(&text("[listener.limits]\nheader_timeout = \"300ms\"\n"));
    proxy.connect().ends();
    let mut half = proxy.connect();
    half.send(&v2_inet()[..20]).ends();
    until("both are counted", || (proxy.refused("header_timeout") == 2.0).then_some(()));
    // The head has a timeout of its own.
    let mut slow = proxy.connect();
    slow.send(V1);
    assert_eq!(slow.get("/", "").status, 200);
}

#[test]
fn headers_of_unlisted_peers_are_refused() {
    let echo = Upstream::echo();
    let listed = "[listener.proxy_protocol]\nfrom = [\"192.0.2.0/24\"]\n";
    let proxy = Proxy::with("main", &echo).start(&format!("{LISTENER}{listed}{ONE_ROUTE}"));
    assert_eq!(proxy.connect().get("/", "").status, 200);
    for header in [V1.as_bytes().to_vec(), v2_inet()] {
        let mut connection = proxy.connect();
        let whole = [&header[..], b"GET /x HTTP/1.1\r\nHost: test\r\n\r\n"].concat();
        let answer = connection.offer(whole).read_response();
        assert_eq!(answer.status, 400);
        assert!(answer.text().contains("listener.proxy_protocol.from"), "{}", answer.text());
        connection.ends();
    }
    assert_eq!(proxy.refused("proxy_header_unexpected"), 2.0);
    assert_eq!(proxy.logged(3)[2]["detail"], "proxy_header_unexpected");
    assert_eq!(echo.requests(), 1);
}

#[test]
fn the_limits_are_those_of_the_client() {
    let echo = Upstream::echo();
    let proxy = Proxy::with("main", &echo).start(&text("[listener.limits]\nconnections_per_ip = 2\n"));
    let connect = |client: u8| {
        let mut connection = proxy.connect();
        connection
            .offer(format!("PROXY TCP4 192.0.2.{client} 198.51.100.2 4711 443\r\nGET / HTTP/1.1\r\nHost: t\r\n\r\n"));
        connection
    };
    let mut open: Vec<Raw> = (0..6).map(|client| connect(client / 2)).collect();
    for connection in &mut open {
        assert_eq!(connection.read_response().status, 200);
    }
    connect(1).ends();
    assert_eq!(proxy.refused("connections_per_ip"), 1.0);
    drop(open);
    proxy.settles();
    assert_eq!(connect(1).read_response().status, 200);
}

#[test]
fn identities_are_trusted_by_the_address_in_the_header() {
    let echo = Upstream::echo();
    let identity = "[identity]\ntrusted_proxies = [\"192.0.2.7\"]\n";
    let proxy =
        Proxy::with("main", &echo).start(&text("").replace("[upstream.main]", &format!("{identity}[upstream.main]")));
    let line = "X-Forwarded-For: 203.0.113.9\r\n";
    assert_eq!(proxy.connect().send(V1).get("/", line).echoed("x-forwarded-for"), ["203.0.113.9, 192.0.2.7"]);
    let other = V1.replace("192.0.2.7", "192.0.2.8");
    assert_eq!(proxy.connect().send(other).get("/", line).echoed("x-forwarded-for"), ["192.0.2.8"]);
}

/// Routes to an upstream that gets a PROXY header.
fn naming(version: &str, scheme: &str) -> String {
    let listed = format!("{LISTENER}{FROM_HERE}{ONE_ROUTE}").replace("http://", scheme);
    listed.replace("[[route]]", &format!("proxy_protocol = \"{version}\"\n[[route]]"))
}

#[test]
fn an_upstream_gets_the_header_first() {
    let (heads, received) = std::sync::mpsc::sync_channel(16);
    let upstream = Upstream::script(move |mut conn| {
        let Ok(line) = conn.wire.line() else { return };
        heads.send(String::from_utf8(line).unwrap()).unwrap();
        while conn.request().is_ok() {
            conn.send("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok");
        }
    });
    let proxy = Proxy::with("main", &upstream).start(&naming("v1", "http://"));
    let mut one = proxy.connect();
    assert_eq!(one.send(V1).get("/", "").text(), "ok");
    assert_eq!(received.recv().unwrap(), V1.trim_end());
    let mut two = proxy.connect();
    assert_eq!(two.send(V1.replace("192.0.2.7", "192.0.2.8")).get("/", "").text(), "ok");
    assert_eq!(received.recv().unwrap(), V1.trim_end().replace("192.0.2.7", "192.0.2.8"));
    // A connection of one client is not reused for another one.
    assert_eq!(one.get("/", "").text(), "ok");
    assert!(received.recv().unwrap().contains("192.0.2.7"));
    let mut six = proxy.connect();
    six.send("PROXY TCP6 2001:db8::7 2001:db8::1 4711 443\r\n");
    assert_eq!(six.post("/", "", b"body").text(), "ok");
    assert_eq!(received.recv().unwrap(), "PROXY TCP6 2001:db8::7 2001:db8::1 4711 443");
    drop((one, two, six));
    proxy.settles();
    until("no connection is kept", || {
        (proxy.metric("pointsman_upstream_connections{upstream=\"main\"}") == 0.0).then_some(())
    });
}

#[test]
fn version_2_is_sent_before_http2_too() {
    let (heads, received) = std::sync::mpsc::sync_channel(16);
    let upstream = Upstream::script(move |mut conn| {
        let Ok(header) = conn.wire.exact(28) else { return };
        let beginning = conn.wire.exact(24).unwrap_or_default();
        heads.send((header, beginning)).unwrap();
    });
    let proxy = Proxy::with("main", &upstream).start(&naming("v2", "h2c://"));
    assert_eq!(proxy.connect().send(V1).get("/", "").status, 502);
    let (header, beginning) = received.recv().unwrap();
    assert_eq!(header, v2(0x21, 0x11, &[192, 0, 2, 7, 198, 51, 100, 2, 0x12, 0x67, 1, 0xbb]));
    assert_eq!(beginning, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
}

#[test]
fn without_a_header_both_ends_are_those_of_the_connection() {
    let (heads, received) = std::sync::mpsc::sync_channel(16);
    let upstream = Upstream::script(move |mut conn| {
        let Ok(line) = conn.wire.line() else { return };
        heads.send(String::from_utf8(line).unwrap()).unwrap();
        let Ok(_) = conn.request() else { return };
        conn.send("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok");
    });
    // The exact address is known only from the connection.
    let routes = naming("v1", "http://").replace(FROM_HERE, "").replace("127.0.0.1:0", "0.0.0.0:0");
    let proxy = Proxy::with("main", &upstream).start(&routes);
    let port = proxy.address().port();
    let mut client = Raw::connect(([127, 0, 0, 1], port).into());
    assert_eq!(client.get("/", "").text(), "ok");
    let line = received.recv().unwrap();
    let words: Vec<&str> = line.split(' ').collect();
    assert_eq!(words[..4], ["PROXY", "TCP4", "127.0.0.1", "127.0.0.1"]);
    assert_eq!(words[5], port.to_string());
}
