/** Where cards, keys and memories lie, and what a card says. */

import { existsSync, readFileSync, readdirSync } from "node:fs";
import { isIPv4 } from "node:net";
import { basename, isAbsolute, join } from "node:path";

import { parse } from "smol-toml";

import { Local, words } from "./faults.js";
import { thumbprint, unb64 } from "./statements.js";

function folder(variable: string, belowHome: string): string | null {
  const { [variable]: own = "", HOME: home = "" } = process.env;
  if (isAbsolute(own)) return join(own, "nockvault");
  return isAbsolute(home) ? join(home, belowHome, "nockvault") : null;
}

/** `$XDG_CONFIG_HOME/nockvault`, or `~/.config/nockvault`. */
export function configDir(): string | null {
  return folder("XDG_CONFIG_HOME", ".config");
}

/** `$XDG_STATE_HOME/nockvault`, or `~/.local/state/nockvault`. */
export function stateDir(): string | null {
  return folder("XDG_STATE_HOME", ".local/state");
}

/** A vault's card: public, and as trustworthy as the way it came. It pins the vault's identity key. */
export type Card = { name: string; aud: string; identity: Buffer; agents: string; ca?: string };

/** Reads a card and checks that it does not contradict itself. */
export function parseCard(text: string): Card {
  let card: Record<string, unknown>;
  let identity: Buffer;
  try {
    card = parse(text);
    const { name, aud, agents, operators, genesis, ca = "", identity: key, ...more } = card;
    const texts = [name, aud, agents, operators, ca].every((text) => typeof text === "string");
    if (!texts || typeof genesis !== "object" || Object.keys(more).length > 0) throw new Error("not the members of one");
    identity = unb64(key, 32);
  } catch (why) {
    throw new Local(`not a vault card: ${words(why)}`);
  }
  const { name, aud, agents, ca } = card as { name: string; aud: string; agents: string; ca?: string };
  if (aud !== `nv1:${thumbprint(identity)}`) {
    throw new Local("the card's identity key does not belong to its aud; one of the two was changed");
  }
  return { name, aud, identity, agents, ...(ca === undefined ? {} : { ca }) };
}

function readCard(path: string): Card {
  try {
    return parseCard(readFileSync(path, "utf8"));
  } catch (why) {
    throw new Local(`${path}: ${words(why)}`);
  }
}

/** The card that is named, by its file, its name in the usual folder or `NOCKVAULT_CARD`; else the only one. */
export function findCard(named: string | undefined = process.env["NOCKVAULT_CARD"] || undefined): Card {
  const dir = configDir();
  if (named !== undefined) {
    const elsewhere = existsSync(named) || named.includes("/") || dir === null;
    return readCard(elsewhere ? named : join(dir, `${basename(named, ".card")}.card`));
  }
  const found = dir !== null && existsSync(dir) ? readdirSync(dir).filter((name) => name.endsWith(".card")) : [];
  if (dir !== null && found.length === 1) return readCard(join(dir, found[0] ?? ""));
  const many = found.length > 1 ? "there is more than one vault card" : "there is no vault card";
  throw new Local(`${many} in ${dir}; name it, or set NOCKVAULT_CARD`);
}

/** Where gRPC connects to, and whether by TLS. */
export function target(card: Card): { address: string; tls: boolean } {
  const bad = (why: string): Local => {
    const forms = "it is https://host:port, http:// on loopback, or unix:/path";
    return new Local(`the address ${JSON.stringify(card.agents)} ${why}; ${forms}`);
  };
  if (card.agents.startsWith("unix:")) {
    const path = card.agents.slice("unix:".length);
    if (!path.startsWith("/")) throw bad("names no absolute path");
    return { address: `unix:${path.replace(/^\/+/, "/")}`, tls: false };
  }
  let url: URL;
  try {
    url = new URL(card.agents);
  } catch {
    throw bad("is not an address");
  }
  if (!["", "/"].includes(url.pathname) || url.search || url.hash || url.username || !url.hostname) {
    throw bad("is not a host and a port");
  }
  const tls = url.protocol === "https:";
  const host = url.hostname;
  const loopback = host === "localhost" || host === "[::1]" || (isIPv4(host) && host.startsWith("127."));
  if (!tls && url.protocol !== "http:") throw bad("has no scheme");
  if (!tls && !loopback) throw bad("would send everything in the open to another machine");
  if (tls && !card.ca) {
    throw new Local(`the card carries no CA, so that nothing could be trusted at ${card.agents}; ask for a new card`);
  }
  return { address: `${host}:${url.port || (tls ? "443" : "80")}`, tls };
}
