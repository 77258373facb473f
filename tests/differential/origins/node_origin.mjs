// Node.js: llhttp's parse, and the WHATWG's reading of the URL.
import { createHash } from 'node:crypto';
import { appendFileSync, readFileSync } from 'node:fs';
import http from 'node:http';
import https from 'node:https';
import { parseArgs } from 'node:util';

const string = { type: 'string' };
const { values: given } = parseArgs({ options: { plain: string, tls: string, cert: string, key: string, log: string } });

function answer(request, response) {
  const parts = [];
  request.on('data', (part) => parts.push(part));
  request.on('end', () => {
    const body = Buffer.concat(parts);
    const url = new URL(request.url, 'http://base.invalid');
    const headers = [];
    for (let at = 0; at < request.rawHeaders.length; at += 2) {
      headers.push([request.rawHeaders[at].toLowerCase(), request.rawHeaders[at + 1]]);
    }
    appendFileSync(given.log, JSON.stringify({
      method: request.method,
      target: request.url,
      path: Buffer.from(unescape(url.pathname), 'latin1').toString('latin1'),
      normal: url.pathname,
      pairs: [...url.searchParams],
      headers,
      body_bytes: body.length,
      body_sha256: createHash('sha256').update(body).digest('hex'),
    }) + '\n');
    response.writeHead(200, { 'Content-Length': 3 });
    response.end('ok\n');
  });
}

http.createServer(answer).listen(Number(given.plain), '127.0.0.1');
const tls = { cert: readFileSync(given.cert), key: readFileSync(given.key) };
https.createServer(tls, answer).listen(Number(given.tls), '127.0.0.1');
