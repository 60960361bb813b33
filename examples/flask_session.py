"""Right as a number for each client (that sends one request at a time), kept in its cookie. Wrong as a number for all.

flask --app flask_session run
"""

from flask import Flask, session

app = Flask(__name__)
app.secret_key = "only an example"


@app.post("/visits")
def count():
    session["visits"] = session.get("visits", 0) + 1
    return {"number": session["visits"]}
