//! Languages and runtimes.

/// Languages that are told apart, by their word in `telemetry.sdk.language`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Language {
    /// C or C++.
    Cpp,
    /// .NET.
    Dotnet,
    /// Erlang, Elixir.
    Erlang,
    /// Go.
    Go,
    /// Java and other languages of the JVM.
    Java,
    /// JavaScript outside the browser.
    Nodejs,
    /// PHP.
    Php,
    /// Python.
    Python,
    /// Ruby.
    Ruby,
    /// Rust.
    Rust,
}

impl Language {
    /// The value of `telemetry.sdk.language`.
    #[must_use]
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Cpp => "cpp",
            Self::Dotnet => "dotnet",
            Self::Erlang => "erlang",
            Self::Go => "go",
            Self::Java => "java",
            Self::Nodejs => "nodejs",
            Self::Php => "php",
            Self::Python => "python",
            Self::Ruby => "ruby",
            Self::Rust => "rust",
        }
    }
}

/// A language and what runs it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Runtime {
    /// The language; `None` where it is not known.
    pub language: Option<Language>,
    /// `process.runtime.name`; `None` for what has no runtime.
    pub name: Option<&'static str>,
}

impl Runtime {
    const fn new(language: Language, name: &'static str) -> Self {
        Self { language: Some(language), name: Some(name) }
    }

    /// The runtime whose executable or library has this file name (`python3.11`, `libjvm.so`).
    #[must_use]
    pub(crate) fn of_file(name: &str) -> Option<Self> {
        // `libpython3.11.so.1.0` → `libpython`
        let name = name.split(".so").next().unwrap_or(name);
        let stem = name.trim_end_matches(|c: char| c.is_ascii_digit() || c == '.' || c == '-');
        Some(match stem {
            "python" | "libpython" => Self::new(Language::Python, "cpython"),
            "pypy" | "libpypy" | "libpypy3-c" | "libpypy-c" => Self::new(Language::Python, "pypy"),
            "node" | "nodejs" | "libnode" => Self::new(Language::Nodejs, "nodejs"),
            "deno" => Self::new(Language::Nodejs, "deno"),
            "bun" => Self::new(Language::Nodejs, "bun"),
            "java" | "libjvm" => Self::new(Language::Java, "java"),
            "dotnet" | "libcoreclr" => Self::new(Language::Dotnet, "dotnet"),
            "ruby" | "libruby" => Self::new(Language::Ruby, "ruby"),
            "php" | "php-fpm" | "php-cgi" | "frankenphp" | "libphp" => Self::new(Language::Php, "php"),
            // Distributions strip what the compiler left in them, and they link no C++ library.
            "nginx" | "apache" | "httpd" | "haproxy" | "envoy" | "redis-server" | "memcached" | "postgres"
            | "mysqld" | "mariadbd" | "lighttpd" | "varnishd" | "squid" => {
                Self { language: Some(Language::Cpp), name: None }
            }
            "beam.smp" => Self::new(Language::Erlang, "erlang"),
            _ => return None,
        })
    }
}
