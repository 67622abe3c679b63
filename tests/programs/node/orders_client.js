// A gRPC client of `shop.Orders` at the port of its first argument.
//
// On a line of its standard input it makes its calls, and says of each its method, status and nanoseconds.
const grpc = require('@grpc/grpc-js');
const readline = require('node:readline');

const PAUSE = 20;

const later = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
const identity = (bytes) => bytes;
const path = (method) => `/shop.Orders/${method}`;
const hello = Buffer.from('hello');

const client = new grpc.Client(`127.0.0.1:${process.argv[2]}`, grpc.credentials.createInsecure());

async function timed(method, work) {
  const began = process.hrtime.bigint();
  const status = await work();
  console.log(`called ${method} ${grpc.status[status]} ${process.hrtime.bigint() - began}`);
}

const ask = (method, options = {}) => timed(method, () => new Promise((resolve) => {
  client.makeUnaryRequest(path(method), identity, identity, hello, options, (error) => resolve(error ? error.code : 0));
}));

// The status at the end of a call whose messages `take` gets.
const over = (call, take = () => {}) => new Promise((resolve) => {
  call.on('data', take);
  call.on('error', () => {});
  call.on('status', (status) => resolve(status.code));
});

const list = (method, take) => timed(method, () => {
  const call = client.makeServerStreamRequest(path(method), identity, identity, hello);
  return over(call, () => take && take(call));
});

async function numbers(call) {
  for (let number = 0; number < 5; number++) {
    if (number > 0) await later(PAUSE);
    call.write(Buffer.from(`${number}`));
  }
  call.end();
}

async function main() {
  for (let i = 0; i < 20; i++) await ask('Get');
  await Promise.all(Array.from({ length: 30 }, () => ask('Get')));
  await ask('Sleep');
  await ask('Missing');
  await ask('Nowhere');
  await list('List');
  await list('Broken');
  await timed('Upload', () => new Promise((resolve) => {
    const call = client.makeClientStreamRequest(path('Upload'), identity, identity,
      (error) => resolve(error ? error.code : 0));
    numbers(call);
  }));
  await timed('Chat', () => {
    const call = client.makeBidiStreamRequest(path('Chat'), identity, identity);
    numbers(call);
    return over(call);
  });
  await ask('Hang', { deadline: Date.now() + 150 });
  await list('Watch', (call) => call.cancel());
  console.log('done');
}

readline.createInterface({ input: process.stdin }).once('line', main);
