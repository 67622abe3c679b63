//! Commands (`PulsarApi.proto`): what each side says, as far as it has to do with messages.

use compact_str::CompactString;

use crate::protocols::{Recognition, protobuf::Fields};

const SUBSCRIBE: u8 = 4;
const PRODUCER: u8 = 5;
const SEND: u8 = 6;
const SEND_RECEIPT: u8 = 7;
const SEND_ERROR: u8 = 8;
const MESSAGE: u8 = 9;
const ACK: u8 = 10;
const UNSUBSCRIBE: u8 = 12;
const CLOSE_PRODUCER: u8 = 15;
const CLOSE_CONSUMER: u8 = 16;
const REDELIVER: u8 = 20;

/// Most messages that one acknowledgement names.
const IDS_MAX: usize = 4096;
/// Longest name that is kept.
const MAX_NAME: usize = 255;

/// Errors of brokers, by their numbers.
const ERRORS: [&str; 26] = [
    "UnknownError",
    "MetadataError",
    "PersistenceError",
    "AuthenticationError",
    "AuthorizationError",
    "ConsumerBusy",
    "ServiceNotReady",
    "ProducerBlockedQuotaExceededError",
    "ProducerBlockedQuotaExceededException",
    "ChecksumError",
    "UnsupportedVersionError",
    "TopicNotFound",
    "SubscriptionNotFound",
    "ConsumerNotFound",
    "TooManyRequests",
    "TopicTerminatedError",
    "ProducerBusy",
    "InvalidTopicName",
    "IncompatibleSchema",
    "ConsumerAssignError",
    "TransactionCoordinatorNotFound",
    "InvalidTxnStatus",
    "NotAllowedError",
    "TransactionConflict",
    "TransactionNotFound",
    "ProducerFenced",
];

/// Who says commands of a type; `None`: there is none.
pub(super) const fn side(kind: u8) -> Option<Recognition> {
    match kind {
        2 | SUBSCRIBE | PRODUCER | SEND | ACK | 11 | UNSUBSCRIBE | REDELIVER | 21 | 23 | 25 | 28 | 29 | 32 | 34
        | 37 | 39 | 50 | 52 | 54 | 56 | 62 | 64 => Some(Recognition::Request),
        3 | SEND_RECEIPT | SEND_ERROR | MESSAGE | 13 | 14 | 17 | 22 | 24 | 26 | 27 | 30 | 31 | 33 | 35 | 36 | 38
        | 40 | 51 | 53 | 55 | 57 | 63 | 65 => Some(Recognition::Response),
        CLOSE_PRODUCER | CLOSE_CONSUMER | 18 | 19 => Some(Recognition::Either),
        _ => None,
    }
}

/// Whether metadata and a payload stand behind commands of a type.
pub(super) const fn has_payload(kind: u8) -> bool {
    matches!(kind, SEND | MESSAGE)
}

/// An entry of a ledger, in which a message is, or a batch of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Entry {
    pub(super) ledger: u64,
    pub(super) entry: u64,
}

/// What a command says.
#[derive(Debug)]
pub(super) enum Command {
    Subscribe {
        consumer: u64,
        topic: CompactString,
        subscription: CompactString,
    },
    Producer {
        producer: u64,
        topic: CompactString,
    },
    Send {
        producer: u64,
        sequence: u64,
        messages: u64,
    },
    SendReceipt {
        producer: u64,
        sequence: u64,
        entry: Option<Entry>,
    },
    SendError {
        producer: u64,
        sequence: u64,
        error: CompactString,
    },
    Message {
        consumer: u64,
        entry: Entry,
    },
    /// Of these, or of all up to the last.
    Ack {
        consumer: u64,
        entries: Vec<Entry>,
        is_cumulative: bool,
        failed: bool,
    },
    /// These, or all, are to come again.
    Redeliver {
        consumer: u64,
        entries: Vec<Entry>,
    },
    CloseProducer(u64),
    CloseConsumer(u64),
    Other,
}

fn name(bytes: Option<&[u8]>) -> Option<CompactString> {
    let name = str::from_utf8(bytes?).ok()?;
    ((1..=MAX_NAME).contains(&name.len()) && !name.chars().any(char::is_control)).then(|| CompactString::new(name))
}

fn entry(id: &[u8]) -> Option<Entry> {
    let fields = Fields(id);
    Some(Entry { ledger: fields.number(1)?, entry: fields.number(2)? })
}

/// Whether messages of a batch are left that were not acknowledged: a bit for each of them.
fn leaves_some(id: &[u8]) -> bool {
    use crate::protocols::protobuf::{Value, number};
    const BITS: u64 = 5;
    Fields(id).any(|(field, value)| match value {
        Value::Number(bits) => field == BITS && bits != 0,
        Value::Bytes(mut packed) if field == BITS => std::iter::from_fn(|| number(&mut packed)).any(|bits| bits != 0),
        _ => false,
    })
}

fn entries<'a>(ids: impl Iterator<Item = &'a [u8]>) -> Vec<Entry> {
    ids.filter(|id| !leaves_some(id)).filter_map(entry).take(IDS_MAX).collect()
}

/// Reads one; `None` where it is none.
pub(super) fn read(command: &[u8]) -> Option<Command> {
    let kind = u8::try_from(Fields(command).number(1)?).ok()?;
    side(kind)?;
    let said = Fields(Fields(command).bytes(kind.into()).unwrap_or_default());
    Some(match kind {
        SUBSCRIBE => {
            let (topic, subscription) = (name(said.bytes(1))?, name(said.bytes(2))?);
            Command::Subscribe { consumer: said.number(4)?, topic, subscription }
        }
        PRODUCER => Command::Producer { producer: said.number(2)?, topic: name(said.bytes(1))? },
        SEND => Command::Send {
            producer: said.number(1)?,
            sequence: said.number(2)?,
            messages: said.number(3).unwrap_or(1),
        },
        SEND_RECEIPT => Command::SendReceipt {
            producer: said.number(1)?,
            sequence: said.number(2)?,
            entry: said.bytes(3).and_then(entry),
        },
        SEND_ERROR => {
            let known = said.number(3).and_then(|error| ERRORS.get(usize::try_from(error).ok()?));
            let error = CompactString::const_new(known.copied().unwrap_or("_OTHER"));
            Command::SendError { producer: said.number(1)?, sequence: said.number(2)?, error }
        }
        MESSAGE => Command::Message { consumer: said.number(1)?, entry: entry(said.bytes(2)?)? },
        ACK => {
            let (is_cumulative, failed) = (said.number(2) == Some(1), said.number(4).is_some());
            Command::Ack { consumer: said.number(1)?, entries: entries(said.all(3)), is_cumulative, failed }
        }
        REDELIVER => Command::Redeliver { consumer: said.number(1)?, entries: entries(said.all(2)) },
        UNSUBSCRIBE | CLOSE_CONSUMER => Command::CloseConsumer(said.number(1)?),
        CLOSE_PRODUCER => Command::CloseProducer(said.number(1)?),
        _ => Command::Other,
    })
}
