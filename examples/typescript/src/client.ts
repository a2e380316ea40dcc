/** An agent's side of the protocol: a `Vault` is a connection in one agent's name, a `Session` has a key of its own to
 * which credentials are sealed. */

import { randomBytes, type KeyObject } from "node:crypto";
import { inspect } from "node:util";

import { grpcCarry } from "./channel.js";
import { Fault, Local, NoAnswer, Refused, Unreachable, Untrusted, words } from "./faults.js";
import { findKey, Key } from "./keys.js";
import { Memory, type Seen, type State } from "./memory.js";
import { otherRequest, Pins, type Answers, type Entry, type Hdr } from "./pins.js";
import { findCard, stateDir, type Card } from "./places.js";
import { openSecret, SUITE } from "./sealing.js";
import { AGENT, b64, jcs, plain, privateKey, publicBytes, REQUEST, type JsonObject } from "./statements.js";
import * as wire from "./wire.js";

/** A difference between two clocks that is no more than the way between them, in milliseconds. */
const LATENCY = 1000;

/** What randomness is drawn for. */
export type Purpose = "challenge" | "sid" | "session_key" | "nonce";

/** This side's clock, in milliseconds, and randomness. */
export type Around = { clock: () => number; random: (what: Purpose, bytes: number) => Uint8Array };

const MACHINE: Around = { clock: Date.now, random: (_, bytes) => randomBytes(bytes) };

/** A secret's members. It prints nothing of itself. */
export class Secret {
  readonly #members: JsonObject;

  constructor(members: JsonObject) {
    this.#members = members;
  }

  /** The member of this name, where it is a text. */
  get(name: string): string | undefined {
    const value = Object.hasOwn(this.#members, name) ? this.#members[name] : undefined;
    return typeof value === "string" ? value : undefined;
  }

  /** The engine's name for what it is. */
  get kind(): string {
    return this.get("type") ?? "?";
  }

  /** The member that is the secret itself, where its kind has one: value, token, url or password. */
  get value(): string {
    const found = ["value", "token", "url", "password"].map((name) => this.get(name)).find((text) => text !== undefined);
    if (found === undefined) throw new Local(`a secret of type ${this.kind} is of several parts`);
    return found;
  }

  /** All members. */
  expose(): JsonObject {
    return structuredClone(this.#members);
  }

  toString(): string {
    return `Secret(${this.kind})`;
  }

  toJSON(): string {
    return this.toString();
  }

  [inspect.custom](): string {
    return this.toString();
  }
}

/** What was issued, with the vault's receipt for it. */
export type Credential = {
  role: string;
  lease: string;
  /** When it ends, in milliseconds. */
  exp: number;
  renewable: boolean;
  /** How it can be made useless before its time. */
  revocation: "none" | "listed" | "backend";
  secret: Secret;
  hdr: Hdr;
  entry: Entry;
  /** The signed answer with the certificate of its key: kept in a file (as `jcs`), it convinces an auditor. */
  receipt: JsonObject;
};

/** What is asked for beside the role: a life in seconds (0: as the grant gives), params for the engine, and what for. */
export type Ask = { ttl?: number; params?: JsonObject; purpose?: string };

/** Who asks whom. Card and key are looked for in the usual places where they are not named. */
export type Options = {
  agent: string;
  card?: string | Card;
  key?: string | Key;
  /** What the session's id begins with. */
  label?: string;
  /** The folder in which `seen` is kept: by habit the user's; null keeps it in memory alone. */
  state?: string | null;
  around?: Around;
  /** Takes the place of gRPC, for tests. */
  carry?: wire.Carry;
};

/** A session of this agent. `await using` it, or `end` it: every lease is released then. */
export async function connect(options: Options): Promise<Session> {
  const vault = await Vault.connect(options);
  return vault.session(options.label, true);
}

type Exchanged<Kind extends keyof Answers> = { said: Answers[Kind] & JsonObject; reply: wire.Envelope; sent: wire.Envelope };

/** A connection to a vault in one agent's name. */
export class Vault {
  #pins!: Pins;
  #ahead = 0;
  #carry: wire.Carry;
  #close: () => void;
  readonly #memory: Memory;

  private constructor(
    readonly card: Card,
    readonly agent: string,
    public key: Key,
    state: string | null,
    readonly around: Around,
    carry?: wire.Carry,
  ) {
    this.#memory = new Memory(state, card.aud, agent);
    const channel = carry === undefined ? grpcCarry(card) : { carry, close: () => undefined };
    [this.#carry, this.#close] = [channel.carry, channel.close];
  }

  /** Connects, and challenges who answers to be the vault of the card. */
  static async connect(options: Options): Promise<Vault> {
    const { agent, around = MACHINE, card, key } = options;
    const state = options.state === undefined ? stateDir() : options.state;
    const found = typeof card === "object" ? card : findCard(card);
    const vault = new Vault(found, agent, key instanceof Key ? key : findKey(agent, key), state, around, options.carry);
    try {
      const { pins, at } = await vault.#describe();
      if (Math.abs(pins.described.now - at) > LATENCY) vault.#ahead = pins.described.now - at;
    } catch (fault) {
      vault.close();
      throw fault;
    }
    return vault;
  }

  /** The vault's time, as far as it is known here. */
  now(): number {
    return this.around.clock() + this.#ahead;
  }

  /** What the vault said of itself when it was last challenged. */
  get described(): Answers["described"] {
    return this.#pins.described;
  }

  /** The newest state of the agent's chain that was shown to it: keep it where the vault cannot reach. */
  get seen(): State {
    return this.#memory.state;
  }

  /** A session whose id begins with `label`. Nothing is sent: the first request opens it at the vault. */
  session(label = "node", ownsVault = false): Session {
    return new Session(this, label, ownsVault);
  }

  /** Goes on with a vault that has just said, signed, that it was restored from a backup (`Refused.reason` is `restored`). It
   * is for whoever owns the agent to decide. Gives the newest state of the history that was lost, which is kept beside the
   * memory as evidence. */
  async acceptRestore(refused: Refused): Promise<State> {
    return this.#memory.acceptRestore(refused);
  }

  /** Ends the connection. Sessions that are open stay so at the vault. */
  close(): void {
    this.#close();
  }

  [Symbol.dispose](): void {
    this.close();
  }

  async #describe(): Promise<{ pins: Pins; at: number }> {
    const challenge = this.around.random("challenge", 32);
    const reply = await this.#carry("DescribeVault", wire.challenge(challenge));
    const at = this.around.clock();
    if ("code" in reply) {
      const refusal = wire.refusal(reply.details);
      if (refusal === null) throw new Unreachable(this.card.agents, `${reply.code}: ${reply.message}`);
      throw new Refused(refusal.reason, reply.message, null, null, false);
    }
    const { pins, nbf } = Pins.check(this.card, challenge, reply, this.#memory.state.cert_nbf);
    await this.#memory.certified(nbf);
    this.#pins = pins;
    return { pins, at };
  }

  /** Reads an answer. One that no known key signed may be signed by a newer key, so the vault is asked once for its keys;
   * nothing is sent again. */
  async #read<Kind extends keyof Answers>(reply: wire.Envelope, kind: Kind): Promise<Answers[Kind] & JsonObject> {
    if (!this.#pins.signed(reply, this.now())) await this.#describe();
    return this.#pins.read(reply, kind, this.now());
  }

  /** A request, signed. */
  sign(typ: string, body: JsonObject, sid: string, seen: Seen): wire.Envelope {
    const statement = {
      ...{ v: 1, typ: `nockvault/${typ}`, aud: this.card.aud, agent: this.agent, kid: this.key.kid, kver: this.key.kver },
      ...{ sid, nonce: b64(this.around.random("nonce", 24)), iat: this.now(), seen, ...body },
    };
    try {
      plain(statement, AGENT.depth);
      const payload = Buffer.from(jcs(statement));
      if (payload.length > AGENT.bytes) throw new Error(`${payload.length} bytes, over the limit of ${AGENT.bytes}`);
      return { payloadType: REQUEST, payload, signature: this.key.sign(REQUEST, payload), kid: this.key.kid };
    } catch (why) {
      throw new Local(`this cannot be asked for: ${words(why)}`);
    }
  }

  /** Signs and sends, and once more with a new statement where the vault proves that the clock was wrong. */
  async exchange<Kind extends keyof Answers>(
    call: string,
    typ: string,
    kind: Kind,
    body: JsonObject,
    sid: string,
  ): Promise<Exchanged<Kind>> {
    for (let mended = false; ; mended = true) {
      const seen = this.#memory.seen();
      const sent = this.sign(typ, body, sid, seen);
      const reply = await this.#carry(call, wire.request(sent));
      if ("code" in reply) {
        const fault = await this.#refusal(reply, sent);
        if (mended || !(await this.#clockMended(fault))) throw fault;
        continue;
      }
      const said = await this.#read(reply, kind);
      const answered = said as unknown as { req?: string; hdr?: Hdr; entry: Entry };
      if ((answered.hdr?.req ?? answered.req) !== b64(wire.nameOf(sent))) throw otherRequest();
      try {
        await this.#memory.learn(seen, answered.entry);
      } catch (why) {
        // What cannot be remembered is not used, as on a full disk. It happened all the same, and can be given back.
        throw why instanceof Untrusted ? why : new NoAnswer(b64(wire.nameOf(sent)), words(why));
      }
      return { said, reply, sent };
    }
  }

  /** What a call's end without an answer means. */
  async #refusal(failure: wire.Failure, sent: wire.Envelope): Promise<Fault> {
    const [req, refusal] = [b64(wire.nameOf(sent)), wire.refusal(failure.details)];
    if (refusal === null) return new NoAnswer(req, `${failure.code}: ${failure.message}`);
    const { reason, metadata, signed } = refusal;
    let text = failure.message;
    if (reason === "unauthenticated") {
      // The vault says nothing to a stranger but that it knows no such key. What a stranger can do, this side knows.
      text +=
        `; if agent ${this.agent} was never enrolled with this key (${this.key.kid}): vaultctl keygen --agent ` +
        `${this.agent} makes one, and an operator registers it: vaultctl agent register ${this.agent}.register`;
    }
    if (reason === "restored") text += ` (vault-agent accept-restore --agent ${this.agent}, or Vault.acceptRestore)`;
    const number = (name: string): number | null => {
      const text = metadata.get(name) ?? "";
      return /^[0-9]{1,15}$/.test(text) ? Number(text) : null;
    };
    const shown = new Refused(reason, text, number("limit"), number("now"), false);
    if (signed === null) return shown;
    try {
      const denied = await this.#read(signed, "denied");
      if (denied.req !== req) return shown;
      // The words for people are not signed; they are shown where they go with the signed reason.
      const fitting = denied.reason === reason ? text : denied.reason;
      return new Refused(denied.reason, fitting, denied.limit, denied.now, true);
    } catch {
      return shown;
    }
  }

  /** Whether the fault said that the clock is wrong and it has now been set by the vault's signed word. */
  async #clockMended(fault: Fault): Promise<boolean> {
    if (!(fault instanceof Refused) || fault.reason !== "clock_skew") return false;
    if (fault.proven && fault.now !== null) {
      this.#ahead = fault.now - this.around.clock();
      return true;
    }
    // Unsigned: anyone may have said it. The vault itself is asked, with a challenge.
    try {
      const { pins, at } = await this.#describe();
      const before = this.now();
      this.#ahead = pins.described.now - at;
      return Math.abs(before - pins.described.now) > LATENCY;
    } catch {
      return false;
    }
  }

  /** The certificate of the key that signed an answer. */
  certOf(reply: wire.Envelope): JsonObject | null {
    return this.#pins.certOf(reply);
  }
}

/** A session: credentials are sealed to its key, in memory only, and end with it. */
export class Session {
  readonly sid: string;
  readonly #key: KeyObject;
  #used = false;

  constructor(
    readonly vault: Vault,
    label: string,
    private readonly ownsVault: boolean,
  ) {
    this.sid = `${label}-${Buffer.from(vault.around.random("sid", 8)).toString("hex")}`;
    this.#key = privateKey("X25519", vault.around.random("session_key", 32));
  }

  #exchange<Kind extends keyof Answers>(call: string, typ: string, kind: Kind, body: JsonObject): Promise<Exchanged<Kind>> {
    this.#used = true;
    return this.vault.exchange(call, typ, kind, body, this.sid);
  }

  #seal(): JsonObject {
    return { pk: b64(publicBytes(this.#key)), suite: SUITE };
  }

  /** Opens it at the vault before the first need: gives its end, how long it may be idle, and the vault's time. */
  async hello(): Promise<{ ends: number; idle: number; now: number }> {
    const { said } = await this.#exchange("OpenSession", "hello", "opened", { seal: this.#seal() });
    return { ends: said.ends, idle: said.idle, now: said.now };
  }

  /** Asks for a credential. */
  async request(role: string, ask: Ask = {}): Promise<Credential> {
    const { ttl = 0, params = {}, purpose = "" } = ask;
    const body = { role, ttl, params, purpose, seal: this.#seal() };
    const { said, reply, sent } = await this.#exchange("RequestCredential", "issue", "issued", body);
    const { hdr, entry } = said;
    this.#check(hdr, role, ttl, sent.kid);
    const secret = new Secret(openSecret(this.#key, hdr, said.enc, said.ct));
    const receipt = { cert: this.vault.certOf(reply), payload: said, sig: b64(reply.signature) };
    const { lease, exp, renewable, revocation } = hdr;
    return { role, lease, exp, renewable, revocation, secret, hdr, entry, receipt };
  }

  /** Whether this is what was asked for: the key is the one that signed it, also where another took over since. */
  #check(hdr: Hdr, role: string, ttl: number, kid: string): void {
    const [now, life] = [this.vault.now(), Math.ceil(Math.max(hdr.exp - hdr.iat, 0) / 1000)];
    const skew = this.vault.described.limits.skew * 1000;
    must(hdr.vault === this.vault.card.aud, "vault");
    must(hdr.agent === this.vault.agent, "agent");
    must(hdr.kid === kid, "kid");
    must(hdr.role === role, "role");
    must(hdr.sid === this.sid, "sid");
    // A life that begins elsewhere than now could end at any time and still be no longer than was asked for.
    must(Math.abs(hdr.iat - now) <= skew, "iat");
    must(hdr.exp > now && (ttl === 0 || life <= ttl), "exp");
  }

  /** Asks for a lease to live for `ttl` seconds from now. Gives when it ends, in milliseconds. */
  async renew(lease: string | Credential, ttl = 0): Promise<number> {
    const id = idOf(lease);
    const { said } = await this.#exchange("RenewLease", "renew", "renewed", { lease: id, ttl });
    const [now, skew] = [this.vault.now(), this.vault.described.limits.skew * 1000];
    must(said.lease === id, "lease");
    must(said.exp > now && (ttl === 0 || said.exp <= now + ttl * 1000 + skew), "exp");
    if (typeof lease === "object") lease.exp = said.exp;
    return said.exp;
  }

  /** Gives a lease back. */
  async release(lease: string | Credential): Promise<void> {
    const { said } = await this.#exchange("ReleaseLease", "release", "released", { lease: idOf(lease) });
    must(said.lease === idOf(lease), "lease");
  }

  /** Gives back the lease that a request made whose answer was lost (`NoAnswer.req`). */
  async releaseUnanswered(req: string): Promise<string> {
    const { said } = await this.#exchange("ReleaseLease", "release", "released", { req });
    return said.lease;
  }

  /** Puts `key` in place of the present one. Gives until when the old one is still accepted. Keep the new key safe before:
   * afterwards there is no other. */
  async rotateKey(key: Key): Promise<number> {
    const { vault } = this;
    const [old, nonce] = [vault.key, b64(vault.around.random("nonce", 24))];
    key.kver = old.kver + 1;
    const of = { agent: vault.agent, aud: vault.card.aud, nonce, iat: vault.now(), prev: old.kid };
    const { said } = await this.#exchange("RotateKey", "rotate_key", "rotated", { new: key.register(of) });
    must(said.kver === key.kver && said.kid === key.kid, "kid");
    vault.key = key;
    return said.grace;
  }

  /** Ends the session and every lease in it. Gives how many there were. */
  async close(): Promise<number> {
    const { said } = await this.#exchange("CloseSession", "close", "closed", {});
    must(said.sid === this.sid, "sid");
    this.#used = false;
    return said.leases;
  }

  /** Closes the session where it was opened, and the connection where it is its own. */
  async end(): Promise<void> {
    try {
      if (this.#used) await this.close();
    } catch (fault) {
      const over = fault instanceof Refused && ["session_ended", "session_unknown"].includes(fault.reason);
      if (!over) throw fault;
    } finally {
      if (this.ownsVault) this.vault.close();
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.end();
  }
}

function idOf(lease: string | Credential): string {
  return typeof lease === "string" ? lease : lease.lease;
}

function must(fits: boolean, member: string): void {
  if (!fits) throw new Untrusted("other_terms", `the answer's ${member} is not what was asked for`, member);
}
