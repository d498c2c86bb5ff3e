//! The WebSocket handshake (RFC 6455, section 4).

use std::sync::Arc;

use axum::{
    Router,
    body::Body,
    extract::{Request, State},
    http::{HeaderMap, HeaderValue, Method, StatusCode, header},
    response::{IntoResponse, Response},
    routing::any,
};
use stonechat_errors::Error;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

use crate::{Encoding, Gateway, socket};

/// The route `/v1/ws`.
pub(crate) fn router(gateway: Arc<Gateway>) -> Router {
    Router::new().route("/v1/ws", any(upgrade)).with_state(gateway)
}

async fn upgrade(State(gateway): State<Arc<Gateway>>, request: Request) -> Response {
    match accept(&gateway, request) {
        Ok(response) => response,
        Err(error) => error.into_response(),
    }
}

fn accept(gateway: &Arc<Gateway>, mut request: Request) -> Result<Response, Error> {
    let headers = request.headers();
    let key = handshake_key(request.method(), headers)?;
    if !is_allowed_origin(headers, &gateway.hub.config.allowed_origins) {
        return Err(Error::denied("pages of this origin may not connect"));
    }
    if gateway.is_draining() {
        return Err(Error::unavailable("this gateway goes away"));
    }
    let accept = derive_accept_key(key.as_bytes());
    let encoding = offered(headers).find_map(Encoding::of_subprotocol);
    let upgraded = hyper::upgrade::on(&mut request);
    let gateway = Arc::clone(gateway);
    let tasks = gateway.tasks.clone();
    tasks.spawn(async move {
        match upgraded.await {
            Ok(upgraded) => {
                let end = gateway.end.child_token();
                // A session that begins before would have no route, and nobody would notice.
                if end.run_until_cancelled(gateway.registered()).await != Some(true) {
                    return;
                }
                Box::pin(socket::serve(upgraded, Arc::clone(&gateway.hub), encoding, end)).await;
            }
            Err(error) => tracing::debug!(%error, "upgrade failed"),
        }
    });
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = response.headers_mut();
    headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
    headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(header::SEC_WEBSOCKET_ACCEPT, HeaderValue::try_from(accept).map_err(|_| Error::internal())?);
    if let Some(encoding) = encoding {
        headers.insert(header::SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(encoding.subprotocol()));
    }
    Ok(response)
}

fn has_token(headers: &HeaderMap, name: header::HeaderName, token: &str) -> bool {
    let values = headers.get_all(name).into_iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).any(|part| part.trim().eq_ignore_ascii_case(token))
}

fn handshake_key(method: &Method, headers: &HeaderMap) -> Result<String, Error> {
    let is_upgrade = method == Method::GET
        && has_token(headers, header::CONNECTION, "upgrade")
        && has_token(headers, header::UPGRADE, "websocket");
    if !is_upgrade {
        return Err(Error::invalid("expected a WebSocket handshake"));
    }
    if !has_token(headers, header::SEC_WEBSOCKET_VERSION, "13") {
        return Err(Error::invalid("expected WebSocket version 13"));
    }
    let key = headers.get(header::SEC_WEBSOCKET_KEY).and_then(|key| key.to_str().ok());
    key.map(str::to_owned).ok_or_else(|| Error::invalid("Sec-WebSocket-Key is missing"))
}

fn offered(headers: &HeaderMap) -> impl Iterator<Item = &str> {
    let values = headers.get_all(header::SEC_WEBSOCKET_PROTOCOL).into_iter();
    values.filter_map(|value| value.to_str().ok()).flat_map(|value| value.split(',')).map(str::trim)
}

/// Whether the page that connects may: clients that are no browsers send no origin; a page of the same host always
/// may, any other when it is listed.
fn is_allowed_origin(headers: &HeaderMap, allowed: &[String]) -> bool {
    let Some(origin) = headers.get(header::ORIGIN) else { return true };
    let Ok(origin) = origin.to_str() else { return false };
    if allowed.iter().any(|allowed| allowed == "*" || allowed.eq_ignore_ascii_case(origin)) {
        return true;
    }
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok());
    let of_origin = origin.split_once("://").map(|(_, host)| host);
    host.is_some() && host == of_origin
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(header::HeaderName, &'static str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (name.clone(), HeaderValue::from_static(value))).collect()
    }

    #[test]
    fn a_page_of_another_origin_may_not_connect_unless_it_is_listed() {
        let page = |origin| headers(&[(header::HOST, "chat.example"), (header::ORIGIN, origin)]);
        assert!(is_allowed_origin(&headers(&[]), &[]));
        assert!(is_allowed_origin(&page("https://chat.example"), &[]));
        assert!(!is_allowed_origin(&page("https://evil.example"), &[]));
        assert!(!is_allowed_origin(&page("https://chat.example.evil.example"), &[]));
        assert!(!is_allowed_origin(&page("null"), &[]));
        assert!(is_allowed_origin(&page("https://app.example"), &["https://app.example".to_owned()]));
        assert!(is_allowed_origin(&page("https://any.example"), &["*".to_owned()]));
    }

    #[test]
    fn only_a_handshake_is_taken_for_one() {
        let good = [
            (header::CONNECTION, "keep-alive, Upgrade"),
            (header::UPGRADE, "websocket"),
            (header::SEC_WEBSOCKET_VERSION, "13"),
            (header::SEC_WEBSOCKET_KEY, "dGhlIHNhbXBsZSBub25jZQ=="),
        ];
        assert!(handshake_key(&Method::GET, &headers(&good)).is_ok());
        assert!(handshake_key(&Method::POST, &headers(&good)).is_err());
        for missing in 0..good.len() {
            let mut some = good.to_vec();
            some.remove(missing);
            assert!(handshake_key(&Method::GET, &headers(&some)).is_err(), "{missing}");
        }
    }
}
