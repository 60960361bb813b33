"""Servers of our own for one run: a private port, a private folder, and nothing left behind.

The lab and the tests want a real Redis, PostgreSQL, MariaDB or memcached without asking anyone to set one up.
`with private_redis() as server:` starts one on 127.0.0.1, `server.url` is its address, and the block's end is its end.
One short file a server says how it is found and started; `process` runs them all, `folder` cleans up after them.
"""
