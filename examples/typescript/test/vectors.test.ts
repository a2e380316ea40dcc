/** The request vectors of tests/vectors/requests. */

import assert from "node:assert/strict";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { test } from "node:test";
import { inspect } from "node:util";

import { Fault, Key, Local, NoAnswer, Refused, Unreachable, Untrusted, Vault, type Card, type Credential, type Session } from "../src/index.js";
import type { Around, Purpose } from "../src/client.js";
import { b64, jcs, message, pae, privateKey, publicBytes, unb64, type Form, type JsonObject } from "../src/statements.js";
import * as wire from "../src/wire.js";

const BESIDE = resolve(import.meta.dirname ?? ".", "../../../../tests/vectors/requests");
const FOLDER = process.env["NOCKVAULT_REQUEST_VECTORS"] ?? BESIDE;

type Signed = { payload_type: string; payload: string; signature: string; kid: string };
type Line = {
  call: string;
  challenge?: string;
  signed?: Signed;
  answer: { signed?: Signed; status?: { message: string; details: string } };
};
type Act = {
  do: string;
  expect: JsonObject;
  ask: { role: string; ttl: number; params: JsonObject; purpose: string };
  lease: string;
  req: string;
  ttl: number;
  seed: string;
  seconds: number;
};
type Talk = {
  name: string;
  clock: number;
  memory: JsonObject;
  remembers: JsonObject;
  random: Record<Purpose, string[]>;
  acts: Act[];
  tape: Line[];
};
type Whole = {
  card: { name: string; aud: string; identity: string; agents: string };
  agent: { name: string; seed: string; kver: number };
  label: string;
  conversations: Talk[];
};
type Vector = Signed & {
  name: string;
  form: Form;
  seed: string;
  typ: string;
  given: { aud: string; agent: string; kver: number; sid: string; nonce: string; iat: number } & {
    prev: string;
    seen: { head: string; size: number };
    session_key?: string;
  };
  ask: JsonObject & { next?: { seed: string; form: Form; iat: number; nonce: string } };
  pae: string;
  signed: string;
  req: string;
};

function load<T>(name: string): T {
  return JSON.parse(readFileSync(join(FOLDER, name), "utf8")) as T;
}

function envelope(said: Signed): wire.Envelope {
  const { payload_type: payloadType, payload, signature, kid } = said;
  return { payloadType, payload: Buffer.from(payload), signature: unb64(signature), kid };
}

const bare = (card: Partial<Card>): Card => ({ name: "prod", aud: "nv1:x", identity: Buffer.alloc(32), agents: "unix:/x", ...card });

/** A vault that was not asked for its keys, only to sign with. */
async function signer(card: Card, agent: string, key: Key, around: Around): Promise<Vault> {
  // Out of the same pieces as a connection, whose first call is answered by what it describes.
  const whole = load<Whole>("conversations.json");
  const talk = whole.conversations[0];
  assert(talk);
  const known = bare({ aud: whole.card.aud, identity: unb64(whole.card.identity) });
  const drawn = { challenge: [...talk.random.challenge] };
  const random = (what: Purpose, bytes: number): Uint8Array =>
    what === "challenge" ? Buffer.from(drawn.challenge.shift() ?? "", "hex") : around.random(what, bytes);
  const first = talk.tape[0]?.answer.signed;
  assert(first && card.aud === known.aud);
  const clock = (): number => around.clock();
  return Vault.connect({ card: known, agent, key, state: null, around: { clock, random }, carry: async () => envelope(first) });
}

function sent(vector: Vector, vault: Vault, key: Key): wire.Envelope {
  const { given, ask } = vector;
  const typ = vector.typ.replace("nockvault/", "");
  if (typ === "register") {
    const { payload, sig } = key.register(given) as { payload: JsonObject; sig: string };
    const bytes = Buffer.from(jcs(payload));
    return { payloadType: vector.payload_type, payload: bytes, signature: unb64(sig), kid: key.kid };
  }
  const { next, ...body } = ask;
  if (given.session_key !== undefined) {
    const pk = b64(publicBytes(privateKey("X25519", Buffer.from(given.session_key, "hex"))));
    body["seal"] = { pk, suite: "X25519-HKDF-SHA256-CHACHA20POLY1305" };
  }
  if (next !== undefined) {
    const following = new Key(Buffer.from(next.seed, "hex"), key.kver + 1, next.form);
    const of = { agent: given.agent, aud: given.aud, nonce: next.nonce, iat: next.iat, prev: key.kid };
    body["new"] = following.register(of);
  }
  return vault.sign(typ, body as JsonObject, given.sid, given.seen);
}

test("requests are signed byte for byte", async (t) => {
  const { vectors } = load<{ vectors: Vector[] }>("requests.json");
  assert.equal(vectors.length, 24);
  for (const vector of vectors) {
    await t.test(vector.name, async () => {
      const { given } = vector;
      const key = new Key(Buffer.from(vector.seed, "hex"), given.kver, vector.form);
      const around: Around = { clock: () => given.iat, random: () => unb64(given.nonce) };
      const signed = sent(vector, await signer(bare({ aud: given.aud }), given.agent, key, around), key);
      assert.equal(signed.payload.toString(), vector.payload);
      assert.equal(signed.payloadType, vector.payload_type);
      assert.equal(b64(pae(signed.payloadType, signed.payload)), vector.pae);
      assert.equal(b64(message(key.form, signed.payloadType, signed.payload)), vector.signed);
      assert.equal(b64(signed.signature), vector.signature);
      assert.equal(signed.kid, vector.kid);
      assert.equal(b64(wire.nameOf(signed)), vector.req);
    });
  }
});

test("what cannot be said is not signed", async () => {
  const { unsayable } = load<{ unsayable: { name: string; params: JsonObject }[] }>("requests.json");
  const whole = load<Whole>("conversations.json");
  const around: Around = { clock: () => 1_780_000_000_000, random: (_, bytes) => Buffer.alloc(bytes) };
  const vault = await signer(bare({ aud: whole.card.aud }), "kit", Key.generate(), around);
  assert(unsayable.length > 5);
  for (const { name, params } of unsayable) {
    assert.throws(() => vault.sign("issue", { params }, "s", { head: "", size: 0 }), /cannot be asked for/, name);
  }
});

/** Takes the place of gRPC: each call must be the next line's, and gets the answer that stands there. */
function played(tape: Line[]): wire.Carry {
  return async (method, body) => {
    const line = tape.shift();
    assert(line, `${method} was not expected`);
    assert.equal(method, line.call);
    if (line.signed === undefined) assert.deepEqual(body, wire.challenge(unb64(line.challenge)));
    else assert.deepEqual(wire.answer(body), envelope(line.signed));
    const { signed, status } = line.answer;
    if (signed !== undefined) return envelope(signed);
    assert(status);
    const details = unb64(status.details);
    return { code: "CODE", message: status.message, details: details.length > 0 ? details : null };
  };
}

function told(fault: unknown): JsonObject {
  if (fault instanceof Refused) {
    return { refused: { reason: fault.reason, limit: fault.limit, proven: fault.proven } };
  }
  if (fault instanceof Unreachable) return { unreachable: {} };
  if (fault instanceof NoAnswer) return { no_answer: {} };
  if (fault instanceof Local) return { local: {} };
  if (!(fault instanceof Untrusted)) throw fault;
  return { untrusted: fault.member === undefined ? { why: fault.why } : { why: fault.why, member: fault.member } };
}

function shown(credential: Credential): JsonObject {
  const { secret, lease, exp, renewable, revocation } = credential;
  for (const text of [inspect(credential), JSON.stringify(credential), String(secret)]) {
    assert(!text.includes(secret.get("value") ?? "?"), text);
  }
  return { secret: secret.expose(), lease, exp, renewable, revocation };
}

async function carryOut(session: Session, act: Act): Promise<JsonObject> {
  switch (act.do) {
    case "hello": {
      const { ends, idle } = await session.hello();
      return { ends, idle };
    }
    case "request": {
      const { role, ...ask } = act.ask;
      return shown(await session.request(role, ask));
    }
    case "renew":
      return { exp: await session.renew(act.lease, act.ttl) };
    case "release":
      await session.release(act.lease);
      return {};
    case "release_unanswered":
      return { lease: await session.releaseUnanswered(act.req) };
    case "close":
      return { leases: await session.close() };
    case "rotate_key":
      return { grace: await session.rotateKey(new Key(Buffer.from(act.seed, "hex"))) };
    default:
      throw new Error(`nobody knows how to ${act.do}`);
  }
}

async function hold(whole: Whole, talk: Talk): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), "nv"));
  const file = join(folder, whole.card.aud, "kit.seen");
  mkdirSync(join(folder, whole.card.aud));
  writeFileSync(file, `${jcs(talk.memory)}\n`);
  const drawn = structuredClone(talk.random);
  let clock = talk.clock;
  const random = (what: Purpose, bytes: number): Uint8Array => {
    const data = Buffer.from(drawn[what].shift() ?? "", "hex");
    assert.equal(data.length, bytes);
    return data;
  };
  const tape = [...talk.tape];
  const card = { ...whole.card, identity: unb64(whole.card.identity) };
  const key = new Key(Buffer.from(whole.agent.seed, "hex"), whole.agent.kver);
  const options = { card, agent: "kit", key, state: folder, around: { clock: () => clock, random }, carry: played(tape) };
  let [vault, session, refused]: [Vault?, Session?, Refused?] = [];
  for (const act of talk.acts) {
    let came: JsonObject = { ok: {} };
    try {
      if (act.do === "connect") vault = await Vault.connect(options);
      else if (act.do === "wait") clock += act.seconds * 1000;
      else if (act.do === "accept_restore") {
        assert(vault && refused);
        const { head, size } = await vault.acceptRestore(refused);
        came = { ok: { head, size } };
      } else {
        assert(vault);
        session ??= vault.session(whole.label);
        came = { ok: await carryOut(session, act) };
      }
    } catch (fault) {
      if (!(fault instanceof Fault)) throw fault;
      if (fault instanceof Refused) refused = fault;
      came = told(fault);
    }
    assert.deepEqual(came, act.expect, act.do);
  }
  assert.equal(tape.length, 0);
  assert.deepEqual(JSON.parse(readFileSync(file, "utf8")), talk.remembers);
  rmSync(folder, { recursive: true });
}

test("conversations", async (t) => {
  const whole = load<Whole>("conversations.json");
  assert(whole.conversations.length > 80);
  for (const talk of whole.conversations) await t.test(talk.name, () => hold(whole, talk));
});
