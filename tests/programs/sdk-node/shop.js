// A service; asks the next one, if it is given its port, twice for each request that it gets: by `http` (`http`), or by `fetch`.
'use strict';
const http = require('http');

const [, , how, next] = process.argv;

function byHttp(url) {
  return new Promise((resolve, reject) => {
    http.get(url, (response) => response.resume().on('end', resolve)).on('error', reject);
  });
}

async function ask(url) {
  if (how === 'http') return byHttp(url);
  return (await fetch(url)).text();
}

const server = http.createServer(async (request, response) => {
  for (const turn of next ? ['a', 'b'] : []) await ask(`http://127.0.0.1:${next}${request.url}/${turn}`);
  response.end('ok');
});
server.listen(0, '127.0.0.1', () => console.log('listening', server.address().port));
