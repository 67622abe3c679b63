//! Responses, read as their requests' versions have them.

use compact_str::CompactString;

use super::{
    batch::{self, Records},
    fields::Fields,
    request::{PARTITIONS_MAX, Topic, topic},
};

/// What became of messages that were sent to a partition.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Taken {
    pub(super) topic: Topic,
    pub(super) partition: i32,
    pub(super) error: i16,
    pub(super) offset: i64,
}

/// What a partition gave.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Given {
    pub(super) topic: Topic,
    pub(super) partition: i32,
    pub(super) error: i16,
    /// The offset behind its last message.
    pub(super) end: i64,
    /// Bytes of what it gave.
    pub(super) bytes: u64,
    pub(super) records: Records,
}

/// Messages that were asked for.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Fetched {
    /// Of the request in whole.
    pub(super) error: i16,
    pub(super) session: i32,
    /// Partitions with messages or an error.
    pub(super) given: Vec<Given>,
    /// There is more in it than could be read or is told.
    pub(super) is_cut: bool,
}

/// `None` if not all of it is there.
pub(super) fn produce(version: i16, mut fields: Fields<'_>) -> Option<Vec<Taken>> {
    let mut all = Vec::new();
    for _ in 0..fields.elements()? {
        let topic = topic(&mut fields, version >= 13)?;
        for _ in 0..fields.elements()? {
            let (partition, error, offset) = (fields.i32()?, fields.i16()?, fields.i64()?);
            if version >= 2 {
                fields.cursor.skip(8)?;
            }
            if version >= 5 {
                fields.cursor.skip(8)?;
            }
            if version >= 8 {
                for _ in 0..fields.elements()? {
                    fields.cursor.skip(4)?;
                    fields.skip_text()?;
                    fields.tags()?;
                }
                fields.skip_text()?;
            }
            fields.tags()?;
            if all.len() < PARTITIONS_MAX {
                all.push(Taken { topic: topic.clone(), partition, error, offset });
            }
        }
        fields.tags()?;
    }
    Some(all)
}

/// `from` tells from which offset on a partition was asked for.
pub(super) fn fetch(version: i16, mut fields: Fields<'_>, from: impl Fn(&Topic, i32) -> Option<i64>) -> Fetched {
    let mut fetched = Fetched::default();
    fetched.is_cut = read_fetch(version, &mut fields, from, &mut fetched).is_none();
    fetched
}

fn read_fetch(
    version: i16,
    fields: &mut Fields<'_>,
    from: impl Fn(&Topic, i32) -> Option<i64>,
    fetched: &mut Fetched,
) -> Option<()> {
    if version >= 1 {
        fields.cursor.skip(4)?;
    }
    if version >= 7 {
        (fetched.error, fetched.session) = (fields.i16()?, fields.i32()?);
    }
    for _ in 0..fields.elements()? {
        let topic = topic(fields, version >= 13)?;
        for _ in 0..fields.elements()? {
            let (partition, error, end) = (fields.i32()?, fields.i16()?, fields.i64()?);
            if version >= 4 {
                fields.cursor.skip(8)?;
            }
            if version >= 5 {
                fields.cursor.skip(8)?;
            }
            if version >= 4 {
                for _ in 0..fields.elements()? {
                    fields.cursor.skip(16)?;
                    fields.tags()?;
                }
            }
            if version >= 11 {
                fields.cursor.skip(4)?;
            }
            let given = fields.bytes()?;
            let bytes = given.map_or(0, |given| given.left());
            let records = match given {
                Some(given) => batch::read(given, from(&topic, partition)),
                None => Records { messages: Some(0), ..Records::default() },
            };
            if error != 0 || records.messages != Some(0) {
                if fetched.given.len() >= PARTITIONS_MAX {
                    return None;
                }
                fetched.given.push(Given { topic: topic.clone(), partition, error, end, bytes, records });
            }
            fields.tags()?;
        }
        fields.tags()?;
    }
    Some(())
}

/// The first error of partitions, if there is one; `None` if not all of it is there.
pub(super) fn commit(version: i16, mut fields: Fields<'_>) -> Option<i16> {
    let mut error = 0;
    if version >= 3 {
        fields.cursor.skip(4)?;
    }
    for _ in 0..fields.elements()? {
        topic(&mut fields, version >= 10)?;
        for _ in 0..fields.elements()? {
            let (_partition, of_it) = (fields.i32()?, fields.i16()?);
            error = if error == 0 { of_it } else { error };
            fields.tags()?;
        }
        fields.tags()?;
    }
    Some(error)
}

/// Tells the ids of topics with their names, as far as they can be read.
pub(super) fn metadata(
    version: i16,
    mut fields: Fields<'_>,
    mut each: impl FnMut([u8; 16], CompactString),
) -> Option<()> {
    if version < 10 {
        return Some(());
    }
    fields.cursor.skip(4)?;
    for _ in 0..fields.elements()? {
        fields.cursor.skip(4)?;
        fields.skip_text()?;
        fields.cursor.skip(4)?;
        fields.skip_text()?;
        fields.tags()?;
    }
    fields.skip_text()?;
    fields.cursor.skip(4)?;
    for _ in 0..fields.elements()? {
        let (_error, name, id) = (fields.i16()?, fields.text()?, fields.cursor.array()?);
        fields.cursor.skip(1)?;
        for _ in 0..fields.elements()? {
            fields.cursor.skip(2 + 4 + 4 + 4)?;
            for _ in 0..3 {
                fields.skip_list(4)?;
            }
            fields.tags()?;
        }
        fields.cursor.skip(4)?;
        fields.tags()?;
        if let Some(name) = name.filter(|_| id != [0; 16]) {
            each(id, name);
        }
    }
    Some(())
}
