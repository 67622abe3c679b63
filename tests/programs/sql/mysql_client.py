"""A client of MySQL or MariaDB (PyMySQL) at the port of its first argument.

It connects, says `ready`, and on a line of its standard input makes its calls, over a new connection too, and says `done`. Of one that shows how long
it took it says `took NAME ns`.
"""

import sys
import tempfile
import time

import pymysql
from pymysql.constants import CLIENT

AT = {"host": "127.0.0.1", "port": int(sys.argv[1]), "user": "shop", "password": "s3cr3t-0", "autocommit": True}
PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def fails(cursor, statement, code):
    try:
        cursor.execute(statement)
    except pymysql.MySQLError as error:
        assert error.args[0] == code, error
        return
    raise SystemExit("that should fail")


def calls(conn):
    cursor = conn.cursor()
    cursor.execute("CREATE TABLE orders (id int PRIMARY KEY, note text)")
    for number in range(10):
        cursor.execute("INSERT INTO orders VALUES (%s, %s)", (number, "s3cr3t-1"))
    cursor.executemany("INSERT INTO orders VALUES (%s, %s)", [(number, "it's s3cr3t-2") for number in range(10, 60)])
    cursor.execute("SELECT * FROM orders WHERE id < 5 AND note <> 's3cr3t-3'")
    assert len(cursor.fetchall()) == 5
    cursor.execute("UPDATE orders SET note = 's3cr3t-4' WHERE id = 1; SELECT 1; COMMIT")
    while cursor.nextset():
        pass
    fails(cursor, "INSERT INTO orders VALUES (1, 's3cr3t-5')", 1062)
    fails(cursor, "SELECT * FROM nowhere WHERE a = 's3cr3t-6'", 1146)
    fails(cursor, "SELEC 's3cr3t-7'", 1064)
    cursor.execute("CREATE PROCEDURE results() BEGIN SELECT 1; SELECT 's3cr3t-8' FROM orders; END")
    cursor.callproc("results")
    while cursor.nextset():
        pass
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as file:
        file.writelines(f"{number}\ts3cr3t-9\n" for number in range(100, 20_000))
        file.flush()
        cursor.execute(f"LOAD DATA LOCAL INFILE '{file.name}' INTO TABLE orders")
    began = time.monotonic_ns()
    cursor.execute("SELECT sleep(0.2)")
    print("took", time.monotonic_ns() - began)
    # 20 MB.
    cursor.execute("SELECT repeat('s3cr3t-a', 100) FROM orders")
    assert len(cursor.fetchall()) == 19_960
    cursor.execute(f"DELETE FROM orders WHERE id = 2 /*traceparent='{PARENT}'*/")
    cursor.execute("SET PASSWORD = PASSWORD('s3cr3t-0')")
    conn.select_db("other")
    cursor.execute("SELECT count(*) FROM shop.orders")


older = pymysql.connect(database="shop", **AT)
older.cursor().execute("SELECT 1")
print("ready")
sys.stdin.readline()
conn = pymysql.connect(database="shop", client_flag=CLIENT.MULTI_STATEMENTS, local_infile=True, **AT)
calls(conn)
conn.close()
for number in range(5):
    older.cursor().execute("SELECT count(*) FROM orders WHERE id < %s", (number,))
print("done", flush=True)
sys.stdin.readline()
