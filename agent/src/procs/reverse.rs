//! Names of addresses as the machine's resolver has them: reverse DNS, only where it is asked for.

use std::{
    collections::HashMap,
    io,
    net::IpAddr,
    sync::{
        Arc, Mutex, PoisonError,
        mpsc::{self, SyncSender},
    },
    thread,
    time::{Duration, Instant},
};

use compact_str::CompactString;

use super::hosts::{NameSource, is_worth_a_name};
use crate::model::{
    ids::ProcessId,
    net::{ConnectionInfo, Role},
};

/// What is remembered of answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Remembered {
    /// Most addresses; then all are asked for again.
    pub(crate) addresses: usize,
    /// How long an answer, or that there is none, is; `None`: as long as there is room.
    pub(crate) period: Option<Duration>,
}

/// Most addresses that wait to be asked for; the resolver may take seconds for each. Others come again with the next request.
const WAITING_MAX: usize = 64;

/// Asks the resolver in a thread of its own. Nobody waits: the first requests to an address go without its name.
pub(crate) struct ReverseDns {
    remembered: Remembered,
    known: Arc<Mutex<Known>>,
    ask: SyncSender<IpAddr>,
}

/// When an address was asked for, and its name once that is known.
type Known = HashMap<IpAddr, (Instant, Option<CompactString>)>;

impl ReverseDns {
    /// Starts the thread.
    ///
    /// # Errors
    /// When there can be no thread.
    pub(crate) fn start(remembered: Remembered) -> io::Result<Self> {
        Self::start_with(remembered, |ip| dns_lookup::lookup_addr(&ip).ok())
    }

    fn start_with(
        remembered: Remembered,
        resolve: impl Fn(IpAddr) -> Option<String> + Send + 'static,
    ) -> io::Result<Self> {
        let known = Arc::new(Mutex::new(Known::new()));
        let (ask, asked) = mpsc::sync_channel::<IpAddr>(WAITING_MAX);
        let its = Arc::clone(&known);
        thread::Builder::new().name("names".into()).spawn(move || {
            for ip in asked {
                // Without a name, resolvers give the address.
                let name = resolve(ip).filter(|name| name.parse::<IpAddr>().is_err());
                if let Some((_, known)) = lock(&its).get_mut(&ip) {
                    *known = name.map(CompactString::from);
                }
            }
        })?;
        Ok(Self { remembered, known, ask })
    }

    fn look_up(&self, ip: IpAddr, now: Instant) -> Option<CompactString> {
        let ip = ip.to_canonical();
        if !is_worth_a_name(ip) {
            return None;
        }
        let mut known = lock(&self.known);
        let old = known.get(&ip).map(|(at, name)| (*at, name.clone()));
        if let Some((at, name)) = &old
            && self.remembered.period.is_none_or(|period| now.saturating_duration_since(*at) < period)
        {
            return name.clone();
        }
        if known.len() >= self.remembered.addresses {
            known.clear();
        }
        // An old name goes on until there is another.
        let name = old.and_then(|(_, name)| name);
        if self.ask.try_send(ip).is_ok() {
            known.insert(ip, (now, name.clone()));
        }
        name
    }
}

impl NameSource for ReverseDns {
    fn name(&self, _pid: ProcessId, _role: Role, connection: &ConnectionInfo) -> Option<CompactString> {
        self.look_up(connection.remote.ip()?, Instant::now())
    }
}

fn lock(known: &Mutex<Known>) -> std::sync::MutexGuard<'_, Known> {
    known.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    const BELIEVED: Duration = Duration::from_secs(300);
    const REMEMBERED: Remembered = Remembered { addresses: 1024, period: Some(BELIEVED) };

    fn ip(last: u8) -> IpAddr {
        IpAddr::from([10, 0, 0, last])
    }

    #[test]
    fn nobody_waits_for_a_name_and_each_is_asked_for_once() {
        let (asked, was_asked) = mpsc::channel();
        let (answer, answers) = mpsc::channel::<Option<String>>();
        let names = ReverseDns::start_with(REMEMBERED, move |ip| {
            asked.send(ip).unwrap();
            answers.recv().unwrap()
        })
        .unwrap();
        let now = Instant::now();
        assert_eq!(names.look_up(ip(1), now), None);
        assert_eq!(was_asked.recv().unwrap(), ip(1));
        assert_eq!(names.look_up(ip(1), now), None, "the resolver has not answered");
        answer.send(Some("db.example".into())).unwrap();
        // The next question is taken after the answer to the first one was.
        assert_eq!(names.look_up(ip(2), now), None);
        assert_eq!(was_asked.recv().unwrap(), ip(2));
        assert_eq!(names.look_up(ip(1), now).as_deref(), Some("db.example"));
        answer.send(Some("10.0.0.2".into())).unwrap();
        let later = now + BELIEVED;
        assert_eq!(names.look_up(ip(1), later).as_deref(), Some("db.example"), "until there is another");
        assert_eq!(was_asked.recv().unwrap(), ip(1));
        assert_eq!(names.look_up(ip(2), now), None, "an address is no name");
        answer.send(None).unwrap();
        assert_eq!(names.look_up(IpAddr::from([127, 0, 0, 1]), now), None);
        assert_eq!(was_asked.recv_timeout(Duration::from_millis(1)).ok(), None);
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let few = Remembered { addresses: 3, period: None };
        let names = ReverseDns::start_with(few, |_| None).unwrap();
        let address = |number: u32| IpAddr::from((0x0a00_0000 + number).to_be_bytes());
        let now = Instant::now();
        lock(&names.known).extend((1..=3).map(|number| (address(number), (now, None))));
        names.look_up(address(3), now + 10 * BELIEVED);
        assert_eq!(lock(&names.known).len(), 3, "for good");
        names.look_up(address(0), now);
        assert_eq!(lock(&names.known).len(), 1);
    }
}
