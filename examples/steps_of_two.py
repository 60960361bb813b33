"""Wrong where numbers are to be consecutive: a counter that goes up by two, as one of two database masters does.

uvicorn steps_of_two:app
"""

from itertools import count

from fastapi import FastAPI

app = FastAPI()
odd = count(1, 2)


@app.post("/orders")
async def order():
    return {"order": next(odd)}
