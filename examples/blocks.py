"""Wrong where order counts: each process takes a hundred numbers ahead, so they are unique, but not in order.

gunicorn -w 2 blocks:app
BLOCK=100000 gunicorn -w 2 blocks:app     blocks that no race uses up look like processes that count alone
"""

import os
import sqlite3
import time

FILE, BLOCK = "blocks.sqlite3", int(os.environ.get("BLOCK", "100"))

with sqlite3.connect(FILE) as made:
    made.execute("CREATE TABLE IF NOT EXISTS taken (one INTEGER PRIMARY KEY, upto INTEGER)")
    made.execute("INSERT OR IGNORE INTO taken VALUES (1, 0)")
made.close()

mine = iter(())


def take_a_block():
    database = sqlite3.connect(FILE, timeout=30)
    with database:
        [(upto,)] = database.execute("UPDATE taken SET upto = upto + ? RETURNING upto", [BLOCK]).fetchall()
    database.close()
    return iter(range(upto - BLOCK + 1, upto + 1))


def app(environ, start_response):
    global mine
    if environ["REQUEST_METHOD"] != "POST":
        start_response("405 Method Not Allowed", [("Allow", "POST")])
        return [b""]
    number = next(mine, None)
    if number is None:
        mine = take_a_block()
        number = next(mine)
    time.sleep(0.002)  # what the number is for
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [f"{number}\n".encode()]
