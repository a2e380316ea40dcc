// What an agent does in its life, by the TypeScript client against a real vault. Each line of the answer is one thing.

import { writeFileSync } from "node:fs";

const { NOCKVAULT_SDK } = process.env;
const nockvault = await import(`${NOCKVAULT_SDK}/dist/src/index.js`);
const wire = await import(`${NOCKVAULT_SDK}/dist/src/wire.js`);
const { grpcCarry } = await import(`${NOCKVAULT_SDK}/dist/src/channel.js`);

const say = (...what) => console.log(JSON.stringify(what));

async function fault(act) {
  try {
    await act();
  } catch (error) {
    if (error instanceof nockvault.Refused) say(error.reason, error.limit, error.proven);
    else if (error instanceof nockvault.Fault) say(error.name, error.why ?? null);
    else throw error;
  }
}

async function life() {
  const card = nockvault.findCard("vault/prod.card");
  const { carry, close } = grpcCarry(card);
  let sent = [];
  let hand = 0;
  const around = {
    clock: () => Date.now() + hand,
    random: (_, bytes) => crypto.getRandomValues(new Uint8Array(bytes)),
  };
  const recorded = (method, body) => {
    sent.push({ method, body });
    return carry(method, body);
  };
  const options = { card, agent: "kit", key: "kit.ed25519", around, carry: recorded };
  const vault = await nockvault.Vault.connect(options);
  const session = vault.session("js");
  const credential = await session.request("orders-read", { ttl: 60, purpose: "n\u00e4chtlich \u2028" });
  say(credential.secret.get("value"), credential.secret.value, credential.secret.kind, session.sid.slice(0, 3));
  writeFileSync("kit.receipt", nockvault.jcs(credential.receipt));
  if (JSON.stringify(credential).includes("hunter2")) throw new Error("a secret is shown");
  const before = credential.exp;
  say((await session.renew(credential, 900)) > before && credential.exp > before);
  await fault(() => session.request("orders-write"));
  await fault(() => session.request("orders-read", { ttl: 7200 }));
  await fault(() => session.request("orders-read", { params: { n: 1.5 } }));
  await session.release(credential);
  await fault(() => session.renew(credential));

  // The same bytes again: the vault refuses them, and this client never sends them.
  const again = sent.find(({ method }) => method === "RequestCredential");
  const replayed = await carry(again.method, again.body);
  say(wire.refusal(replayed.details).reason);
  const bodies = sent.map(({ body }) => body.toString("hex"));
  say(bodies.length === new Set(bodies).size);

  // An hour late: the vault's signed word corrects it, and a new statement is signed, once.
  sent = [];
  hand = -3_600_000;
  say((await session.request("orders-read")).secret.value, sent.length);

  const following = nockvault.Key.generate();
  following.write("kit.next.ed25519");
  say((await session.rotateKey(following)) > Date.now(), following.kver);
  say((await session.request("orders-read")).secret.value);
  await session.request("orders-read");
  say(await session.close());
  say(vault.seen.size);
  const key = nockvault.Key.read("kit.next.ed25519");
  key.kver = 2;
  const other = await nockvault.Vault.connect({ card, agent: "kit", key });
  say(JSON.stringify(other.seen) === JSON.stringify(vault.seen));
  other.close();
  close();
}

/** Card, key and memory where they are by habit; what is held is released at the end. */
async function named() {
  const session = await nockvault.connect({ card: "vault/prod.card", agent: "kit", key: "kit.ed25519" });
  say((await session.request("orders-read")).secret.value);
  await session.close();
  await fault(() => session.request("orders-read"));
  await session[Symbol.asyncDispose]();
}

async function together() {
  const session = await nockvault.connect({ card: "vault/prod.card", agent: "kit", key: "kit.ed25519", state: null });
  const credentials = await Promise.all(Array.from({ length: 5 }, () => session.request("orders-read")));
  say([...new Set(credentials.map(({ secret }) => secret.value))], new Set(credentials.map(({ lease }) => lease)).size);
  try {
    await session.request("orders-write");
  } catch (refused) {
    say(refused.reason, refused.proven);
  }
  say((await session.renew(credentials[0])) > 0);
  await session.release(credentials[0]);
  say(await session.close());
  await session.end();
}

async function strangers(cards) {
  const options = { agent: "kit", key: "kit.ed25519", state: null };
  for (const card of cards) await fault(() => nockvault.connect({ ...options, card }));
  await fault(() => nockvault.connect({ ...options, card: "vault/prod.card", key: "open.ed25519" }));
  await fault(async () => {
    const session = await nockvault.connect({ ...options, card: "vault/prod.card", key: nockvault.Key.generate() });
    await session.request("x").finally(() => session.vault.close());
  });
}

async function launcher() {
  const given = await nockvault.fromAgent("orders-read", { params: { table: "orders" }, ttl: 60, purpose: "test" });
  say(given.secret.value, given.kind, given.role);
  if (JSON.stringify(given).includes("hunter2")) throw new Error("a secret is shown");
  await fault(() => nockvault.fromAgent("orders-write"));
  await fault(() => nockvault.fromAgent("broken"));
}

/** Below the real launcher, which has the key that this process has not. */
async function launched() {
  const [one, other] = await Promise.all([nockvault.fromAgent("orders-read"), nockvault.fromAgent("orders-read")]);
  say(one.secret.value, one.lease === other.lease);
  await fault(() => nockvault.fromAgent("other"));
}

const [act, ...cards] = process.argv.slice(2);
await { life, named, together, strangers, launcher, launched }[act](cards);
