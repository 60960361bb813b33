"""Flask with INCR in Redis."""

import os

import redis
from flask import Flask

app = Flask(__name__)
store = redis.Redis.from_url(os.environ["REDIS_URL"])


@app.post("/increment")
def increment() -> dict[str, int]:
    return {"value": store.incr("flask")}


@app.get("/total")
def total() -> dict[str, int]:
    return {"value": int(store.get("flask") or 0)}
