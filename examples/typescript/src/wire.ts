/** The few messages of gRPC that there are, written out: an envelope each way, and the status of a refusal. */

import { digest, pae } from "./statements.js";

/** A signed statement as it travels. Nothing in it is believed before its signature is verified. */
export type Envelope = { payloadType: string; payload: Buffer; signature: Buffer; kid: string };

/** A status other than OK, with `grpc-status-details-bin` where it came. */
export type Failure = { code: string; message: string; details: Uint8Array | null };

/** A call that is to be made, and what came of it. */
export type Carry = (method: string, body: Buffer) => Promise<Envelope | Failure>;

/** What the status of a refusal holds. */
export type Refusal = { reason: string; metadata: Map<string, string>; signed: Envelope | null };

/** H(PAE): the statement's name. */
export function nameOf(envelope: Envelope): Buffer {
  return digest(pae(envelope.payloadType, envelope.payload));
}

function varint(number: number): number[] {
  const out = [];
  for (; number > 127; number = Math.floor(number / 128)) out.push((number % 128) | 128);
  return [...out, number];
}

function field(number: number, value: Uint8Array): Buffer {
  if (value.length === 0) return Buffer.alloc(0);
  return Buffer.concat([Buffer.from([...varint((number << 3) | 2), ...varint(value.length)]), value]);
}

type Fields = Map<number, Buffer[]>;

/** The fields of a message that have a length; others are passed over. */
function fields(message: Uint8Array): Fields {
  const found: Fields = new Map();
  let at = 0;
  const number = (): number => {
    let value = 0;
    for (let scale = 1; scale < 2 ** 64; scale *= 128) {
      const byte = message[at++];
      if (byte === undefined) throw new Error("a message that ends too early");
      value += (byte & 127) * scale;
      if (byte < 128) return value;
    }
    throw new Error("a number without end");
  };
  while (at < message.length) {
    const tag = number();
    const kind = tag % 8;
    if (kind === 0) {
      number();
      continue;
    }
    const length = kind === 1 ? 8 : kind === 5 ? 4 : kind === 2 ? number() : Infinity;
    if (at + length > message.length) throw new Error("a message that is none");
    if (kind === 2) {
      const name = Math.floor(tag / 8);
      found.set(name, [...(found.get(name) ?? []), Buffer.from(message.subarray(at, at + length))]);
    }
    at += length;
  }
  return found;
}

function last(found: Fields, number: number): Buffer {
  return found.get(number)?.at(-1) ?? Buffer.alloc(0);
}

/** A `DescribeVaultRequest`. */
export function challenge(random: Uint8Array): Buffer {
  return field(1, random);
}

/** Any other request: an envelope in its first field. */
export function request(envelope: Envelope): Buffer {
  const { payloadType, payload, signature, kid } = envelope;
  const parts = [Buffer.from(payloadType), payload, signature, Buffer.from(kid)];
  return field(1, Buffer.concat(parts.map((part, i) => field(i + 1, part))));
}

function envelope(message: Uint8Array): Envelope {
  const found = fields(message);
  const [payloadType, payload, signature, kid] = [last(found, 1), last(found, 2), last(found, 3), last(found, 4)];
  if (signature.length !== 64 || payloadType.length > 128 || kid.length > 64) {
    throw new Error("the envelope's parts are not of their lengths");
  }
  return { payloadType: payloadType.toString(), payload, signature, kid: kid.toString() };
}

/** The envelope of an answer. */
export function answer(message: Uint8Array): Envelope {
  const found = fields(message);
  if (!found.has(1)) throw new Error("the message holds no signed envelope");
  return envelope(last(found, 1));
}

/** The refusal in a status, or null where it is none of the vault's: from a proxy, or from the transport. */
export function refusal(details: Uint8Array | null): Refusal | null {
  let said: { reason: string; metadata: Map<string, string> } | null = null;
  let signed: Envelope | null = null;
  try {
    for (const any of (fields(details ?? Buffer.alloc(0)).get(3) ?? []).map(fields)) {
      const name = last(any, 1).toString().split("/").at(-1);
      if (name === "google.rpc.ErrorInfo" && said === null) {
        const info = fields(last(any, 2));
        if (last(info, 2).toString() !== "nockvault") continue;
        const pairs = (info.get(3) ?? []).map(fields);
        const metadata = new Map(pairs.map((pair) => [last(pair, 1).toString(), last(pair, 2).toString()]));
        said = { reason: last(info, 1).toString(), metadata };
      } else if (name === "nockvault.v1.SignedEnvelope" && signed === null) {
        signed = whole(last(any, 2));
      }
    }
  } catch {
    return null;
  }
  return said && { ...said, signed };
}

/** An envelope without the shape of one counts as absent, since only a verified one proves anything. */
function whole(message: Uint8Array): Envelope | null {
  try {
    return envelope(message);
  } catch {
    return null;
  }
}
