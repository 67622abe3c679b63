//! What a command is: its name, and what its replies are. Nothing of its keys and values is kept.

use compact_str::CompactString;

use super::resp::{KEPT, readable};

/// Longest name of a command that is told.
const MAX_NAME: usize = 32;
// A word of which more was there than is kept is no name.
const _: () = assert!(MAX_NAME < KEPT);

/// Whether a command's first argument says what it does.
fn is_container(name: &str) -> bool {
    #[rustfmt::skip]
    let is = matches!(
        name,
        "ACL" | "CLIENT" | "CLUSTER" | "COMMAND" | "CONFIG" | "DEBUG" | "FUNCTION" | "LATENCY" | "MEMORY" | "MODULE" | "OBJECT"
            | "PUBSUB" | "SCRIPT" | "SENTINEL" | "SLOWLOG" | "XGROUP" | "XINFO"
    );
    is
}

/// A command as it was sent.
#[derive(Debug, Default)]
pub(super) struct Command {
    /// Its name in capitals, with what of its first argument belongs to it; empty where it is none that can be told.
    pub(super) name: CompactString,
    /// Arguments behind the name.
    pub(super) args: u64,
    /// The beginning of the one that changes what those behind it do, where it has one and that was seen.
    says: Option<CompactString>,
    /// Words that were taken.
    taken: u64,
}

/// What comes back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answers {
    /// A reply.
    One,
    /// A confirmation of each, as pushes where the connection speaks RESP3.
    Confirmations(u64),
    /// Whatever happens from now on: nothing is told behind it.
    Stream,
}

/// What a command changes for those behind it, once it has succeeded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Change {
    Nothing,
    /// The database with this number, where that was seen.
    Database(Option<CompactString>),
    /// Replies come (`ON`), or not at all (`OFF`), or not to this and the next command (`SKIP`).
    Replies(Replies),
}

/// See [`Change::Replies`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Replies {
    On,
    Off,
    Skip,
}

impl Command {
    /// Takes its next word; `None` where it was not seen.
    pub(super) fn take(&mut self, word: Option<&[u8]>) {
        match self.taken {
            0 => self.name = word.map(name).unwrap_or_default(),
            at => {
                if at == 1 && is_container(&self.name) {
                    let first = word.map(name).unwrap_or_default();
                    if !first.is_empty() {
                        self.name = compact_str::format_compact!("{} {first}", self.name);
                    }
                }
                if matches!((at, &*self.name), (1, "SELECT") | (2, "CLIENT REPLY")) {
                    self.says = word.map(readable);
                }
                self.args += 1;
            }
        }
        self.taken += 1;
    }

    /// One that stands in a line of its own, its words apart.
    pub(super) fn inline(line: &[u8]) -> Self {
        let mut command = Self::default();
        let words = line.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty());
        words.for_each(|word| command.take(Some(word)));
        command
    }

    /// `db.query.text`: a `?` for each argument, of which 16 are shown.
    pub(super) fn text(name: &str, args: u64) -> CompactString {
        const SHOWN: &str = " ? ? ? ? ? ? ? ? ? ? ? ? ? ? ? ?";
        // What follows a container's name is one of its arguments.
        let args = args.saturating_sub(name.contains(' ').into());
        let shown = usize::try_from(args).ok().and_then(|args| SHOWN.get(..2 * args));
        let (shown, more) = shown.map_or((SHOWN, " ..."), |shown| (shown, ""));
        let mut text = CompactString::with_capacity(name.len() + shown.len() + more.len());
        [name, shown, more].iter().for_each(|part| text.push_str(part));
        text
    }

    pub(super) fn answers(&self) -> Answers {
        match &*self.name {
            "SUBSCRIBE" | "PSUBSCRIBE" | "SSUBSCRIBE" => Answers::Confirmations(self.args.max(1)),
            // Without arguments there is one for each that was subscribed to, and at least one.
            "UNSUBSCRIBE" | "PUNSUBSCRIBE" | "SUNSUBSCRIBE" => Answers::Confirmations(self.args.max(1)),
            "MONITOR" | "SYNC" | "PSYNC" => Answers::Stream,
            _ => Answers::One,
        }
    }

    pub(super) fn change(&self) -> Change {
        match &*self.name {
            "SELECT" if self.args == 1 => Change::Database(self.says.clone()),
            "RESET" => Change::Database(Some(CompactString::const_new("0"))),
            "CLIENT REPLY" => match &*self.says.as_deref().unwrap_or_default().to_ascii_uppercase() {
                "OFF" => Change::Replies(Replies::Off),
                "SKIP" => Change::Replies(Replies::Skip),
                _ => Change::Replies(Replies::On),
            },
            _ => Change::Nothing,
        }
    }
}

/// A word in capitals, if it is one that commands are made of.
fn name(word: &[u8]) -> CompactString {
    let mut capitals = [0; MAX_NAME];
    let is_name = word.first().is_some_and(u8::is_ascii_alphabetic)
        && word.iter().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-'));
    let Some(capitals) = capitals.get_mut(..word.len()).filter(|_| is_name) else { return CompactString::default() };
    capitals.copy_from_slice(word);
    capitals.make_ascii_uppercase();
    readable(capitals)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(line: &str) -> (String, String, Answers, Change) {
        let command = Command::inline(line.as_bytes());
        let text = Command::text(&command.name, command.args);
        (command.name.to_string(), text.to_string(), command.answers(), command.change())
    }

    #[test]
    fn names_are_told_and_nothing_of_keys_and_values() {
        let told = |line| {
            let (name, text, ..) = told(line);
            (name, text)
        };
        let is = |name: &str, text: &str| (name.to_owned(), text.to_owned());
        assert_eq!(told("get secret"), is("GET", "GET ?"));
        assert_eq!(told("AUTH user password"), is("AUTH", "AUTH ? ?"));
        assert_eq!(told("client setname secret"), is("CLIENT SETNAME", "CLIENT SETNAME ?"));
        assert_eq!(told("CONFIG get requirepass"), is("CONFIG GET", "CONFIG GET ?"));
        assert_eq!(told("object 1x"), is("OBJECT", "OBJECT ?"));
        assert_eq!(told("JSON.SET k $ {}"), is("JSON.SET", "JSON.SET ? ? ?"));
        assert_eq!(told("bad\u{e4}name"), is("", ""));
        assert_eq!(told(&format!("mset{}", " x".repeat(40))).1, format!("MSET{} ...", " ?".repeat(16)));
    }

    #[test]
    fn what_comes_back_is_known() {
        assert_eq!(told("subscribe a b").2, Answers::Confirmations(2));
        assert_eq!(told("UNSUBSCRIBE").2, Answers::Confirmations(1));
        assert_eq!(told("MONITOR").2, Answers::Stream);
        assert_eq!(told("GET a").2, Answers::One);
        assert_eq!(told("select 3").3, Change::Database(Some("3".into())));
        assert_eq!(told("client reply skip").3, Change::Replies(Replies::Skip));
        assert_eq!(told("client reply off").3, Change::Replies(Replies::Off));
        assert_eq!(told("client reply on").3, Change::Replies(Replies::On));
        assert_eq!(told("client list").3, Change::Nothing);
    }
}
