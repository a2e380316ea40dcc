/** What an agent remembers of its own chain: the newest state it was shown, which it countersigns with its next request,
 * and the birth of the newest response certificate. Both only grow, until the agent's owner accepts that the vault was
 * restored from a backup. The file is the one that every client of this agent
 * keeps, and its lock is the one that they take. */

import { spawn } from "node:child_process";
import { once } from "node:events";
import { closeSync, constants, fsyncSync, mkdirSync, openSync, readFileSync, renameSync, writeSync } from "node:fs";
import { dirname, join } from "node:path";

import { Local, type Refused, Untrusted, words } from "./faults.js";
import { AGENT, admit, b64, jcs, unb64 } from "./statements.js";

/** What is remembered. `restores` is how many restores of the vault were accepted, left out where there was none: what was
 * seen before one counts no more, however long it was. */
export type State = { cert_nbf: number; head: string; restores?: number; size: number };
export type Seen = { head: string; size: number };

const NOTHING: State = { cert_nbf: 0, head: b64(new Uint8Array(32)), size: 0 };

const restoresOf = (state: State): number => state.restores ?? 0;

/** The form of a state, in which no restores are not told. */
function stateOf(cert_nbf: number, head: string, size: number, restores: number): State {
  return { cert_nbf, head, ...(restores > 0 && { restores }), size };
}

function joined(one: State, other: State): State {
  const later = restoresOf(other) - restoresOf(one);
  const newest = later > 0 || (later === 0 && other.size > one.size) ? other : one;
  return { ...newest, cert_nbf: Math.max(one.cert_nbf, other.cert_nbf) };
}

function older(held: State, seq: number): Untrusted {
  return new Untrusted(
    "older_history",
    `the answer's entry ${seq} stands before the ${held.size} entries that were already seen: the vault's history was ` +
      `rolled back or forked; keep ${held.head} as evidence and tell the auditor`,
  );
}

function accepted(lost: State): State {
  if (lost.size === 0) throw new Local("nothing was seen of this agent's chain; there is nothing to accept");
  return stateOf(lost.cert_nbf, NOTHING.head, 0, restoresOf(lost) + 1);
}

function mustNotPart(held: State, news: State): void {
  const alike = restoresOf(news) === restoresOf(held) && news.size === held.size;
  if (news.size > 0 && alike && news.head !== held.head) throw older(held, news.size - 1);
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
    await this.#keep(stateOf(0, entry.leaf, entry.seq + 1, restoresOf(this.#state)));
  }

  /** Takes in when a response certificate was born. */
  async certified(nbf: number): Promise<void> {
    if (nbf > this.#state.cert_nbf) await this.#keep({ ...NOTHING, cert_nbf: nbf });
  }

  /** Accepts that the vault was restored from a backup that is older than what was seen: on its signed `restored`, and no
   * other word. What was seen is put aside as evidence, in `<agent>.seen.lost-<size>`, and given back. */
  acceptRestore(refused: Refused): Promise<State> {
    if (!refused.proven || refused.reason !== "restored") {
      throw new Local("the vault has not said, signed, that it was restored; nothing is accepted");
    }
    const lost = this.#turn.then(() => this.#putAside());
    this.#turn = lost.then(
      () => undefined,
      () => undefined,
    );
    return lost;
  }

  async #putAside(): Promise<State> {
    const file = this.#file;
    let lost = this.#state;
    if (file === null) {
      this.#state = accepted(lost);
      return lost;
    }
    await locked(`${file}.lock`, () => {
      lost = joined(lost, read(file));
      const begun = accepted(lost);
      write(`${file}.lost-${lost.size}`, lost);
      write(file, begun);
      this.#state = begun;
    });
    return lost;
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
    const { cert_nbf, head, restores = 0, size, ...more } = admit(text.at(-1) === 10 ? text.subarray(0, -1) : text, AGENT);
    if (typeof cert_nbf !== "number" || typeof size !== "number" || typeof restores !== "number") throw new Error("no number");
    if (Math.min(cert_nbf, restores, size) < 0) throw new Error("a number is negative");
    if (Object.keys(more).length > 0) throw new Error("it has members that are not known");
    return stateOf(cert_nbf, b64(unb64(head, 32)), size, restores);
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
