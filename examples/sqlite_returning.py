"""Right with any number of processes: one UPDATE … RETURNING adds and answers in one step. Plain WSGI.

gunicorn -w 2 sqlite_returning:app
"""

import sqlite3

FILE = "visits.sqlite3"

with sqlite3.connect(FILE) as made:
    made.execute("CREATE TABLE IF NOT EXISTS visits (one INTEGER PRIMARY KEY, value INTEGER)")
    made.execute("INSERT OR IGNORE INTO visits VALUES (1, 0)")
made.close()


def app(environ, start_response):
    if environ["REQUEST_METHOD"] != "POST":
        start_response("405 Method Not Allowed", [("Allow", "POST")])
        return [b""]
    database = sqlite3.connect(FILE, timeout=30)
    with database:
        [(number,)] = database.execute("UPDATE visits SET value = value + 1 RETURNING value").fetchall()
    database.close()
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [f"{number}\n".encode()]
