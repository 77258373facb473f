// Calls by one Node.js client: `node_clients.mjs CLIENT URL...`, with METHOD and BODY, and node_modules' folder in MODULES.
// Proxy and trust come from the environment. A line of JSON for each call says what the program's user can learn.
import { createRequire } from 'node:module';

const undici = createRequire(`${process.env.MODULES}/`)('undici');
undici.setGlobalDispatcher(new undici.EnvHttpProxyAgent());

const [client, ...urls] = process.argv.slice(2);
const { METHOD: method = 'GET', BODY: body, PREFER: prefer } = process.env;
const given = { method, body, headers: prefer ? { prefer } : {} };

const clients = {
  // Node's own fetch, by the proxy that undici knows.
  fetch: async (url) => {
    const answer = await fetch(url, given);
    return { status: answer.status, text: await answer.text() };
  },
  undici: async (url) => {
    const answer = await undici.fetch(url, given);
    return { status: answer.status, text: await answer.text() };
  },
  request: async (url) => {
    const answer = await undici.request(url, given);
    return { status: answer.statusCode, text: await answer.body.text() };
  },
};

for (const url of urls) console.log(JSON.stringify(await clients[client](url)));
