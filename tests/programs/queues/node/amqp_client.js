// A client of RabbitMQ (amqplib) at the port of its first argument, for the exchange and the queue of the second.
//
// It connects and consumes, says `ready`, and on a line of its standard input publishes, says `sent N` and `received N`, and `done`.
const amqp = require('amqplib');
const readline = require('node:readline');

const [port, name] = process.argv.slice(2);
const url = `amqp://127.0.0.1:${port}`;

(async () => {
  let [sent, received] = [0, 0];
  let enough = () => {};
  const consumer = await (await amqp.connect(url)).createChannel();
  await consumer.assertExchange(name, 'topic');
  await consumer.assertQueue(`${name}-queue`);
  await consumer.bindQueue(`${name}-queue`, name, 'paid.#');
  const hear = () => {
    received += 1;
    enough();
  };
  await consumer.consume(`${name}-queue`, hear, { noAck: true });
  console.log('ready');
  readline.createInterface({ input: process.stdin }).once('line', async () => {
    const channel = await (await amqp.connect(url)).createConfirmChannel();
    for (let round = 0; round < 4; round += 1) {
      for (let number = 0; number < 10; number += 1) {
        channel.publish(name, 'paid.here', Buffer.from('secret'));
        sent += 1;
      }
      await channel.waitForConfirms();
    }
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
