"""Right for clients that send one request at a time: each has a number of its own, kept in its cookie.

flask --app flask_session run
"""

from flask import Flask, session

app = Flask(__name__)
app.secret_key = "only an example"


@app.post("/visits")
def count():
    session["visits"] = session.get("visits", 0) + 1
    return {"number": session["visits"]}
