// An HTTPS server: OpenSSL is linked into Node, and used through memory. What a path begins with says what is answered.
// Started in a folder with cert.pem and key.pem.
const fs = require('node:fs');
const https = require('node:https');

const options = { key: fs.readFileSync('key.pem'), cert: fs.readFileSync('cert.pem') };
const server = https.createServer(options, (request, response) => {
  request.resume().on('end', () => {
    response.statusCode = request.url.startsWith('/no/') ? 404 : 200;
    response.end('z'.repeat(request.url.startsWith('/big/') ? 300000 : 5));
  });
});
server.listen(0, '127.0.0.1', () => console.log(`listening ${server.address().port}`));
