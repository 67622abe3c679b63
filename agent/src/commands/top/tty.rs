//! The terminal while it is drawn on: keys come one by one, and it is given back as it was. With what is in the standard library and
//! `rustix` alone: crates for it want other features of what the agent is made of.

use std::{
    io::{self, Read as _, Write as _},
    thread,
    time::Duration,
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    termios::{OptionalActions, Termios, tcgetattr, tcgetwinsize, tcsetattr},
};
use tokio::sync::mpsc;

/// What follows an escape within this time is one key with it, also over a slow line.
const ONE_KEY: Duration = Duration::from_millis(30);
/// Another screen than that of the shell, and no cursor; the same back.
const TAKE: &str = "\x1b[?1049h\x1b[?25l";
const GIVE_BACK: &str = "\x1b[?25h\x1b[?1049l";

/// A key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Key {
    Char(char),
    Up,
    Down,
    Left,
    Right,
    PageUp,
    PageDown,
    Home,
    End,
    Enter,
    Escape,
    Backspace,
    /// Control and C, or D.
    Interrupt,
}

/// See the module; given back however it ends.
pub(super) struct Taken {
    before: Termios,
}

impl Taken {
    pub(super) fn take() -> io::Result<Self> {
        let before = tcgetattr(io::stdin())?;
        let mut raw = before.clone();
        raw.make_raw();
        tcsetattr(io::stdin(), OptionalActions::Now, &raw)?;
        let taken = Self { before };
        let mut out = io::stdout().lock();
        out.write_all(TAKE.as_bytes())?;
        out.flush()?;
        Ok(taken)
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        let mut out = io::stdout().lock();
        let _gone = out.write_all(GIVE_BACK.as_bytes()).and_then(|()| out.flush());
        let _gone = tcsetattr(io::stdin(), OptionalActions::Now, &self.before);
    }
}

/// Columns and rows.
pub(super) fn size() -> io::Result<(usize, usize)> {
    let size = tcgetwinsize(io::stdout())?;
    // One that does not say is taken to be as the least that all is made for.
    let or = |given: u16, usual: usize| if given == 0 { usual } else { usize::from(given) };
    Ok((or(size.ws_col, 80), or(size.ws_row, 24)))
}

/// Draws lines from the top on, and empties what is below and behind them.
pub(super) fn draw(lines: &[String]) -> io::Result<()> {
    let mut text = String::new();
    for (row, line) in lines.iter().enumerate() {
        text.push_str(&format!("\x1b[{};1H{line}\x1b[K", row + 1));
    }
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()
}

/// Keys, read by a thread that ends with the process.
pub(super) fn keys() -> mpsc::Receiver<Key> {
    let (tell, told) = mpsc::channel(64);
    let read = move || {
        let mut bytes = [0; 256];
        let mut waiting: Vec<u8> = Vec::new();
        while let Ok(count @ 1..) = io::stdin().lock().read(&mut bytes) {
            waiting.extend_from_slice(bytes.get(..count).unwrap_or_default());
            if is_open(&waiting) && more_comes() {
                continue;
            }
            for key in parse(&waiting) {
                if tell.blocking_send(key).is_err() {
                    return;
                }
            }
            waiting.clear();
        }
    };
    // Without it there are no keys, and the channel says so.
    let _no_thread = thread::Builder::new().name("keys".to_owned()).spawn(read);
    told
}

fn more_comes() -> bool {
    let stdin = io::stdin();
    let mut waited_for = [PollFd::new(&stdin, PollFlags::IN)];
    let within = Timespec { tv_sec: 0, tv_nsec: i64::from(ONE_KEY.subsec_nanos()) };
    poll(&mut waited_for, Some(&within)).is_ok_and(|ready| ready > 0)
}

/// Whether this ends within a key.
fn is_open(bytes: &[u8]) -> bool {
    let Some(escape) = bytes.iter().rposition(|byte| *byte == 0x1b) else { return false };
    match bytes.get(escape + 1..) {
        Some([] | [b'[' | b'O']) => true,
        Some([b'[', rest @ ..]) => rest.iter().all(|byte| byte.is_ascii_digit() || *byte == b';'),
        _ => false,
    }
}

fn parse(bytes: &[u8]) -> Vec<Key> {
    let mut keys = Vec::new();
    let mut rest = bytes;
    while let Some((&first, after)) = rest.split_first() {
        rest = after;
        let key = match first {
            0x03 | 0x04 => Some(Key::Interrupt),
            b'\r' | b'\n' => Some(Key::Enter),
            0x7f | 0x08 => Some(Key::Backspace),
            0x1b => match after {
                [b'[' | b'O', sequence @ ..] => {
                    let end = sequence.iter().position(|byte| (0x40..=0x7e).contains(byte)).unwrap_or(sequence.len());
                    let (parameters, last) = sequence.split_at(end.min(sequence.len()));
                    rest = last.get(1..).unwrap_or_default();
                    sequence_key(parameters, last.first().copied())
                }
                _ => Some(Key::Escape),
            },
            0x20..0x7f => Some(Key::Char(char::from(first))),
            // Of no use here.
            _ => None,
        };
        keys.extend(key);
    }
    keys
}

fn sequence_key(parameters: &[u8], last: Option<u8>) -> Option<Key> {
    Some(match (last?, parameters) {
        (b'A', _) => Key::Up,
        (b'B', _) => Key::Down,
        (b'C', _) => Key::Right,
        (b'D', _) => Key::Left,
        (b'H', _) | (b'~', b"1" | b"7") => Key::Home,
        (b'F', _) | (b'~', b"4" | b"8") => Key::End,
        (b'~', b"5") => Key::PageUp,
        (b'~', b"6") => Key::PageDown,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_told_from_what_terminals_send() {
        for (bytes, keys) in [
            (&b"q"[..], &[Key::Char('q')][..]),
            (b"\x1b", &[Key::Escape]),
            (b"\x1b\x1bq", &[Key::Escape, Key::Escape, Key::Char('q')]),
            (b"n\x1b[B\x1bOA\r", &[Key::Char('n'), Key::Down, Key::Up, Key::Enter]),
            (b"\x1b[5~\x1b[6~\x1b[1;5C", &[Key::PageUp, Key::PageDown, Key::Right]),
            (b"\x03\x7f", &[Key::Interrupt, Key::Backspace]),
            // What is none is none, and takes nothing with it.
            (b"\x1b[200~\xff\xc3\xa9\x1b[Zx", &[Key::Char('x')]),
            (b"\x1b[", &[]),
            (b"", &[]),
        ] {
            assert_eq!(parse(bytes), keys, "{bytes:?}");
        }
        assert!(
            is_open(b"a\x1b") && is_open(b"\x1b[1;") && !is_open(b"\x1b[A") && !is_open(b"a") && !is_open(b"\x1bx")
        );
    }
}
