//! The documents of the API, as the real server gives them.

use hyper::Method;

use crate::support::{http::Rest, server::Server};

#[tokio::test]
async fn the_reference_is_served_with_nothing_from_elsewhere() {
    let server = Server::start().await;
    let nobody = Rest::new(&server, "");
    for (path, content_type) in [
        ("/docs", "text/html; charset=utf-8"),
        ("/docs/docs.js", "text/javascript; charset=utf-8"),
        ("/docs/docs.css", "text/css; charset=utf-8"),
        ("/llms.txt", "text/plain; charset=utf-8"),
        ("/openapi.json", "application/json"),
    ] {
        let (status, headers, _) = nobody.raw(Method::GET, path, &[], "").await;
        assert_eq!((status, headers["content-type"].to_str().ok()), (200, Some(content_type)), "{path}");
        assert!(
            headers["content-security-policy"].to_str().is_ok_and(|policy| policy.starts_with("default-src 'none'"))
        );
    }
    let (status, key) = nobody.get("/docs/dev.json").await;
    assert_eq!((status, key["server_key"].as_str()), (200, Some(server.started.server_key.as_str())));
    let (status, _, _) = nobody.raw(Method::GET, "/docs/dev.json", &[("host", "evil.example")], "").await;
    assert_eq!(status, 404, "a page whose name leads here reads the key");
}
