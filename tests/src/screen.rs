//! A program on a terminal: what it writes is put on a screen as a terminal would, and keys are pressed.

use std::{
    ffi::OsStr,
    io::{Read as _, Write as _},
    num::NonZero,
    process::{Child, Command, ExitStatus, Stdio},
    sync::{Arc, Condvar, Mutex, PoisonError},
    thread,
    time::{Duration, Instant},
};

use rustix::{
    fs::{Mode, OFlags},
    process::{Pid, Signal, kill_process},
    termios::{Winsize, tcsetwinsize},
};

use crate::{LONG, kernel, need};

/// A program on a terminal of its own.
pub struct Screen {
    child: Child,
    master: std::fs::File,
    shared: Arc<(Mutex<Shown>, Condvar)>,
}

struct Shown {
    parser: vt100::Parser,
    /// All that was written, as it came.
    raw: Vec<u8>,
}

impl Screen {
    /// Starts a program with so many rows and columns. All that it says goes to the terminal.
    ///
    /// # Panics
    /// If there is no terminal, or the program cannot be started.
    #[must_use]
    pub fn start(command: &Command, rows: u16, columns: u16) -> Self {
        let (master, name) = kernel::terminal().expect("a terminal");
        tcsetwinsize(&master, size(rows, columns)).expect("a terminal has a size");
        let open = || rustix::fs::open(&*name, OFlags::RDWR | OFlags::NOCTTY, Mode::empty()).expect("its other end");
        // It becomes the terminal of a session of its own, so that keys are signals and a change of its size is told.
        let mut wrapped = Command::new(need::program("setsid"));
        wrapped.arg("--ctty").arg(command.get_program()).args(command.get_args());
        for (name, value) in command.get_envs() {
            match value {
                Some(value) => wrapped.env(name, value),
                None => wrapped.env_remove(name),
            };
        }
        if !command.get_envs().any(|(name, _)| name == OsStr::new("TERM")) {
            wrapped.env("TERM", "xterm-256color");
        }
        if !command.get_envs().any(|(name, _)| name == OsStr::new("NO_COLOR")) {
            wrapped.env_remove("NO_COLOR");
        }
        let child = wrapped.stdin(Stdio::from(open())).stdout(Stdio::from(open())).stderr(Stdio::from(open())).spawn();
        let child = child.expect("it can be started");
        let mut reader = master.try_clone().expect("a second descriptor");
        let shown = Shown { parser: vt100::Parser::new(cells(rows), cells(columns), 10_000), raw: Vec::new() };
        let shared = Arc::new((Mutex::new(shown), Condvar::new()));
        let its = Arc::clone(&shared);
        thread::spawn(move || {
            let mut bytes = [0; 4096];
            // It fails once nobody has the other end open.
            while let Ok(count @ 1..) = reader.read(&mut bytes) {
                let mut shown = its.0.lock().unwrap_or_else(PoisonError::into_inner);
                let read = bytes.get(..count).unwrap_or_default();
                shown.parser.process(read);
                shown.raw.extend_from_slice(read);
                its.1.notify_all();
            }
            its.1.notify_all();
        });
        Self { child, master, shared }
    }

    /// Its process id: `setsid` becomes the program.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What is on the screen.
    #[must_use]
    pub fn text(&self) -> String {
        self.look(|shown| shown.parser.screen().contents())
    }

    /// All that was written, with what drives the terminal.
    #[must_use]
    pub fn raw(&self) -> String {
        self.look(|shown| String::from_utf8_lossy(&shown.raw).into_owned())
    }

    /// What `find` makes of what is on the screen.
    pub fn look_at<T>(&self, find: impl Fn(&vt100::Screen) -> T) -> T {
        self.look(|shown| find(shown.parser.screen()))
    }

    fn look<T>(&self, find: impl Fn(&Shown) -> T) -> T {
        find(&self.shared.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Waits until `find` makes something of what is on the screen.
    ///
    /// # Panics
    /// If it does not.
    pub fn until<T>(&self, what: &str, find: impl Fn(&str) -> Option<T>) -> T {
        self.wait(what, |shown| find(&shown.parser.screen().contents()))
    }

    /// The same of all that was written.
    ///
    /// # Panics
    /// If it does not.
    pub fn until_written<T>(&self, what: &str, find: impl Fn(&str) -> Option<T>) -> T {
        self.wait(what, |shown| find(&String::from_utf8_lossy(&shown.raw)))
    }

    fn wait<T>(&self, what: &str, find: impl Fn(&Shown) -> Option<T>) -> T {
        let until = Instant::now() + LONG;
        let mut shown = self.shared.0.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if let Some(found) = find(&shown) {
                return found;
            }
            let left = until.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "{what}: the screen is\n{}", shown.parser.screen().contents());
            let slice = left.min(Duration::from_millis(200));
            shown = self.shared.1.wait_timeout(shown, slice).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Presses keys.
    ///
    /// # Panics
    /// If nobody reads them.
    pub fn press(&mut self, keys: &str) {
        self.master.write_all(keys.as_bytes()).expect("keys can be pressed");
    }

    /// Makes it larger or smaller.
    ///
    /// # Panics
    /// If that cannot be.
    pub fn resize(&self, rows: u16, columns: u16) {
        let mut shown = self.shared.0.lock().unwrap_or_else(PoisonError::into_inner);
        shown.parser.screen_mut().set_size(cells(rows), cells(columns));
        tcsetwinsize(&self.master, size(rows, columns)).expect("a terminal has a size");
    }

    /// Waits for the program's end.
    ///
    /// # Panics
    /// If it does not end.
    pub fn ended(&mut self) -> ExitStatus {
        let until = Instant::now() + LONG;
        loop {
            if let Some(status) = self.child.try_wait().expect("a child can be waited for") {
                return status;
            }
            assert!(Instant::now() < until, "it does not end:\n{}", self.text());
            thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        // What has ended already is no failure.
        if matches!(self.child.try_wait(), Ok(None)) {
            let _gone = kill_process(Pid::from_child(&self.child), Signal::KILL);
        }
        let _gone = self.child.wait();
    }
}

fn cells(count: u16) -> NonZero<u16> {
    NonZero::new(count).expect("a screen has some")
}

const fn size(rows: u16, columns: u16) -> Winsize {
    Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 }
}
