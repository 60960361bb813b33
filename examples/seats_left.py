"""Right: how many seats are left, counted down in one step that no await divides.

uvicorn seats_left:app
"""

from fastapi import FastAPI

app = FastAPI()
left = 5000


@app.post("/bookings")
async def book():
    global left
    left -= 1
    return {"seats_left": left}
