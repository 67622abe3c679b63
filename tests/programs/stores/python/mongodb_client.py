"""A client of MongoDB (pymongo) at the port of its first argument.

It connects, says `ready`, and on a line of its standard input makes its calls, and says `done` with how many commands of each kind its driver
has sent, in JSON.
"""

import json
import sys

import pymongo
from pymongo import monitoring
from pymongo.errors import BulkWriteError, DuplicateKeyError, OperationFailure

counts = {}


class Counter(monitoring.CommandListener):
    def started(self, event):
        counts[event.command_name] = counts.get(event.command_name, 0) + 1

    def succeeded(self, event):
        pass

    def failed(self, event):
        pass


client = pymongo.MongoClient("127.0.0.1", int(sys.argv[1]), event_listeners=[Counter()], maxPoolSize=1)
shop = client.shop
shop.command("ping")
print("ready", flush=True)
sys.stdin.readline()
counts.clear()

orders = shop.orders
orders.insert_many([{"_id": number, "name": "secret-1", "total": number} for number in range(30)])
orders.insert_one({"_id": "large", "value": "x" * 1_000_000})
assert orders.find_one({"name": "secret-1", "total": {"$gt": 5}}) is not None
assert len(list(orders.find({"total": {"$lt": 25}}, batch_size=10))) == 25
assert orders.update_many({"total": {"$gte": 20}}, {"$set": {"name": "secret-2"}}).modified_count == 10
assert orders.delete_one({"_id": 3}).deleted_count == 1
assert len(list(orders.aggregate([{"$match": {"name": "secret-2"}}]))) == 10
assert len(orders.find_one({"_id": "large"})["value"]) == 1_000_000
try:
    orders.insert_one({"_id": 1, "name": "secret-3"})
    raise SystemExit("that should fail")
except DuplicateKeyError:
    pass
try:
    orders.bulk_write([pymongo.InsertOne({"_id": 2}), pymongo.InsertOne({"_id": 100})], ordered=False)
    raise SystemExit("that should fail")
except BulkWriteError:
    pass
try:
    shop.command("nosuchcommand")
    raise SystemExit("that should fail")
except OperationFailure:
    pass
unacknowledged = orders.with_options(write_concern=pymongo.WriteConcern(w=0))
unacknowledged.insert_one({"_id": "mute", "name": "secret-4"})
assert orders.count_documents({}) > 0
orders.drop()
print("done", json.dumps(counts), flush=True)
sys.stdin.readline()
