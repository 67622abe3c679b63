//! Requests.

use compact_str::CompactString;

use super::{
    api::{self, Api},
    batch::{self, Records},
    fields::Fields,
};
use crate::protocols::sized::Cursor;

/// Partitions of one request or response that are told by themselves; those behind them are told as one.
pub(super) const PARTITIONS_MAX: usize = 64;

/// What every request begins with.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Head {
    pub(super) key: i16,
    pub(super) version: i16,
    pub(super) correlation: i32,
    pub(super) client_id: Option<CompactString>,
}

/// A topic, as the version of the request names it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Topic {
    Name(CompactString),
    Id([u8; 16]),
}

/// What is sent to a partition.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Sent {
    pub(super) topic: Topic,
    pub(super) partition: i32,
    pub(super) records: Records,
}

/// Messages for the broker.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Produce {
    /// Nothing comes back.
    pub(super) is_one_way: bool,
    pub(super) sent: Vec<Sent>,
    /// There is more in it than could be read or is told.
    pub(super) is_cut: bool,
}

/// Messages are asked for.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Fetch {
    /// By another broker, that has copies of them.
    pub(super) is_replica: bool,
    /// The number of the session that is continued, if there is one.
    pub(super) session: i32,
    pub(super) epoch: i32,
    /// From which offsets on, where that is said: a session goes on with those of before.
    pub(super) from: Vec<(Topic, i32, i64)>,
    /// Those that the session is to leave.
    pub(super) forgotten: Vec<(Topic, i32)>,
}

/// How far a group has come.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Commit {
    pub(super) group: Option<CompactString>,
    /// The topic, if it is one, and the partition, if it is one.
    pub(super) topic: Option<Topic>,
    pub(super) partition: Option<i32>,
}

/// Reads the beginning of a request behind its length; gives what follows.
pub(super) fn head(mut cursor: Cursor<'_>) -> Option<(Head, Fields<'_>)> {
    cursor.skip(4)?;
    let mut fields = Fields { cursor, is_flexible: false };
    let (key, version, correlation) = (fields.i16()?, fields.i16()?, fields.i32()?);
    let api = Api::of(key, version)?;
    let client_id = fields.text()?.filter(|text| !text.is_empty());
    fields.is_flexible = api.is_flexible(version);
    fields.tags()?;
    Some((Head { key, version, correlation, client_id }, fields))
}

/// A topic, whose name becomes its id in a version.
pub(super) fn topic(fields: &mut Fields<'_>, has_id: bool) -> Option<Topic> {
    match has_id {
        true => fields.cursor.array().map(Topic::Id),
        false => fields.text()?.map(Topic::Name),
    }
}

pub(super) fn produce(version: i16, mut fields: Fields<'_>) -> Produce {
    let mut produce = Produce::default();
    produce.is_cut = read_produce(version, &mut fields, &mut produce).is_none();
    produce
}

fn read_produce(version: i16, fields: &mut Fields<'_>, produce: &mut Produce) -> Option<()> {
    if version >= 3 {
        fields.skip_text()?;
    }
    produce.is_one_way = fields.i16()? == 0;
    let _timeout = fields.i32()?;
    for _ in 0..fields.elements()? {
        let topic = topic(fields, version >= 13)?;
        for _ in 0..fields.elements()? {
            if produce.sent.len() >= PARTITIONS_MAX {
                return None;
            }
            let partition = fields.i32()?;
            let records = fields.bytes()?.map_or_else(Records::default, |bytes| batch::read(bytes, None));
            produce.sent.push(Sent { topic: topic.clone(), partition, records });
            fields.tags()?;
        }
        fields.tags()?;
    }
    Some(())
}

pub(super) fn fetch(version: i16, mut fields: Fields<'_>) -> Fetch {
    let mut fetch = Fetch { epoch: -1, ..Fetch::default() };
    // What cannot be read is not known, and makes no difference to what was.
    let _is_whole = read_fetch(version, &mut fields, &mut fetch);
    fetch
}

fn read_fetch(version: i16, fields: &mut Fields<'_>, fetch: &mut Fetch) -> Option<()> {
    if version <= 14 {
        fetch.is_replica = fields.i32()? >= 0;
    }
    fields.cursor.skip(4 + 4)?;
    if version >= 3 {
        fields.cursor.skip(4)?;
    }
    if version >= 4 {
        fields.cursor.skip(1)?;
    }
    if version >= 7 {
        (fetch.session, fetch.epoch) = (fields.i32()?, fields.i32()?);
    }
    for _ in 0..fields.elements()? {
        let topic = topic(fields, version >= 13)?;
        for _ in 0..fields.elements()? {
            let partition = fields.i32()?;
            if version >= 9 {
                fields.cursor.skip(4)?;
            }
            let offset = fields.i64()?;
            if version >= 12 {
                fields.cursor.skip(4)?;
            }
            if version >= 5 {
                fields.cursor.skip(8)?;
            }
            fields.cursor.skip(4)?;
            fields.tags()?;
            if fetch.from.len() < super::offsets::OFFSETS_MAX {
                fetch.from.push((topic.clone(), partition, offset));
            }
        }
        fields.tags()?;
    }
    if version >= 7 {
        for _ in 0..fields.elements()? {
            let topic = topic(fields, version >= 13)?;
            for _ in 0..fields.elements()? {
                let partition = fields.i32()?;
                if fetch.forgotten.len() < super::offsets::OFFSETS_MAX {
                    fetch.forgotten.push((topic.clone(), partition));
                }
            }
            fields.tags()?;
        }
    }
    if version >= 11 {
        fields.skip_text()?;
    }
    if version >= 15 {
        const REPLICA_STATE: u64 = 1;
        fetch.is_replica = fields.find_tag(REPLICA_STATE)?.is_some();
    }
    Some(())
}

pub(super) fn commit(version: i16, mut fields: Fields<'_>) -> Commit {
    let mut commit = Commit::default();
    if read_commit(version, &mut fields, &mut commit).is_none() {
        (commit.topic, commit.partition) = (None, None);
    }
    commit
}

fn read_commit(version: i16, fields: &mut Fields<'_>, commit: &mut Commit) -> Option<()> {
    commit.group = fields.text()?;
    if version >= 1 {
        fields.cursor.skip(4)?;
        fields.skip_text()?;
    }
    if version >= 7 {
        fields.skip_text()?;
    }
    if (2..=4).contains(&version) {
        fields.cursor.skip(8)?;
    }
    let topics = fields.elements()?;
    for _ in 0..topics {
        let topic = topic(fields, version >= 10)?;
        let partitions = fields.elements()?;
        for _ in 0..partitions {
            let partition = fields.i32()?;
            commit.partition = Some(partition).filter(|_| partitions == 1);
            fields.cursor.skip(8)?;
            if version == 1 {
                fields.cursor.skip(8)?;
            }
            if version >= 6 {
                fields.cursor.skip(4)?;
            }
            fields.skip_text()?;
            fields.tags()?;
        }
        commit.topic = Some(topic);
        fields.tags()?;
    }
    if topics != 1 {
        (commit.topic, commit.partition) = (None, None);
    }
    Some(())
}

/// The group that a member of it names first, in requests that are its own.
pub(super) fn group(head: &Head, mut fields: Fields<'_>) -> Option<CompactString> {
    matches!(head.key, api::JOIN_GROUP | api::CONSUMER_GROUP_HEARTBEAT).then(|| fields.text())??
}
