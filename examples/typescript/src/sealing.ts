/** What the vault sealed to a session: HPKE (RFC 9180), base mode, X25519, HKDF-SHA256, ChaCha20-Poly1305. */

import { createDecipheriv, createHmac, diffieHellman, type KeyObject } from "node:crypto";

import { Untrusted } from "./faults.js";
import { digest, isObject, jcs, publicBytes, publicKey, unb64, type JsonObject } from "./statements.js";

export const SUITE = "X25519-HKDF-SHA256-CHACHA20POLY1305";
const BLOCK = 64;
const TAG = 16;
const KEM = Buffer.from("KEM\x00\x20", "latin1");
const HPKE = Buffer.from("HPKE\x00\x20\x00\x01\x00\x03", "latin1");

function hmac(key: Uint8Array, ...parts: (Uint8Array | string)[]): Buffer {
  const mac = createHmac("sha256", key);
  for (const part of parts) mac.update(part);
  return mac.digest();
}

function extract(suite: Uint8Array, salt: Uint8Array, label: string, ikm: Uint8Array): Buffer {
  return hmac(salt, "HPKE-v1", suite, label, ikm);
}

/** At most 32 bytes, so that HKDF-Expand is one round. */
function expand(suite: Uint8Array, prk: Uint8Array, label: string, info: Uint8Array, length: number): Buffer {
  return hmac(prk, Buffer.from([0, length]), "HPKE-v1", suite, label, info, Buffer.from([1])).subarray(0, length);
}

/** RFC 9180 section 6.1, with an empty aad. */
export function hpkeOpen(key: KeyObject, enc: Uint8Array, info: Uint8Array, ct: Uint8Array): Buffer {
  const dh = diffieHellman({ privateKey: key, publicKey: publicKey("X25519", enc) });
  const none = Buffer.alloc(0);
  const context = Buffer.concat([enc, publicBytes(key)]);
  const shared = expand(KEM, extract(KEM, none, "eae_prk", dh), "shared_secret", context, 32);
  const psk = extract(HPKE, none, "psk_id_hash", none);
  const schedule = Buffer.concat([Buffer.from([0]), psk, extract(HPKE, none, "info_hash", info)]);
  const secret = extract(HPKE, shared, "secret", none);
  const [aead, nonce] = [expand(HPKE, secret, "key", schedule, 32), expand(HPKE, secret, "base_nonce", schedule, 12)];
  if (ct.length < TAG) throw new Error("too short");
  const opener = createDecipheriv("chacha20-poly1305", aead, nonce, { authTagLength: TAG });
  opener.setAuthTag(ct.subarray(-TAG));
  return Buffer.concat([opener.update(ct.subarray(0, -TAG)), opener.final()]);
}

/** The secret of an answer with this header. */
export function openSecret(key: KeyObject, hdr: JsonObject, enc: string, ct: string): JsonObject {
  try {
    const [label, header] = [Buffer.from("nockvault-seal-v1\0"), digest(Buffer.from(jcs(hdr)))];
    const framed = hpkeOpen(key, unb64(enc, 32), Buffer.concat([label, unb64(hdr["req"]), header]), unb64(ct));
    const length = framed.length < 4 ? -1 : framed.readUInt32BE();
    const [secret, padding] = [framed.subarray(4, 4 + length), framed.subarray(4 + length)];
    const whole = framed.length % BLOCK === 0 && secret.length === length && padding.length < BLOCK;
    const opened: unknown = whole && padding.every((byte) => byte === 0) && JSON.parse(secret.toString());
    if (isObject(opened)) return opened;
  } catch {
    // The cause is not handed on: it may quote the secret.
  }
  throw new Untrusted("seal", "the sealed secret does not open with this session's key for this request");
}
