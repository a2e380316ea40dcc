//! What the proxy itself answers: a refusal, in plain words. `Proxy-Status` (RFC 9209) tells it apart from an answer of
//! the upstream.

use bytes::Bytes;
use http::header::{self, HeaderName};
use http::{HeaderValue, Response, StatusCode};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full};

/// Whatever ends a body early.
pub(super) type Broken = Box<dyn std::error::Error + Send + Sync>;
/// What the child gets.
pub(super) type Answer = Response<UnsyncBoxBody<Bytes, Broken>>;

const PROXY_STATUS: HeaderName = HeaderName::from_static("proxy-status");

/// A refusal.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct No {
    pub(super) status: StatusCode,
    /// RFC 9209's word for it.
    error: &'static str,
    pub(super) words: String,
}

impl No {
    fn new(status: StatusCode, error: &'static str, words: impl Into<String>) -> No {
        No { status, error, words: words.into() }
    }

    /// No rule allows it, or it must not be.
    pub(super) fn denied(words: impl Into<String>) -> No {
        No::new(StatusCode::FORBIDDEN, "http_request_denied", words)
    }

    /// It is not HTTP as it should be.
    pub(super) fn malformed(words: impl Into<String>) -> No {
        No::new(StatusCode::BAD_REQUEST, "http_request_error", words)
    }

    /// The one who asks has not shown this launcher's token.
    pub(super) fn stranger() -> No {
        No::new(
            StatusCode::PROXY_AUTHENTICATION_REQUIRED,
            "http_request_denied",
            "the proxy's token is missing or wrong; use HTTPS_PROXY as this launcher set it",
        )
    }

    /// The name leads to an address that nothing is sent to.
    pub(super) fn forbidden_address(words: impl Into<String>) -> No {
        No::new(StatusCode::FORBIDDEN, "destination_ip_prohibited", words)
    }

    /// The upstream cannot be reached, or does not answer as it should.
    pub(super) fn upstream(words: impl Into<String>) -> No {
        No::new(StatusCode::BAD_GATEWAY, "destination_unavailable", words)
    }

    /// The upstream's answer cannot be looked through.
    pub(super) fn unreadable(words: impl Into<String>) -> No {
        No::new(StatusCode::BAD_GATEWAY, "http_response_transfer_coding", words)
    }

    /// The upstream takes too long.
    pub(super) fn late(words: impl Into<String>) -> No {
        No::new(StatusCode::GATEWAY_TIMEOUT, "http_response_timeout", words)
    }

    /// There is no credential, and a later try may find one.
    pub(super) fn no_credential(words: impl Into<String>) -> No {
        No::new(StatusCode::SERVICE_UNAVAILABLE, "proxy_internal_error", words)
    }

    /// There is no credential, and something has to be done first.
    pub(super) fn bad_credential(words: impl Into<String>) -> No {
        No::new(StatusCode::BAD_GATEWAY, "proxy_internal_error", words)
    }

    /// As the child gets it.
    pub(super) fn answer(&self) -> Answer {
        let text = format!("vault-agent proxy: {}\n", self.words);
        let mut answer = Response::new(Full::from(text).map_err(|never| match never {}).boxed_unsync());
        *answer.status_mut() = self.status;
        let headers = answer.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
        headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if let Ok(status) = HeaderValue::from_str(&format!("vault-agent; error={}", self.error)) {
            headers.insert(PROXY_STATUS, status);
        }
        if self.status == StatusCode::PROXY_AUTHENTICATION_REQUIRED {
            let ask = HeaderValue::from_static("Basic realm=\"vault-agent\"");
            headers.insert(header::PROXY_AUTHENTICATE, ask);
        }
        if self.status == StatusCode::SERVICE_UNAVAILABLE {
            headers.insert(header::RETRY_AFTER, HeaderValue::from_static("5"));
        }
        answer
    }
}
