"""Flask with a blueprint: prints its port, and answers until it is killed."""
import sys

from flask import Flask
from werkzeug.serving import make_server

from flask_items import items as routes


def create_app():
    app = Flask(__name__)
    app.register_blueprint(routes, url_prefix="/items")

    @app.route("/users/<int:user_id>/posts/<slug>", methods=["GET", "POST"])
    def post(user_id, slug):
        return f"{user_id} {slug}"

    @app.get("/users/me")
    def me():
        return "me"

    return app


server = make_server("127.0.0.1", 0, create_app(), threaded=True)
print("listening", server.port)
sys.stdout.flush()
server.serve_forever()
