/** What can go wrong, sorted by who has to act. */

/** Why a call gave no result. */
export class Fault extends Error {
  constructor(text: string) {
    super(text);
    this.name = new.target.name;
  }
}

/** The vault said no. */
export class Refused extends Fault {
  constructor(
    /** The code of the reason: what programs act on. */
    readonly reason: string,
    /** The vault's words for people. */
    readonly words: string,
    /** The limit that was met, in the unit that its reason states. */
    readonly limit: number | null,
    /** The vault's time when it refused, in milliseconds. */
    readonly now: number | null,
    /** Whether the vault signed it, for exactly this request. What is not signed decides nothing. */
    readonly proven: boolean,
  ) {
    let text = words.startsWith(reason) ? words : `${reason}: ${words}`;
    if (limit !== null && !text.includes("[limit ")) text += ` [limit ${limit}]`;
    if (now !== null && now < 8.64e15) text += ` [vault's time ${new Date(now).toISOString()}]`;
    super(`refused: ${text}${proven ? "" : " [not signed by the vault]"}`);
  }
}

/** No connection: nothing was sent. */
export class Unreachable extends Fault {
  constructor(
    readonly address: string,
    why: string,
  ) {
    super(`${address} cannot be reached: ${why}; see that vaultd runs there and that the card's address is right`);
  }
}

/** The request went out and no answer of the vault's came back. What was asked may have happened. */
export class NoAnswer extends Fault {
  constructor(
    /** H(PAE) of what was sent; `Session.releaseUnanswered` ends a lease that it made. */
    readonly req: string,
    why: string,
  ) {
    super(`no answer to ${req}: ${why}; what it asked for may have happened all the same`);
  }
}

/** Why an answer must not be believed. */
export type Why =
  | "other_vault"
  | "certificate"
  | "signature"
  | "form"
  | "other_request"
  | "other_terms"
  | "older_history"
  | "seal";

/** An answer that must not be believed. Nothing of it was used. */
export class Untrusted extends Fault {
  constructor(
    readonly why: Why,
    text: string,
    /** Of `other_terms`, which member is not what was asked for. */
    readonly member?: string,
  ) {
    super(text);
  }
}

/** A key, a file or an argument on this side. */
export class Local extends Fault {}

/** The words of an error, whatever was thrown. */
export function words(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
