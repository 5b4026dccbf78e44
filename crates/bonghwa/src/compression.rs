//! Answers compressed, for callers that accept it. Small ones stay as they are, and so does what is compressed
//! already; a large one is encoded piece by piece as it is sent, a stream without holding back what there is.

use std::io::{self, Write};

use axum::Router;
use axum::body::{Body, BodyDataStream, HttpBody};
use axum::extract::Request;
use axum::middleware::{self, Next};
use axum::response::Response;
use bytes::Bytes;
use flate2::write::GzEncoder;
use futures::{FutureExt, StreamExt, stream};
use http::{HeaderMap, HeaderValue, header};

/// Bytes from which on an answer is worth it.
const LARGE: u64 = 4 * 1024;
/// Bytes that are encoded at once, so that other requests are not kept waiting.
const PIECE: usize = 32 * 1024;
/// What shrinks, by its Content-Type. Streams of remote read and Arrow are packed by themselves.
const SHRINKS: [&str; 4] = ["application/json", "application/x-ndjson", "application/openmetrics-text", "text/"];

/// These routes, their answers compressed.
pub fn compressed(router: Router) -> Router {
    router.layer(middleware::from_fn(async |request: Request, next: Next| {
        let coding = Coding::accepted(request.headers());
        let mut response = next.run(request).await;
        if !is_worth_it(&response) {
            return response;
        }
        response.headers_mut().append(header::VARY, HeaderValue::from_static("accept-encoding"));
        match coding {
            Some(coding) => coding.encode(response),
            None => response,
        }
    }))
}

fn is_worth_it(response: &Response) -> bool {
    let headers = response.headers();
    let content_type = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    // A stream does not know its size.
    let large = response.body().size_hint().exact().is_none_or(|bytes| bytes >= LARGE);
    large
        && !headers.contains_key(header::CONTENT_ENCODING)
        && SHRINKS.iter().any(|kind| content_type.starts_with(kind))
}

/// A way to compress. The better one comes last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Coding {
    Gzip,
    Zstd,
}

impl Coding {
    /// The best one that Accept-Encoding names.
    fn accepted(headers: &HeaderMap) -> Option<Self> {
        let lists = headers.get_all(header::ACCEPT_ENCODING).into_iter().filter_map(|list| list.to_str().ok());
        let weighed = lists.flat_map(|list| list.split(',')).filter_map(|item| {
            let (name, parameters) = item.split_once(';').unwrap_or((item, ""));
            let coding = match name.trim() {
                name if name.eq_ignore_ascii_case("zstd") => Self::Zstd,
                name if name.eq_ignore_ascii_case("gzip") || name.eq_ignore_ascii_case("x-gzip") => Self::Gzip,
                _ => return None,
            };
            let weight = parameters.trim().strip_prefix("q=").map_or(Some(1.0), |weight| weight.trim().parse().ok())?;
            Some((weight, coding)).filter(|(weight, _)| *weight > 0.0)
        });
        weighed.max_by(|(a, one), (b, other)| f32::total_cmp(a, b).then(one.cmp(other))).map(|(_, coding)| coding)
    }

    fn encode(self, response: Response) -> Response {
        let Ok(encoder) = Encoder::new(self) else { return response };
        let (mut parts, body) = response.into_parts();
        let name = match self {
            Self::Gzip => "gzip",
            Self::Zstd => "zstd",
        };
        parts.headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static(name));
        parts.headers.remove(header::CONTENT_LENGTH);
        let encoding =
            Encoding { body: body.into_data_stream(), piece: Bytes::new(), encoder: Some(encoder), held: false };
        let pieces = stream::try_unfold(encoding, async |mut encoding| {
            Ok::<_, axum::Error>(encoding.next().await?.map(|piece| (piece, encoding)))
        });
        Response::from_parts(parts, Body::from_stream(pieces))
    }
}

/// A body on its way.
struct Encoding {
    body: BodyDataStream,
    /// What is left of the last piece of it.
    piece: Bytes,
    /// None at the end.
    encoder: Option<Encoder>,
    /// Whether the encoder may hold something back.
    held: bool,
}

impl Encoding {
    /// What to send next; none at the end.
    async fn next(&mut self) -> Result<Option<Bytes>, axum::Error> {
        loop {
            let Some(encoder) = &mut self.encoder else { return Ok(None) };
            if self.piece.is_empty() {
                // What was encoded is not held back while the body makes the caller wait.
                let next = match self.held {
                    true => self.body.next().now_or_never(),
                    false => Some(self.body.next().await),
                };
                match next {
                    Some(Some(piece)) => self.piece = piece?,
                    Some(None) => return self.end(),
                    None => {
                        self.held = false;
                        let encoded = encoder.flush().map_err(axum::Error::new)?;
                        if !encoded.is_empty() {
                            return Ok(Some(encoded));
                        }
                    }
                }
                continue;
            }
            let piece = self.piece.split_to(PIECE.min(self.piece.len()));
            let encoded = encoder.write(&piece).map_err(axum::Error::new)?;
            self.held = true;
            if !encoded.is_empty() {
                return Ok(Some(encoded));
            }
        }
    }

    fn end(&mut self) -> Result<Option<Bytes>, axum::Error> {
        self.encoder.take().map(Encoder::finish).transpose().map_err(axum::Error::new)
    }
}

enum Encoder {
    Gzip(GzEncoder<Vec<u8>>),
    Zstd(zstd::stream::write::Encoder<'static, Vec<u8>>),
}

impl Encoder {
    /// Fast levels: a query is answered in a millisecond.
    fn new(coding: Coding) -> io::Result<Self> {
        Ok(match coding {
            Coding::Gzip => Self::Gzip(GzEncoder::new(Vec::new(), flate2::Compression::fast())),
            Coding::Zstd => Self::Zstd(zstd::stream::write::Encoder::new(Vec::new(), 1)?),
        })
    }

    fn write(&mut self, piece: &[u8]) -> io::Result<Bytes> {
        match self {
            Self::Gzip(encoder) => encoder.write_all(piece)?,
            Self::Zstd(encoder) => encoder.write_all(piece)?,
        }
        Ok(self.encoded())
    }

    fn flush(&mut self) -> io::Result<Bytes> {
        match self {
            Self::Gzip(encoder) => encoder.flush()?,
            Self::Zstd(encoder) => encoder.flush()?,
        }
        Ok(self.encoded())
    }

    fn encoded(&mut self) -> Bytes {
        let encoded = match self {
            Self::Gzip(encoder) => encoder.get_mut(),
            Self::Zstd(encoder) => encoder.get_mut(),
        };
        std::mem::take(encoded).into()
    }

    fn finish(self) -> io::Result<Bytes> {
        match self {
            Self::Gzip(encoder) => encoder.finish(),
            Self::Zstd(encoder) => encoder.finish(),
        }
        .map(Bytes::from)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::io::Read;

    use axum::routing::get;
    use tower::ServiceExt;

    use super::*;

    async fn answer(path: &str, accepts: Option<&str>) -> (HeaderMap, Vec<u8>) {
        let json = |body: String| async { ([(header::CONTENT_TYPE, "application/json")], body) };
        let lines = || stream::iter((0..9).map(|n| Ok::<_, io::Error>(format!("{{\"line\":{n}}}\n"))));
        let streamed =
            move || async move { ([(header::CONTENT_TYPE, "application/x-ndjson")], Body::from_stream(lines())) };
        let packed = || async { ([(header::CONTENT_TYPE, "application/x-protobuf")], vec![7; 100_000]) };
        let router = Router::new()
            .route("/small", get(move || json("1".repeat(4000))))
            .route("/large", get(move || json("12345".repeat(100_000))))
            .route("/packed", get(packed))
            .route("/lines", get(streamed));
        let mut request = Request::get(path);
        if let Some(accepts) = accepts {
            request = request.header(header::ACCEPT_ENCODING, accepts);
        }
        let response = compressed(router).oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
        let (parts, body) = response.into_parts();
        (parts.headers, axum::body::to_bytes(body, usize::MAX).await.unwrap().to_vec())
    }

    fn header_of(headers: &HeaderMap, name: header::HeaderName) -> Option<&str> {
        headers.get(name).map(|value| value.to_str().unwrap())
    }

    fn unpacked(coding: &str, body: &[u8]) -> String {
        let mut text = String::new();
        match coding {
            "gzip" => flate2::read::GzDecoder::new(body).read_to_string(&mut text).unwrap(),
            _ => zstd::stream::read::Decoder::new(body).unwrap().read_to_string(&mut text).unwrap(),
        };
        text
    }

    #[tokio::test]
    async fn large_answers_are_compressed_for_who_accepts_it() {
        let large = "12345".repeat(100_000);
        for (accepts, coding) in [
            ("gzip", "gzip"),
            ("gzip, deflate, br, zstd", "zstd"),
            ("zstd;q=0.5, gzip;q=0.8", "gzip"),
            ("zstd;q=0, x-gzip", "gzip"),
        ] {
            let (headers, body) = answer("/large", Some(accepts)).await;
            assert_eq!(header_of(&headers, header::CONTENT_ENCODING), Some(coding), "{accepts}");
            assert_eq!(header_of(&headers, header::VARY), Some("accept-encoding"));
            assert_eq!(header_of(&headers, header::CONTENT_LENGTH), None);
            assert!(body.len() < large.len() / 10, "{accepts}: {} bytes", body.len());
            assert!(unpacked(coding, &body) == large, "{accepts}");
            // A stream too, however short.
            let (headers, body) = answer("/lines", Some(accepts)).await;
            assert_eq!(header_of(&headers, header::CONTENT_ENCODING), Some(coding), "{accepts}");
            assert_eq!(unpacked(coding, &body).lines().last(), Some(r#"{"line":8}"#));
        }
    }

    #[tokio::test]
    async fn other_answers_stay_as_they_are() {
        for accepts in [None, Some("identity"), Some("br, deflate"), Some("gzip;q=0, *")] {
            let (headers, body) = answer("/large", accepts).await;
            assert_eq!((header_of(&headers, header::CONTENT_ENCODING), body.len()), (None, 500_000), "{accepts:?}");
            assert_eq!(header_of(&headers, header::VARY), Some("accept-encoding"), "caches tell them apart");
        }
        for (path, bytes) in [("/small", 4000), ("/packed", 100_000)] {
            let (headers, body) = answer(path, Some("gzip, zstd")).await;
            assert_eq!((header_of(&headers, header::CONTENT_ENCODING), body.len()), (None, bytes), "{path}");
            assert_eq!(header_of(&headers, header::VARY), None, "{path}");
        }
    }

    #[tokio::test]
    async fn a_stream_is_not_held_back() {
        let (send, receive) = tokio::sync::mpsc::channel(1);
        let body = Body::from_stream(tokio_stream::wrappers::ReceiverStream::new(receive));
        let mut response = Response::new(body);
        response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("text/csv"));
        let mut pieces = Coding::Gzip.encode(response).into_body().into_data_stream();
        let mut seen = Vec::new();
        for line in ["one\n", "two\n"] {
            send.send(Ok::<_, io::Error>(line)).await.unwrap();
            // The sender is still there: the line has come all the same.
            let mut text = String::new();
            while !text.ends_with(line) {
                seen.extend(pieces.next().await.unwrap().unwrap());
                text.clear();
                // It ends before its end.
                let _ = flate2::read::GzDecoder::new(&seen[..]).read_to_string(&mut text);
            }
        }
    }
}
