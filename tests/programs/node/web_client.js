// A client of HTTP/2 (`h2`), in the clear or over TLS as the URL says, or of HTTP/1.1 over TLS (`https`). For each line `COUNT
// METHOD URL` of its standard input it makes so many requests at once, and says the status of the last.
const http2 = require('http2');
const https = require('https');
const readline = require('readline');
const { URL } = require('url');

const kind = process.argv[2];
const agent = new https.Agent({ keepAlive: true, maxSockets: 4, rejectUnauthorized: false });
const sessions = new Map();

function askHttp2(method, url) {
  if (!sessions.has(url.origin)) sessions.set(url.origin, http2.connect(url.origin, { rejectUnauthorized: false }));
  return sessions.get(url.origin).request({ ':method': method, ':path': url.pathname }, { endStream: false });
}

const ask = (method, url) => new Promise((resolve, reject) => {
  let request;
  if (kind === 'h2') {
    request = askHttp2(method, url);
    let status;
    request.on('response', (headers) => { status = headers[':status']; });
    request.on('end', () => resolve(status));
    request.resume();
  } else {
    // Node 8 takes no URL.
    const { hostname: host, port, pathname: path } = url;
    request = https.request({ host, port, path, agent, method }, (response) => {
      response.resume();
      response.on('end', () => resolve(response.statusCode));
    });
  }
  request.on('error', reject);
  request.end(method === 'POST' ? '12345' : undefined);
});

let last = Promise.resolve();
console.log('ready');
readline.createInterface({ input: process.stdin }).on('line', (line) => {
  const [count, method, url] = line.split(' ');
  last = last.then(async () => {
    const asked = Array.from({ length: Number(count) }, () => ask(method, new URL(url)));
    console.log(`done ${(await Promise.all(asked)).pop()}`);
  });
});
