// A Node server with keep-alive: heads and bodies leave by writev.
const http = require('node:http');

const server = http.createServer((request, response) => {
  const url = new URL(request.url, 'http://server');
  let received = 0;
  request.on('data', (piece) => { received += piece.length; });
  request.on('end', () => {
    if (url.pathname === '/pieces') {
      response.writeHead(200);
      for (let i = 0; i < 5; i++) response.write('p'.repeat(1000));
      response.end();
    } else if (url.pathname === '/later') {
      const began = process.hrtime.bigint();
      setTimeout(() => {
        response.end(JSON.stringify({ ns: Number(process.hrtime.bigint() - began) }));
      }, Number(url.searchParams.get('ms')));
    } else {
      response.setHeader('Content-Type', 'application/json');
      response.end(JSON.stringify({ received }));
    }
  });
});
server.keepAliveTimeout = 60000;
server.listen(0, '127.0.0.1', () => console.log(`listening ${server.address().port}`));
