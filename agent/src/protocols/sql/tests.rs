use proptest::prelude::*;

use super::{Dialect, Escapes, MAX_TEXT, Statement, Syntax, read};
use crate::{model::propagation::QueryText, protocols::testing::Random};

const POSTGRES: Syntax = Syntax { dialect: Dialect::Postgres, escapes: Escapes::No };
const MYSQL: Syntax = Syntax { dialect: Dialect::Mysql, escapes: Escapes::Yes };

fn all(text: &str, syntax: Syntax) -> Vec<Statement> {
    read(text.as_bytes(), false, syntax, QueryText::Sanitized).list
}

/// Summary and text of the only statement.
fn one(text: &str, syntax: Syntax) -> (String, String) {
    let mut list = all(text, syntax);
    assert_eq!(list.len(), 1, "{text}");
    let Statement { summary, text, .. } = list.remove(0);
    (summary.unwrap_or_default().into(), text.unwrap_or_default().into())
}

fn summary(text: &str) -> String {
    one(text, POSTGRES).0
}

fn text(sql: &str) -> String {
    one(sql, POSTGRES).1
}

#[test]
fn summaries_name_what_is_done_to_what() {
    for (sql, expected) in [
        ("select * from orders", "SELECT orders"),
        ("SELECT * FROM public.\"Orders\" o, stock s WHERE o.id = s.id", "SELECT public.Orders stock"),
        ("SELECT a FROM x JOIN y ON x.a = y.a LEFT JOIN z USING (b)", "SELECT x y z"),
        ("SELECT a FROM (SELECT b FROM t) s", "SELECT SELECT t"),
        ("SELECT extract(year FROM d) FROM t WHERE a IS DISTINCT FROM b", "SELECT t"),
        ("SELECT * FROM generate_series(1, 5) n, t", "SELECT t"),
        ("INSERT INTO a (b) SELECT c FROM d", "INSERT a SELECT d"),
        ("INSERT INTO a VALUES (1) ON CONFLICT (x) DO UPDATE SET y = 1", "INSERT a"),
        ("UPDATE ONLY a SET b = 1 FROM c", "UPDATE a c"),
        ("DELETE FROM a USING b WHERE a.x = b.x", "DELETE a b"),
        ("WITH r AS (SELECT 1 FROM t), q AS (SELECT 2 FROM r) SELECT * FROM r, q, u", "SELECT t SELECT SELECT u"),
        ("WITH r AS (DELETE FROM t RETURNING *) INSERT INTO u SELECT * FROM r", "DELETE t INSERT u SELECT"),
        ("MERGE INTO a USING b ON a.x = b.x WHEN MATCHED THEN DELETE", "MERGE a b"),
        ("SELECT 1 FROM a FOR UPDATE", "SELECT a"),
        ("(SELECT 1 FROM a) UNION ALL (SELECT 2 FROM b)", "SELECT a SELECT b"),
        ("CREATE TEMP TABLE IF NOT EXISTS t (a int)", "CREATE TABLE t"),
        ("create unique index concurrently i on t (a)", "CREATE INDEX t"),
        ("DROP TABLE IF EXISTS a, b", "DROP TABLE a"),
        ("CREATE USER bob PASSWORD 'x'", "CREATE USER"),
        ("TRUNCATE TABLE t", "TRUNCATE t"),
        ("COPY t (a, b) FROM STDIN", "COPY t"),
        ("COPY (SELECT a FROM t) TO STDOUT", "COPY SELECT t"),
        ("EXPLAIN ANALYZE SELECT 1 FROM t", "EXPLAIN SELECT t"),
        ("CALL shop.pay(1)", "CALL shop.pay"),
        ("BEGIN", "BEGIN"),
        ("SET a = b", "SET"),
        ("DEALLOCATE ALL", "DEALLOCATE"),
        ("nonsense", ""),
    ] {
        assert_eq!(summary(sql), expected, "{sql}");
    }
    assert_eq!(one("SELECT * FROM `a b`.`c` STRAIGHT_JOIN d", MYSQL).0, "SELECT `a b`.c d");
    assert_eq!(one("INSERT IGNORE t SET a = 1", MYSQL).0, "INSERT t");
    assert_eq!(one("REPLACE INTO t VALUES (1)", MYSQL).0, "REPLACE t");
    assert_eq!(one("/*!40101 SET NAMES utf8 */", MYSQL), ("SET".into(), "SET NAMES utf8".into()));
    let Statement { operation, collection, procedure, .. } = all("CALL p(1)", POSTGRES).remove(0);
    assert_eq!((operation.as_deref(), collection, procedure.as_deref()), (Some("CALL"), None, Some("p")));
    assert_eq!(all("SELECT 1 FROM a, b", POSTGRES)[0].collection, None, "it names two");
    assert_eq!(all("SELECT 1 FROM a a1, a a2 WHERE x", POSTGRES)[0].collection.as_deref(), None);
}

#[test]
fn text_is_without_literals_comments_and_long_lists() {
    for (sql, expected) in [
        ("SELECT  'a''b',\n 1.5, E'x\\'y' -- comment\n FROM t", "SELECT ?, ?, ? FROM t"),
        ("SELECT * FROM t WHERE a IN (1, 2,3) AND b = $1", "SELECT * FROM t WHERE a IN (?) AND b = $1"),
        ("SELECT * FROM t WHERE a IN ($1,$2)", "SELECT * FROM t WHERE a IN (?)"),
        ("SELECT * FROM t WHERE a IN (SELECT 1)", "SELECT * FROM t WHERE a IN (SELECT ?)"),
        ("INSERT INTO t VALUES (1, 'a'), (2, 'b'), (-3, NULL)", "INSERT INTO t VALUES (?)"),
        ("INSERT INTO t VALUES (1, now()), (2, now())", "INSERT INTO t VALUES (?, now())"),
        (
            "INSERT INTO t VALUES (1, now()), (f(2), 3) RETURNING a",
            "INSERT INTO t VALUES (?, now()), (f(?), ?) RETURNING a",
        ),
        ("SELECT ARRAY[1,2,3], a[1], round(1, 2)", "SELECT ARRAY[?], a[?], round(?, ?)"),
        ("SELECT a/* b */FROM t", "SELECT a FROM t"),
        ("SET app.key = hunter2", "SET app.key = ?"),
        ("SET search_path TO a, \"b\"", "SET search_path TO ?, ?"),
        ("ALTER ROLE bob SET app.key = hunter2", "ALTER ROLE bob SET app.key = ?"),
        ("UPDATE t SET a = b, c = 'd'", "UPDATE t SET a = b, c = ?"),
        ("ALTER USER bob PASSWORD hunter2", "ALTER USER bob PASSWORD ?"),
        ("ALTER USER bob WITH PASSWORD \"hunter2\" VALID UNTIL 'x'", "ALTER USER bob WITH PASSWORD ? VALID UNTIL ?"),
        ("DO $$ secret $$", "DO ?"),
        ("SELECT U&'\\0041', x'41', b'1', 0x41, 1e-5", "SELECT ?, ?, ?, ?, ?"),
    ] {
        assert_eq!(text(sql), expected, "{sql}");
    }
    for (sql, expected) in [
        ("CREATE USER 'u'@'h' IDENTIFIED BY 'p'", "CREATE USER ?@? IDENTIFIED BY ?"),
        ("CREATE USER u IDENTIFIED BY hunter2", "CREATE USER u IDENTIFIED BY ?"),
        ("SET PASSWORD FOR u = hunter2", "SET PASSWORD FOR u = ?"),
        ("SELECT \"a\\\"b\", `c` # comment", "SELECT ?, `c`"),
        ("SET @a = b, @c := 'x'", "SET @a = ?, @c := ?"),
    ] {
        assert_eq!(one(sql, MYSQL).1, expected, "{sql}");
    }
}

#[test]
fn statements_end_at_semicolons_but_not_within_a_routines_body() {
    let count = |sql: &str, syntax| all(sql, syntax).len();
    assert_eq!(count("SELECT ';'; SELECT $$;$$;; -- ;\n", POSTGRES), 2);
    assert_eq!(count("CREATE FUNCTION f() RETURNS int BEGIN ATOMIC SELECT 1; SELECT 2; END; SELECT 3", POSTGRES), 2);
    let body = "CREATE PROCEDURE p() BEGIN IF a THEN SELECT 1; END IF; SELECT CASE WHEN 1 THEN 2 END; END; SELECT 1";
    assert_eq!(count(body, MYSQL), 2);
    assert_eq!(count("BEGIN; COMMIT", POSTGRES), 2);
    assert_eq!(count(" /* nothing */ ; ", POSTGRES), 0);
    assert_eq!(count(&"SELECT 1;".repeat(1000), POSTGRES), 128);
}

#[test]
fn what_is_told_is_as_asked_for() {
    let told = |sql: &str, told| {
        let text = read(sql.as_bytes(), false, POSTGRES, told).list.remove(0).text;
        text.map(String::from)
    };
    assert_eq!(told("SELECT 'a' -- b", QueryText::Off), None);
    assert_eq!(told("SELECT 'a' -- b", QueryText::Full).as_deref(), Some("SELECT 'a' -- b"));
    for (sql, expected) in [
        ("ALTER USER bob PASSWORD 'x'", "ALTER USER bob PASSWORD ?"),
        ("SELECT dblink('host=h password=x')", "SELECT dblink(?)"),
        ("SELECT f('postgres://u:p@h/d')", "SELECT f(?)"),
        ("INSERT INTO t (password) VALUES ('x')", "INSERT INTO t (password) VALUES (?)"),
    ] {
        assert_eq!(told(sql, QueryText::Full).as_deref(), Some(expected));
    }
    let long = format!("SELECT {}", "abc, ".repeat(1000));
    for what in [QueryText::Full, QueryText::Sanitized] {
        let text = told(&long, what).unwrap();
        assert!(text.len() <= MAX_TEXT + 3 && text.ends_with("..."));
    }
    let cut = read(b"SELECT 'sec", true, POSTGRES, QueryText::Sanitized).list.remove(0);
    assert_eq!(cut.text.as_deref(), Some("SELECT ?..."));
}

#[test]
fn where_it_is_not_certain_what_a_string_is_the_rest_is_not_told() {
    let unknown = Syntax { escapes: Escapes::Unknown, ..POSTGRES };
    let told = one("SELECT a FROM t WHERE b = 'x\\' AND c = 'secret'", unknown);
    assert_eq!(told, ("SELECT t".into(), "SELECT a FROM t WHERE b =...".into()));
}

/// A secret, as a statement can have one: where it stands it is a value, a comment or a password.
fn secret(random: &mut Random, is_mysql: bool) -> String {
    const SECRET: &str = "s3cr3t";
    let mut all = vec![
        format!("'{SECRET}'"),
        format!("'it''s {SECRET}'"),
        format!("'{SECRET}\u{e4}\u{2019}'"),
        format!("N'{SECRET}'"),
        format!("'-- {SECRET}'"),
        format!("'/* {SECRET} ; '"),
        format!("/* {SECRET} */ 1"),
        format!("-- {SECRET}\n 1"),
        format!("'$$ {SECRET} $$'"),
        "0x53cr3t".to_owned(),
    ];
    if is_mysql {
        all.extend([
            format!("\"{SECRET}\""),
            format!("'a\\'{SECRET}'"),
            format!("'\\\\', '{SECRET}'"),
            format!("\"a\\\"{SECRET} ' \""),
            format!("# {SECRET}\n 1"),
            format!("_utf8mb4'{SECRET}'"),
            format!("'a' '{SECRET}'"),
        ]);
    } else {
        all.extend([
            format!("E'a\\'{SECRET}'"),
            format!("$${SECRET}$$"),
            format!("$t$ $$ ' {SECRET} $t$"),
            format!("'a\\', '{SECRET}'"),
            format!("U&'{SECRET}'"),
            format!("/* /* */ {SECRET} */ 1"),
            format!("'{SECRET}'::text"),
            format!("E'\\\\' || '{SECRET}'"),
        ]);
    }
    random.pick(&all).clone()
}

fn statement(random: &mut Random, is_mysql: bool) -> String {
    let mut a = || secret(random, is_mysql);
    let all = [
        format!("SELECT {}, b FROM t WHERE c = {} AND d IN ({}, {})", a(), a(), a(), a()),
        format!("INSERT INTO t (a, b) VALUES ({}, {}), ({}, f({}))", a(), a(), a(), a()),
        format!("UPDATE t SET a = {}, b = b || {} WHERE c LIKE {}", a(), a(), a()),
        format!("DELETE FROM t WHERE a = {} RETURNING {}", a(), a()),
        format!("WITH r AS (SELECT {} FROM t) SELECT * FROM r WHERE a BETWEEN {} AND {}", a(), a(), a()),
        format!("CALL p({}, {})", a(), a()),
        format!("SET app.key = {}", a()),
        "SET app.key = s3cr3t".to_owned(),
        "SET app.key TO s3cr3t, s3cr3t".to_owned(),
        format!("ALTER USER bob PASSWORD {}", a()),
        "ALTER USER bob WITH PASSWORD s3cr3t".to_owned(),
        format!("CREATE USER bob IDENTIFIED BY {}", a()),
        "CREATE USER bob IDENTIFIED BY s3cr3t".to_owned(),
        format!("SET PASSWORD FOR bob = {}", a()),
        format!("CREATE SUBSCRIPTION s CONNECTION 'host=h password=s3cr3t' PUBLICATION {}", a()),
        format!("SELECT dblink('postgres://u:s3cr3t@h/d', {})", a()),
        format!("COPY t FROM PROGRAM {}", a()),
        format!("COMMENT ON TABLE t IS {}", a()),
        format!("SELECT 1; SELECT {}; COMMIT", a()),
        format!("CREATE TABLE t (a text DEFAULT {})", a()),
        format!("SELECT ARRAY[{}, {}], coalesce({}, {})", a(), a(), a(), a()),
    ];
    random.pick(&all).clone()
}

#[test]
fn of_ten_thousand_statements_with_secrets_none_is_told() {
    let mut random = Random(0x5ec7e7);
    let mut told = 0;
    for nth in 0..10_000 {
        let is_mysql = nth % 2 == 0;
        let mut sql = statement(&mut random, is_mysql);
        let is_cut = random.one_in(3);
        if is_cut {
            sql.truncate(sql.floor_char_boundary(random.below(sql.len())));
        }
        let certain = if is_mysql { Escapes::Yes } else { Escapes::No };
        let syntax = Syntax {
            dialect: if is_mysql { Dialect::Mysql } else { Dialect::Postgres },
            escapes: if random.one_in(3) { Escapes::Unknown } else { certain },
        };
        for what in [QueryText::Off, QueryText::Sanitized] {
            let read = read(sql.as_bytes(), is_cut, syntax, what);
            let shown = format!("{read:?}");
            assert!(!shown.contains("s3cr3t") && !shown.contains("53cr3t"), "{sql}\n{shown}");
            told += read.list.iter().filter(|statement| statement.text.is_some()).count();
        }
    }
    assert!(told > 9000, "{told}");
}

proptest! {
    #[test]
    fn any_bytes_are_read_to_their_end(bytes in proptest::collection::vec(any::<u8>(), 0..300), is_mysql: bool) {
        let syntax = if is_mysql { MYSQL } else { POSTGRES };
        let read = read(&bytes, false, syntax, QueryText::Sanitized);
        prop_assert!(read.list.len() <= 128);
    }

    #[test]
    fn any_words_of_sql_are_read(words in proptest::collection::vec(
        prop::sample::select(vec![
            "SELECT", "FROM", "(", ")", "[", "]", "ARRAY", "VALUES", ",", ";", "WITH", "AS", "t", ".", "'a'", "$1", "IN", "BEGIN",
            "CREATE", "FUNCTION", "CASE", "END", "SET", "=", "JOIN", "/*!", "*/", "INSERT", "INTO", "UPDATE", "\u{e4}", "`", "\"",
        ]), 0..80), is_mysql: bool)
    {
        let syntax = if is_mysql { MYSQL } else { POSTGRES };
        let text = words.join(" ");
        for told in [QueryText::Sanitized, QueryText::Full] {
            let read = read(text.as_bytes(), false, syntax, told);
            prop_assert!(read.list.len() <= 128);
        }
    }
}

/// Time grows with the length alone.
#[test]
fn deep_and_long_texts_are_read_in_one_pass() {
    for part in ["(", "[", "$a", "/*", "'", "WITH a AS (", "CASE ", "ARRAY[", "VALUES (1),", "`", "a.", "IN ("] {
        for syntax in [POSTGRES, MYSQL] {
            let list = all(&part.repeat(100_000), syntax);
            assert!(list.iter().all(|statement| statement.text.as_ref().is_none_or(|text| text.len() <= MAX_TEXT + 3)));
        }
    }
}
