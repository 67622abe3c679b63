from flask import Blueprint

items = Blueprint("items", __name__)


@items.get("/")
def all():
    return "all"


@items.get("/<path:file>")
def one(file):
    return file
