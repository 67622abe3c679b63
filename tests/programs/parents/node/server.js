// Node: `server.js CLIENT`, with `http` (an agent that keeps connections), `fetch` (undici) or `h2` (one session of HTTP/2). With
// `workers` behind it two threads, each with a loop and a port of its own; with `serves-h2` it is asked over HTTP/2 in the clear.
const http = require('http');
const { Worker, isMainThread, workerData } = require('worker_threads');

const listen = Number(process.env.LISTEN || 0);
const backends = (process.env.BACKENDS || '').split(',').filter(Boolean).map(Number);
const pool = Number(process.env.POOL || 8);
const [client, threads] = isMainThread ? process.argv.slice(2) : workerData;

const nap = () => new Promise((done) => setTimeout(done, 1 + Math.random() * 4));

const agent = new http.Agent({ keepAlive: true, maxSockets: pool });

function byHttp(port, path, headers) {
  return new Promise((done, failed) => {
    http.get({ host: '127.0.0.1', port, path, headers, agent }, (response) => {
      response.resume();
      response.on('end', done);
    }).on('error', failed);
  });
}

let undici = null;
async function byFetch(port, path, headers) {
  const response = await undici.fetch(`http://127.0.0.1:${port}${path}`, { headers });
  await response.text();
}

async function byUndici(port, path, headers) {
  const response = await undici.request(`http://127.0.0.1:${port}${path}`, { headers });
  await response.body.text();
}

let sessions = new Map();
function byHttp2(port, path, headers) {
  const http2 = require('http2');
  if (!sessions.has(port)) sessions.set(port, http2.connect(`http://127.0.0.1:${port}`));
  return new Promise((done, failed) => {
    const stream = sessions.get(port).request({ ':path': path, ...headers });
    stream.resume();
    stream.on('end', done);
    stream.on('error', failed);
  });
}

const call = { http: byHttp, fetch: byFetch, undici: byUndici, h2: byHttp2 }[client];
if (client === 'fetch' || client === 'undici') {
  try {
    undici = require('undici');
    undici.setGlobalDispatcher(new undici.Agent({ connections: pool }));
  } catch (error) {
    if (client === 'undici') throw error;
    // The one within Node, whose pool has no bound.
    undici = { fetch };
  }
}

async function answer(request, response) {
  wasAsked = true;
  const url = new URL(request.url, 'http://localhost');
  const pattern = url.searchParams.get('p') || process.env.PATTERN || 'sequential';
  const count = Number(url.searchParams.get('n') ?? process.env.CALLS ?? 0);
  const headers = request.headers.traceparent ? { traceparent: request.headers.traceparent } : {};
  const one = (at) => call(backends[at % backends.length], `${url.pathname}.${at + 1}`, headers);
  const all = [...Array(count).keys()];
  if (pattern === 'parallel') await Promise.all(all.map(one));
  else if (pattern === 'forget') all.forEach(one);
  else {
    for (const at of all) {
      if (pattern === 'pause') await nap();
      await one(at);
    }
  }
  response.setHeader('content-length', 2);
  response.end('ok');
}

// Work of the service's own, of no request, from the first on.
let wasAsked = false;
const background = Number(process.env.BACKGROUND || 0);
if (background && backends.length > 0 && client) {
  const { threadId } = require('worker_threads');
  let at = 0;
  if (!isMainThread || threads !== 'workers') {
    const make = () => wasAsked && call(backends[0], `/background${process.pid}t${threadId}n${++at}`, {});
    setInterval(make, background);
  }
}

function serve(said) {
  const server = threads === 'serves-h2' ? require('http2').createServer(answer) : http.createServer(answer);
  server.keepAliveTimeout = 60000;
  server.listen(isMainThread ? listen : 0, '127.0.0.1', 1024, () => said(server.address().port));
}

if (!isMainThread) {
  serve((port) => require('worker_threads').parentPort.postMessage(port));
} else if (threads === 'workers') {
  const ports = [];
  for (let at = 0; at < 2; at++) {
    new Worker(__filename, { workerData: [client] }).on('message', (port) => {
      ports.push(port);
      if (ports.length === 2) console.log(`listening ${ports.join(' ')}`);
    });
  }
} else {
  serve((port) => console.log(`listening ${port}`));
}
