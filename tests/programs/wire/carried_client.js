// The same as carried_client.py asks by hand, from Node: head and body in one write. Usage: PORT
'use strict';
const http = require('http');
const readline = require('readline');
const port = Number(process.argv[2]);
const agent = new http.Agent({ keepAlive: true, maxSockets: 1 });

function post(path, body, headers) {
  return new Promise((resolve, reject) => {
    const request = http.request({ host: '127.0.0.1', port, path, method: 'POST', agent, headers: { ...headers, 'Content-Length': Buffer.byteLength(body) } }, (response) => {
      response.resume();
      response.on('end', resolve);
    });
    request.on('error', reject);
    request.end(body);
  });
}

const json = { 'Content-Type': 'application/json' };
const sign = (service) => `AWS4-HMAC-SHA256 Credential=AKIASECRET/20300101/eu-west-1/${service}/aws4_request, Signature=secret`;
const amz = (service, target, body) =>
  post('/', JSON.stringify(body), { 'Content-Type': 'application/x-amz-json-1.0', Authorization: sign(service), 'X-Amz-Target': target });

async function main() {
  for (let nth = 0; nth < 5; nth += 1) {
    await post('/?database=shop', `SELECT id FROM orders WHERE name = 'secret${nth}'`, {});
    await post('/graphql', JSON.stringify({ query: 'query Orders($id: ID) { order(id: $id) { id } }', variables: { id: 'secret' } }), json);
    await post('/rpc', JSON.stringify({ jsonrpc: '2.0', method: 'orders.list', params: ['secret'], id: 1 }), json);
    await post('/rpc', JSON.stringify({ jsonrpc: '2.0', method: 'orders.fail', params: ['secret'], id: 1 }), json);
    await post('/soap', '<Envelope>secret</Envelope>', { 'Content-Type': 'text/xml', SOAPAction: '"urn:shop#AddOrder"' });
    await post('/query/service', JSON.stringify({ statement: "SELECT 1 FROM `shop` WHERE a = 'secret'" }), json);
    await amz('dynamodb', 'DynamoDB_20120810.GetItem', { TableName: 'Orders', Key: { id: { S: 'secret' } } });
    await amz('sqs', 'AmazonSQS.SendMessage', { QueueUrl: `http://127.0.0.1:${port}/1/orders`, MessageBody: 'secret'.repeat(2000) });
    await amz('kms', 'TrentService.Encrypt', { Plaintext: 'secret' });
    await post('/plain', JSON.stringify({ query: 'secret' }), json);
  }
}

console.log('ready');
const lines = readline.createInterface({ input: process.stdin });
lines.once('line', () => {
  main().then(() => console.log('done'));
  lines.once('line', () => process.exit(0));
});
