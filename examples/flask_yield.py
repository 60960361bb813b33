"""Wrong wherever requests share a process: something yields between the read and the write, and updates are lost.

gunicorn -w 1 -k gevent flask_yield:app
flask --app flask_yield run
"""

import time

from flask import Flask

app = Flask(__name__)
visits = 0


@app.post("/visits")
def count():
    global visits
    before = visits
    time.sleep(0.002)  # a query, a log line: under gevent, and in threads, others run meanwhile
    visits = number = before + 1
    return {"number": number}
