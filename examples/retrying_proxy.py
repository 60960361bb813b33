"""Wrong: the counter is right, but the proxy before it sends a request again when its answer was lost: counted twice.

uvicorn retrying_proxy:app
"""

import random

from fastapi import FastAPI

app = FastAPI()
visits = 0


def upstream():
    """The counter, beyond a line that loses one answer in five."""
    global visits
    visits += 1
    return visits if random.random() < 0.8 else None


@app.post("/visits")
async def proxy():
    number = None
    while number is None:
        number = upstream()
    return {"number": number}
