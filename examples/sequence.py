"""Right if gaps are allowed: a PostgreSQL sequence never takes a number back, also when the order is rolled back.

    POSTGRES_URL=postgresql://127.0.0.1/shop uvicorn sequence:app

Every seventh customer cannot pay and is answered 402.
"""

import itertools
import os
from contextlib import asynccontextmanager

import asyncpg
from fastapi import FastAPI, HTTPException

customers = itertools.count(1)


@asynccontextmanager
async def lifespan(app):
    async with asyncpg.create_pool(os.environ["POSTGRES_URL"], min_size=1, max_size=8) as app.state.pool:
        await app.state.pool.execute("DROP TABLE IF EXISTS orders; CREATE TABLE orders (number bigserial PRIMARY KEY)")
        yield


app = FastAPI(lifespan=lifespan)


@app.post("/orders")
async def order():
    customer = next(customers)
    async with app.state.pool.acquire() as connection, connection.transaction():
        number = await connection.fetchval("INSERT INTO orders DEFAULT VALUES RETURNING number")
        if customer % 7 == 0:
            raise HTTPException(402, "no money")
    return {"number": number}
