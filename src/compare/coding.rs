//! Decodes content codings within limits: gzip, deflate, br and zstd (RFC 9110 §8.4.1, RFC 8878, RFC 7932).
//!
//! Decoding stops at a size limit and at a ratio to the encoded size, so a decompression bomb costs no more than the
//! limit.

use std::borrow::Cow;
use std::io::Read;

/// The maximum number of nested codings.
const CODINGS_MAX: usize = 2;
/// The decoded size that is allowed regardless of the ratio, because short responses compress well.
const FREE: usize = 65_536;
/// The largest window of zstd that is decoded: RFC 9659 §3.
const ZSTD_WINDOW: u64 = 8 << 20;
/// The input buffer of the br decoder.
const BR_BUFFER: usize = 4_096;

/// The limits of decoding.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bound {
    /// The maximum decoded size in bytes.
    pub(super) most: usize,
    /// The maximum ratio of decoded to encoded bytes.
    pub(super) ratio: usize,
}

/// Why a body was not decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Undecoded {
    /// Not valid in its coding.
    Malformed,
    /// Larger than the limit.
    TooLarge,
    /// An unknown coding.
    Unknown,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Coding {
    Gzip,
    Deflate,
    Br,
    Zstd,
}

/// Decodes the codings that `content_encoding` names, the last one first.
pub(super) fn decode<'a>(bytes: &'a [u8], content_encoding: &str, bound: Bound) -> Result<Cow<'a, [u8]>, Undecoded> {
    let mut decoded = Cow::Borrowed(bytes);
    // Computed once from the encoded size, so that two codings do not multiply the ratio.
    let most = bytes.len().saturating_mul(bound.ratio).max(FREE).min(bound.most);
    for coding in codings(content_encoding)?.iter().rev() {
        // An empty body is valid in every coding: responses to HEAD and 304 have one.
        if !decoded.is_empty() {
            decoded = Cow::Owned(decode_one(&decoded, *coding, most)?);
        }
    }
    Ok(decoded)
}

fn codings(text: &str) -> Result<Vec<Coding>, Undecoded> {
    let mut codings = Vec::new();
    for name in text.split(',').map(|name| name.trim().to_ascii_lowercase()) {
        codings.push(match name.as_str() {
            "" | "identity" => continue,
            "gzip" | "x-gzip" => Coding::Gzip,
            "deflate" => Coding::Deflate,
            "br" => Coding::Br,
            "zstd" => Coding::Zstd,
            _ => return Err(Undecoded::Unknown),
        });
    }
    if codings.len() > CODINGS_MAX { Err(Undecoded::Unknown) } else { Ok(codings) }
}

fn decode_one(bytes: &[u8], coding: Coding, most: usize) -> Result<Vec<u8>, Undecoded> {
    match coding {
        Coding::Gzip => read(flate2::bufread::MultiGzDecoder::new(bytes), most),
        Coding::Deflate => read(flate2::bufread::ZlibDecoder::new(bytes), most),
        Coding::Br => read(brotli_decompressor::Decompressor::new(bytes, BR_BUFFER), most),
        Coding::Zstd => {
            let frame = ruzstd::decoding::StreamingDecoder::new_with_max_window_size(bytes, ZSTD_WINDOW);
            read(frame.map_err(|_| Undecoded::Malformed)?, most)
        }
    }
}

fn read(reader: impl Read, most: usize) -> Result<Vec<u8>, Undecoded> {
    let mut decoded = Vec::new();
    // One byte more than the limit shows that the body is too large.
    let limit = u64::try_from(most).unwrap_or(u64::MAX).saturating_add(1);
    reader.take(limit).read_to_end(&mut decoded).map_err(|_| Undecoded::Malformed)?;
    debug_assert!(decoded.len() as u64 <= limit, "the reader stops at the limit");
    if decoded.len() > most { Err(Undecoded::TooLarge) } else { Ok(decoded) }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    const BOUND: Bound = Bound { most: 1 << 20, ratio: 100 };

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    fn deflate(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::best());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    fn zstd(bytes: &[u8]) -> Vec<u8> {
        ruzstd::encoding::compress_to_vec(bytes, ruzstd::encoding::CompressionLevel::Fastest)
    }

    /// `{"a":1}` as a single meta-block (RFC 7932 §9.2), stored.
    const BR: &[u8] = b"\x0b\x03\x80{\"a\":1}\x03";

    /// 64 MiB of zeros, in hexadecimal.
    const BR_BOMB: &str = "cbffff3ff82700e2b14020f7fe8fffff7ff04f00c4611180eefd1fffffffe09f0088c30200ddfb3ffeffffc13f0110870500\
        baf77ffcffff837f02200e0b0074effff8ffff07ff04401c1600e8defff1ffff0ffe0980382c00d0bdffcbffff3ffc130071\
        5800a07bff07";

    fn bytes(hexadecimal: &str) -> Vec<u8> {
        (0..hexadecimal.len()).step_by(2).map(|at| u8::from_str_radix(&hexadecimal[at..at + 2], 16).unwrap()).collect()
    }

    #[test]
    fn codings_are_decoded() {
        let text = b"{\"a\":1}";
        for (bytes, coding) in [
            (text.to_vec(), ""),
            (text.to_vec(), "identity"),
            (gzip(text), "gzip"),
            (gzip(text), "X-GZip"),
            (deflate(text), "deflate"),
            (zstd(text), "zstd"),
            (BR.to_vec(), "br"),
            (gzip(&zstd(text)), "zstd, gzip"),
            ([gzip(b"{\"a\""), gzip(b":1}")].concat(), "gzip"),
        ] {
            assert_eq!(decode(&bytes, coding, BOUND).as_deref(), Ok(&text[..]), "{coding}");
        }
        for coding in ["gzip", "br", "zstd", "deflate"] {
            assert_eq!(decode(b"", coding, BOUND).as_deref(), Ok(&b""[..]), "{coding} of nothing");
            assert_eq!(decode(b"\x03 other", coding, BOUND), Err(Undecoded::Malformed), "{coding}");
        }
        assert_eq!(decode(text, "compress", BOUND), Err(Undecoded::Unknown));
        assert_eq!(decode(text, "gzip,gzip,gzip", BOUND), Err(Undecoded::Unknown));
        let whole = gzip(&b"0123456789abcdef".repeat(100));
        assert_eq!(decode(&whole[..whole.len() - 9], "gzip", BOUND), Err(Undecoded::Malformed), "cut");
    }

    #[test]
    fn a_bomb_costs_no_more_than_the_limit() {
        let zeros = vec![0; 64 << 20];
        for (bomb, coding) in
            [(gzip(&zeros), "gzip"), (zstd(&zeros), "zstd"), (bytes(BR_BOMB), "br"), (gzip(&gzip(&zeros)), "gzip,gzip")]
        {
            assert!(bomb.len() < 1 << 17, "{coding}: {}", bomb.len());
            assert_eq!(decode(&bomb, coding, BOUND), Err(Undecoded::TooLarge), "{coding}");
        }
        // Small bodies are always decoded; then the ratio applies, then the size.
        assert!(decode(&gzip(&zeros[..FREE]), "gzip", BOUND).is_ok());
        assert_eq!(decode(&gzip(&zeros[..=FREE]), "gzip", BOUND), Err(Undecoded::TooLarge));
    }
}
