//! Laravel: what `routes/web.php` and `routes/api.php` say in so many words.

use super::{
    Start,
    files::{Files, joined},
    javascript::tokens,
    template::{self, Style, singular, under},
    tokens::{Token, items, within},
};
use crate::model::route::ProgramRoute;

/// How deep groups may be within others.
const DEPTH_MAX: usize = 16;
const VERBS: [&str; 9] = ["get", "post", "put", "patch", "delete", "options", "any", "view", "redirect"];
/// What changes nothing of where a route is.
const NEUTRAL: [&str; 12] = [
    "middleware",
    "name",
    "as",
    "where",
    "controller",
    "withoutMiddleware",
    "can",
    "scopeBindings",
    "whereNumber",
    "whereAlpha",
    "whereUuid",
    "whereAlphaNumeric",
];

/// The routes of an application.
pub(super) fn routes(files: &dyn Files, start: &Start) -> Vec<ProgramRoute> {
    // The built-in server works in `public`.
    let root = match start.cwd.strip_suffix("/public") {
        Some(root) => root,
        None => &start.cwd,
    };
    if files.length(&joined(root, "artisan")).is_none() {
        return Vec::new();
    }
    let is_prefix_set = files.text(&joined(root, "bootstrap/app.php")).is_some_and(|text| text.contains("apiPrefix"));
    let mut found = Vec::new();
    for (name, prefix) in [("web", ""), ("api", "api")] {
        if name == "api" && is_prefix_set {
            continue;
        }
        if let Some(source) = files.text(&joined(root, &format!("routes/{name}.php"))) {
            read(&tokens(&source), &under("", prefix), 0, &mut found);
        }
    }
    found
}

fn is_name(token: Option<&Token>, name: &str) -> bool {
    matches!(token, Some(Token::Name(its)) if its == name)
}

fn is_operator(token: Option<&Token>, operator: char) -> bool {
    token == Some(&Token::Operator(operator))
}

/// Reads statements that begin with `Route::`.
fn read(tokens: &[Token], prefix: &str, depth: usize, found: &mut Vec<ProgramRoute>) {
    let mut at = 0;
    while at < tokens.len() && depth < DEPTH_MAX {
        let is_route = is_name(tokens.get(at), "Route")
            && is_operator(tokens.get(at + 1), ':')
            && is_operator(tokens.get(at + 2), ':');
        if !is_route {
            // A function or a condition may hold some that are not always there.
            at = if is_operator(tokens.get(at), '{') { within(tokens, at).1 + 1 } else { at + 1 };
            continue;
        }
        at += 3;
        let mut calls: Vec<(&str, &[Token])> = Vec::new();
        while let (Some(Token::Name(name)), true) = (tokens.get(at), is_operator(tokens.get(at + 1), '(')) {
            let (arguments, end) = within(tokens, at + 1);
            calls.push((name, arguments));
            at = end + 1;
            if !(is_operator(tokens.get(at), '-') && is_operator(tokens.get(at + 1), '>')) {
                break;
            }
            at += 2;
        }
        statement(&calls, prefix, depth, found);
    }
}

fn statement(calls: &[(&str, &[Token])], prefix: &str, depth: usize, found: &mut Vec<ProgramRoute>) -> Option<()> {
    let literal = |item: Option<&&[Token]>| match item {
        Some([Token::Text(Some(text))]) => Some(text.clone()),
        _ => None,
    };
    let mut prefix = prefix.to_owned();
    let mut added: Vec<String> = Vec::new();
    for (name, arguments) in calls {
        let arguments = items(arguments);
        let path = || literal(arguments.first());
        match *name {
            "prefix" => prefix = under(&prefix, &path()?),
            "group" => {
                if let Some([Token::Operator('['), ..]) = arguments.first() {
                    for option in items(within(arguments.first()?, 0).0) {
                        match option {
                            [Token::Text(Some(key)), Token::Operator('='), Token::Operator('>'), value @ ..] => {
                                match key.as_str() {
                                    "prefix" => prefix = under(&prefix, &literal(Some(&value))?),
                                    "domain" => return None,
                                    _ => {}
                                }
                            }
                            _ => return None,
                        }
                    }
                }
                let body = arguments.last()?;
                let open = body.iter().position(|token| *token == Token::Operator('{'))?;
                read(within(body, open).0, &prefix, depth + 1, found);
                return None;
            }
            verb if VERBS.contains(&verb) && added.is_empty() => added.push(path()?),
            "match" => added.push(literal(arguments.get(1))?),
            "resource" | "apiResource" => {
                let name = path()?;
                // `photos.comments`
                if name.contains('.') {
                    return None;
                }
                let one = singular(name.rsplit('/').next()?)?.replace('-', "_");
                let actions = actions(calls)?;
                let has = |any: &[&str]| any.iter().any(|action| actions.contains(action));
                for (is_there, path) in [
                    (has(&["index", "store"]), name.clone()),
                    (has(&["create"]), format!("{name}/create")),
                    (has(&["edit"]), format!("{name}/{{{one}}}/edit")),
                    (has(&["show", "update", "destroy"]), format!("{name}/{{{one}}}")),
                ] {
                    if is_there {
                        added.push(path);
                    }
                }
            }
            // Read with the resource.
            "only" | "except" => {}
            neutral if NEUTRAL.contains(&neutral) => {}
            // `parameters`, `domain` and what is not known.
            _ => return None,
        }
    }
    for path in added {
        found.extend(written(&under(&prefix, path.trim_end_matches('/'))).into_iter().flatten());
    }
    None
}

/// A path's route; two where its end may be missing (`{line?}`), which the framework calls the same.
fn written(path: &str) -> [Option<ProgramRoute>; 2] {
    let Some(before) = path.strip_suffix("?}") else { return [template::route(Style::Starlette, path), None] };
    let whole = template::route(Style::Starlette, &format!("{before}}}"));
    let named = |route: ProgramRoute| ProgramRoute { text: format!("/{}", path.trim_start_matches('/')), ..route };
    let shorter = path.rfind('/').and_then(|at| template::route(Style::Starlette, path.get(..at)?));
    // Only where it is a segment of its own that may be missing.
    if whole.is_none() { [None, None] } else { [whole.map(named), shorter.map(named)] }
}

/// What a resource's controller does; `None`: it is not certain.
fn actions(calls: &[(&str, &[Token])]) -> Option<Vec<&'static str>> {
    let mut actions = vec!["index", "store", "show", "update", "destroy"];
    if calls.iter().any(|(name, _)| *name == "resource") {
        actions.extend(["create", "edit"]);
    }
    for (name, arguments) in calls.iter().filter(|(name, _)| matches!(*name, "only" | "except")) {
        let list = match items(arguments)[..] {
            [one @ [Token::Operator('['), ..]] => items(within(one, 0).0),
            _ => items(arguments),
        };
        let mut named = Vec::new();
        for item in list {
            let [Token::Text(Some(action))] = item else { return None };
            named.push(action.as_str());
        }
        actions.retain(|action| named.contains(action) == (*name == "only"));
    }
    Some(actions)
}

#[cfg(test)]
mod tests {
    use super::{super::files::tests::Given, *};

    #[test]
    fn what_is_written_out_is_a_route() {
        let web = r"<?php
use Illuminate\Support\Facades\Route;
Route::get('/', function () { return view('welcome'); });
Route::get('/users/{user}', [UserController::class, 'show'])->name('users.show');
Route::get('/maybe/{id?}', X::class);
Route::middleware(['auth'])->prefix('admin')->group(function () {
    Route::match(['get', 'post'], 'reports/{year}', [R::class, 'x']);
    Route::group(['prefix' => 'deep', 'middleware' => 'x'], function () {
        Route::delete('it', X::class);
    });
});
Route::resource('photos', PhotoController::class);
Route::resource('things', T::class)->only(['index']);
Route::resource('parts', T::class)->except('create', 'edit', 'index', 'store');
Route::resource('odd', T::class)->only($some);
Route::get('/orders/{order}/lines/{line?}', X::class);
Route::get('/part-{line?}', X::class);
Route::domain('x.test')->group(function () { Route::get('/d', X::class); });
if (app()->isLocal()) {
    Route::get('/debug', X::class);
}
";
        let api = "<?php\nRoute::apiResource('posts', P::class);\nRoute::prefix($version)->group(function () { Route::get('no', X::class); });\n";
        let files = Given::new(&[("/app/artisan", ""), ("/app/routes/web.php", web), ("/app/routes/api.php", api)]);
        let start = Start { exe: "php8.4".into(), cwd: "/app/public".into(), ..Start::default() };
        let texts: Vec<String> = routes(&files, &start).into_iter().map(|route| route.text).collect();
        let expected = [
            "/",
            "/users/{user}",
            "/maybe/{id?}",
            "/maybe/{id?}",
            "/admin/reports/{year}",
            "/admin/deep/it",
            "/photos",
            "/photos/create",
            "/photos/{photo}/edit",
            "/photos/{photo}",
            "/things",
            "/parts/{part}",
            "/orders/{order}/lines/{line?}",
            "/orders/{order}/lines/{line?}",
            "/api/posts",
            "/api/posts/{post}",
        ];
        assert_eq!(texts, expected);
    }
}
