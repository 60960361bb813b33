"""The question's own app, right in one process of today's CPython (with its GIL): there is no switch inside `query`.

flask --app flask_global run                           right: the threaded development server
python flask_global.py 5000 processes=10               wrong: each request is a child, its number dies with it
gunicorn -w 2 flask_global:app                         wrong: each process counts alone
gunicorn -w 1 --max-requests 60 flask_global:app       wrong: the new process begins again
gunicorn -w 1 -k gevent flask_global:app               right: nothing in `query` yields
"""

import sys

from flask import Flask


class SomeObj:
    def __init__(self, param):
        self.param = param

    def query(self):
        self.param += 1
        return self.param


app = Flask(__name__)
global_obj = SomeObj(0)


@app.get("/")
def home():
    return f"You are number {global_obj.query()}"


if __name__ == "__main__":
    app.run(port=int(sys.argv[1]), threaded=False, processes=int(sys.argv[2].removeprefix("processes=")))
