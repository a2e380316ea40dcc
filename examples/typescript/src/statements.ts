/** Statements as bytes: canonical JSON, its admission, what is signed, and names of keys. */

import { createHash, createPrivateKey, createPublicKey, verify, type KeyObject } from "node:crypto";

export type Json = null | boolean | number | string | Json[] | { [name: string]: Json };
export type JsonObject = { [name: string]: Json };

export const REQUEST = "application/vnd.nockvault.request.v1+json";
export const RESPONSE = "application/vnd.nockvault.response.v1+json";
export const REGISTER = "application/vnd.nockvault.register.v1+json";
export const CERT = "application/vnd.nockvault.cert.v1+json";

/** The most bytes, and the deepest nesting of objects and arrays. */
export type Admission = { bytes: number; depth: number };
export const AGENT: Admission = { bytes: 8 << 10, depth: 8 };
export const ANSWER: Admission = { bytes: 4 << 20, depth: 12 };

/** How a key's signatures are formed. */
export type Form = "pae" | "sshsig";

/** base64url without padding. */
export function b64(data: Uint8Array): string {
  return Buffer.from(data).toString("base64url");
}

/** The bytes of canonical base64url, of this length where one is named. */
export function unb64(text: unknown, length?: number): Buffer {
  if (typeof text !== "string") throw new Error("not a text");
  const data = Buffer.from(text, "base64url");
  if (data.toString("base64url") !== text || (length !== undefined && data.length !== length)) {
    throw new Error("not canonical base64url of that length");
  }
  return data;
}

export function isObject(value: unknown): value is JsonObject {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** Holds JSON to the rules under which sorted compact JSON is RFC 8785. */
export function plain(value: unknown, depth: number): asserts value is Json {
  if (value === null || typeof value === "boolean") return;
  if (typeof value === "string") {
    if (Buffer.from(value).toString() !== value) throw new Error("a lone surrogate is no text");
  } else if (typeof value === "number") {
    if (!Number.isSafeInteger(value)) throw new Error("a number is no integer below 2^53");
  } else if (typeof value === "object") {
    if (depth === 0) throw new Error("nested too deep");
    for (const [name, inner] of Object.entries(value)) {
      if (!Array.isArray(value) && !/^[a-z][a-z0-9_]*$/.test(name)) {
        throw new Error(`the member name ${JSON.stringify(name)} is not of the form [a-z][a-z0-9_]*`);
      }
      plain(inner, depth - 1);
    }
  } else {
    throw new Error(`${typeof value} is not a plain integer, text, list or object`);
  }
}

/** RFC 8785, of what `plain` lets pass. */
export function jcs(value: Json): string {
  if (Array.isArray(value)) return `[${value.map(jcs).join(",")}]`;
  if (!isObject(value)) return JSON.stringify(value);
  const members = Object.keys(value).sort();
  return `{${members.map((name) => `${JSON.stringify(name)}:${jcs(value[name] ?? null)}`).join(",")}}`;
}

/** The object that these bytes are the one canonical form of. */
export function admit(payload: Uint8Array, rules: Admission): JsonObject {
  if (payload.length > rules.bytes) throw new Error(`${payload.length} bytes, over the limit of ${rules.bytes}`);
  let value: unknown;
  try {
    value = JSON.parse(new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(payload));
  } catch {
    throw new Error("not JSON");
  }
  if (!isObject(value)) throw new Error("the top is not an object");
  plain(value, rules.depth);
  // A member that stands twice, a float that is whole, an escape or a space: none of them is written so again.
  if (!Buffer.from(jcs(value)).equals(payload)) throw new Error("not in canonical form (RFC 8785)");
  return value;
}

/** DSSE's pre-authentication encoding. */
export function pae(payloadType: string, payload: Uint8Array): Buffer {
  const head = `DSSEv1 ${Buffer.byteLength(payloadType)} ${payloadType} ${payload.length} `;
  return Buffer.concat([Buffer.from(head), payload]);
}

/** What a key of this form signs: the encoding itself, or the SSHSIG blob over it (OpenSSH PROTOCOL.sshsig). */
export function message(form: Form, payloadType: string, payload: Uint8Array): Buffer {
  const encoded = pae(payloadType, payload);
  if (form === "pae") return encoded;
  const hashed = createHash("sha512").update(encoded).digest();
  const parts = [Buffer.from(payloadType), Buffer.alloc(0), Buffer.from("sha512"), hashed];
  const counted = parts.flatMap((part) => {
    const length = Buffer.alloc(4);
    length.writeUInt32BE(part.length);
    return [length, part];
  });
  return Buffer.concat([Buffer.from("SSHSIG"), ...counted]);
}

/** SHA-256. */
export function digest(...parts: Uint8Array[]): Buffer {
  const hash = createHash("sha256");
  for (const part of parts) hash.update(part);
  return hash.digest();
}

/** RFC 7638: what a key is called everywhere. */
export function thumbprint(publicKey: Uint8Array, curve: "Ed25519" | "X25519" = "Ed25519"): string {
  return b64(digest(Buffer.from(jcs({ crv: curve, kty: "OKP", x: b64(publicKey) }))));
}

// The fixed beginnings of RFC 8410: the last byte of an algorithm's identifier tells Ed25519 from X25519.
const OID = { Ed25519: 0x70, X25519: 0x6e };

export function privateKey(curve: "Ed25519" | "X25519", secret: Uint8Array): KeyObject {
  const head = Buffer.from([0x30, 0x2e, 2, 1, 0, 0x30, 5, 6, 3, 0x2b, 0x65, OID[curve], 4, 0x22, 4, 0x20]);
  return createPrivateKey({ key: Buffer.concat([head, secret]), format: "der", type: "pkcs8" });
}

export function publicKey(curve: "Ed25519" | "X25519", raw: Uint8Array): KeyObject {
  const head = Buffer.from([0x30, 0x2a, 0x30, 5, 6, 3, 0x2b, 0x65, OID[curve], 3, 0x21, 0]);
  return createPublicKey({ key: Buffer.concat([head, raw]), format: "der", type: "spki" });
}

/** The 32 bytes of a key's public half. */
export function publicBytes(key: KeyObject): Buffer {
  return createPublicKey(key).export({ format: "der", type: "spki" }).subarray(-32);
}

/** Whether this key signed it. */
export function verifies(raw: Uint8Array, signature: Uint8Array, form: Form, type: string, payload: Uint8Array): boolean {
  try {
    return verify(null, message(form, type, payload), publicKey("Ed25519", raw), signature);
  } catch {
    return false;
  }
}
