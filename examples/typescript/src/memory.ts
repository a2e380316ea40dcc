/** What an agent remembers of its own chain: the newest state it was shown, which it countersigns with its next request,
 * and the birth of the newest response certificate. Both only grow. The file is the one that every client of this agent
 * keeps, and its lock is the one that they take. */

import { spawn } from "node:child_process";
import { once } from "node:events";
import { closeSync, constants, fsyncSync, mkdirSync, openSync, readFileSync, renameSync, writeSync } from "node:fs";
import { dirname, join } from "node:path";

import { Local, Untrusted, words } from "./faults.js";
import { AGENT, admit, b64, jcs, unb64 } from "./statements.js";

/** What is remembered. */
export type State = { cert_nbf: number; head: string; size: number };
export type Seen = { head: string; size: number };

const NOTHING: State = { cert_nbf: 0, head: b64(new Uint8Array(32)), size: 0 };

function joined(one: State, other: State): State {
  const newest = other.size > one.size ? other : one;
  return { ...newest, cert_nbf: Math.max(one.cert_nbf, other.cert_nbf) };
}

function older(held: State, seq: number): Untrusted {
  return new Untrusted(
    "older_history",
    `the answer's entry ${seq} stands before the ${held.size} entries that were already seen: the vault's history was ` +
      `rolled back or forked; keep ${held.head} as evidence and tell the auditor`,
  );
}

function mustNotPart(held: State, news: State): void {
  if (news.size > 0 && news.size === held.size && news.head !== held.head) throw older(held, news.size - 1);
}

/** One agent's memory of one vault, in `<folder>/<aud>/<agent>.seen`; without a folder it ends with the process. */
export class Memory {
  #state = NOTHING;
  readonly #file: string | null;
  #turn: Promise<void> = Promise.resolve();

  constructor(folder: string | null, aud: string, agent: string) {
    this.#file = folder === null ? null : join(folder, aud, `${agent}.seen`);
    if (this.#file !== null) {
      mkdirSync(dirname(this.#file), { mode: 0o700, recursive: true });
      this.#state = read(this.#file);
    }
  }

  get state(): State {
    return this.#state;
  }

  seen(): Seen {
    return { head: this.#state.head, size: this.#state.size };
  }

  /** Takes in the entry that answers a request which countersigned `sent`. */
  async learn(sent: Seen, entry: { leaf: string; seq: number }): Promise<void> {
    if (entry.seq < sent.size) throw older(this.#state, entry.seq);
    await this.#keep({ cert_nbf: 0, head: entry.leaf, size: entry.seq + 1 });
  }

  /** Takes in when a response certificate was born. */
  async certified(nbf: number): Promise<void> {
    if (nbf > this.#state.cert_nbf) await this.#keep({ ...NOTHING, cert_nbf: nbf });
  }

  /** Compared in turn and under the lock, so that of two answers at once, or to two processes, the second is held
   * against the first. */
  #keep(news: State): Promise<void> {
    const kept = this.#turn.then(() => this.#join(news));
    this.#turn = kept.catch(() => undefined);
    return kept;
  }

  async #join(news: State): Promise<void> {
    const file = this.#file;
    mustNotPart(this.#state, news);
    if (file === null) {
      this.#state = joined(this.#state, news);
      return;
    }
    await locked(`${file}.lock`, () => {
      const kept = read(file);
      mustNotPart(kept, news);
      this.#state = joined(joined(this.#state, news), kept);
      write(file, this.#state);
    });
  }
}

/** Node has no flock(2). The program of that name (util-linux) takes the lock and holds it until its input ends. */
async function locked(path: string, act: () => void): Promise<void> {
  closeSync(openSync(path, constants.O_WRONLY | constants.O_CREAT, 0o600));
  const holder = spawn("flock", [path, "sh", "-c", "echo; cat"], { stdio: ["pipe", "pipe", "ignore"] });
  const ended = once(holder, "close");
  // Where it cannot be started, `ended` says why; nothing else may be left to fail alone.
  ended.catch(() => undefined);
  holder.stdin.on("error", () => undefined);
  try {
    const held = await Promise.race([once(holder.stdout, "data").then(() => true), ended.then(() => false)]);
    if (!held) throw new Error("flock took no lock");
    act();
  } catch (why) {
    if (why instanceof Untrusted || why instanceof Local) throw why;
    throw new Local(`${path}: ${words(why)}; locking takes the program flock of util-linux (or keep nothing: state: null)`);
  } finally {
    holder.stdin.end();
    await ended.catch(() => undefined);
  }
}

function read(file: string): State {
  let text: Buffer;
  try {
    text = readFileSync(file);
  } catch (why) {
    if ((why as NodeJS.ErrnoException).code === "ENOENT") return NOTHING;
    throw new Local(`${file}: ${words(why)}`);
  }
  try {
    const { cert_nbf, head, size, ...more } = admit(text.at(-1) === 10 ? text.subarray(0, -1) : text, AGENT);
    if (typeof cert_nbf !== "number" || typeof size !== "number" || cert_nbf < 0 || size < 0) throw new Error("no number");
    if (Object.keys(more).length > 0) throw new Error("it has members that are not known");
    return { cert_nbf, head: b64(unb64(head, 32)), size };
  } catch (why) {
    throw new Local(`${file}: ${words(why)}; move it away to begin anew, and keep it as evidence`);
  }
}

/** A crash before the rename leaves the old file and a stray one beside it; a crash after it leaves the new file. */
function write(file: string, state: State): void {
  const out = openSync(`${file}.new`, constants.O_WRONLY | constants.O_CREAT | constants.O_TRUNC, 0o600);
  try {
    writeSync(out, `${jcs(state)}\n`);
    fsyncSync(out);
  } finally {
    closeSync(out);
  }
  renameSync(`${file}.new`, file);
}
