/** An agent's key: in a file that is closed to everyone else, or in a variable; NockGuard's serve too. */

import { randomBytes, sign, type KeyObject } from "node:crypto";
import { closeSync, constants, existsSync, fstatSync, fsyncSync, lstatSync, openSync, readFileSync, writeSync } from "node:fs";
import { isAbsolute, join } from "node:path";

import { Local, words } from "./faults.js";
import { configDir } from "./places.js";
import {
  AGENT,
  REGISTER,
  admit,
  b64,
  isObject,
  jcs,
  message,
  privateKey,
  publicBytes,
  thumbprint,
  unb64,
  verifies,
  type Form,
  type JsonObject,
} from "./statements.js";

const MAX = 4096;

/** An Ed25519 key with its number among the agent's keys. It shows itself by its identifier alone. */
export class Key {
  readonly #key: KeyObject;
  readonly publicBytes: Buffer;
  readonly kid: string;

  constructor(
    seed: Uint8Array,
    public kver = 1,
    public form: Form = "pae",
  ) {
    if (seed.length !== 32) throw new Local("a seed has 32 bytes");
    this.#key = privateKey("Ed25519", seed);
    this.publicBytes = publicBytes(this.#key);
    this.kid = thumbprint(this.publicBytes);
  }

  /** A new key. */
  static generate(kver = 1): Key {
    return new Key(randomBytes(32), kver);
  }

  /** 64 digits of hex are a seed, 128 a seed with its public key after it. */
  static parse(text: string, kver = 1): Key {
    const digits = text.trim();
    // The text is not quoted: it may be a key.
    if (!/^([0-9a-f]{64}){1,2}$/i.test(digits)) throw new Local("a private key is 64 or 128 digits of hex");
    const data = Buffer.from(digits, "hex");
    const key = new Key(data.subarray(0, 32), kver);
    if (data.length === 64 && !data.subarray(32).equals(key.publicBytes)) {
      throw new Local("the two halves of the 128 digits do not belong together");
    }
    return key;
  }

  /** The key in a file; its number comes from the register statement beside it, and is 1 where there is none. */
  static read(path: string): Key {
    try {
      const key = Key.parse(readSafely(path));
      const beside = path.replace(/\.[^./]*$/, "") + ".register";
      if (existsSync(beside)) key.numbered(readFileSync(beside, "utf8"));
      return key;
    } catch (why) {
      throw new Local(`${path}: ${words(why)}`);
    }
  }

  /** Takes the number out of a register statement; that of another key says nothing about this one. */
  numbered(register: string): void {
    const text = register.trim();
    let said: JsonObject;
    try {
      const embedded: unknown = JSON.parse(text.startsWith("{") ? text : unb64(text).toString());
      if (!isObject(embedded) || !isObject(embedded["payload"])) throw new Error();
      const payload = Buffer.from(jcs(embedded["payload"]));
      said = admit(payload, AGENT);
      const [form, signature] = [said["form"] === "sshsig" ? "sshsig" : "pae", unb64(embedded["sig"], 64)] as const;
      const own = verifies(unb64(said["pk"], 32), signature, form, REGISTER, payload);
      if (!own || said["typ"] !== "nockvault/register" || typeof said["kver"] !== "number") throw new Error();
    } catch {
      throw new Local("is not a register statement; vaultctl keygen makes one");
    }
    if (said["pk"] !== b64(this.publicBytes)) return;
    this.kver = said["kver"] as number;
    this.form = said["form"] === "sshsig" ? "sshsig" : "pae";
  }

  /** Writes the key to a new file that nobody else can read. */
  write(path: string): void {
    const file = openSync(path, constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL, 0o600);
    try {
      const seed = this.#key.export({ format: "der", type: "pkcs8" }).subarray(-32);
      writeSync(file, `${seed.toString("hex")}\n`);
      fsyncSync(file);
    } finally {
      closeSync(file);
    }
  }

  /** The signature over an envelope's type and payload. */
  sign(payloadType: string, payload: Uint8Array): Buffer {
    return sign(null, message(this.form, payloadType, payload), this.#key);
  }

  /** The statement that proves that its holder holds it, signed by itself. */
  register(of: { agent: string; aud: string; nonce: string; iat: number; prev?: string }): JsonObject {
    const statement = {
      ...{ agent: of.agent, aud: of.aud, form: this.form, iat: of.iat, kid: this.kid, kver: this.kver, nonce: of.nonce },
      ...{ pk: b64(this.publicBytes), prev: of.prev ?? "", typ: "nockvault/register", v: 1 },
    };
    return { payload: statement, sig: b64(this.sign(REGISTER, Buffer.from(jcs(statement)))) };
  }
}

/** The text of a file that only this user can read and have written. */
function readSafely(path: string): string {
  if (lstatSync(path).isSymbolicLink()) throw new Local("is a link; a key file is opened where it stands");
  const file = openSync(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
  try {
    const about = fstatSync(file);
    if (!about.isFile()) throw new Local("is not a regular file");
    if (about.uid !== process.geteuid?.()) {
      throw new Local("belongs to another user; a key file belongs to who uses it");
    }
    if ((about.mode & 0o077) !== 0) {
      const mode = (about.mode & 0o777).toString(8).padStart(4, "0");
      throw new Local(`is open to others (mode ${mode}); run: chmod 600 ${path}`);
    }
    if (about.size > MAX) throw new Local(`is larger than the ${MAX} bytes of a key file`);
    return readFileSync(file, "latin1");
  } finally {
    closeSync(file);
  }
}

function isThere(path: string): boolean {
  return lstatSync(path, { throwIfNoEntry: false }) !== undefined;
}

/** An agent's key: `NOCKVAULT_AGENT_<NAME>_ED25519_KEY`, then NockGuard's variable, then the files: of the current folder first. */
export function findKey(agent: string, file?: string): Key {
  const part = agent.replaceAll(/[.-]/g, "_").toUpperCase();
  for (const house of ["NOCKVAULT", "NOCKGUARD"]) {
    let name = `${house}_AGENT_${part}_ED25519_KEY`;
    const text = process.env[name];
    if (text === undefined) continue;
    try {
      const key = Key.parse(text);
      name = `NOCKVAULT_AGENT_${part}_REGISTER`;
      const register = process.env[name];
      if (register) key.numbered(register);
      return key;
    } catch (why) {
      throw new Local(`${name}: ${words(why)}`);
    }
  }
  if (file !== undefined) return Key.read(file);
  const [config, home] = [configDir(), process.env["HOME"] ?? ""];
  const usual = [...(config ? [join(config, "agents")] : []), ...(isAbsolute(home) ? [join(home, ".nockguard/keys")] : [])];
  const dirs = [".", ...usual];
  const places = dirs.map((dir) => join(dir, `${agent}.ed25519`));
  // A file that is there and not safe is an error, and never passed over for another.
  const there = places.find(isThere);
  if (there !== undefined) return Key.read(there);
  const tried = [`NOCKVAULT_AGENT_${part}_ED25519_KEY`, ...places].join(" nor ");
  throw new Local(
    `no key of agent ${agent}: neither ${tried}; vaultctl keygen --agent ${agent} makes one, and an operator ` +
      `registers it: vaultctl agent register ${agent}.register`,
  );
}
