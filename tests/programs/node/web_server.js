// A server of HTTP/2 in the clear (`h2c`), of HTTP/2 and HTTP/1.1 over TLS (`h2 CERTIFICATE KEY`), or of HTTP/1.1 over TLS
// (`https CERTIFICATE KEY`).
const fs = require('fs');
const http2 = require('http2');
const https = require('https');

const [kind, cert, key] = process.argv.slice(2);
const options = kind === 'h2c' ? {} : { cert: fs.readFileSync(cert), key: fs.readFileSync(key), allowHTTP1: true };

function answer(request, response) {
  const body = [];
  request.on('data', (piece) => body.push(piece));
  request.on('end', () => {
    const status = request.url.startsWith('/status/') ? Number(request.url.slice(8)) : 200;
    const finish = () => {
      response.writeHead(status, { 'content-type': 'text/plain' });
      response.end(body.length > 0 ? Buffer.concat(body) : 'hello');
    };
    // Timers count from when the loop last looked at the clock, and so may be early by a millisecond.
    if (request.url === '/sleep') setTimeout(finish, 62);
    else finish();
  });
}

const servers = { h2c: http2.createServer, h2: http2.createSecureServer, https: https.createServer };
const server = servers[kind](options, answer);
server.listen(0, '127.0.0.1', () => console.log(`listening ${server.address().port}`));
