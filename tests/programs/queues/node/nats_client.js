// A client of NATS (nats.js) at the port of its first argument, with subjects below the second.
//
// It connects and subscribes, says `ready`, and on a line of its standard input publishes, says `sent N` and `received N`, and `done`.
const { connect, StringCodec } = require('nats');
const readline = require('node:readline');

const [port, name] = process.argv.slice(2);

(async () => {
  let [sent, received] = [0, 0];
  let enough = () => {};
  const client = await connect({ servers: `127.0.0.1:${port}`, user: 'user', pass: 'secret' });
  client.subscribe(`${name}.*.paid`, {
    callback: () => {
      received += 1;
      enough();
    },
  });
  await client.flush();
  console.log('ready');
  readline.createInterface({ input: process.stdin }).once('line', async () => {
    for (let number = 0; number < 40; number += 1) {
      client.publish(`${name}.4711.paid`, StringCodec().encode('secret'.repeat(number === 39 ? 10000 : 1)));
      sent += 1;
    }
    await client.flush();
    while (received < sent) {
      await new Promise((resolve) => {
        enough = resolve;
      });
    }
    console.log(`sent ${sent}`);
    console.log(`received ${received}`);
    console.log('done');
  });
})();
