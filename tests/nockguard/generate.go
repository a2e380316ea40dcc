// Writes trails as NockGuard does, with Go's own encoding/json: run by hand where the data is to be made anew,
//
//	go run generate.go
//
// in this folder. What it writes is committed; no test runs it. The golden rows come out as NockGuard's own tests have
// them.
package main

import (
	"crypto/ed25519"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"strings"
)

type row struct {
	Time           string `json:"ts"`
	Agent          string `json:"agent"`
	Tool           string `json:"tool"`
	Decision       string `json:"decision"`
	Reason         string `json:"reason,omitempty"`
	NockID         int    `json:"nock_id,omitempty"`
	PR             string `json:"pr,omitempty"`
	ReviewID       string `json:"review_id,omitempty"`
	ParentAuditSeq int    `json:"parent_audit_seq,omitempty"`
	SessionID      string `json:"session_id,omitempty"`
	KeyID          string `json:"key_id,omitempty"`
	Sig            string `json:"sig,omitempty"`
}

type mark struct {
	Count   int    `json:"count"`
	LastSig string `json:"last_sig"`
	Sig     string `json:"sig"`
}

func written(value any) []byte {
	bytes, err := json.Marshal(value)
	if err != nil {
		panic(err)
	}
	return bytes
}

func trail(file, keyID string, rows []row, sign func(string) string) {
	var out strings.Builder
	prev := ""
	for _, one := range rows {
		one.KeyID = keyID
		one.Sig = sign(string(written(one)) + "\n" + prev)
		out.Write(append(written(one), '\n'))
		prev = one.Sig
	}
	sum := mark{len(rows), prev, sign(fmt.Sprintf("nockguard-hwm-v1\n%d\n%s\n", len(rows), prev))}
	for name, text := range map[string]string{file: out.String(), file + ".hwm": string(written(sum)) + "\n"} {
		if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
			panic(err)
		}
	}
}

func main() {
	all := ""
	for c := rune(0); c < 0x80; c++ {
		all += string(c)
	}
	rows := []row{
		{Time: "2026-06-03T20:30:00+02:00", Agent: "kit", Tool: "Read", Decision: "allow"},
		{Time: "2026-06-03T20:30:01+02:00", Agent: "kit", Tool: "Bash", Decision: "deny", Reason: "<b>\"no\" & \\ 'never'</b>"},
		{Time: "2026-06-03T18:30:02Z", Agent: "kit", Tool: all, Decision: "block", Reason: "\u2028 \u2029 \u00e9 \U0001f511 \ufffd \x7f"},
		{Time: "2026-06-03T18:30:03Z", Agent: "kit", Tool: "gh_pr_merge", Decision: "approval-granted", NockID: 10647,
			PR: "acme/site#7", ReviewID: "r-1", ParentAuditSeq: -3, SessionID: "kit-7f"},
	}
	key := ed25519.NewKeyFromSeed([]byte(strings.Repeat("\x42", 32)))
	id := sha256.Sum256(key.Public().(ed25519.PublicKey))
	own := func(message string) string { return hex.EncodeToString(ed25519.Sign(key, []byte(message))) }
	trail("go.audit.jsonl", hex.EncodeToString(id[:]), rows, own)
	plain := row{Time: "2026-06-03T18:30:00Z", Agent: "kit", Tool: "t", Decision: "allow"}
	trail("golden.audit.jsonl", "", []row{plain, plain, plain}, own)
	shared := func(message string) string {
		mac := hmac.New(sha256.New, []byte("a key that all of them share"))
		mac.Write([]byte(message))
		return hex.EncodeToString(mac.Sum(nil))
	}
	trail("hmac.audit.jsonl", "", rows, shared)
	trail("mended.audit.jsonl", hex.EncodeToString(id[:]), []row{
		{Time: "2026-06-03T18:30:00Z", Agent: "kit", Tool: "no\xfftext", Decision: "deny"},
	}, own)
}
