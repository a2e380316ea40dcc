// Checks tokens with jose, as a service would: `verify.mjs ISSUER JWKS-ADDRESS`. A line of JSON on standard input for
// each, {"token","typ","alg","audience"}; a line for each on standard output, {"claims"} or {"refused"}.

import { createInterface } from "node:readline";
import { createRequire } from "node:module";
import { pathToFileURL } from "node:url";

// The packages stand where NODE_PATH says, which `import` by name does not look at.
const jose = await import(pathToFileURL(createRequire(import.meta.url).resolve("jose")));
const [issuer, address] = process.argv.slice(2);

for await (const line of createInterface({ input: process.stdin })) {
  const { token, typ, alg, audience } = JSON.parse(line);
  try {
    // A new set each time: it is fetched as it is served now.
    const keys = jose.createRemoteJWKSet(new URL(address));
    const options = { issuer, typ, algorithms: [alg], requiredClaims: ["exp", "iat"] };
    const { payload } = await jose.jwtVerify(token, keys, audience === null ? options : { ...options, audience });
    console.log(JSON.stringify({ claims: payload }));
  } catch (error) {
    console.log(JSON.stringify({ refused: error.code ?? String(error) }));
  }
}
