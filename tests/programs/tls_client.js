// PORT COUNT: so many HTTPS requests over a few kept connections, with an upload now and then, once told to by a line.
const https = require('node:https');

const [port, count] = process.argv.slice(2).map(Number);
const agent = new https.Agent({ keepAlive: true, maxSockets: 4, rejectUnauthorized: false });
let done = 0;

function send(i) {
  const path = (i % 7 === 0 ? '/big/' : i % 5 === 0 ? '/no/' : '/ok/') + i;
  const method = i % 10 === 3 ? 'POST' : 'GET';
  const request = https.request({ agent, port, host: '127.0.0.1', path, method }, (response) => {
    response.resume().on('end', () => {
      done += 1;
      if (done === count) {
        agent.destroy();
        console.log('done');
      }
    });
  });
  request.end(method === 'POST' ? Buffer.alloc(100000) : undefined);
}

process.stdin.once('data', () => {
  process.stdin.destroy();
  for (let i = 0; i < count; i++) send(i);
});
console.log('ready');
