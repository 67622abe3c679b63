//! The web page: files of this repository, in the binary as they are. Plain modules that browsers take, so that there is nothing to build.

use axum::{
    Router,
    body::Body,
    http::{HeaderValue, Response, header},
    routing::get,
};

const JS: &str = "text/javascript; charset=utf-8";

/// Path, type and text.
const FILES: &[(&str, &str, &str)] = &[
    ("/", "text/html; charset=utf-8", include_str!("page/index.html")),
    ("/ui/style.css", "text/css; charset=utf-8", include_str!("page/style.css")),
    ("/ui/main.js", JS, include_str!("page/main.js")),
    ("/ui/lib.js", JS, include_str!("page/lib.js")),
    ("/ui/charts.js", JS, include_str!("page/charts.js")),
    ("/ui/layout.js", JS, include_str!("page/layout.js")),
    ("/ui/map.js", JS, include_str!("page/map.js")),
    ("/ui/service.js", JS, include_str!("page/service.js")),
    ("/ui/traces.js", JS, include_str!("page/traces.js")),
    ("/ui/live.js", JS, include_str!("page/live.js")),
    ("/ui/agent.js", JS, include_str!("page/agent.js")),
    ("/api/v1/openapi.json", "application/json", include_str!("../../../docs/openapi.json")),
];

pub(super) fn routes() -> Router {
    FILES.iter().fold(Router::new(), |router, &(path, kind, text)| {
        router.route(
            path,
            get(move || {
                let mut response = Response::new(Body::from(text));
                response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
                // Another version of the agent may answer next.
                response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
                std::future::ready(response)
            }),
        )
    })
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    #[test]
    fn the_page_is_small_and_has_no_script_or_style_within() {
        let mut zip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        for (path, _, text) in FILES {
            zip.write_all(text.as_bytes()).unwrap();
            assert!(
                !text.contains("innerHTML") && !text.contains("insertAdjacentHTML"),
                "{path}: text is never markup"
            );
            assert!(!text.contains("https://cdn") && !text.contains("@import"), "{path}");
        }
        let size = zip.finish().unwrap().len();
        assert!(size < 300 << 10, "{size} bytes compressed");
        let html = FILES[0].2;
        assert!(!html.contains("<style") && !html.contains("style=") && !html.contains("onclick"));
        assert_eq!(html.matches("<script").count(), 1);
    }
}
