// A client of MQTT 3.1.1 (MQTT.js) at the port of its first argument, with topics below the second.
//
// It connects and subscribes, says `ready`, and on a line of its standard input pings, publishes, says `sent N` and `received N`, and
// `done`.
const mqtt = require('mqtt');
const readline = require('node:readline');

const [port, name] = process.argv.slice(2);

(async () => {
  let [sent, received] = [0, 0];
  let enough = () => {};
  const options = { protocolVersion: 4, clientId: `${name}-1`, username: 'user', password: 'secret', keepalive: 60 };
  const client = await mqtt.connectAsync(`mqtt://127.0.0.1:${port}`, options);
  client.on('message', () => {
    received += 1;
    enough();
  });
  await client.subscribeAsync(`${name}/+/heat`, { qos: 1 });
  console.log('ready');
  readline.createInterface({ input: process.stdin }).once('line', async () => {
    const pinged = new Promise((resolve) => {
      client.on('packetreceive', (packet) => packet.cmd === 'pingresp' && resolve());
    });
    client.sendPing();
    await pinged;
    for (let number = 0; number < 40; number += 1) {
      await client.publishAsync(`${name}/17/heat`, 'secret', { qos: 1 });
      sent += 1;
    }
    while (received < sent) {
      await new Promise((resolve) => {
        enough = resolve;
      });
    }
    await client.unsubscribeAsync(`${name}/+/heat`);
    console.log(`sent ${sent}`);
    console.log(`received ${received}`);
    console.log('done');
  });
})();
