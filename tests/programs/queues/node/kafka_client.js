// A client of Kafka (kafkajs) at the port of its first argument, for the topic of the second.
//
// It connects, says `ready`, and on a line of its standard input sends and fetches, says `sent N` and `received N`, and `done`.
const { Kafka, logLevel, Partitioners } = require('kafkajs');
const readline = require('node:readline');

const [port, topic] = process.argv.slice(2);
const CONTEXT = '00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01';
const kafka = new Kafka({
  clientId: 'bill',
  brokers: [`127.0.0.1:${port}`],
  logLevel: logLevel.NOTHING,
  retry: { retries: 5 },
});
const producer = kafka.producer({ createPartitioner: Partitioners.DefaultPartitioner });
const consumer = kafka.consumer({ groupId: `group-${topic}`, maxWaitTimeInMs: 500 });

async function calls() {
  let [sent, received] = [0, 0];
  let enough = () => {};
  const send = async (messages) => {
    await producer.send({ topic, messages });
    sent += messages.length;
  };
  await consumer.subscribe({ topic, fromBeginning: true });
  const first = new Promise((resolve) => {
    enough = resolve;
  });
  await consumer.run({
    autoCommitThreshold: 1000,
    eachMessage: async () => {
      received += 1;
      enough();
    },
  });
  await first;
  for (let number = 0; number < 10; number += 1) {
    await send([{ key: 'secret-key', value: `secret-${number}`, partition: 0 }]);
  }
  await send(Array.from({ length: 30 }, (_, number) => ({ value: `secret-${number}`, partition: 1 })));
  await send([{ value: 'secret', partition: 0, headers: { traceparent: CONTEXT, other: 'secret' } }]);
  const large = [{ value: 'secret'.repeat(30000), partition: 0 }];
  await producer.send({ topic, messages: large }).then(
    () => {
      throw new Error('that should fail');
    },
    () => {},
  );
  while (received < sent + 1) {
    await new Promise((resolve) => {
      enough = resolve;
    });
  }
  await consumer.stop();
  console.log(`sent ${sent}`);
  console.log(`received ${received}`);
  console.log('done');
}

(async () => {
  await Promise.all([producer.connect(), consumer.connect()]);
  await producer.send({ topic, messages: [{ value: 'secret', partition: 0 }] });
  console.log('ready');
  readline.createInterface({ input: process.stdin }).once('line', calls);
})();
