"""Asks what services over HTTP are asked, with Elasticsearch's own client and by hand. Usage: PORT"""

import http.client
import json
import sys

from elasticsearch import Elasticsearch, NotFoundError

ROUNDS = 5
port = int(sys.argv[1])
print("ready", flush=True)
sys.stdin.readline()

search = Elasticsearch(f"http://127.0.0.1:{port}")
# Head and body are written one by one.
connection = http.client.HTTPConnection("127.0.0.1", port)


def post(target, body, **fields):
    connection.request("POST", target, body.encode(), fields)
    connection.getresponse().read()


JSON = {"Content-Type": "application/json"}
AMZ = {
    "Content-Type": "application/x-amz-json-1.0",
    "Authorization": "AWS4-HMAC-SHA256 Credential=AKIASECRET/20300101/eu-west-1/%s/aws4_request, Signature=secret",
}


def amz(service, target, body):
    fields = {**AMZ, "Authorization": AMZ["Authorization"] % service, "X-Amz-Target": target}
    post("/", json.dumps(body), **fields)


for nth in range(ROUNDS):
    search.search(index="orders", query={"match": {"name": "secret"}})
    search.index(index="orders", id=str(nth), document={"name": "secret"})
    try:
        search.search(index="none")
    except NotFoundError:
        pass
    post("/?database=shop", f"SELECT id FROM orders WHERE name = 'secret{nth}'")
    post("/graphql", json.dumps({"query": "query Orders($id: ID) { order(id: $id) { id } }", "variables": {"id": "secret"}}), **JSON)
    post("/rpc", json.dumps({"jsonrpc": "2.0", "method": "orders.list", "params": ["secret"], "id": 1}), **JSON)
    post("/rpc", json.dumps({"jsonrpc": "2.0", "method": "orders.fail", "params": ["secret"], "id": 1}), **JSON)
    post("/soap", "<Envelope>secret</Envelope>", **{"Content-Type": "text/xml", "SOAPAction": '"urn:shop#AddOrder"'})
    post("/query/service", json.dumps({"statement": "SELECT 1 FROM `shop` WHERE a = 'secret'"}), **JSON)
    amz("dynamodb", "DynamoDB_20120810.GetItem", {"TableName": "Orders", "Key": {"id": {"S": "secret"}}})
    amz("sqs", "AmazonSQS.SendMessage", {"QueueUrl": f"http://127.0.0.1:{port}/1/orders", "MessageBody": "secret" * 2000})
    amz("kms", "TrentService.Encrypt", {"Plaintext": "secret"})
    post("/plain", json.dumps({"query": "secret"}), **JSON)
print("done", flush=True)
sys.stdin.readline()
