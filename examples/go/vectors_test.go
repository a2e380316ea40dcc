package nockvault

import (
	"bytes"
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

// The request vectors of tests/vectors/requests.
func load(t *testing.T, name string) Object {
	folder := os.Getenv("NOCKVAULT_REQUEST_VECTORS")
	if folder == "" {
		folder = "../../tests/vectors/requests"
	}
	text, err := os.ReadFile(filepath.Join(folder, name))
	if err != nil {
		t.Fatal(err)
	}
	whole, err := decode(text)
	if err != nil {
		t.Fatal(err)
	}
	return whole
}

func str(from any, name string) string {
	text, _ := from.(Object)[name].(string)
	return text
}

func num(from any, name string) int64 {
	number, _ := from.(Object)[name].(json.Number)
	n, _ := number.Int64()
	return n
}

func fromHex(text string) []byte {
	data, err := hex.DecodeString(text)
	if err != nil {
		panic(err)
	}
	return data
}

func fromB64(text string) []byte {
	data, err := unb64(text, -1)
	if err != nil {
		panic(err)
	}
	return data
}

func envelope(from any) Envelope {
	return Envelope{
		str(from, "payload_type"), []byte(str(from, "payload")), fromB64(str(from, "signature")), str(from, "kid"),
	}
}

func sentAs(t *testing.T, vector Object, key *Key) Envelope {
	given, typ := vector["given"], strings.TrimPrefix(str(vector, "typ"), "nockvault/")
	if typ == "register" {
		signed, err := key.Register(str(given, "agent"), str(given, "aud"), str(given, "nonce"), num(given, "iat"), str(given, "prev"))
		if err != nil {
			t.Fatal(err)
		}
		payload, err := JCS(signed["payload"])
		if err != nil {
			t.Fatal(err)
		}
		return Envelope{typeRegister, payload, fromB64(str(signed, "sig")), key.Kid}
	}
	body := Object{}
	for name, value := range vector["ask"].(Object) {
		body[name] = value
	}
	vault := &Vault{
		card: &Card{Aud: str(given, "aud")}, agent: str(given, "agent"), key: key,
		clock:  func() int64 { return num(given, "iat") },
		random: func(string, int) []byte { return fromB64(str(given, "nonce")) },
	}
	if secret := str(given, "session_key"); secret != "" {
		seal, err := (&Session{key: fromHex(secret)}).seal()
		if err != nil {
			t.Fatal(err)
		}
		body["seal"] = seal
	}
	if next, is := body["next"]; is {
		delete(body, "next")
		following := NewKey(fromHex(str(next, "seed")), key.Kver+1)
		following.Form = str(next, "form")
		register, err := following.Register(vault.agent, vault.card.Aud, str(next, "nonce"), num(next, "iat"), key.Kid)
		if err != nil {
			t.Fatal(err)
		}
		body["new"] = register
	}
	seen := given.(Object)["seen"]
	sent, err := vault.sign(key, typ, body, str(given, "sid"), State{Head: str(seen, "head"), Size: num(seen, "size")})
	if err != nil {
		t.Fatal(err)
	}
	return sent
}

func TestRequestsAreSignedByteForByte(t *testing.T) {
	vectors := load(t, "requests.json")["vectors"].([]any)
	if len(vectors) != 24 {
		t.Fatalf("%d vectors", len(vectors))
	}
	for _, one := range vectors {
		vector := one.(Object)
		t.Run(str(vector, "name"), func(t *testing.T) {
			key := NewKey(fromHex(str(vector, "seed")), num(vector["given"], "kver"))
			key.Form = str(vector, "form")
			sent := sentAs(t, vector, key)
			came := map[string]string{
				"payload": string(sent.Payload), "payload_type": sent.PayloadType, "kid": sent.Kid, "req": sent.name(),
				"pae": b64(pae(sent.PayloadType, sent.Payload)), "signature": b64(sent.Signature),
				"signed": b64(message(key.Form, sent.PayloadType, sent.Payload)),
			}
			for member, value := range came {
				if wanted := str(vector, member); wanted != value {
					t.Errorf("%s: %s, not %s", member, value, wanted)
				}
			}
		})
	}
}

func TestWhatCannotBeSaidIsNotSigned(t *testing.T) {
	cases := load(t, "requests.json")["unsayable"].([]any)
	if len(cases) < 6 {
		t.Fatalf("%d cases", len(cases))
	}
	vault := &Vault{card: &Card{}, clock: func() int64 { return 0 }, random: random}
	for _, one := range cases {
		body := Object{"params": one.(Object)["params"]}
		if sent, err := vault.sign(NewKey(make([]byte, 32), 1), "issue", body, "s", State{}); err == nil {
			t.Errorf("%s: %s", str(one, "name"), sent.Payload)
		}
	}
}

func told(err error) Object {
	var refused *Refused
	var untrusted *Untrusted
	var unreachable *Unreachable
	var noAnswer *NoAnswer
	switch {
	case errors.As(err, &refused):
		var limit any
		if refused.Limit != nil {
			limit = json.Number(fmt.Sprint(*refused.Limit))
		}
		return Object{"refused": Object{"reason": refused.Reason, "limit": limit, "proven": refused.Proven}}
	case errors.As(err, &unreachable):
		return Object{"unreachable": Object{}}
	case errors.As(err, &noAnswer):
		return Object{"no_answer": Object{}}
	case errors.As(err, &untrusted) && untrusted.Member != "":
		return Object{"untrusted": Object{"why": untrusted.Why, "member": untrusted.Member}}
	case errors.As(err, &untrusted):
		return Object{"untrusted": Object{"why": untrusted.Why}}
	}
	var unkept *Local
	if errors.As(err, &unkept) {
		return Object{"local": Object{}}
	}
	return Object{"error": err.Error()}
}

func whole(n int64) json.Number { return json.Number(fmt.Sprint(n)) }

func carryOut(ctx context.Context, session *Session, act Object) (Object, error) {
	switch str(act, "do") {
	case "hello":
		opened, err := session.Hello(ctx)
		return Object{"ends": whole(opened.Ends), "idle": whole(int64(opened.Idle.Seconds()))}, err
	case "request":
		ask := act["ask"]
		params := ask.(Object)["params"].(Object)
		credential, err := session.Request(ctx, str(ask, "role"), Ask{num(ask, "ttl"), params, str(ask, "purpose")})
		if err != nil {
			return nil, err
		}
		shown := fmt.Sprintf("%v %+v %#v", credential, *credential, credential.Secret)
		if marshalled, err := json.Marshal(credential); err != nil || strings.Contains(shown+string(marshalled), "nter") {
			return nil, fmt.Errorf("a secret is shown: %s", shown)
		}
		return Object{
			"secret": credential.Secret.Expose(), "lease": credential.Hdr.Lease, "exp": whole(credential.Exp),
			"renewable": credential.Hdr.Renewable, "revocation": credential.Hdr.Revocation,
		}, nil
	case "renew":
		exp, err := session.Renew(ctx, str(act, "lease"), num(act, "ttl"))
		return Object{"exp": whole(exp)}, err
	case "release":
		return Object{}, session.Release(ctx, str(act, "lease"))
	case "release_unanswered":
		lease, err := session.ReleaseUnanswered(ctx, str(act, "req"))
		return Object{"lease": lease}, err
	case "close":
		leases, err := session.Close(ctx)
		return Object{"leases": whole(leases)}, err
	case "rotate_key":
		grace, err := session.RotateKey(ctx, NewKey(fromHex(str(act, "seed")), 1))
		return Object{"grace": whole(grace)}, err
	}
	return nil, fmt.Errorf("nobody knows how to %s", str(act, "do"))
}

func hold(t *testing.T, all, talk Object) {
	ctx, folder := context.Background(), t.TempDir()
	file := filepath.Join(folder, str(all["card"], "aud"), "kit.seen")
	remembered, err := JCS(talk["memory"])
	if err != nil || os.Mkdir(filepath.Dir(file), 0o700) != nil || os.WriteFile(file, append(remembered, '\n'), 0o600) != nil {
		t.Fatal(err)
	}
	clock, tape, drawn := num(talk, "clock"), talk["tape"].([]any), map[string]int{}
	options := Options{
		Agent: "kit", Key: NewKey(fromHex(str(all["agent"], "seed")), num(all["agent"], "kver")), State: folder,
		Pinned: &Card{
			Aud: str(all["card"], "aud"), Identity: fromB64(str(all["card"], "identity")), Agents: str(all["card"], "agents"),
		},
		Clock: func() int64 { return clock },
		Random: func(what string, length int) []byte {
			texts := talk["random"].(Object)[what].([]any)
			data := fromHex(texts[drawn[what]].(string))
			if drawn[what]++; len(data) != length {
				t.Fatalf("%d bytes of %s", len(data), what)
			}
			return data
		},
		// Each call must be the next line's, and gets the answer that stands there.
		Carry: func(_ context.Context, method string, body []byte) (Envelope, *Failure, error) {
			line := tape[0]
			tape = tape[1:]
			wanted := challengeMessage(fromB64(str(line, "challenge")))
			if signed, is := line.(Object)["signed"]; is {
				wanted = requestMessage(envelope(signed))
			}
			if method != str(line, "call") || !bytes.Equal(body, wanted) {
				t.Fatalf("%s %q was sent, not %s %q", method, body, str(line, "call"), wanted)
			}
			answer := line.(Object)["answer"].(Object)
			if signed, is := answer["signed"]; is {
				return envelope(signed), nil, nil
			}
			status := answer["status"]
			return Envelope{}, &Failure{"CODE", str(status, "message"), fromB64(str(status, "details"))}, nil
		},
	}
	var vault *Vault
	var session *Session
	var refused *Refused
	for _, one := range talk["acts"].([]any) {
		act, came, err := one.(Object), Object{}, error(nil)
		switch str(act, "do") {
		case "connect":
			vault, err = Open(ctx, options)
		case "wait":
			clock += num(act, "seconds") * 1000
		case "accept_restore":
			var lost State
			lost, err = vault.AcceptRestore(refused)
			came = Object{"head": lost.Head, "size": whole(lost.Size)}
		default:
			if session == nil {
				session = vault.Session(str(all, "label"))
			}
			came, err = carryOut(ctx, session, act)
		}
		if came = (Object{"ok": came}); err != nil {
			came = told(err)
			errors.As(err, &refused)
		}
		if !reflect.DeepEqual(came, act["expect"]) {
			t.Fatalf("%s: %v, not %v", str(act, "do"), came, act["expect"])
		}
	}
	if len(tape) > 0 {
		t.Errorf("%d calls were not made", len(tape))
	}
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if now, err := decode(text); err != nil || !reflect.DeepEqual(now, talk["remembers"]) {
		t.Errorf("%v is remembered, not %v", now, talk["remembers"])
	}
}

func TestConversations(t *testing.T) {
	all := load(t, "conversations.json")
	talks := all["conversations"].([]any)
	if len(talks) < 80 {
		t.Fatalf("%d conversations", len(talks))
	}
	for _, talk := range talks {
		t.Run(str(talk, "name"), func(t *testing.T) { hold(t, all, talk.(Object)) })
	}
}
