//! Elasticsearch and OpenSearch: which of their interfaces a path is, and of which index.

use compact_str::CompactString;

use super::{MAX_NAME, marks::Product, path_of};
use crate::model::exchange::Http;

/// Interfaces by the first word of a path that begins with `_`, behind an index or without one.
const NAMES: &[(&str, &str)] = &[
    ("_analyze", "indices.analyze"),
    ("_async_search", "async_search.submit"),
    ("_bulk", "bulk"),
    ("_count", "count"),
    ("_create", "create"),
    ("_delete_by_query", "delete_by_query"),
    ("_explain", "explain"),
    ("_field_caps", "field_caps"),
    ("_flush", "indices.flush"),
    ("_forcemerge", "indices.forcemerge"),
    ("_knn_search", "knn_search"),
    ("_mget", "mget"),
    ("_msearch", "msearch"),
    ("_mtermvectors", "mtermvectors"),
    ("_open", "indices.open"),
    ("_close", "indices.close"),
    ("_query", "esql.query"),
    ("_rank_eval", "rank_eval"),
    ("_refresh", "indices.refresh"),
    ("_reindex", "reindex"),
    ("_render", "render_search_template"),
    ("_rollover", "indices.rollover"),
    ("_search_shards", "search_shards"),
    ("_sql", "sql.query"),
    ("_stats", "indices.stats"),
    ("_termvectors", "termvectors"),
    ("_update_by_query", "update_by_query"),
];

/// What a client says that it is.
pub(super) fn product_of_client(http: &Http) -> Option<Product> {
    const AGENTS: &[(&str, Product)] = &[
        ("elasticsearch-", Product::Elasticsearch),
        ("elastic-", Product::Elasticsearch),
        ("go-elasticsearch/", Product::Elasticsearch),
        ("opensearch-", Product::OpenSearch),
    ];
    let agent = http.user_agent.as_deref()?;
    AGENTS.iter().find(|(name, _)| agent.starts_with(name)).map(|(_, product)| *product)
}

/// The operation and the index of a request; `None` where its path is none of theirs.
pub(super) fn endpoint(http: &Http) -> Option<(CompactString, Option<CompactString>)> {
    let method = http.method.as_deref()?;
    let (path, _) = path_of(http)?;
    let mut segments = path.split('/').filter(|segment| !segment.is_empty());
    let Some(first) = segments.next() else {
        let name = if method == "HEAD" { "ping" } else { "info" };
        return Some((CompactString::const_new(name), None));
    };
    let (index, interface) =
        if first.starts_with('_') && first != "_all" { (None, Some(first)) } else { (Some(first), segments.next()) };
    // Lists of indexes have commas and wildcards.
    let index = match index {
        Some(index) if index.len() <= MAX_NAME * 2 && !index.contains(|it: char| it.is_control()) => Some(index.into()),
        Some(_) => return None,
        None => None,
    };
    let next = segments.next();
    let operation = match (interface, method) {
        (None, "GET") => CompactString::const_new("indices.get"),
        (None, "HEAD") => CompactString::const_new("indices.exists"),
        (None, "PUT") => CompactString::const_new("indices.create"),
        (None, "DELETE") => CompactString::const_new("indices.delete"),
        (None, _) => return None,
        (Some(interface), method) => named(interface, method, index.is_some(), next)?,
    };
    Some((operation, index))
}

fn named(interface: &str, method: &str, has_index: bool, next: Option<&str>) -> Option<CompactString> {
    let word = |word: &'static str| Some(CompactString::const_new(word));
    let part = |next: &str| next.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_') && next.len() <= 32;
    match (interface, method) {
        ("_search", "DELETE") if next == Some("scroll") => word("clear_scroll"),
        ("_search", _) => word(match next {
            None => "search",
            Some("scroll") => "scroll",
            Some("template") => "search_template",
            Some("point_in_time") if method == "DELETE" => "delete_pit",
            Some("point_in_time") => "create_pit",
            Some(_) => return None,
        }),
        ("_msearch", _) if next == Some("template") => word("msearch_template"),
        ("_doc", "GET") => word("get"),
        ("_doc" | "_source", "HEAD") => word("exists"),
        ("_doc", "PUT" | "POST") => word("index"),
        ("_doc", "DELETE") => word("delete"),
        ("_source", "GET") => word("get_source"),
        ("_update", "POST") => word("update"),
        ("_pit", "DELETE") => word("close_point_in_time"),
        ("_pit", _) if has_index => word("open_point_in_time"),
        ("_validate", _) => word("indices.validate_query"),
        ("_mapping" | "_mappings", "GET") => word("indices.get_mapping"),
        ("_mapping" | "_mappings", _) => word("indices.put_mapping"),
        ("_settings", "GET") => word("indices.get_settings"),
        ("_settings", _) => word("indices.put_settings"),
        ("_alias" | "_aliases", "GET") => word("indices.get_alias"),
        ("_aliases", _) => word("indices.update_aliases"),
        ("_alias", "DELETE") => word("indices.delete_alias"),
        ("_alias", _) => word("indices.put_alias"),
        (interface, _) => {
            if let Some((_, name)) = NAMES.iter().find(|(path, _)| *path == interface) {
                return word(name);
            }
            // `_cluster/health`, `_cat/indices`, `_nodes/stats` and what comes with plugins.
            let group = interface.strip_prefix('_').filter(|group| !group.is_empty() && part(group))?;
            match next.filter(|next| part(next)) {
                Some(next) if matches!(group, "cat" | "cluster" | "nodes" | "ingest" | "snapshot" | "tasks") => {
                    Some(compact_str::format_compact!("{group}.{next}"))
                }
                _ => Some(CompactString::new(group)),
            }
        }
    }
}
