"""Checks tokens with PyJWT, as a service would: `verify.py ISSUER JWKS-ADDRESS`. A line of JSON on standard input for
each, {"token","typ","alg","audience"}; a line for each on standard output, {"claims"} or {"refused"}."""

import json
import sys

import jwt
from jwt.algorithms import OKPAlgorithm

# PyJWT knows Ed25519 signatures by the older name of the algorithm; RFC 9864 calls the same one Ed25519.
jwt.register_algorithm("Ed25519", OKPAlgorithm())
issuer, address = sys.argv[1:]

for line in sys.stdin:
    case = json.loads(line)
    try:
        # A new client each time: the set is fetched as it is served now.
        key = jwt.PyJWKClient(address).get_signing_key_from_jwt(case["token"]).key
        if jwt.get_unverified_header(case["token"]).get("typ") != case["typ"]:
            raise jwt.InvalidTokenError("typ")
        claims = jwt.decode(
            case["token"],
            key,
            algorithms=[case["alg"]],
            audience=case["audience"],
            issuer=issuer,
            options={"require": ["exp", "iat", "iss"]},
        )
        print(json.dumps({"claims": claims}), flush=True)
    except jwt.PyJWTError as error:
        print(json.dumps({"refused": type(error).__name__}), flush=True)
