"""WSGI applications for gunicorn in all its workers: `plain` (http.client), `flask` and `django` (requests)."""

import os

import requests
import requests.adapters

from calls import POOL, Ask, Pool, in_the_background, on_threads

session = requests.Session()
session.mount("http://", requests.adapters.HTTPAdapter(pool_connections=4, pool_maxsize=POOL, pool_block=True))
pool = Pool()


def call(port, target, headers):
    session.get(f"http://127.0.0.1:{port}{target}", headers=headers)


def plain(environ, start_response):
    target = environ["PATH_INFO"] + "?" + environ["QUERY_STRING"]
    on_threads(Ask(target, environ.get("HTTP_TRACEPARENT")), pool.call)
    start_response("200 OK", [("Content-Length", "2")])
    return [b"ok"]


def make_flask():
    import flask

    app = flask.Flask("bed")

    @app.get("/<id>")
    def answer(id):
        on_threads(Ask(flask.request.full_path, flask.request.headers.get("traceparent")), call)
        return "ok"

    return app


def make_django():
    import django
    from django.conf import settings
    from django.core.wsgi import get_wsgi_application
    from django.http import HttpResponse
    from django.urls import path

    def answer(request, id):
        on_threads(Ask(request.get_full_path(), request.headers.get("traceparent")), call)
        return HttpResponse("ok")

    settings.configure(ROOT_URLCONF=(path("<str:id>", answer),), ALLOWED_HOSTS=["*"], SECRET_KEY="none", USE_I18N=False)
    django.setup()
    return get_wsgi_application()


in_the_background(pool.call)
app = {"plain": lambda: plain, "flask": make_flask, "django": make_django}[os.environ.get("APPLICATION", "plain")]()
