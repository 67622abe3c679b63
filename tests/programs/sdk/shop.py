"""A service in Flask; asks the next one, if it is given its port, twice for each request that it gets."""

import sys

import flask
import requests

app = flask.Flask("shop")
next_one = sys.argv[1] if len(sys.argv) > 1 else None


@app.get("/<path:path>")
def answer(path):
    for turn in ("a", "b") if next_one else ():
        requests.get(f"http://127.0.0.1:{next_one}/{path}/{turn}").raise_for_status()
    return "ok"


if __name__ == "__main__":
    from werkzeug.serving import make_server

    server = make_server("127.0.0.1", 0, app, threaded=True)
    print("listening", server.server_port, flush=True)
    server.serve_forever()
