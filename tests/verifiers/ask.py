"""Asks for tokens: `ask.py CARD KEY`, and on standard input a line of JSON for each, {"role","ttl","params","sig_pk"}.
Writes a line for each: {"token","lease","jkt"}. With sig_pk the session brings a signing key of its own."""

import json
import sys
import tomllib

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

import agent

with open(sys.argv[1], "rb") as file:
    vault = agent.Vault(tomllib.load(file))
kit = agent.Agent(vault, "kit", agent.read_key(sys.argv[2]), 1)
sign = kit.sign

for line in sys.stdin:
    wish = json.loads(line)
    public = agent.raw(Ed25519PrivateKey.generate().public_key())

    def with_key(body, sid):
        if wish.get("sig_pk"):
            body["seal"]["sig_pk"] = agent.b64(public)
        return sign(body, sid)

    kit.sign = with_key
    hdr, secret, _ = kit.request(wish["role"], wish.get("ttl", 0), params=wish.get("params"))
    print(json.dumps({"token": secret["token"], "lease": hdr["lease"], "jkt": agent.kid(public)}), flush=True)
