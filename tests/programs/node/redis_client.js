// A client of Redis (ioredis) at the port of its first argument, which pipelines what is asked in one turn of its loop.
//
// It connects, says `ready`, and on a line of its standard input makes its calls and says `done`.
const Redis = require('ioredis');
const readline = require('node:readline');

const at = { host: '127.0.0.1', port: Number(process.argv[2]), disableClientInfo: true };
const client = new Redis({ ...at, enableAutoPipelining: true });
const subscriber = new Redis(at);

async function calls() {
  await Promise.all(Array.from({ length: 50 }, (_, number) => client.set(`key-${number}`, 'secret-5')));
  await Promise.all(Array.from({ length: 50 }, (_, number) => client.get(`key-${number}`)));
  await client.eval('return redis.error_reply("SCRIPT says no")', 0).catch(() => {});
  const heard = new Promise((resolve) => subscriber.on('message', (_, message) => message === 'last' && resolve()));
  await subscriber.subscribe('channel', 'other');
  for (const message of ['one', 'two', 'last']) await client.publish('channel', message);
  await heard;
  await subscriber.unsubscribe();
  await subscriber.type('key-1');
}

Promise.all([client.ping(), subscriber.ping()]).then(() => {
  console.log('ready');
  readline.createInterface({ input: process.stdin }).once('line', async () => {
    await calls();
    console.log('done');
  });
});
