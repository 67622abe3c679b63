//! Next: what its build says of the routes.

use super::{
    Start,
    files::{Files, joined},
    template::{self, Style},
};
use crate::model::route::ProgramRoute;

/// Those of an application that is built, in the order in which they are tried: without values first.
pub(super) fn routes(files: &dyn Files, start: &Start) -> Vec<ProgramRoute> {
    let Some(text) = files.text(&joined(&start.cwd, ".next/routes-manifest.json")) else { return Vec::new() };
    let Ok(manifest) = serde_json::from_str::<serde_json::Value>(&text) else { return Vec::new() };
    let base = manifest.get("basePath").and_then(|base| base.as_str()).unwrap_or_default();
    let pages = ["staticRoutes", "dynamicRoutes"].into_iter().filter_map(|key| manifest.get(key)?.as_array()).flatten();
    let pages = pages.filter_map(|route| route.get("page")?.as_str()).filter(|page| !page.starts_with("/_"));
    let whole =
        |page: &str| if page == "/" && !base.is_empty() { base.to_owned() } else { template::under(base, page) };
    pages.filter_map(|page| template::route(Style::Square, &whole(page))).collect()
}

#[cfg(test)]
mod tests {
    use super::{super::files::tests::Given, *};

    #[test]
    fn pages_are_routes() {
        let files = Given::new(&[(
            "/app/.next/routes-manifest.json",
            r#"{"basePath": "/shop", "staticRoutes": [{"page": "/"}, {"page": "/_not-found"}, {"page": "/about"}],
                "dynamicRoutes": [{"page": "/posts/[id]"}, {"page": "/docs/[...all]"}]}"#,
        )]);
        let start = Start { exe: "node".into(), cwd: "/app".into(), ..Start::default() };
        let texts: Vec<String> = routes(&files, &start).into_iter().map(|route| route.text).collect();
        assert_eq!(texts, ["/shop", "/shop/about", "/shop/posts/[id]", "/shop/docs/[...all]"]);
    }
}
