// A client of Memcached (memjs, binary protocol) at the port of its first argument, which asks much before it is answered.
//
// It connects, says `ready`, and on a line of its standard input makes its calls and says `done`.
const memjs = require('memjs');
const readline = require('node:readline');

const client = memjs.Client.create(`127.0.0.1:${process.argv[2]}`);

async function calls() {
  // By itself: by this a connection that is older than who listens is known.
  await client.get('nothing');
  await Promise.all(Array.from({ length: 50 }, (_, number) => client.set(`node-${number}`, 'secret-10', { expires: 60 })));
  const got = await Promise.all(Array.from({ length: 60 }, (_, number) => client.get(`node-${number}`)));
  if (got.filter(({ value }) => value).length !== 50) throw new Error('values are missing');
  await client.increment('node-number', 2, { initial: 5 });
  if (await client.add('node-1', 'secret-11')) throw new Error('that should fail');
  await client.set('node-text', 'secret-12');
  await client.increment('node-text', 1).then(() => Promise.reject(new Error('that should fail')), () => {});
  await client.delete('node-1');
}

client.get('nothing').then(() => {
  console.log('ready');
  readline.createInterface({ input: process.stdin }).once('line', async () => {
    await calls();
    console.log('done');
  });
});
