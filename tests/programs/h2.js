// HTTP/2 over TLS: `h2.js serve CERTIFICATE KEY` answers a path `/STATUS/SIZE/…` with that status and as many bytes, and what is
// uploaded with its size; `h2.js call PORT` makes, for each line `COUNT STREAMS` of its standard input, so many requests on one
// connection, as many at a time.
const fs = require('node:fs');
const http2 = require('node:http2');
const readline = require('node:readline');

const SIZES = [0, 300, 1500, 5000, 30000, 1000000];
const STATUSES = [200, 200, 404, 503];

function serve(certificate, key) {
  const server = http2.createSecureServer({ cert: fs.readFileSync(certificate), key: fs.readFileSync(key), maxSessionMemory: 1000 });
  server.on('stream', (stream, headers) => {
    const [, status, size] = headers[':path'].split('/');
    stream.on('data', () => {});
    stream.on('end', () => {
      stream.respond({ ':status': Number(status), 'x-of': headers[':path'] });
      stream.end('x'.repeat(Number(size)));
    });
  });
  server.listen(0, '127.0.0.1', () => console.log(`listening ${server.address().port}`));
}

function call(port) {
  let session;
  let number = 0;
  const ask = () => new Promise((resolve, reject) => {
    const [status, size] = [STATUSES[number % STATUSES.length], SIZES[number % SIZES.length]];
    const body = SIZES[(number >> 3) % 5];
    const path = `/${status}/${size}/${number}`;
    const request = session.request({ ':path': path, ':method': body ? 'POST' : 'GET', 'x-of': path }, { endStream: !body });
    number += 1;
    request.on('response', (headers) => {
      if (headers[':status'] !== status) reject(new Error(`${path}: ${headers[':status']}`));
    });
    request.on('data', () => {});
    request.on('end', resolve);
    request.on('error', reject);
    if (body) request.end('y'.repeat(body));
  });
  console.log('ready');
  readline.createInterface({ input: process.stdin }).on('line', async (line) => {
    session ??= http2.connect(`https://127.0.0.1:${port}`, { rejectUnauthorized: false, maxSessionMemory: 1000 });
    const [count, streams] = line.split(' ').map(Number);
    let left = count;
    const one = async () => { while (left-- > 0) await ask(); };
    await Promise.all(Array.from({ length: streams }, one));
    console.log('done');
  });
}

const [verb, ...rest] = process.argv.slice(2);
(verb === 'serve' ? serve : call)(...rest);
