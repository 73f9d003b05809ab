//! The connector against local sockets: success, and each kind of failure.

use std::future::pending;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName};
use rustls::{CertificateError, ClientConfig, Error, RootCertStore, ServerConfig};
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpListener;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tower::{ServiceExt as _, service_fn};

use super::super::is_refusal;
use super::*;

/// A limit that no test reaches.
const AMPLE: Duration = Duration::from_secs(30);
/// How long an attempt waits for a response that never arrives.
const SHORT: Duration = Duration::from_millis(200);
const HEADER: &[u8] = b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n";
/// The type of a TLS record with a `ClientHello` (RFC 8446 §5.1).
const HANDSHAKE_RECORD: u8 = 22;

/// A listener and its destination.
async fn listener() -> (TcpListener, Destination) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    (listener, Destination::address(address))
}

/// A bound socket, which refuses connections until it listens.
fn bound() -> (socket2::Socket, SocketAddr) {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
    let address = socket.local_addr().unwrap().as_socket().unwrap();
    (socket, address)
}

/// A new self-signed certificate for `a.test`: a server that presents it, and a client that trusts it.
fn certificate() -> (Arc<ServerConfig>, Arc<ClientConfig>) {
    let made = rcgen::generate_simple_self_signed(vec!["a.test".to_owned()]).unwrap();
    let certificate = CertificateDer::from(made.cert.der().to_vec());
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(made.signing_key.serialize_der()));
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let server = ServerConfig::builder_with_provider(Arc::clone(&provider)).with_safe_default_protocol_versions();
    let mut server = server.unwrap().with_no_client_auth().with_single_cert(vec![certificate.clone()], key).unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(certificate).unwrap();
    let client = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let mut client = client.with_root_certificates(roots).with_no_client_auth();
    server.alpn_protocols = vec![b"h2".to_vec()];
    client.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    (Arc::new(server), Arc::new(client))
}

fn name() -> ServerName<'static> {
    ServerName::try_from("a.test").unwrap()
}

async fn attempt(within: Duration, destination: Destination) -> Result<Socket, ConnectError> {
    connector(within).oneshot(destination).await
}

/// Everything that arrives on a connection until it ends.
async fn all_of(mut stream: TcpStream) -> Vec<u8> {
    let mut read = Vec::new();
    stream.read_to_end(&mut read).await.unwrap();
    read
}

#[tokio::test]
async fn addresses_and_hosts_can_be_connected() {
    let (listener, destination) = listener().await;
    let port = listener.local_addr().unwrap().port();
    for destination in [destination, Destination::host("127.0.0.1", port), Destination::host("localhost", port)] {
        let mut socket = attempt(AMPLE, destination).await.unwrap();
        let (mut accepted, _) = listener.accept().await.unwrap();
        socket.write_all(b"here").await.unwrap();
        accepted.write_all(b"there").await.unwrap();
        let (mut here, mut there) = ([0; 4], [0; 5]);
        accepted.read_exact(&mut here).await.unwrap();
        socket.read_exact(&mut there).await.unwrap();
        assert_eq!((&here, &there), (b"here", b"there"));
        let Socket::Plain(stream) = &socket else { panic!("TLS without TLS settings") };
        assert!(stream.tcp().nodelay().unwrap());
    }
}

#[tokio::test]
async fn an_address_that_refuses_is_unreachable() {
    let (_socket, address) = bound();
    let error = attempt(AMPLE, Destination::address(address)).await.unwrap_err();
    assert!(
        matches!(&error, ConnectError::Unreachable(error) if error.kind() == std::io::ErrorKind::ConnectionRefused)
    );
    assert!(error.to_string().starts_with("Connection refused"), "{error}");
}

#[tokio::test]
async fn a_name_that_does_not_exist_is_unreachable() {
    // A label has at most 63 letters (RFC 1035 §2.3.4): a longer one fails without a query.
    let error = attempt(AMPLE, Destination::host(&"a".repeat(64), 80)).await.unwrap_err();
    assert!(matches!(error, ConnectError::Unreachable(_)), "{error:?}");
}

#[tokio::test]
async fn a_full_backlog_times_out_in_the_phase_of_tcp() {
    let (socket, address) = bound();
    socket.listen(0).unwrap();
    let mut queue = Vec::new();
    let error = loop {
        match attempt(SHORT, Destination::address(address)).await {
            Ok(queued) => queue.push(queued),
            Err(error) => break error,
        }
    };
    assert!(matches!(error, ConnectError::TimedOut(ConnectPhase::Tcp)), "{error:?}");
    assert_eq!(error.to_string(), "cannot connect in time");
}

#[tokio::test]
async fn the_proxy_header_comes_first() {
    let (listener, destination) = listener().await;
    let destination = destination.with_proxy_header(HEADER.to_vec());
    drop(attempt(AMPLE, destination.clone()).await.unwrap());
    assert_eq!(all_of(listener.accept().await.unwrap().0).await, HEADER);

    let mut read = [0; HEADER.len() + 1];
    tokio::select! {
        attempted = attempt(AMPLE, destination.with_tls(certificate().1, name())) => {
            panic!("the attempt ended early: {attempted:?}")
        }
        () = async {
            let (mut accepted, _) = listener.accept().await.unwrap();
            assert_eq!(accepted.read_exact(&mut read).await.unwrap(), read.len());
        } => {}
    }
    assert_eq!(read.split_last().unwrap(), (&HANDSHAKE_RECORD, HEADER));
}

#[tokio::test]
async fn a_handshake_without_an_answer_times_out_in_the_phase_of_tls() {
    let (_listener, destination) = listener().await;
    // TCP has ample time: only the limit of TLS can expire.
    let attempted = tls(SHORT).layer(tcp(AMPLE)).oneshot(destination.with_tls(certificate().1, name())).await;
    let error = attempted.unwrap_err();
    assert!(matches!(error, ConnectError::TimedOut(ConnectPhase::Tls)), "{error:?}");
    assert_eq!(error.to_string(), "the TLS handshake does not end in time");
}

#[tokio::test]
async fn an_unsent_proxy_header_is_a_separate_error() {
    let (socket, address) = bound();
    socket.set_recv_buffer_size(1 << 10).unwrap();
    socket.listen(2).unwrap();
    socket.set_nonblocking(true).unwrap();
    let listener = TcpListener::from_std(socket.into()).unwrap();
    // Larger than the buffers of both ends.
    let destination = Destination::address(address).with_proxy_header(vec![b'P'; 8 << 20]);
    let (attempted, ()) = tokio::join!(attempt(AMPLE, destination.clone()), async {
        drop(listener.accept().await.unwrap());
    });
    let error = attempted.unwrap_err();
    assert!(matches!(error, ConnectError::ProxyHeader(_)), "{error:?}");
    assert!(error.to_string().starts_with("cannot send the PROXY header: "), "{error}");

    let error = attempt(SHORT, destination).await.unwrap_err();
    assert!(matches!(error, ConnectError::TimedOut(ConnectPhase::Tcp)), "{error:?}");
}

#[tokio::test]
async fn tls_follows_the_header() {
    let (listener, destination) = listener().await;
    let (server, client) = certificate();
    let serve = async {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut header = [0; HEADER.len()];
        stream.read_exact(&mut header).await.unwrap();
        assert_eq!(header, HEADER);
        let mut stream = TlsAcceptor::from(server).accept(stream).await.unwrap();
        stream.write_all(b"secret").await.unwrap();
        stream.shutdown().await.unwrap();
        assert_eq!(stream.get_ref().1.server_name(), Some("a.test"));
    };
    let destination = destination.with_proxy_header(HEADER.to_vec()).with_tls(client, name());
    let (socket, ()) = tokio::join!(attempt(AMPLE, destination), serve);
    let mut socket = socket.unwrap();
    assert!(socket.agreed_on(b"h2") && !socket.agreed_on(b"http/1.1"));
    let mut read = Vec::new();
    socket.read_to_end(&mut read).await.unwrap();
    assert_eq!(read, b"secret");
}

#[tokio::test]
async fn an_untrusted_certificate_is_a_tls_error() {
    let (listener, destination) = listener().await;
    let ((server, _), (_, another)) = (certificate(), certificate());
    let serve = async { TlsAcceptor::from(server).accept(listener.accept().await.unwrap().0).await.is_err() };
    let (attempted, refused) = tokio::join!(attempt(AMPLE, destination.with_tls(another, name())), serve);
    let ConnectError::Tls(error) = attempted.unwrap_err() else { panic!("not a TLS error") };
    let cause = error.get_ref().and_then(|error| error.downcast_ref::<Error>());
    assert!(
        matches!(
            cause,
            Some(Error::InvalidCertificate(CertificateError::BadSignature | CertificateError::UnknownIssuer))
        ),
        "{cause:?}"
    );
    assert!(refused && !is_refusal(&error));
}

#[tokio::test]
async fn a_peer_without_tls_is_a_tls_error() {
    let (listener, destination) = listener().await;
    let serve = async {
        let (mut stream, _) = listener.accept().await.unwrap();
        stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await.unwrap();
        stream
    };
    let (attempted, _stream) = tokio::join!(attempt(AMPLE, destination.with_tls(certificate().1, name())), serve);
    let error = attempted.unwrap_err();
    assert!(matches!(error, ConnectError::Tls(_)), "{error:?}");
    assert!(error.to_string().starts_with("the TLS handshake failed: "), "{error}");
}

#[tokio::test]
async fn the_phases_share_one_limit() {
    let (_socket, address) = bound();
    // TCP never becomes ready. The timeout of the TLS layer shows that its timer does not wait for the handshake.
    let never = service_fn(|_: Destination| pending());
    let attempted = timeout(AMPLE, tls(SHORT).layer(never).oneshot(Destination::address(address))).await.unwrap();
    let error = attempted.unwrap_err();
    assert!(matches!(error, ConnectError::TimedOut(ConnectPhase::Tls)), "{error:?}");
}

#[tokio::test]
async fn dropping_an_attempt_closes_its_socket() {
    let (listener, destination) = listener().await;
    let mut attempting = Box::pin(attempt(AMPLE, destination.with_tls(certificate().1, name())));
    let mut accepted = tokio::select! {
        attempted = &mut attempting => panic!("the attempt ended early: {attempted:?}"),
        accepted = listener.accept() => accepted.unwrap().0,
    };
    let mut first = [0; 1];
    tokio::select! {
        attempted = &mut attempting => panic!("the attempt ended early: {attempted:?}"),
        read = accepted.read_exact(&mut first) => assert_eq!(read.unwrap(), 1),
    }
    assert_eq!(first, [HANDSHAKE_RECORD]);
    drop(attempting);
    assert!(!all_of(accepted).await.is_empty(), "the rest of the handshake, then the end");
}

#[tokio::test]
async fn concurrent_attempts_can_be_limited() {
    let (listener, destination) = listener().await;
    let mut first = ServiceBuilder::new().concurrency_limit(1).service(connector(AMPLE));
    let mut second = first.clone();
    let attempting = first.ready().await.unwrap().call(destination.clone().with_tls(certificate().1, name()));
    let waits = timeout(SHORT, second.ready()).await;
    assert!(waits.is_err(), "the second attempt exceeds the limit");
    drop(waits);
    drop(attempting);
    let attempted = second.ready().await.unwrap().call(destination).await;
    assert!(matches!(attempted, Ok(Socket::Plain(_))), "{attempted:?}");
    drop(listener);
}
