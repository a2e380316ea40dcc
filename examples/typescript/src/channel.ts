/** gRPC to the vault of a card: TLS with the card's CA alone, loopback, or a unix socket. */

import { Client, credentials, Metadata, status, type ServiceError } from "@grpc/grpc-js";

import { Untrusted, words } from "./faults.js";
import { target, type Card } from "./places.js";
import { answer, type Carry, type Envelope, type Failure } from "./wire.js";

const METHOD = "/nockvault.v1.AgentService/";
/** The vault answers within its own, shorter deadline, also where it cannot serve. */
const TIMEOUT = 30_000;
/** No proxy, since nothing between is trusted; no retries, since the same bytes are never sent twice. */
const OPTIONS = {
  "grpc.enable_http_proxy": 0,
  "grpc.enable_retries": 0,
  "grpc.service_config_disable_resolution": 1,
  "grpc.max_receive_message_length": 5 << 20,
  "grpc.primary_user_agent": "nockvault-node",
};

const same = (bytes: Buffer): Buffer => bytes;

function failure(error: ServiceError): Failure {
  const details = error.metadata?.get("grpc-status-details-bin")[0];
  const message = (error.details ?? "").replaceAll(/\p{Cc}/gu, "");
  return { code: status[error.code] ?? "UNKNOWN", message, details: details instanceof Buffer ? details : null };
}

function read(bytes: Buffer): Envelope {
  try {
    return answer(bytes);
  } catch (why) {
    throw new Untrusted("form", `the answer is not a well formed answer: ${words(why)}`);
  }
}

/** Carries calls to the vault. Nothing is sent before the first. */
export function grpcCarry(card: Card): { carry: Carry; close: () => void } {
  const { address, tls } = target(card);
  const trusted = tls ? credentials.createSsl(Buffer.from(card.ca ?? "")) : credentials.createInsecure();
  const client = new Client(address, trusted, OPTIONS);
  const carry: Carry = (method, body) =>
    new Promise((resolve, reject) => {
      const deadline = Date.now() + TIMEOUT;
      client.makeUnaryRequest(METHOD + method, same, same, body, new Metadata(), { deadline }, (error, reply) => {
        if (error !== null) return resolve(failure(error));
        try {
          resolve(read(reply ?? Buffer.alloc(0)));
        } catch (fault) {
          reject(fault);
        }
      });
    });
  return { carry, close: () => client.close() };
}
