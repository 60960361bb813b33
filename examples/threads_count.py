"""Right in the threads of one process: next() on an itertools.count is one step. Python's own http.server, no packages.

python threads_count.py 8080
"""

import itertools
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

numbers = itertools.count(1)


class Visits(BaseHTTPRequestHandler):
    def do_POST(self):
        body = f"You are number {next(numbers)}\n".encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


class Server(ThreadingHTTPServer):
    request_queue_size = 1024  # 5 by default: a crowd would wait for seconds to be let in


Server(("127.0.0.1", int(sys.argv[1])), Visits).serve_forever()
