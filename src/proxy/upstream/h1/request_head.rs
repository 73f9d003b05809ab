//! Writes the head of a request in one pass (RFC 9112 §3, §5).

use http::HeaderMap;
use http_body::Body;

use crate::proxy::wire::head::Head;
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
pub(super) fn write(head: &Head, body: &impl Body, out: &mut Vec<u8>) -> RequestFraming {
    head.write_line(out);
    head.fields.write(out);
    let is_ended = body.is_end_stream();
    let stated = if head.fields.contains("transfer-encoding") {
        Some(RequestFraming::Chunked)
    } else {
        head.fields.get("content-length").and_then(content_length).map(RequestFraming::Length)
    };
    let framing = match stated {
        Some(RequestFraming::Length(_)) | None if is_ended => RequestFraming::Length(0),
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

fn write_field(name: &[u8], value: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(name);
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use http::Request;
    use http_body_util::{Empty, Full};

    use super::*;
    use crate::fields::Fields;

    /// The head of a request, and the framing of its body.
    fn written<B: Body>(request: Request<B>) -> (String, RequestFraming) {
        let (parts, body) = request.into_parts();
        let mut out = Vec::new();
        let framing = write(&Head::of_parts(&parts, Fields::new()), &body, &mut out);
        (String::from_utf8(out).unwrap(), framing)
    }

    #[test]
    fn a_head_has_its_fields_in_order() {
        let mut request =
            Request::get("/a?b=c").header("host", "test").header("accept", "x").body(Empty::<Bytes>::new());
        request.as_mut().unwrap().headers_mut().append("accept", "y".parse().unwrap());
        let (text, framing) = written(request.unwrap());
        assert_eq!(text, "GET /a?b=c HTTP/1.1\r\nhost: test\r\naccept: x\r\naccept: y\r\n\r\n");
        assert_eq!(framing, RequestFraming::Length(0));
    }

    #[test]
    fn the_framing_is_that_of_the_head() {
        let body = || Full::new(Bytes::from_static(b"hello"));
        let chunked = || Request::post("/").header("transfer-encoding", "chunked").body(body()).unwrap();
        assert_eq!(written(chunked()).1, RequestFraming::Chunked);
        let stated = Request::post("/").header("content-length", "5").body(body()).unwrap();
        assert_eq!(written(stated).1, RequestFraming::Length(5));
        let (text, framing) = written(Request::post("/").body(body()).unwrap());
        assert_eq!(
            (text.as_str(), framing),
            ("POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n", RequestFraming::Chunked)
        );
        let none = Request::post("/").header("content-length", "0").body(Empty::<Bytes>::new()).unwrap();
        assert_eq!(written(none).1, RequestFraming::Length(0));
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
