"""Wrong in the threads that FastAPI runs a plain `def` in: they switch between the read and the write.

uvicorn fastapi_threads:app
"""

import time

from fastapi import FastAPI

app = FastAPI()
visits = 0


@app.post("/visits")
def count():
    global visits
    before = visits
    time.sleep(0.002)
    visits = number = before + 1
    return {"number": number}
