//! Words of SQL that say what a statement does and to what.

/// What a statement begins with, as it is told. What is not here is not told: names have to be few.
pub(super) const VERBS: &[&str] = &[
    "ABORT",
    "ALTER",
    "ANALYSE",
    "ANALYZE",
    "BASE_BACKUP",
    "BEGIN",
    "BINLOG",
    "CACHE",
    "CALL",
    "CHANGE",
    "CHECK",
    "CHECKPOINT",
    "CHECKSUM",
    "CLONE",
    "CLOSE",
    "CLUSTER",
    "COMMENT",
    "COMMIT",
    "COPY",
    "CREATE",
    "DEALLOCATE",
    "DECLARE",
    "DELETE",
    "DESC",
    "DESCRIBE",
    "DISABLE",
    "DISCARD",
    "DO",
    "DROP",
    "ENABLE",
    "END",
    "EXECUTE",
    "EXPLAIN",
    "FETCH",
    "FLUSH",
    "GET",
    "GRANT",
    "HANDLER",
    "HELP",
    "IDENTIFY_SYSTEM",
    "IMPORT",
    "INSERT",
    "INSTALL",
    "KILL",
    "LISTEN",
    "LOAD",
    "LOCK",
    "MERGE",
    "MOVE",
    "NOTIFY",
    "OPTIMIZE",
    "PAUSE",
    "PREPARE",
    "PURGE",
    "REASSIGN",
    "RECONNECT",
    "REFRESH",
    "REINDEX",
    "RELEASE",
    "RELOAD",
    "RENAME",
    "REPAIR",
    "REPLACE",
    "RESET",
    "RESIGNAL",
    "RESTART",
    "RESUME",
    "REVOKE",
    "ROLLBACK",
    "SAVEPOINT",
    "SECURITY",
    "SELECT",
    "SET",
    "SHOW",
    "SHUTDOWN",
    "SIGNAL",
    "START",
    "START_REPLICATION",
    "STOP",
    "SUSPEND",
    "TABLE",
    "TIMELINE_HISTORY",
    "TRUNCATE",
    "UNINSTALL",
    "UNLISTEN",
    "UNLOCK",
    "UPDATE",
    "USE",
    "VACUUM",
    "VALUES",
    "WAIT",
    "WITH",
    "XA",
];

/// What is created, altered and dropped.
pub(super) const OBJECTS: &[&str] = &[
    "AGGREGATE",
    "CAST",
    "COLLATION",
    "CONVERSION",
    "DATABASE",
    "DOMAIN",
    "EVENT",
    "EXTENSION",
    "FUNCTION",
    "GROUP",
    "INDEX",
    "LANGUAGE",
    "OPERATOR",
    "POLICY",
    "PROCEDURE",
    "PUBLICATION",
    "ROLE",
    "ROUTINE",
    "RULE",
    "SCHEMA",
    "SEQUENCE",
    "SERVER",
    "STATISTICS",
    "SUBSCRIPTION",
    "SYSTEM",
    "TABLE",
    "TABLESPACE",
    "TRIGGER",
    "TYPE",
    "USER",
    "VIEW",
];

/// Longest of them.
const LONGEST: usize = 20;

/// A word in capitals; nothing if it is longer than those that are known.
#[derive(Clone, Copy)]
pub(super) struct Upper {
    bytes: [u8; LONGEST],
    len: usize,
}

impl Upper {
    pub(super) fn of(word: &[u8]) -> Self {
        let mut upper = Self { bytes: [0; LONGEST], len: 0 };
        if word.len() <= LONGEST {
            for (to, from) in upper.bytes.iter_mut().zip(word) {
                *to = from.to_ascii_uppercase();
            }
            upper.len = word.len();
        }
        upper
    }

    pub(super) fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or_default()
    }

    pub(super) fn is(&self, word: &str) -> bool {
        self.as_bytes() == word.as_bytes()
    }

    /// Which of a sorted list it is.
    pub(super) fn among(&self, list: &[&'static str]) -> Option<&'static str> {
        let at = list.binary_search_by(|it| it.as_bytes().cmp(self.as_bytes())).ok()?;
        list.get(at).copied()
    }
}

/// What is told of a statement's first word, if it is known.
pub(in crate::protocols) fn verb(word: &[u8]) -> Option<&'static str> {
    Upper::of(word).among(VERBS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_sorted_and_found_whatever_their_case() {
        for list in [VERBS, OBJECTS] {
            assert!(list.is_sorted_by(|a, b| a < b) && list.iter().all(|word| word.len() <= LONGEST));
        }
        assert_eq!((verb(b"select"), verb(b"Xyz"), verb(b"")), (Some("SELECT"), None, None));
        assert_eq!(verb(&[b'a'; 100]), None);
    }
}
