"""Asks a server that speaks MySQL's protocol over TLS: texts, values bound by the driver, errors."""

import ssl
import sys

import pymysql

context = ssl.create_default_context()
context.check_hostname = False
context.verify_mode = ssl.CERT_NONE
print("ready", flush=True)
sys.stdin.readline()
connection = pymysql.connect(
    host="127.0.0.1", port=int(sys.argv[1]), user="shop", password="s3cr3t-0", database="shop", ssl=context
)
with connection.cursor() as cursor:
    cursor.execute("CREATE TABLE orders (id INT, note VARCHAR(40000))")
    for order in range(20):
        cursor.execute("INSERT INTO orders VALUES (%s, %s)", (order, "s3cr3t" * (1 + order * 300)))
    cursor.execute("SELECT * FROM orders WHERE note <> 's3cr3t'")
    assert len(cursor.fetchall()) == 19
    try:
        cursor.execute("SELECT * FROM nowhere")
    except pymysql.err.ProgrammingError as error:
        assert error.args[0] == 1146
connection.commit()
connection.close()
print("done", flush=True)
