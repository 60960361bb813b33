"""Right: Redis adds and answers in one step, for all processes.

REDIS_URL=redis://localhost gunicorn -w 2 redis_incr:app
"""

import os

import redis
from flask import Flask

app = Flask(__name__)
counters = redis.Redis.from_url(os.environ["REDIS_URL"])


@app.post("/visits")
def visit():
    return {"value": counters.incr("visits")}
