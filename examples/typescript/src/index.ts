/** An agent's client of NockVault.
 *
 * ```ts
 * await using session = await connect({ agent: "kit" });
 * const credential = await session.request("orders-read");
 * ```
 *
 * An agent signs each request with its own Ed25519 key; the vault answers with a short-lived secret that is sealed to the
 * session, and this client believes an answer only where the vault that the card pins signed it, for this very request.
 * The same bytes are never sent twice. Under the launcher, `vault-agent exec`, a tool holds no key at all: `fromAgent`. */

export { connect, Secret, Session, Vault } from "./client.js";
export type { Around, Ask, Credential, Options } from "./client.js";
export { Fault, Local, NoAnswer, Refused, Unreachable, Untrusted } from "./faults.js";
export type { Why } from "./faults.js";
export { findKey, Key } from "./keys.js";
export { fromAgent } from "./launcher.js";
export type { Given } from "./launcher.js";
export { findCard, parseCard } from "./places.js";
export type { Card } from "./places.js";
export { jcs } from "./statements.js";
