"""The ASGI servers that a worker can run, and the event loops under them: one short file each, same words to all."""
