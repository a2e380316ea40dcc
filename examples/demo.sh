#!/usr/bin/env bash
# The product in one screen: a vault, an agent, a secret, a refused replay, a verified trail, a tampered one.
# `make demo` builds first. Everything happens in a temporary folder, on loopback, and is gone afterwards.
set -euo pipefail

built=$(cd "${CARGO_TARGET_DIR:-$(dirname "${BASH_SOURCE[0]}")/../target}" && pwd)/debug
export PATH="$built:$built/examples:$PATH"
for program in vaultctl vaultd vault-verify request_credential replay; do
  command -v "$program" >/dev/null || { echo "demo: $program is not built; run: cargo build --bins --examples" >&2; exit 1; }
done

work=$(mktemp -d "${TMPDIR:-/tmp}/nockvault-demo.XXXXXX")
daemon=
clean_up() {
  if [ -n "$daemon" ]; then kill "$daemon" 2>/dev/null && wait "$daemon" 2>/dev/null || true; fi
  rm -rf "$work"
}
trap clean_up EXIT
cd "$work"
# Cards, keys and what agents remember go here, and not into your home.
export XDG_CONFIG_HOME=$work/config XDG_STATE_HOME=$work/state
unset NOCKVAULT_CARD NOCKVAULT_OPERATOR NOCKVAULT_OPERATOR_KEY NOCKVAULT_OUTPUT

bold=; plain=; dim=
if [ -t 1 ]; then bold=$(printf '\033[1m'); dim=$(printf '\033[2m'); plain=$(printf '\033[0m'); fi
step() { printf '\n%s%s%s\n' "$bold" "$*" "$plain"; }
shown() { printf '%s$ %s%s\n' "$dim" "$*" "$plain"; }
run() {
  shown "$*"
  "$@" > out 2>&1 || { cat out >&2; exit 1; }
  # What init says to do next is done below.
  sed '/^$/,$d; s/; a head that is kept.*//; s/^/  /' out
}

# A program that must end with this code; of what it says, what this sed program leaves.
ends_with() {
  local wanted=$1 left=$2 code=0; shift 2
  shown "$*"
  "$@" > out 2>&1 || code=$?
  sed -n "$left" out | sed 's/^/  /'
  printf '  (exit code %s)\n' "$code"
  [ "$code" -eq "$wanted" ] || { cat out >&2; echo "demo: exit code $wanted was expected" >&2; exit 1; }
}

free_port() {
  local port
  while :; do
    port=$((20000 + RANDOM % 20000))
    (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null || { echo "$port"; return; }
  done
}

step "1. A vault: its keys, its TLS, its first operator (ada), and the card that says who it is."
run vaultctl init --name demo --dir vault --operator ada --listen "127.0.0.1:$(free_port)" --http 127.0.0.1:0 --field aud
shown "vaultd --config vault/vaultd.toml &"
vaultd --config vault/vaultd.toml > ready 2> vaultd.log &
daemon=$!
for _ in $(seq 100); do
  grep -q '^ready' ready && break
  kill -0 "$daemon" 2>/dev/null || { cat vaultd.log >&2; echo "demo: vaultd did not start" >&2; exit 1; }
  sleep 0.1
done
sed 's/ agents=unix.*//; s/^/  /' ready

step "2. An agent, kit: its key stays here. Only the statement that proves it is held goes to the operator."
run vaultctl keygen --agent kit --field public_key
run vaultctl agent register kit.register --field kid

step "3. Something to hand out, and to whom. (This secret is the demo's own: nothing real.)"
shown "echo demo-password-not-real | vaultctl secret put orders-db"
echo demo-password-not-real | vaultctl secret put orders-db --field version 2>&1 >/dev/null | sed 's/^/  /'
run vaultctl role create orders-read --engine kv --set secret=orders-db --field role
run vaultctl grant kit orders-read --ttl 15m --max-ttl 1h --rate 10/m --field role
run vaultctl grants

step "4. As kit: one signed request, one secret, sealed to this session, and in kit's trail before it left."
run request_credential --agent kit --role orders-read --purpose "nightly report" --receipt kit.receipt --reveal

step "5. As a thief: a request was copied off the network and is sent again, byte for byte."
ends_with 0 p replay --agent kit --role orders-read

step "6. As kit: more than the grant allows. Nothing is clipped; it is refused, with the limit."
ends_with 2 '$p' request_credential --agent kit --role orders-read --ttl 2h

step "7. As the auditor: the card, the chains and kit's receipt. No vault is asked, no operator is trusted."
run vaultctl audit export kit --file kit.audit.jsonl
run vaultctl audit export _operators --file operators.audit.jsonl
ends_with 0 '/^kit/,$p' vault-verify --vault vault/demo.card --operators operators.audit.jsonl --receipt kit.receipt kit.audit.jsonl

step "8. As somebody who owns the file: one word changed."
shown "sed 's/nightly report/weekly report/' kit.audit.jsonl > forged.audit.jsonl"
sed 's/nightly report/weekly report/' kit.audit.jsonl > forged.audit.jsonl
ends_with 2 1p vault-verify --vault vault/demo.card forged.audit.jsonl

step "Done. Next: README.md, and \`vaultd dev\` for a vault to play with."
