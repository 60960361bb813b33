"""A threaded server of the standard library, as anybody writes it: counts right at /right, wrong at /racy and /tight.

Run as a process of its own; it prints its port.
"""

import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Numbers:
    racy = tight = right = 0
    lock = threading.Lock()


def racy():
    seen = Numbers.racy
    time.sleep(0.002)  # a query, say
    Numbers.racy = seen + 1
    return Numbers.racy


def tight():
    seen = Numbers.tight
    time.sleep(0)  # no longer than it takes to let another thread run
    Numbers.tight = seen + 1
    return seen + 1


def right():
    with Numbers.lock:
        Numbers.right += 1
        return Numbers.right


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        if self.path not in ("/racy", "/tight", "/right", "/two"):
            return self.send_error(404)
        number = {"/racy": racy, "/tight": tight}.get(self.path, right)()
        self.answer(f'{{"ticket": {number}, "version": {number}}}' if self.path == "/two" else f"You are {number}!")

    def do_GET(self):
        self.answer(str(Numbers.right))

    def answer(self, text):
        self.send_response(200)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, *_):
        pass


class Server(ThreadingHTTPServer):
    request_queue_size = 512
    daemon_threads = True


if __name__ == "__main__":
    server = Server(("127.0.0.1", 0), Handler)
    print(server.server_address[1], flush=True)  # noqa: T201 - this is how it is found
    server.serve_forever()
