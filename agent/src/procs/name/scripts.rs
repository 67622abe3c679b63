//! Node, .NET, Ruby, PHP, Erlang and the plain interpreters.

use super::{Program, ReadFile, base, folder_name, is_generic, script_name, stem};

/// The first argument that is neither an option nor the value of one of `with_value`; with what follows it.
fn operand<'a>(args: &'a [String], with_value: &[&str]) -> Option<(&'a str, &'a [String])> {
    let mut at = 1;
    while let Some(arg) = args.get(at) {
        at += 1;
        if arg == "--" {
            return Some((args.get(at)?, args.get(at + 1..)?));
        } else if !arg.starts_with('-') {
            return Some((arg, args.get(at..).unwrap_or_default()));
        } else if with_value.contains(&arg.as_str()) {
            at += 1;
        }
    }
    None
}

/// Node, Deno, Bun: the script; `package.json`'s name where the script's says nothing or belongs to a tool.
pub(super) fn node(program: Program<'_>, read: ReadFile<'_>) -> Option<String> {
    const WITH_VALUE: &[&str] = &[
        "-r",
        "--require",
        "--import",
        "--loader",
        "--experimental-loader",
        "-C",
        "--conditions",
        "--title",
        "-c",
        "--config",
        "--env-file-if-exists",
    ];
    const INLINE: &[&str] = &["-e", "--eval", "-p", "--print"];
    if program.args.iter().skip(1).take_while(|arg| arg.starts_with('-')).any(|arg| INLINE.contains(&arg.as_str())) {
        return None;
    }
    if let Some(title) = program.args.iter().skip(1).find_map(|arg| arg.strip_prefix("--title=")) {
        return Some(title.to_owned());
    }
    let (mut script, rest) = operand(program.args, WITH_VALUE)?;
    if matches!(base(program.exe), "deno" | "bun") && matches!(script, "run" | "serve" | "start") {
        script = rest.iter().find(|arg| !arg.starts_with('-'))?;
    }
    let is_tool = script.contains("/node_modules/") || script.starts_with("node_modules/");
    if !is_tool && !is_generic(stem(script)) {
        return Some(stem(script).to_owned());
    }
    let folder = match (is_tool, script.rsplit_once('/'), program.cwd) {
        (false, Some((folder, _)), _) if script.starts_with('/') => Some(folder.to_owned()),
        (false, Some((folder, _)), Some(cwd)) => Some(format!("{cwd}/{folder}")),
        (_, _, cwd) => cwd.map(str::to_owned),
    };
    let declared = folder.as_deref().and_then(|folder| package_name(folder, read));
    declared.or_else(|| {
        if is_tool {
            Some(folder.as_deref().and_then(folder_name).unwrap_or_else(|| stem(script).to_owned()))
        } else {
            Some(script_name(script, program.cwd))
        }
    })
}

/// `name` of the nearest `package.json` at most two folders up, without its scope.
fn package_name(folder: &str, read: ReadFile<'_>) -> Option<String> {
    let mut folder = folder.trim_end_matches("/.").trim_end_matches('/');
    for _ in 0..3 {
        if let Some(text) = read(&format!("{folder}/package.json")) {
            let package: serde_json::Value = serde_json::from_str(&text).ok()?;
            let name = package.get("name")?.as_str()?;
            let name = base(name);
            return (!is_generic(name) && name.len() <= 214).then(|| name.to_owned());
        }
        folder = folder.rsplit_once('/')?.0;
    }
    None
}

/// `dotnet App.dll`, `dotnet exec App.dll`.
pub(super) fn dotnet(program: Program<'_>) -> Option<String> {
    let dll = program.args.iter().skip(1).find(|arg| arg.to_ascii_lowercase().ends_with(".dll"))?;
    Some(script_name(dll, program.cwd))
}

/// Ruby: the script; for a server or runner the folder of the application.
pub(super) fn ruby(program: Program<'_>) -> Option<String> {
    const WITH_VALUE: &[&str] = &["-r", "-I", "-C", "-E", "-W"];
    const LAUNCHERS: &[&str] = &["puma", "rails", "unicorn", "rackup", "thin", "falcon", "bundle", "rake", "passenger"];
    if program.args.get(1).is_some_and(|arg| arg == "-e") {
        return None;
    }
    let (script, _) = operand(program.args, WITH_VALUE)?;
    let name = stem(script);
    if LAUNCHERS.contains(&name) {
        return Some(program.cwd.and_then(folder_name).unwrap_or_else(|| name.to_owned()));
    }
    Some(script_name(script, program.cwd))
}

/// PHP: the script, or the folder that the built-in server serves.
pub(super) fn php(program: Program<'_>) -> Option<String> {
    const WITH_VALUE: &[&str] = &["-S", "-t", "-c", "-d", "-z"];
    if program.args.iter().skip(1).any(|arg| arg == "-r") {
        return None;
    }
    if let Some((script, _)) = operand(program.args, WITH_VALUE)
        && base(program.exe).starts_with("php")
        && !base(program.exe).starts_with("php-fpm")
    {
        return Some(script_name(script, program.cwd));
    }
    let at = program.args.iter().position(|arg| arg == "-t")?;
    folder_name(program.args.get(at + 1)?)
}

/// The node name of a BEAM (`-sname shop@host`), else of its release.
pub(super) fn erlang(program: Program<'_>) -> Option<String> {
    let at = program.args.iter().position(|arg| arg == "-sname" || arg == "-name")?;
    let name = program.args.get(at + 1)?;
    Some(name.split('@').next().unwrap_or(name).to_owned())
}

/// Perl, shells and others: the script.
pub(super) fn plain(program: Program<'_>) -> Option<String> {
    if program.args.iter().skip(1).take_while(|arg| arg.starts_with('-')).any(|arg| arg == "-c" || arg == "-e") {
        return None;
    }
    operand(program.args, &["-I", "-M", "-o", "-O"]).map(|(script, _)| script_name(script, program.cwd))
}
