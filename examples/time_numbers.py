"""Wrong where they are to be unique or consecutive: numbers made of the time, of which two may come at once.

uvicorn time_numbers:app
"""

import time

from fastapi import FastAPI

app = FastAPI()


@app.post("/orders")
async def order():
    return {"order": time.time_ns() // 1_000}
