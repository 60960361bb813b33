"""Wrong in the threads of one process: something slow stands between the read and the write. No packages needed.

python threads_pause.py 8080
"""

import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

visits = 0


class Visits(BaseHTTPRequestHandler):
    def do_POST(self):
        global visits
        before = visits
        time.sleep(0.002)
        visits = before + 1
        body = f"You are number {before + 1}\n".encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


class Server(ThreadingHTTPServer):
    request_queue_size = 1024  # 5 by default: a crowd would wait for seconds to be let in


Server(("127.0.0.1", int(sys.argv[1])), Visits).serve_forever()
