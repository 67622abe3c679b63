//! Spring's and JAX-RS's annotations in the classes of a jar (or of folders of classes).

use super::{
    Harvest, Start,
    files::{Files, joined},
    jar::Jar,
    template::{self, Style, under},
};
use crate::model::route::{Part, ProgramRoute};

/// Most classes that are read.
const CLASSES_MAX: usize = 3000;
/// Options that are followed by a list of jars and folders.
const CLASS_PATH: [&str; 3] = ["-cp", "-classpath", "--class-path"];
/// Where Spring Boot has an application's own classes.
const BOOT: &str = "BOOT-INF/classes/";
const SPRING: &str = "Lorg/springframework/web/bind/annotation/";
/// The class that all spans are made by, where a jar has its libraries' classes in itself.
const SDK_CLASS: &str = "io/opentelemetry/sdk/trace/SdkTracerProvider.class";
const JAX_RS: [&str; 2] = ["Ljakarta/ws/rs/", "Ljavax/ws/rs/"];

/// An annotation with its texts, by the names of what they are given to.
#[derive(Debug, Default, PartialEq, Eq)]
struct Annotation {
    kind: String,
    texts: Vec<(String, String)>,
}

/// What is annotated in a class.
#[derive(Debug, Default, PartialEq, Eq)]
struct Class {
    is_abstract: bool,
    own: Vec<Annotation>,
    methods: Vec<Vec<Annotation>>,
}

/// The routes of what a program serves, those with fewer values first, as its frameworks choose; and whether an SDK is among its libraries.
pub(super) fn harvest(files: &dyn Files, start: &Start) -> Harvest {
    let is_sdk = |path: &str| is_sdk(path.rsplit('/').next().unwrap_or_default());
    let is_library = class_path(start).any(is_sdk);
    let path = jar(start);
    let jar = path.as_deref().and_then(|path| Jar::open(files, path));
    let is_within = jar.iter().flat_map(Jar::names).any(|name| is_sdk(name) || name == SDK_CLASS);
    let is_beside = || jar.as_ref().is_some_and(|jar| class_path_of(jar).split(' ').any(is_sdk));
    let uses_sdk = is_library || is_within || is_beside();
    let routes = jar.as_ref().map(|jar| routes(jar, start)).unwrap_or_default();
    Harvest { routes, uses_sdk }
}

/// What a jar's manifest says where else classes are looked for.
fn class_path_of(jar: &Jar<'_>) -> String {
    let manifest = jar.read("META-INF/MANIFEST.MF").unwrap_or_default();
    // Long lines go on behind a blank.
    let manifest = String::from_utf8_lossy(&manifest).replace("\r\n", "\n").replace("\n ", "");
    manifest.lines().find_map(|line| line.strip_prefix("Class-Path: ")).unwrap_or_default().to_owned()
}

/// Whether a jar is that of OpenTelemetry's SDK that makes spans.
fn is_sdk(name: &str) -> bool {
    name.starts_with("opentelemetry-sdk-trace-") && name.ends_with(".jar")
}

/// What Java was told to look for classes in.
fn class_path(start: &Start) -> impl Iterator<Item = &str> {
    let options = start.args.iter().zip(start.args.iter().skip(1));
    let lists = options.filter(|(option, _)| CLASS_PATH.contains(&option.as_str())).map(|(_, list)| list.as_str());
    lists.flat_map(|list| list.split(':'))
}

fn routes(jar: &Jar<'_>, start: &Start) -> Vec<ProgramRoute> {
    let is_boot = jar.names().any(|name| name.starts_with(BOOT));
    let is_own = |name: &&str| name.ends_with(".class") && (!is_boot || name.starts_with(BOOT));
    // A jar with all its libraries in it has many: those of frameworks serve nothing by themselves.
    let is_library = |name: &str| {
        [
            "org/springframework/",
            "org/glassfish/",
            "org/apache/",
            "com/fasterxml/",
            "io/netty/",
            "jakarta/",
            "javax/",
            "META-INF/",
        ]
        .iter()
        .any(|prefix| name.starts_with(prefix))
    };
    let names = jar.names().filter(is_own).filter(|name| !is_library(name)).take(CLASSES_MAX);
    let classes: Vec<Class> = names.filter_map(|name| class(&jar.read(name)?)).collect();
    let mut found = spring(&classes, &context_path(jar, start));
    found.extend(jax_rs(&classes));
    found.sort_by_key(|route| route.parts.iter().filter(|part| !matches!(part, Part::Word(_))).count());
    found
}

/// The jar that Java was started with.
fn jar(start: &Start) -> Option<String> {
    let mut args = start.args.iter().skip(1);
    while let Some(arg) = args.next() {
        match arg.as_str() {
            "-jar" => return args.next().map(|path| joined(&start.cwd, path)),
            option if CLASS_PATH.contains(&option) => {
                // The first is the application's own; its folders of classes are not looked through.
                let first = args.next()?.split(':').next()?;
                return first.ends_with(".jar").then(|| joined(&start.cwd, first));
            }
            arg if arg.starts_with('-') => {}
            _ => return None,
        }
    }
    None
}

/// Where Spring Boot puts an application, as its properties and the command line say; `None`: elsewhere, or not for certain.
fn context_path(jar: &Jar<'_>, start: &Start) -> Option<String> {
    const KEYS: [&str; 2] = ["server.servlet.context-path", "spring.webflux.base-path"];
    let on_command_line = start.args.iter().find_map(|arg| {
        let arg = arg.strip_prefix("--").or_else(|| arg.strip_prefix("-D"))?;
        let (key, value) = arg.split_once('=')?;
        KEYS.contains(&key).then(|| value.to_owned())
    });
    if on_command_line.is_some() {
        return on_command_line;
    }
    let text = |name: &str| Some(String::from_utf8_lossy(&jar.read(&format!("{BOOT}{name}"))?).into_owned());
    // Of YAML it is only seen that it says something of it.
    let is_in_yaml = ["application.yml", "application.yaml"]
        .iter()
        .filter_map(|name| text(name))
        .any(|text| text.contains("context-path") || text.contains("contextPath") || text.contains("base-path"));
    if is_in_yaml {
        return None;
    }
    let properties = text("application.properties").unwrap_or_default();
    let set = properties.lines().find_map(|line| {
        let (key, value) = line.split_once(['=', ':'])?;
        KEYS.contains(&key.trim()).then(|| value.trim().to_owned())
    });
    match set {
        Some(value) if value.contains("${") => None,
        set => Some(set.unwrap_or_default()),
    }
}

impl Annotation {
    /// The paths that it gives; one that is empty where it gives none.
    fn paths(&self) -> Vec<&str> {
        let paths = self.texts.iter().filter(|(name, _)| matches!(name.as_str(), "value" | "path"));
        let paths: Vec<&str> = paths.map(|(_, text)| text.as_str()).collect();
        if paths.is_empty() { vec![""] } else { paths }
    }
}

fn spring(classes: &[Class], context_path: &Option<String>) -> Vec<ProgramRoute> {
    let Some(context_path) = context_path else { return Vec::new() };
    let of = |annotation: &Annotation, names: &[&str]| {
        annotation
            .kind
            .strip_prefix(SPRING)
            .and_then(|name| name.strip_suffix(';'))
            .is_some_and(|name| names.contains(&name))
    };
    let is_controller = |class: &&Class| {
        class.own.iter().any(|annotation| {
            of(annotation, &["RestController"]) || annotation.kind == "Lorg/springframework/stereotype/Controller;"
        })
    };
    let mut routes = Vec::new();
    for class in classes.iter().filter(is_controller) {
        let own = class.own.iter().find(|annotation| of(annotation, &["RequestMapping"]));
        let prefixes = own.map_or(vec![""], Annotation::paths);
        let mappings = class.methods.iter().flatten().filter(|annotation| {
            of(
                annotation,
                &["RequestMapping", "GetMapping", "PostMapping", "PutMapping", "PatchMapping", "DeleteMapping"],
            )
        });
        for (path, prefix) in
            mappings.flat_map(Annotation::paths).flat_map(|path| prefixes.iter().map(move |prefix| (path, *prefix)))
        {
            // `${…}` is put in when it starts.
            if path.contains("${") || prefix.contains("${") {
                continue;
            }
            let prefix = if prefix.is_empty() { String::new() } else { under("", prefix) };
            let path = if path.is_empty() { prefix } else { under(&prefix, path) };
            routes.extend(template::route(Style::Java, &under(context_path, &path)));
        }
    }
    routes
}

fn jax_rs(classes: &[Class]) -> Vec<ProgramRoute> {
    let of = |annotation: &Annotation, name: &str| {
        JAX_RS
            .iter()
            .any(|package| annotation.kind.strip_prefix(package).and_then(|rest| rest.strip_suffix(';')) == Some(name))
    };
    let path = |annotations: &[Annotation]| {
        annotations
            .iter()
            .find(|annotation| of(annotation, "Path"))
            .and_then(|annotation| annotation.paths().first().map(|path| (*path).to_owned()))
    };
    let mut applications =
        classes.iter().flat_map(|class| &class.own).filter(|annotation| of(annotation, "ApplicationPath"));
    let prefix = applications.next().and_then(|annotation| annotation.paths().first().copied()).unwrap_or_default();
    if applications.next().is_some() {
        return Vec::new();
    }
    let mut routes = Vec::new();
    for class in classes.iter().filter(|class| !class.is_abstract) {
        let Some(own) = path(&class.own) else { continue };
        for method in &class.methods {
            let is_served = ["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"]
                .iter()
                .any(|name| method.iter().any(|annotation| of(annotation, name)));
            if !is_served {
                continue;
            }
            let base = if prefix.is_empty() { String::new() } else { under("", prefix) };
            let own = if own.trim_matches('/').is_empty() { base } else { under(&base, own.trim_end_matches('/')) };
            let whole = match path(method) {
                Some(path) if !path.trim_matches('/').is_empty() => under(&own, &path),
                _ => own,
            };
            routes.extend(template::route(Style::Java, &whole));
        }
    }
    routes
}

/// Reads a class file (Java Virtual Machine Specification, chapter 4), as far as what is annotated.
fn class(bytes: &[u8]) -> Option<Class> {
    let mut reader = Reader { bytes, at: 0 };
    if reader.u32()? != 0xCAFE_BABE {
        return None;
    }
    reader.skip(4)?;
    let texts = constants(&mut reader)?;
    let flags = reader.u16()?;
    reader.skip(4)?;
    let interfaces = usize::from(reader.u16()?);
    reader.skip(2 * interfaces)?;
    let _fields = members(&mut reader, &texts)?;
    let methods = members(&mut reader, &texts)?;
    let own = attributes(&mut reader, &texts)?;
    Some(Class { is_abstract: flags & 0x0600 != 0, own, methods })
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let taken = self.bytes.get(self.at..self.at.checked_add(length)?)?;
        self.at += length;
        Some(taken)
    }

    fn skip(&mut self, length: usize) -> Option<()> {
        self.take(length).map(drop)
    }

    fn u8(&mut self) -> Option<u8> {
        self.take(1)?.first().copied()
    }

    fn u16(&mut self) -> Option<u16> {
        Some(u16::from_be_bytes(self.take(2)?.try_into().ok()?))
    }

    fn u32(&mut self) -> Option<u32> {
        Some(u32::from_be_bytes(self.take(4)?.try_into().ok()?))
    }
}

/// The texts among the constants, by their place.
fn constants<'a>(reader: &mut Reader<'a>) -> Option<Vec<&'a str>> {
    let count = usize::from(reader.u16()?);
    let mut texts = vec![""; count];
    let mut at = 1;
    while at < count {
        let tag = reader.u8()?;
        match tag {
            1 => {
                let length = usize::from(reader.u16()?);
                let text = std::str::from_utf8(reader.take(length)?).unwrap_or_default();
                *texts.get_mut(at)? = text;
            }
            7 | 8 | 16 | 19 | 20 => reader.skip(2)?,
            15 => reader.skip(3)?,
            3 | 4 | 9 | 10 | 11 | 12 | 17 | 18 => reader.skip(4)?,
            5 | 6 => {
                reader.skip(8)?;
                at += 1;
            }
            _ => return None,
        }
        at += 1;
    }
    Some(texts)
}

fn members(reader: &mut Reader<'_>, texts: &[&str]) -> Option<Vec<Vec<Annotation>>> {
    let count = reader.u16()?;
    (0..count)
        .map(|_| {
            reader.skip(6)?;
            attributes(reader, texts)
        })
        .collect()
}

fn attributes(reader: &mut Reader<'_>, texts: &[&str]) -> Option<Vec<Annotation>> {
    let count = reader.u16()?;
    let mut found = Vec::new();
    for _ in 0..count {
        let name = texts.get(usize::from(reader.u16()?))?;
        let length = reader.u32()? as usize;
        let body = reader.take(length)?;
        if *name == "RuntimeVisibleAnnotations" {
            let mut reader = Reader { bytes: body, at: 0 };
            for _ in 0..reader.u16()? {
                found.push(annotation(&mut reader, texts, 0)?);
            }
        }
    }
    Some(found)
}

/// How deep annotations are within others.
const DEPTH_MAX: usize = 8;

fn annotation(reader: &mut Reader<'_>, texts: &[&str], depth: usize) -> Option<Annotation> {
    if depth > DEPTH_MAX {
        return None;
    }
    let kind = (*texts.get(usize::from(reader.u16()?))?).to_owned();
    let mut found = Annotation { kind, texts: Vec::new() };
    for _ in 0..reader.u16()? {
        let name = *texts.get(usize::from(reader.u16()?))?;
        value(reader, texts, name, depth, &mut found.texts)?;
    }
    Some(found)
}

fn value(
    reader: &mut Reader<'_>,
    texts: &[&str],
    name: &str,
    depth: usize,
    out: &mut Vec<(String, String)>,
) -> Option<()> {
    if depth > DEPTH_MAX {
        return None;
    }
    match reader.u8()? {
        b's' => {
            let text = texts.get(usize::from(reader.u16()?))?;
            out.push((name.to_owned(), (*text).to_owned()));
        }
        b'e' => reader.skip(4)?,
        b'@' => drop(annotation(reader, texts, depth + 1)?),
        b'[' => {
            for _ in 0..reader.u16()? {
                value(reader, texts, name, depth + 1, out)?;
            }
        }
        _ => reader.skip(2)?,
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::{super::files::tests::Given, *};

    fn annotated(kind: &str, texts: &[(&str, &str)]) -> Annotation {
        let texts = texts.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect();
        Annotation { kind: kind.to_owned(), texts }
    }

    fn texts(routes: Vec<ProgramRoute>) -> Vec<String> {
        routes.into_iter().map(|route| route.text).collect()
    }

    #[test]
    fn springs_mappings_are_below_their_controllers() {
        let mapping = |name: &str, texts| annotated(&format!("{SPRING}{name};"), texts);
        let class = Class {
            is_abstract: false,
            own: vec![
                mapping("RestController", &[]),
                mapping("RequestMapping", &[("value", "/users"), ("value", "u")]),
            ],
            methods: vec![
                vec![mapping("GetMapping", &[])],
                vec![mapping("PutMapping", &[("path", "{id}"), ("produces", "text/plain")])],
                vec![mapping("GetMapping", &[("value", "${x}")])],
            ],
        };
        let found = spring(&[class, Class::default()], &Some("/shop".into()));
        assert_eq!(texts(found), ["/shop/users", "/shop/u", "/shop/users/{id}", "/shop/u/{id}"]);
        assert_eq!(spring(&[Class { own: vec![mapping("RestController", &[])], ..Class::default() }], &None), []);
    }

    #[test]
    fn resources_of_jax_rs_are_below_their_application() {
        let of = |name: &str, texts| annotated(&format!("Ljakarta/ws/rs/{name};"), texts);
        let classes = [
            Class { own: vec![of("ApplicationPath", &[("value", "api")])], ..Class::default() },
            Class {
                own: vec![of("Path", &[("value", "/items/")])],
                methods: vec![
                    vec![of("GET", &[])],
                    vec![of("GET", &[]), of("Path", &[("value", "{id: [0-9]+}")])],
                    vec![of("Path", &[("value", "sub")])],
                ],
                ..Class::default()
            },
        ];
        assert_eq!(texts(jax_rs(&classes)), ["/api/items", "/api/items/{id: [0-9]+}"]);
    }

    #[test]
    fn an_sdk_is_used_where_it_is_among_the_libraries() {
        /// A long line goes on behind a blank.
        const BESIDE: &str =
            "Manifest-Version: 1.0\r\nClass-Path: lib/a.jar lib/opentelemetry-sdk-t\r\n race-1.51.0.jar\r\n";
        // A jar of one file with that name.
        let jar = |(name, content): (&str, &str)| {
            let length = [name.len() as u8, 0];
            let packed = (content.len() as u32).to_le_bytes();
            let texts = [name.as_bytes(), content.as_bytes()].concat();
            let local = [&b"PK\x03\x04"[..], &[0; 22][..], &length, &[0; 2], &texts].concat();
            let entry =
                [&b"PK\x01\x02"[..], &[0; 16][..], &packed, &[0; 4], &length, &[0; 16], name.as_bytes()].concat();
            let (size, from) = ([entry.len() as u8, 0, 0, 0], [local.len() as u8, 0, 0, 0]);
            let end = [&b"PK\x05\x06"[..], &[0; 8][..], &size, &from, &[0; 2]].concat();
            [local, entry, end].concat()
        };
        let files = Given(
            [
                ("/app/boot.jar", ("BOOT-INF/lib/opentelemetry-sdk-trace-1.51.0.jar", "")),
                ("/app/plain.jar", ("opentelemetry-sdk-trace-1.xml", "")),
                ("/app/shaded.jar", (SDK_CLASS, "")),
                ("/app/near.jar", ("io/opentelemetry/sdk/trace/Other.class", "")),
                ("/app/thin.jar", ("META-INF/MANIFEST.MF", BESIDE)),
            ]
            .map(|(path, file)| (path.to_owned(), jar(file)))
            .into(),
        );
        let uses = |args: &[&str]| {
            let args = args.iter().map(|arg| (*arg).to_owned()).collect();
            harvest(&files, &Start { exe: "java".into(), args, cwd: "/app".into() }).uses_sdk
        };
        for name in ["boot.jar", "shaded.jar", "thin.jar"] {
            assert!(uses(&["java", "-jar", name]), "{name}");
        }
        assert!(uses(&["java", "-Xmx1g", "-cp", "plain.jar:/lib/opentelemetry-sdk-trace-1.51.0.jar", "Main"]));
        for args in [
            &["java", "-jar", "plain.jar"][..],
            &["java", "-cp", "plain.jar:/lib/opentelemetry-api-1.51.0.jar", "Main"],
            &["java", "Main", "/lib/opentelemetry-sdk-trace-1.51.0.jar"],
            &["java", "-jar", "none.jar"],
            &["java", "-jar", "near.jar"],
        ] {
            assert!(!uses(args), "{args:?}");
        }
    }

    #[test]
    fn what_is_no_class_is_none() {
        assert_eq!(class(b"\xCA\xFE\xBA\xBE\0\0\0\x41\xFF\xFF\x01\xFF\xFF"), None);
        assert_eq!(class(b""), None);
    }
}
