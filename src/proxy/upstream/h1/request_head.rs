//! Writes the head of a request in one pass (RFC 9112 §3, §5).

use http::{HeaderMap, Request, header};
use http_body::Body;

use crate::proxy::wire::raw_query::RawQuery;
use crate::proxy::wire::scan::content_length;

/// The framing of a request's body (RFC 9112 §6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RequestFraming {
    /// This many bytes are left; 0 without a body.
    Length(u64),
    /// Chunks.
    Chunked,
}

/// Appends the head of a request in origin-form. Returns the framing of its body, as the head states it. A body whose
/// framing the head does not state is chunked.
pub(super) fn write<B: Body>(request: &Request<B>, out: &mut Vec<u8>) -> RequestFraming {
    write_request_line(request, out);
    let mut stated = None;
    for (name, value) in request.headers() {
        write_field(name.as_str().as_bytes(), value.as_bytes(), out);
        match *name {
            header::TRANSFER_ENCODING => stated = Some(RequestFraming::Chunked),
            header::CONTENT_LENGTH if stated.is_none() => {
                stated = content_length(value.as_bytes()).map(RequestFraming::Length);
            }
            _ => {}
        }
    }
    let framing = match stated {
        Some(RequestFraming::Length(_)) | None if request.body().is_end_stream() => RequestFraming::Length(0),
        Some(framing) => framing,
        None => {
            write_field(b"transfer-encoding", b"chunked", out);
            RequestFraming::Chunked
        }
    };
    out.extend_from_slice(b"\r\n");
    framing
}

/// Appends trailers and the end of a chunked body.
pub(super) fn write_trailers(trailers: &HeaderMap, out: &mut Vec<u8>) {
    for (name, value) in trailers {
        write_field(name.as_str().as_bytes(), value.as_bytes(), out);
    }
    out.extend_from_slice(b"\r\n");
}

/// The query is the client's own, in its original bytes.
fn write_request_line<B>(request: &Request<B>, out: &mut Vec<u8>) {
    let uri = request.uri();
    out.extend_from_slice(request.method().as_str().as_bytes());
    out.push(b' ');
    match request.extensions().get::<RawQuery>() {
        Some(RawQuery(query)) => {
            out.extend_from_slice(uri.path().as_bytes());
            out.push(b'?');
            out.extend_from_slice(query);
        }
        None => out.extend_from_slice(uri.path_and_query().map_or("/", |target| target.as_str()).as_bytes()),
    }
    out.extend_from_slice(b" HTTP/1.1\r\n");
}

fn write_field(name: &[u8], value: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(name);
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use http::Method;
    use http_body_util::{Empty, Full};

    use super::*;

    /// The head of a request, and the framing of its body.
    fn written<B: Body>(request: &Request<B>) -> (String, RequestFraming) {
        let mut out = Vec::new();
        let framing = write(request, &mut out);
        (String::from_utf8(out).unwrap(), framing)
    }

    #[test]
    fn a_head_has_its_fields_in_order() {
        let mut request =
            Request::get("/a?b=c").header("host", "test").header("accept", "x").body(Empty::<Bytes>::new());
        request.as_mut().unwrap().headers_mut().append("accept", "y".parse().unwrap());
        let (text, framing) = written(&request.unwrap());
        assert_eq!(text, "GET /a?b=c HTTP/1.1\r\nhost: test\r\naccept: x\r\naccept: y\r\n\r\n");
        assert_eq!(framing, RequestFraming::Length(0));
    }

    #[test]
    fn the_request_line_has_the_original_query() {
        let mut request = Request::new(Empty::<Bytes>::new());
        *request.uri_mut() = "/b?x=%22".parse().unwrap();
        request.extensions_mut().insert(RawQuery(Bytes::from_static(b"x=\"")));
        assert_eq!(written(&request).0, "GET /b?x=\" HTTP/1.1\r\n\r\n");
        let mut request = Request::new(Empty::<Bytes>::new());
        (*request.method_mut(), *request.uri_mut()) = (Method::OPTIONS, "*".parse().unwrap());
        assert_eq!(written(&request).0, "OPTIONS * HTTP/1.1\r\n\r\n");
    }

    #[test]
    fn the_framing_is_that_of_the_head() {
        let body = || Full::new(Bytes::from_static(b"hello"));
        let chunked = Request::post("/").header("transfer-encoding", "chunked").body(body()).unwrap();
        assert_eq!(written(&chunked), (written(&chunked).0, RequestFraming::Chunked));
        let stated = Request::post("/").header("content-length", "5").body(body()).unwrap();
        assert_eq!(written(&stated).1, RequestFraming::Length(5));
        let (text, framing) = written(&Request::post("/").body(body()).unwrap());
        assert_eq!(
            (text.as_str(), framing),
            ("POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n", RequestFraming::Chunked)
        );
        let none = Request::post("/").header("content-length", "0").body(Empty::<Bytes>::new()).unwrap();
        assert_eq!(written(&none).1, RequestFraming::Length(0));
    }

    #[test]
    fn trailers_end_with_an_empty_line() {
        let (mut trailers, mut out) = (HeaderMap::new(), Vec::new());
        write_trailers(&trailers, &mut out);
        assert_eq!(out, b"\r\n");
        trailers.append("x-sum", "1".parse().unwrap());
        trailers.append("x-sum", "2".parse().unwrap());
        write_trailers(&trailers, &mut out);
        assert_eq!(out, b"\r\nx-sum: 1\r\nx-sum: 2\r\n\r\n");
    }
}
