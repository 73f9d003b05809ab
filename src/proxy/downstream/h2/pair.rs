//! For tests: one stream between a client and a server of `h2`, whose connections run in tasks of their own.

use bytes::Bytes;
use h2::server::SendResponse;
use h2::{RecvStream, SendStream};
use http::{Request, Response};

/// Both ends of a stream after the head of the request.
pub(super) struct Pair {
    /// The client's sending half.
    pub(super) sends: SendStream<Bytes>,
    /// The response that the client gets.
    pub(super) response: h2::client::ResponseFuture,
    /// The server's receiving half.
    pub(super) receives: RecvStream,
    pub(super) respond: SendResponse<Bytes>,
}

impl Pair {
    /// Sends the head of the response: the halves of the server and the client's receiving half.
    pub(super) async fn open(mut self) -> (SendStream<Bytes>, RecvStream, SendStream<Bytes>, RecvStream) {
        let sends = self.respond.send_response(Response::new(()), false).unwrap();
        let response = self.response.await.unwrap();
        (sends, self.receives, self.sends, response.into_body())
    }
}

/// A stream over a pipe.
pub(super) async fn pair() -> Pair {
    let (near, far) = tokio::io::duplex(1 << 14);
    let accepting = tokio::spawn(async move {
        let mut server = h2::server::handshake(near).await.unwrap();
        let accepted = server.accept().await.unwrap().unwrap();
        tokio::spawn(async move { while server.accept().await.is_some() {} });
        accepted
    });
    let (client, connection) = h2::client::handshake(far).await.unwrap();
    tokio::spawn(connection);
    let mut client = client.ready().await.unwrap();
    let (response, sends) = client.send_request(Request::post("http://a/").body(()).unwrap(), false).unwrap();
    let (request, respond) = accepting.await.unwrap();
    Pair { sends, response, receives: request.into_body(), respond }
}
