/** Which answers are the vault's: the identity key that the card pins, the certificates that it signed over the vault's
 * other keys, and a signature by one of those. No name and no TLS certificate makes an answer believed. */

import { Untrusted, words } from "./faults.js";
import type { Card } from "./places.js";
import { AGENT, ANSWER, CERT, RESPONSE, admit, isObject, jcs, plain, thumbprint, unb64, verifies } from "./statements.js";
import type { Json, JsonObject } from "./statements.js";
import type { Envelope } from "./wire.js";

/** What a member must be; it throws where it is not. */
type Shape = (value: Json | undefined) => unknown;

function must(fits: boolean, why: string): void {
  if (!fits) throw new Error(why);
}

const number: Shape = (value) => must(typeof value === "number" && value >= 0, "not a number");
const flag: Shape = (value) => must(typeof value === "boolean", "neither true nor false");
const text: Shape = (value) => must(typeof value === "string", "not a text");
const list: Shape = (value) => must(Array.isArray(value), "not a list");
const bytes = (length?: number): Shape => (value) => unb64(value, length);
const like = (pattern: RegExp): Shape => (value) => must(typeof value === "string" && pattern.test(value), "not of its form");
const orNull = (shape: Shape): Shape => (value) => value === null || shape(value);

function object(members: Record<string, Shape>): Shape {
  return (value) => {
    if (!isObject(value)) throw new Error("not an object");
    for (const [name, shape] of Object.entries(members)) {
      try {
        shape(value[name]);
      } catch (why) {
        throw new Error(`${name} is ${words(why)}`);
      }
    }
  };
}

const hash = bytes(32);
const aud = like(/^nv1:[A-Za-z0-9_-]{43}$/);
const name = like(/^[a-z0-9][a-z0-9.-]{0,62}$/);
const sid = like(/^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$/);
const lease = like(/^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/);
const entry = object({ leaf: hash, seq: number });
const hdr = object({
  ...{ agent: name, exp: number, iat: number, kid: hash, lease, renewable: flag, req: hash },
  ...{ revocation: like(/^(none|listed|backend)$/), role: text, sid, vault: aud },
});
const embedded = object({ payload: object({}), sig: bytes(64) });
const certs: Shape = (value) => {
  list(value);
  (value as Json[]).forEach(embedded);
};

export type Entry = { leaf: string; seq: number };
export type Hdr = {
  agent: string;
  exp: number;
  iat: number;
  kid: string;
  lease: string;
  renewable: boolean;
  req: string;
  revocation: "none" | "listed" | "backend";
  role: string;
  sid: string;
  vault: string;
};
type Embedded = { payload: JsonObject; sig: string };

/** What each answer says. More members are ignored, unless `crit` names them. */
export type Answers = {
  issued: { ct: string; enc: string; entry: Entry; hdr: Hdr };
  opened: { entry: Entry; ends: number; idle: number; now: number; req: string };
  renewed: { entry: Entry; exp: number; lease: string; req: string };
  released: { entry: Entry; lease: string; req: string };
  closed: { entry: Entry; leases: number; req: string; sid: string };
  rotated: { entry: Entry; grace: number; kid: string; kver: number; req: string };
  denied: { limit: number | null; now: number; reason: string; req: string };
  described: {
    aud: string;
    certs: Embedded[];
    identity: string;
    limits: { skew: number } & JsonObject;
    name: string;
    now: number;
    req: string;
  };
};

const ANSWERS: { [Kind in keyof Answers]: Record<string, Shape> } = {
  issued: { ct: bytes(), enc: bytes(), entry, hdr },
  opened: { entry, ends: number, idle: number, now: number, req: hash },
  renewed: { entry, exp: number, lease, req: hash },
  released: { entry, lease, req: hash },
  closed: { entry, leases: number, req: hash, sid },
  rotated: { entry, grace: number, kid: hash, kver: number, req: hash },
  denied: { limit: orNull(number), now: number, reason: text, req: hash },
  described: {
    ...{ accepts: list, aud, certs, identity: hash, limits: object({ skew: number }), name, now: number },
    ...{ req: bytes(), suites: list },
  },
};

const CERTIFICATE: Record<string, Shape> = {
  ...{ aud, epoch: number, exp: number, kid: hash, nbf: number, node: text, pk: hash },
  ...{ role: like(/^(response|audit|checkpoint|intake|jwt)$/), typ: text, v: number },
};
type Certificate = { aud: string; exp: number; kid: string; nbf: number; pk: string; role: string };

/** A statement of the vault: its `typ`, its version, its members. */
function parse<Kind extends keyof Answers>(reply: Envelope, kind: Kind): Answers[Kind] & JsonObject {
  const shapes = ANSWERS[kind];
  try {
    const said = admit(reply.payload, ANSWER);
    must(said["typ"] === `nockvault/${kind}`, "its typ is another");
    must(said["v"] === 1, "its version is not known here; a newer client may read it");
    object(shapes)(said);
    const crit = said["crit"] ?? (Object.hasOwn(said, "crit") ? "null" : []);
    const known = [...Object.keys(shapes), "typ", "v"];
    const understood = Array.isArray(crit) && crit.every((name) => typeof name === "string" && known.includes(name));
    must(understood, "crit names a member that is not understood here; a newer client may read it");
    return said as Answers[Kind] & JsonObject;
  } catch (why) {
    throw new Untrusted("form", `the answer is not a well formed nockvault/${kind}: ${words(why)}`);
  }
}

export function otherRequest(): Untrusted {
  return new Untrusted("other_request", "the answer is to another request");
}

function notSigned(): Untrusted {
  return new Untrusted("signature", "no certified response key of the vault signed this answer");
}

function badCert(why: string): Untrusted {
  return new Untrusted("certificate", `a certificate of the vault's keys is not good: ${why}`);
}

function openCert(embedded: Embedded, card: Card): Certificate {
  const cert = embedded.payload;
  const payload = Buffer.from(jcs(cert));
  if (!verifies(card.identity, unb64(embedded.sig), "pae", CERT, payload)) {
    throw badCert("the identity key did not sign it");
  }
  try {
    plain(cert, AGENT.depth);
    object(CERTIFICATE)(cert);
    const exact = Object.keys(cert).length === Object.keys(CERTIFICATE).length;
    must(exact && cert["typ"] === "nockvault/cert" && cert["v"] === 1, "it is not a nockvault/cert of version 1");
    must(cert["aud"] === card.aud, "it is of another vault");
    const curve = cert["role"] === "intake" ? "X25519" : "Ed25519";
    must(thumbprint(unb64(cert["pk"]), curve) === cert["kid"], "its key is not the one that its kid names");
  } catch (why) {
    throw badCert(words(why));
  }
  return cert as unknown as Certificate;
}

type Response = { publicBytes: Buffer; cert: Certificate; embedded: Embedded };

/** The vault's certified response keys, and what it said of itself. */
export class Pins {
  private constructor(
    private readonly responses: Response[],
    readonly described: Answers["described"],
  ) {}

  /** Believes a description that answers this challenge and leads to the identity that the card pins. Its certificates
   * are judged at its own time, since the clock on this side may be what is wrong; a response key born before the newest
   * that was ever accepted is an old one brought back. */
  static check(card: Card, challenge: Uint8Array, reply: Envelope, newest: number): { pins: Pins; nbf: number } {
    // Parsed before it is verified, since the certificates to verify it by stand inside; believed only after.
    const said = parse(reply, "described");
    const shown = unb64(said.identity);
    if (!shown.equals(card.identity) || said.aud !== card.aud) {
      const named = shown.equals(card.identity) ? said.aud.slice("nv1:".length) : thumbprint(shown);
      throw new Untrusted(
        "other_vault",
        `another vault answers: the card pins ${thumbprint(card.identity)}, this one shows ${named}; either the card is ` +
          "old, or the address leads elsewhere, or somebody stands between. Nothing was sent to it.",
      );
    }
    if (!unb64(said.req).equals(challenge)) throw otherRequest();
    const responses = said.certs
      .map((embedded) => ({ embedded, cert: openCert(embedded, card) }))
      .filter(({ cert }) => cert.role === "response" && cert.nbf <= said.now && said.now < cert.exp)
      .map(({ embedded, cert }) => ({ embedded, cert, publicBytes: unb64(cert.pk) }));
    const pins = new Pins(responses, said);
    const signer = pins.signer(reply);
    if (signer === undefined) throw notSigned();
    const { nbf, kid } = signer.cert;
    if (nbf < newest) throw badCert(`${kid} is an older response key than the last one seen`);
    return { pins, nbf };
  }

  private signer(reply: Envelope): Response | undefined {
    if (reply.payloadType !== RESPONSE) return undefined;
    return this.responses.find((r) => verifies(r.publicBytes, reply.signature, "pae", RESPONSE, reply.payload));
  }

  /** Whether a response key that is good now signed it. */
  signed(reply: Envelope, now: number): boolean {
    const signer = this.signer(reply);
    return signer !== undefined && now < signer.cert.exp;
  }

  /** The certificate of the key that signed it: who keeps an answer keeps it with this. */
  certOf(reply: Envelope): Embedded | null {
    return this.signer(reply)?.embedded ?? null;
  }

  /** A signed answer: its signature first, then what it says. */
  read<Kind extends keyof Answers>(reply: Envelope, kind: Kind, now: number): Answers[Kind] & JsonObject {
    if (!this.signed(reply, now)) throw notSigned();
    return parse(reply, kind);
  }
}
