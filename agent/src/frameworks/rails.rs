//! Rails: what `config/routes.rb` says in so many words.

use super::{
    Start,
    files::{Files, joined},
    template::{self, Style, singular, under},
};
use crate::model::route::ProgramRoute;

const VERBS: [&str; 6] = ["get", "post", "put", "patch", "delete", "match"];

/// What a block is of.
#[derive(Clone, Debug)]
enum Block {
    /// Routes below a prefix.
    Prefix(String),
    /// Of `resources` (with its places) or `resource`.
    Resources { collection: String, member: String, nested: Option<String> },
    /// Not read.
    Skipped,
}

/// The routes of an application.
pub(super) fn routes(files: &dyn Files, start: &Start) -> Vec<ProgramRoute> {
    let source = files.text(&joined(&start.cwd, "config/routes.rb")).unwrap_or_default();
    let mut found = Vec::new();
    let mut blocks: Vec<Block> = Vec::new();
    for line in source.lines() {
        let line = line.split(" #").next().unwrap_or_default().trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        if line == "end" || line.starts_with("end ") {
            blocks.pop();
            continue;
        }
        let opens = line.ends_with(" do") || line.contains(" do |");
        let (word, rest) = line.split_once([' ', '(']).unwrap_or((line, ""));
        let is_control = ["if", "unless", "case", "begin", "while", "def"].contains(&word);
        if blocks.iter().any(|block| matches!(block, Block::Skipped)) || is_control {
            if opens || is_control {
                blocks.push(Block::Skipped);
            }
            continue;
        }
        let block = statement(word, rest, blocks.last(), &mut found);
        if opens {
            let is_root = line.contains("routes.draw");
            blocks.push(if is_root { Block::Prefix(String::new()) } else { block.unwrap_or(Block::Skipped) });
        }
    }
    found.iter().filter_map(|path| template::route(Style::Colon, path)).collect()
}

/// Reads one statement; gives what its block would be of.
fn statement(word: &str, rest: &str, within: Option<&Block>, found: &mut Vec<String>) -> Option<Block> {
    let arguments = Arguments::of(rest);
    let prefix = match within? {
        Block::Prefix(prefix) => prefix.clone(),
        // Of routes there the name of the parameter would have to be known.
        Block::Resources { nested, .. } => nested.clone()?,
        Block::Skipped => return None,
    };
    match (word, within?) {
        ("member", Block::Resources { member, .. }) => Some(Block::Prefix(member.clone())),
        ("collection", Block::Resources { collection, .. }) => Some(Block::Prefix(collection.clone())),
        ("namespace", _) => {
            let path = arguments.option("path").unwrap_or_else(|| arguments.names.first().cloned());
            Some(Block::Prefix(under(&prefix, &path?)))
        }
        ("scope", _) => {
            let path =
                arguments.option("path").unwrap_or_else(|| Some(arguments.names.first().cloned().unwrap_or_default()));
            let path = path?;
            Some(Block::Prefix(if path.is_empty() { prefix } else { under(&prefix, &path) }))
        }
        ("constraints" | "defaults" | "authenticate", _) => Some(Block::Prefix(prefix)),
        ("root", _) => {
            found.push(under(&prefix, "/"));
            None
        }
        ("resources", _) => {
            if arguments.has("shallow") || arguments.has("concerns") || arguments.has("path_names") {
                return None;
            }
            let mut block = None;
            for name in &arguments.names {
                let collection = under(&prefix, &arguments.option("path").unwrap_or_else(|| Some(name.clone()))?);
                let param = match arguments.option("param") {
                    Some(param) => param?,
                    None => "id".to_owned(),
                };
                let member = format!("{collection}/:{param}");
                let has = |action: &str| arguments.has_action(action);
                found.extend((has("index") || has("create")).then(|| collection.clone()));
                found.extend(has("new").then(|| format!("{collection}/new")));
                found.extend(has("edit").then(|| format!("{member}/edit")));
                found.extend((has("show") || has("update") || has("destroy")).then(|| member.clone()));
                let nested = singular(name).map(|one| format!("{collection}/:{one}_{param}"));
                block = Some(Block::Resources { collection, member, nested });
            }
            block
        }
        ("resource", _) => {
            let name = arguments.names.first()?;
            let one = under(&prefix, &arguments.option("path").unwrap_or_else(|| Some(name.clone()))?);
            let has = |action: &str| arguments.has_action(action);
            found.extend(has("new").then(|| format!("{one}/new")));
            found.extend(has("edit").then(|| format!("{one}/edit")));
            found.extend(["show", "create", "update", "destroy"].iter().any(|action| has(action)).then(|| one.clone()));
            Some(Block::Resources { collection: one.clone(), member: one.clone(), nested: Some(one) })
        }
        (verb, within) if VERBS.contains(&verb) => {
            let prefix = match (arguments.option("on"), within) {
                (Some(Some(on)), Block::Resources { member, .. }) if on == "member" => member.clone(),
                (Some(Some(on)), Block::Resources { collection, .. }) if on == "collection" => collection.clone(),
                (Some(_), _) => return None,
                (None, _) => prefix,
            };
            found.extend(arguments.names.iter().map(|name| under(&prefix, name)));
            None
        }
        _ => None,
    }
}

/// What a statement is given: `:a, "b", c: :d, only: [:e]`.
struct Arguments {
    names: Vec<String>,
    options: Vec<(String, Option<String>)>,
    only: Option<Vec<String>>,
    except: Vec<String>,
}

impl Arguments {
    fn of(text: &str) -> Self {
        let text = text.trim().trim_end_matches(" do").trim_end_matches(')');
        let text = text.split(" do |").next().unwrap_or_default();
        let mut all = Self { names: Vec::new(), options: Vec::new(), only: None, except: Vec::new() };
        for item in split(text) {
            // `"a" => "b#c"`
            let item = item.split("=>").next().unwrap_or_default().trim();
            let key = item
                .split_once(": ")
                .filter(|(key, _)| key.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_'));
            match key {
                Some((key, value)) => {
                    match key {
                        "only" => all.only = list(value),
                        "except" => all.except = list(value).unwrap_or_default(),
                        _ => {}
                    }
                    all.options.push((key.to_owned(), literal(value)));
                }
                None => all.names.extend(literal(item)),
            }
        }
        all
    }

    fn has(&self, key: &str) -> bool {
        self.options.iter().any(|(its, _)| its == key)
    }

    /// What an option is set to; within, `None`: not a literal.
    fn option(&self, key: &str) -> Option<Option<String>> {
        self.options.iter().find(|(its, _)| its == key).map(|(_, value)| value.clone())
    }

    fn has_action(&self, action: &str) -> bool {
        let is_there = |list: &[String]| list.iter().any(|its| its == action);
        self.only.as_ref().is_none_or(|only| is_there(only)) && !is_there(&self.except)
    }
}

/// The parts between commas, of which lists hold some themselves.
fn split(text: &str) -> Vec<&str> {
    let (mut parts, mut from, mut depth) = (Vec::new(), 0, 0_i32);
    for (at, letter) in text.char_indices() {
        match letter {
            '[' | '{' | '(' => depth += 1,
            ']' | '}' | ')' => depth -= 1,
            ',' if depth == 0 => {
                parts.extend(text.get(from..at));
                from = at + 1;
            }
            _ => {}
        }
    }
    parts.extend(text.get(from..));
    parts.into_iter().map(str::trim).filter(|part| !part.is_empty()).collect()
}

/// `:a`, `"a"` or `'a'`.
fn literal(text: &str) -> Option<String> {
    let text = text.trim();
    if let Some(symbol) = text.strip_prefix(':') {
        return symbol.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_').then(|| symbol.to_owned());
    }
    let quote = ['"', '\''].into_iter().find(|quote| text.starts_with(*quote))?;
    let inner = text.strip_prefix(quote)?.strip_suffix(quote)?;
    (!inner.contains([quote, '#'])).then(|| inner.to_owned())
}

/// `[:a, :b]`, `%i[a b]` or `:a`.
fn list(text: &str) -> Option<Vec<String>> {
    let text = text.trim();
    if let Some(inner) = text.strip_prefix("%i[").and_then(|inner| inner.strip_suffix(']')) {
        return Some(inner.split_whitespace().map(str::to_owned).collect());
    }
    match text.strip_prefix('[').and_then(|inner| inner.strip_suffix(']')) {
        Some(inner) => split(inner).into_iter().map(literal).collect(),
        None => literal(text).map(|one| vec![one]),
    }
}

#[cfg(test)]
mod tests {
    use super::{super::files::tests::Given, *};

    #[test]
    fn what_is_written_out_is_a_route() {
        let source = r#"
Rails.application.routes.draw do
  root "home#index"
  get "up" => "rails/health#show", as: :health
  resources :users, only: [:index, :show] do
    member do
      post :activate
    end
    get :search, on: :collection
    resources :orders, except: %i[new edit destroy]
  end
  resources :people do
    resources :cars
  end
  namespace :admin do
    resource :profile, only: :show
    scope "reports/:year" do
      get "totals", to: "reports#totals"
    end
  end
  if Rails.env.development?
    get "debug", to: "x#y"
  end
  concern :commentable do
    resources :comments
  end
  mount Sidekiq::Web => "/sidekiq"
  get "files/*path", to: "files#show"
  get "maybe(/:id)", to: "x#y"
end
"#;
        let files = Given::new(&[("/app/config/routes.rb", source)]);
        let start = Start { exe: "ruby".into(), cwd: "/app".into(), ..Start::default() };
        let texts: Vec<String> = routes(&files, &start).into_iter().map(|route| route.text).collect();
        let expected = [
            "/",
            "/up",
            "/users",
            "/users/:id",
            "/users/:id/activate",
            "/users/search",
            "/users/:user_id/orders",
            "/users/:user_id/orders/:id",
            "/people",
            "/people/new",
            "/people/:id/edit",
            "/people/:id",
            "/admin/profile",
            "/admin/reports/:year/totals",
            "/files/*path",
        ];
        assert_eq!(texts, expected);
    }
}
