"""Clients of PostgreSQL at the port of the first argument: psycopg (libpq), then asyncpg.

They connect, it says `ready`, and on a line of its standard input they make their calls, over new connections too, and it says `done`. Of each
that shows how long it took it says `took NAME ns`.
"""

import asyncio
import sys
import time

import asyncpg
import psycopg

PORT = int(sys.argv[1])
TO = f"host=127.0.0.1 port={PORT} user=shop dbname=shop"
PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def fails(call, kind):
    try:
        call()
    except kind:
        return
    raise SystemExit("that should fail")


def by_libpq(conn):
    conn.execute("CREATE TABLE orders (id int PRIMARY KEY, note text)")
    for number in range(10):
        conn.execute("INSERT INTO orders VALUES (%s, %s)", (number, "s3cr3t-1"))
    # As one pipeline.
    with conn.cursor() as cursor:
        cursor.executemany("INSERT INTO orders VALUES (%s, %s)", [(number, "s3cr3t-2") for number in range(10, 60)])
    assert len(conn.execute("SELECT * FROM orders WHERE id < 5 AND note <> 's3cr3t-3'").fetchall()) == 5
    with conn.pipeline():
        for number in range(20):
            conn.execute("SELECT note FROM orders WHERE id = %s", (number,))
    # Several statements in one query.
    conn.execute("BEGIN; UPDATE orders SET note = 's3cr3t-4' WHERE id = 1; SELECT 1; COMMIT")
    fails(lambda: conn.execute("INSERT INTO orders VALUES (1, 's3cr3t-5')"), psycopg.errors.UniqueViolation)
    fails(lambda: conn.execute("SELECT * FROM nowhere WHERE a = %s", ("s3cr3t-6",)), psycopg.errors.UndefinedTable)
    fails(lambda: conn.execute("SELEC 's3cr3t-7'"), psycopg.errors.SyntaxError)
    with conn.cursor() as cursor:
        with cursor.copy("COPY orders FROM STDIN") as copy:
            for number in range(100, 5000):
                copy.write_row((number, "s3cr3t-8" * 10))
        with cursor.copy("COPY orders TO STDOUT") as copy:
            assert sum(len(data) for data in copy) > 400_000
    with conn.transaction(), conn.cursor("named") as cursor:
        cursor.itersize = 1000
        cursor.execute("SELECT id FROM orders")
        assert len(list(cursor)) == 4960
    began = time.monotonic_ns()
    conn.execute("SELECT pg_sleep(0.2)")
    print("took", time.monotonic_ns() - began)
    # 20 MB.
    assert len(conn.execute("SELECT repeat('s3cr3t-9', 100) FROM generate_series(1, 25000)").fetchall()) == 25000
    conn.execute(f"DELETE FROM orders WHERE id = 2 /*traceparent='{PARENT}'*/")
    conn.execute("ALTER USER shop PASSWORD 's3cr3t-a'")


async def by_asyncpg(conn):
    for number in range(10):
        await conn.fetch("SELECT id FROM orders WHERE id = $1", number)
    async with conn.transaction():
        await conn.executemany("INSERT INTO orders VALUES ($1, $2)", [(number, "s3cr3t-b") for number in range(6000, 6040)])
    try:
        await conn.execute("SELECT nothing FROM orders")
        raise SystemExit("that should fail")
    except asyncpg.UndefinedColumnError:
        pass
    async with conn.transaction():
        rows = [row async for row in conn.cursor("SELECT id FROM orders ORDER BY id", prefetch=1000)]
        assert len(rows) == 4999


async def main():
    older = psycopg.connect(TO, autocommit=True)
    older.execute("SELECT 1")
    at = {"host": "127.0.0.1", "port": PORT, "user": "shop", "database": "shop"}
    older_too = await asyncpg.connect(**at)
    await older_too.fetch("SELECT $1::int", 1)
    print("ready")
    sys.stdin.readline()
    with psycopg.connect(TO, autocommit=True) as conn:
        by_libpq(conn)
    conn = await asyncpg.connect(**at)
    await by_asyncpg(conn)
    await conn.close()
    for number in range(5):
        older.execute("SELECT count(*) FROM orders WHERE id < %s", (number,))
        await older_too.fetch("SELECT $1::int", number)
    print("done", flush=True)
    sys.stdin.readline()


asyncio.run(main())
