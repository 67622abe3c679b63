// Sends messages over AMQP 1.0 and takes them again. Usage: PORT. Says how many it has sent and taken.
'use strict';
const readline = require('readline');
const rhea = require('rhea');
const port = Number(process.argv[2]);
const ALL = 25;
const counts = { sent: 0, accepted: 0, taken: 0 };

function start() {
  const container = rhea.create_container();
  const connection = container.connect({ host: '127.0.0.1', port, username: 'guest', password: 'guest', reconnect: false });
  connection.open_sender('/queue/orders');
  container.on('sendable', (context) => {
    while (counts.sent < ALL && context.sender.sendable()) {
      const message = { message_id: `message-${counts.sent}`, body: 'secret'.repeat(counts.sent === 3 ? 20000 : 10) };
      message.application_properties = { password: 'secret' };
      if (counts.sent === 0) message.application_properties.traceparent = '00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01';
      counts.sent += 1;
      context.sender.send(message);
    }
  });
  container.on('accepted', () => {
    counts.accepted += 1;
    if (counts.accepted === ALL) connection.open_receiver('/queue/orders');
  });
  container.on('message', () => {
    counts.taken += 1;
    if (counts.taken === ALL) setImmediate(() => connection.close());
  });
  container.on('connection_close', () => console.log(`counted sent=${counts.sent} taken=${counts.taken}`));
}

console.log('ready');
const lines = readline.createInterface({ input: process.stdin });
lines.once('line', () => {
  start();
  lines.once('line', () => process.exit(0));
});
