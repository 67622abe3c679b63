//! Python: `python -m module`, `python script.py`, and the servers that import an application.

use super::{Program, base, folder_name, is_generic, script_name, stem};

/// The name of what `python` runs; `None` for `-c` and for no script at all.
pub(super) fn name(program: Program<'_>) -> Option<String> {
    let mut args = program.args.iter().skip(1);
    while let Some(arg) = args.next() {
        let Some(option) = arg.strip_prefix('-') else {
            let rest: Vec<&str> = args.map(String::as_str).collect();
            return launched(stem(arg), &rest, program.cwd).or_else(|| Some(script_name(arg, program.cwd)));
        };
        if option.starts_with('-') {
            continue;
        }
        // Options may be bundled (`-um module`); `m` and `c` end them.
        let Some(at) = option.find(['m', 'c', 'X', 'W']) else {
            if option.is_empty() { return None } else { continue }
        };
        let (_, tail) = option.split_at(at);
        let value = if tail.len() > 1 { tail.get(1..) } else { args.next().map(String::as_str) };
        match tail.chars().next() {
            Some('m') => {
                let module = value?;
                let rest: Vec<&str> = args.map(String::as_str).collect();
                let module = module.strip_suffix(".__main__").unwrap_or(module);
                return launched(module, &rest, program.cwd).or_else(|| Some(module.to_owned()));
            }
            Some('c') => return None,
            _ => {}
        }
    }
    None
}

/// The application a known server or runner was started for.
fn launched(launcher: &str, args: &[&str], cwd: Option<&str>) -> Option<String> {
    let after = |names: &[&str]| {
        args.iter().enumerate().find_map(|(at, arg)| {
            let (name, value) = arg.split_once('=').map_or((*arg, None), |(name, value)| (name, Some(value)));
            if names.contains(&name) { value.or_else(|| args.get(at + 1).copied()) } else { None }
        })
    };
    let named = match launcher {
        "gunicorn" | "uvicorn" | "hypercorn" | "daphne" | "granian" | "waitress-serve" | "waitress" => {
            args.iter().rev().find(|arg| is_application(arg)).and_then(|app| module_name(app, cwd))
        }
        "flask" => after(&["--app", "-A"]).and_then(|app| module_name(app, cwd)),
        "celery" => after(&["--app", "-A"]).and_then(|app| module_name(app, cwd)),
        "fastapi" => args.iter().skip(1).find(|arg| arg.ends_with(".py")).map(|path| script_name(path, cwd)),
        "ddtrace-run" | "opentelemetry-instrument" | "debugpy" => {
            let at = args.iter().position(|arg| !arg.starts_with('-'))?;
            let (program, rest) = args.get(at..)?.split_first()?;
            return launched(stem(program), rest, cwd).or_else(|| Some(script_name(program, cwd)));
        }
        _ => return None,
    };
    Some(named.or_else(|| cwd.and_then(folder_name)).unwrap_or_else(|| launcher.to_owned()))
}

/// `package.module:attribute`, as WSGI and ASGI servers take it.
fn is_application(arg: &str) -> bool {
    !arg.starts_with('-')
        && arg.split_once(':').is_some_and(|(module, attribute)| {
            let is_name = |c: char| c.is_alphanumeric() || c == '_' || c == '.';
            !module.is_empty()
                && module.chars().all(is_name)
                && attribute.starts_with(|c: char| c.is_alphabetic() || c == '_')
        })
}

/// `shop.wsgi:app` → `shop`; a module whose name says nothing → the folder it was started in.
pub(super) fn module_name(app: &str, cwd: Option<&str>) -> Option<String> {
    let module = app.split(':').next().unwrap_or(app);
    let module = module.strip_suffix(".py").unwrap_or(module);
    let named = base(module).split('.').find(|part| !part.is_empty() && !is_generic(part)).map(str::to_owned);
    named.or_else(|| cwd.and_then(folder_name))
}
