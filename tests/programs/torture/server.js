// Answers as a request's target says (/s/STATUS/BYTES/DELAY/SHAPE/NUMBER, gRPC: /torture.T/cSTATUS-BYTES-DELAY-SHAPE-NUMBER):
// HTTP/1.1, HTTP/2 in the clear, and over TLS both of them. `server.js CERTIFICATE KEY` prints the three ports.
const fs = require('fs');
const http = require('http');
const http2 = require('http2');

const [cert, key] = process.argv.slice(2).map((file) => fs.readFileSync(file));
const PIECE = 7000;

function sizes(bytes, shape) {
  const size = shape === 'w' ? bytes : shape === 's' ? Math.max(PIECE, Math.ceil(bytes / 8)) : PIECE;
  const all = [];
  for (let left = bytes; left > 0; left -= size) all.push(Math.min(left, size));
  return all;
}

function message(size) {
  const bytes = Buffer.alloc(5 + size, 'm');
  bytes[0] = 0;
  bytes.writeUInt32BE(size, 1);
  return bytes;
}

// Writes pieces one behind the other, with pauses where it streams.
function pieces(stream, all, shape, finish) {
  const [piece, ...rest] = all;
  if (piece === undefined) return finish();
  stream.write(piece);
  if (shape === 's') setTimeout(() => pieces(stream, rest, shape, finish), 2);
  else pieces(stream, rest, shape, finish);
}

function answer(request, response) {
  request.on('data', () => {});
  request.on('end', () => {
    const call = request.url.startsWith('/torture.T/c');
    const words = call ? request.url.slice('/torture.T/c'.length).split('-') : request.url.slice('/s/'.length).split('/');
    const [status, bytes, delay] = words.map(Number);
    const shape = words[3];
    const finish = () => {
      if (call) return answerCall(response, status, bytes, shape);
      if (shape === 'w') {
        response.writeHead(status, status === 204 || status === 304 ? {} : { 'content-length': bytes });
        return response.end(request.method === 'HEAD' ? undefined : Buffer.alloc(bytes, 'a'));
      }
      response.writeHead(status);
      pieces(response, sizes(bytes, shape).map((size) => Buffer.alloc(size, 'a')), shape, () => response.end());
    };
    if (delay > 0) setTimeout(finish, delay + 1);
    else finish();
  });
}

function answerCall(response, status, bytes, shape) {
  const headers = { 'content-type': 'application/grpc' };
  if (status !== 0) {
    // A block of headers that ends the stream, as gRPC wants it: the response's own end is a DATA frame.
    response.stream.respond({ ':status': 200, ...headers, 'grpc-status': status }, { endStream: true });
    return;
  }
  response.addTrailers({ 'grpc-status': status });
  response.writeHead(200, headers);
  const all = (bytes === 0 ? [0] : sizes(bytes, shape)).map(message);
  pieces(response, all, shape, () => response.end());
}

// A hundred large bodies at once take more than the 10 MB that Node lets a session have before it refuses streams.
const limits = { settings: { maxConcurrentStreams: 200 }, maxSessionMemory: 1000 };
const servers = [
  http.createServer(answer),
  http2.createServer(limits, answer),
  http2.createSecureServer({ cert, key, allowHTTP1: true, ...limits }, answer),
];
servers[0].keepAliveTimeout = 60000;
// Where much is to be written yet, Node pauses its parser; of TLS it hands it what has come all the same, takes that for an error of the
// client's (HPE_PAUSED) and closes. So over TLS nothing counts as much.
servers[2].prependListener('secureConnection', (socket) => {
  socket._writableState.highWaterMark = 2 ** 30;
});
Promise.all(servers.map((server) => new Promise((resolve) => server.listen(0, '127.0.0.1', 1000, resolve)))).then(() =>
  console.log('listening', ...servers.map((server) => server.address().port)),
);
process.stdin.on('end', () => process.exit()).resume();
