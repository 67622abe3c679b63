// A long-lived client: for each line `COUNT URL` of its standard input, so many GETs, over one kept connection.
const http = require('node:http');
const readline = require('node:readline');

const agent = new http.Agent({ keepAlive: true, maxSockets: 1 });

function get(url) {
  return new Promise((resolve, reject) => {
    http.get(url, { agent, headers: { 'User-Agent': 'long-lived/1' } }, (response) => {
      response.resume();
      response.on('end', () => resolve(response.statusCode));
    }).on('error', reject);
  });
}

async function main() {
  console.log('ready');
  for await (const line of readline.createInterface({ input: process.stdin })) {
    const [count, url] = line.split(' ');
    let status;
    for (let i = 0; i < Number(count); i++) status = await get(url);
    console.log(`done ${status}`);
  }
}
main();
