"""Right in the threads of one process: one lock around the read, what takes long, and the write.

flask --app flask_lock run
"""

import threading
import time

from flask import Flask

app = Flask(__name__)
lock = threading.Lock()
visits = 0


@app.post("/visits")
def count():
    global visits
    with lock:
        before = visits
        time.sleep(0.002)
        visits = number = before + 1
    return {"number": number}
