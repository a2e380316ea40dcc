/** Asks the launcher that this program runs under, `vault-agent exec`. No key is here: the launcher signs, caches within
 * the lease and renews. Its socket is named by `NOCKVAULT_AGENT_SOCKET`; in tight mode the token of this run lies in the
 * open file that `NOCKVAULT_AGENT_TOKEN_FD` numbers. */

import { readFileSync } from "node:fs";
import { connect } from "node:net";

import { Secret, type Ask } from "./client.js";
import { Local, Refused, words } from "./faults.js";
import { isObject, type JsonObject } from "./statements.js";

const SOCKET = "NOCKVAULT_AGENT_SOCKET";
const TOKEN_FD = "NOCKVAULT_AGENT_TOKEN_FD";
/** A little longer than the launcher takes to give up. */
const WAIT = 100_000;
const ANSWER_MAX = 1 << 20;

/** A credential that the launcher holds. */
export type Given = { role: string; kind: string; lease: string; exp: number; renewable: boolean; secret: Secret };

/** A credential of this role, out of the launcher's hands: one that it holds, or a new one where `fresh`. */
export async function fromAgent(role: string, ask: Ask & { fresh?: boolean } = {}): Promise<Given> {
  const path = process.env[SOCKET];
  if (!path) throw new Local(`${SOCKET} is not set: this program does not run under vault-agent exec`);
  const question: JsonObject = { v: 1, do: "get", role };
  if (ask.params !== undefined && Object.keys(ask.params).length > 0) question["params"] = ask.params;
  if (ask.ttl) question["ttl"] = ask.ttl;
  if (ask.purpose) question["purpose"] = ask.purpose;
  if (ask.fresh) question["fresh"] = true;
  const shown = token();
  if (shown !== null) question["token"] = shown;
  return given(await exchange(path, `${JSON.stringify(question)}\n`));
}

function token(): string | null {
  const number = process.env[TOKEN_FD];
  if (!number) return null;
  try {
    // Opened anew, so that reading it takes nothing from the next.
    return readFileSync(`/proc/self/fd/${Number(number)}`, "ascii");
  } catch {
    throw new Local(
      `${TOKEN_FD} names the open file ${number}, which cannot be read; whoever started this program has to hand it on ` +
        `(in Node: spawn's stdio)`,
    );
  }
}

function exchange(path: string, question: string): Promise<string> {
  return new Promise((resolve, reject) => {
    const parts: Buffer[] = [];
    let size = 0;
    const launcher = connect(path);
    const failed = (why: string): void => {
      launcher.destroy();
      reject(new Local(`the launcher's socket ${path} does not answer: ${why}; has it ended?`));
    };
    launcher.setTimeout(WAIT, () => failed("not in time"));
    launcher.on("error", (error) => failed(words(error)));
    launcher.on("connect", () => launcher.write(question));
    launcher.on("data", (part: Buffer) => {
      parts.push(part);
      size += part.length;
      if (size > ANSWER_MAX) failed("with less than was sent");
      if (part.at(-1) === 10) launcher.end();
    });
    launcher.on("close", () => resolve(Buffer.concat(parts).toString()));
  });
}

function given(line: string): Given {
  let said: unknown;
  try {
    said = JSON.parse(line);
  } catch {
    // The cause is not handed on: it may quote the secret.
  }
  const { ok, error } = isObject(said) ? said : {};
  if (isObject(ok) && isObject(ok["secret"])) {
    const { role, kind, lease, exp, renewable, secret } = ok as unknown as Given & { secret: JsonObject };
    return { role, kind, lease, exp, renewable, secret: new Secret(secret) };
  }
  if (!isObject(error)) throw new Local("the launcher's answer cannot be read; is it of another version?");
  const [code, message] = [String(error["code"]), String(error["message"])];
  const number = (name: string): number | null => (typeof error[name] === "number" ? error[name] : null);
  if (typeof error["proven"] !== "boolean") throw new Local(`the launcher says: ${message}`);
  throw new Refused(code, message, number("limit"), number("now"), error["proven"]);
}
