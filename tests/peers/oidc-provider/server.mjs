// An OpenID Connect provider behind TLS. The first argument is a file that says which one; a line on standard output
// says that it listens. A line on standard input is an order: the whole of the accounts, or new keys.
import { readFileSync } from "node:fs";
import { createServer } from "node:https";
import { generateKeyPairSync } from "node:crypto";
import { createInterface } from "node:readline";
import { parse } from "node:querystring";
import { Provider } from "oidc-provider";

const orders = JSON.parse(readFileSync(process.argv[2], "utf8"));
let accounts = orders.accounts;
let made = 0;

function newKey() {
  const { privateKey } = generateKeyPairSync("ec", { namedCurve: "P-256" });
  made += 1;
  return { ...privateKey.export({ format: "jwk" }), kid: `key-${made}`, alg: "ES256", use: "sig" };
}

const escaped = (text) => String(text).replace(/[&<>"']/g, (each) => `&#${each.charCodeAt(0)};`);

function page(title, content) {
  return `<!doctype html><html lang="en"><meta charset="utf-8"><title>${title}</title><h1>${title}</h1>${content}`;
}

function newProvider() {
  return new Provider(orders.issuer, {
    clients: orders.clients,
    jwks: { keys: [newKey()] },
    claims: { openid: ["sub", "groups", "amr", "acr"], profile: ["preferred_username"], sid: null, auth_time: null, iss: null },
    clientDefaults: { id_token_signed_response_alg: "ES256" },
    conformIdTokenClaims: Boolean(orders.userinfo),
    cookies: { keys: ["a key of the tests"] },
    features: { devInteractions: { enabled: false } },
    findAccount: (_ctx, id) => accounts[id] && { accountId: id, claims: async () => ({ sub: id, ...accounts[id].claims }) },
    interactions: { url: (_ctx, interaction) => `/interaction/${interaction.uid}` },
    // Nobody is asked for his leave: the client is the house's own.
    loadExistingGrant: async (ctx) => {
      const grant = new ctx.oidc.provider.Grant({ clientId: ctx.oidc.client.clientId, accountId: ctx.oidc.session.accountId });
      grant.addOIDCScope("openid profile");
      await grant.save();
      return grant;
    },
    pkce: { required: () => true },
    renderError: (ctx, out) => { ctx.type = "html"; ctx.body = page("Refused", `<p>${escaped(out.error)}</p>`); },
    ttl: { AccessToken: 600, AuthorizationCode: 60, Grant: 600, IdToken: 600, Interaction: 600, Session: 600 },
  });
}

let provider = newProvider();
let answer = provider.callback();

async function interact(request, response) {
  const details = await provider.interactionDetails(request, response);
  if (request.method === "GET") {
    response.setHeader("content-type", "text/html");
    response.end(page("The hospital", `<form method="post"><label>Name <input name="login" autofocus></label>
      <label>Password <input name="password" type="password"></label><button>Let me in</button>
      <button name="leave" value="yes">Leave</button></form>`));
    return;
  }
  let body = "";
  for await (const piece of request) body += piece;
  const { login, password, leave } = parse(body);
  const found = Object.entries(accounts).find(([, each]) => each.login === login && each.password === password);
  if (leave || details.prompt.name !== "login" || !found) {
    await provider.interactionFinished(request, response, { error: "access_denied" });
    return;
  }
  const [accountId, { amr, acr }] = found;
  await provider.interactionFinished(request, response, { login: { accountId, amr, acr, remember: false } });
}

const tls = { key: readFileSync(orders.key), cert: readFileSync(orders.certificate) };
const server = createServer(tls, (request, response) => {
  if (!request.url.startsWith("/interaction/")) return answer(request, response);
  return interact(request, response).catch((error) => { response.statusCode = 400; response.end(String(error.name)); });
});
server.listen(orders.port, "127.0.0.1", () => console.log("ready"));

createInterface({ input: process.stdin }).on("line", (line) => {
  const order = JSON.parse(line);
  if (order.accounts) accounts = order.accounts;
  if (order.rotate) { provider = newProvider(); answer = provider.callback(); }
  console.log("done");
}).on("close", () => process.exit(0));
