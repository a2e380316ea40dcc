package nockvault

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
)

// shape says what a member must be.
type shape func(value any) error

func matching(pattern string) shape {
	compiled := regexp.MustCompile(`^(?:` + pattern + `)$`)
	return func(value any) error {
		if text, is := value.(string); !is || !compiled.MatchString(text) {
			return errors.New("not of its form")
		}
		return nil
	}
}

func binaryOf(length int) shape {
	return func(value any) error {
		text, is := value.(string)
		if !is {
			return errors.New("not a text")
		}
		_, err := unb64(text, length)
		return err
	}
}

func number(value any) error {
	n, is := value.(json.Number)
	if !is || n[0] == '-' {
		return errors.New("not a number")
	}
	return nil
}

func text(value any) error {
	if _, is := value.(string); !is {
		return errors.New("not a text")
	}
	return nil
}

func flag(value any) error {
	if _, is := value.(bool); !is {
		return errors.New("neither true nor false")
	}
	return nil
}

func listOf(each shape) shape {
	return func(value any) error {
		list, is := value.([]any)
		if !is {
			return errors.New("not a list")
		}
		for _, inner := range list {
			if err := each(inner); err != nil {
				return err
			}
		}
		return nil
	}
}

func numberOrNull(value any) error {
	if value == nil {
		return nil
	}
	return number(value)
}

func anything(any) error { return nil }

type shapes map[string]shape

func (s shapes) check(value any) error {
	object, is := value.(Object)
	if !is {
		return errors.New("not an object")
	}
	for name, check := range s {
		inner, there := object[name]
		if !there {
			return fmt.Errorf("no %s", name)
		}
		if err := check(inner); err != nil {
			return fmt.Errorf("%s is %w", name, err)
		}
	}
	return nil
}

var (
	aHash   = binaryOf(32)
	anAud   = matching(`nv1:[A-Za-z0-9_-]{43}`)
	aName   = matching(`[a-z0-9][a-z0-9.-]{0,62}`)
	aSid    = matching(`[A-Za-z0-9][A-Za-z0-9._-]{0,127}`)
	aLease  = matching(`[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}`)
	anEntry = shapes{"leaf": aHash, "seq": number}.check
	aHdr    = shapes{
		"agent": aName, "exp": number, "iat": number, "kid": aHash, "lease": aLease, "renewable": flag, "req": aHash,
		"revocation": matching(`none|listed|backend`), "role": text, "sid": aSid, "vault": anAud,
	}.check
	embedded = shapes{"payload": shapes{}.check, "sig": binaryOf(64)}.check
)

// answers is what each answer must hold. More members are ignored, unless crit names them.
var answers = map[string]shapes{
	"issued":   {"ct": binaryOf(-1), "enc": binaryOf(-1), "entry": anEntry, "hdr": aHdr},
	"opened":   {"entry": anEntry, "ends": number, "idle": number, "now": number, "req": aHash},
	"renewed":  {"entry": anEntry, "exp": number, "lease": aLease, "req": aHash},
	"released": {"entry": anEntry, "lease": aLease, "req": aHash},
	"closed":   {"entry": anEntry, "leases": number, "req": aHash, "sid": aSid},
	"rotated":  {"entry": anEntry, "grace": number, "kid": aHash, "kver": number, "req": aHash},
	"denied":   {"limit": numberOrNull, "now": number, "reason": text, "req": aHash},
	"described": {
		"accepts": listOf(anything), "aud": anAud, "certs": listOf(embedded), "identity": aHash,
		"limits": shapes{"skew": number}.check, "name": aName, "now": number, "req": binaryOf(-1), "suites": listOf(anything),
	},
}

var certificate = shapes{
	"aud": anAud, "epoch": number, "exp": number, "kid": aHash, "nbf": number, "node": text, "pk": aHash,
	"role": matching(`response|audit|checkpoint|intake|jwt`), "typ": text, "v": number,
}

// said is an answer of any kind, read.
type said struct {
	Aud, Ct, Enc, Identity, Kid, Lease, Name, Reason, Req, Sid string
	Ends, Exp, Grace, Idle, Kver, Leases, Now                  int64
	Limit                                                      *uint64
	Entry                                                      Entry
	Hdr                                                        Hdr
	Limits                                                     struct{ Skew int64 }

	whole Object
}

// Entry is where an entry stands in the agent's chain.
type Entry struct {
	Leaf string
	Seq  int64
}

// Hdr is what was issued, in the open. Times are milliseconds.
type Hdr struct {
	Agent, Kid, Lease, Req, Revocation, Role, Sid, Vault string
	Exp, Iat                                             int64
	Renewable                                            bool
}

// parseAnswer reads a statement of the vault: its typ, its version, its members.
func parseAnswer(reply Envelope, kind string) (*said, error) {
	bad := func(why string) error {
		return &Untrusted{Why: "form", Text: "the answer is not a well formed nockvault/" + kind + ": " + why}
	}
	whole, err := admit(reply.Payload, ofAnswer)
	if err != nil {
		return nil, bad(err.Error())
	}
	if whole["typ"] != "nockvault/"+kind {
		return nil, bad("its typ is another")
	}
	if whole["v"] != json.Number("1") {
		return nil, bad("its version is not known here; a newer client may read it")
	}
	if err := answers[kind].check(whole); err != nil {
		return nil, bad(err.Error())
	}
	if crit, is := whole["crit"]; is {
		understood := func(value any) error {
			name, _ := value.(string)
			if _, known := answers[kind][name]; known || name == "typ" || name == "v" {
				return nil
			}
			return errors.New("not known")
		}
		if err := listOf(understood)(crit); err != nil {
			return nil, bad("crit names a member that is not understood here; a newer client may read it")
		}
	}
	read := &said{whole: whole}
	if err := json.Unmarshal(reply.Payload, read); err != nil {
		return nil, bad("a member is of another kind")
	}
	return read, nil
}

type cert struct {
	Aud, Kid, Pk, Role, Typ string
	Exp, Nbf, V             int64

	public   []byte
	embedded Object
}

// pins is which answers are the vault's: the identity key that the card pins, the certificates that it signed over the
// vault's other keys, and a signature by one of those. No name and no TLS certificate makes an answer believed.
type pins struct {
	responses []*cert
	described *said
}

var (
	otherRequest = &Untrusted{Why: "other_request", Text: "the answer is to another request"}
	notSigned    = &Untrusted{Why: "signature", Text: "no certified response key of the vault signed this answer"}
)

func badCert(why string) error {
	return &Untrusted{Why: "certificate", Text: "a certificate of the vault's keys is not good: " + why}
}

// checkPins believes a description that answers this challenge and leads to the identity that the card pins, and gives
// the birth of the key that signed it. Certificates are judged at the description's own time, since the clock on this side
// may be what is wrong; a response key born before the newest that was ever accepted is an old one brought back.
func checkPins(card *Card, challenge []byte, reply Envelope, newest int64) (*pins, int64, error) {
	// Parsed before it is verified, since the certificates to verify it by stand inside; believed only after.
	told, err := parseAnswer(reply, "described")
	if err != nil {
		return nil, 0, err
	}
	if told.Identity != b64(card.Identity) || told.Aud != card.Aud {
		shown, _ := unb64(told.Identity, 32)
		return nil, 0, &Untrusted{Why: "other_vault", Text: fmt.Sprintf(
			"another vault answers: the card pins %s, this one shows %s (%s); either the card is old, or the address leads "+
				"elsewhere, or somebody stands between. Nothing was sent to it.",
			thumbprint(card.Identity, "Ed25519"), thumbprint(shown, "Ed25519"), told.Aud)}
	}
	if told.Req != b64(challenge) {
		return nil, 0, otherRequest
	}
	p := &pins{described: told}
	for _, one := range told.whole["certs"].([]any) {
		c, err := openCert(one.(Object), card)
		if err != nil {
			return nil, 0, err
		}
		if c.Role == "response" && c.Nbf <= told.Now && told.Now < c.Exp {
			p.responses = append(p.responses, c)
		}
	}
	signer := p.signer(reply)
	if signer == nil {
		return nil, 0, notSigned
	}
	if signer.Nbf < newest {
		return nil, 0, badCert(signer.Kid + " is an older response key than the last one seen")
	}
	return p, signer.Nbf, nil
}

func openCert(embedded Object, card *Card) (*cert, error) {
	sig, _ := embedded["sig"].(string)
	signature, err := unb64(sig, 64)
	if err != nil {
		return nil, badCert(err.Error())
	}
	payload, err := canonical(embedded["payload"], ofAgent)
	if err != nil {
		return nil, badCert(err.Error())
	}
	if !verifies(card.Identity, signature, "pae", typeCert, payload) {
		return nil, badCert("the identity key did not sign it")
	}
	if err := certificate.check(embedded["payload"]); err != nil {
		return nil, badCert(err.Error())
	}
	c := &cert{embedded: embedded}
	exact := len(embedded["payload"].(Object)) == len(certificate)
	if json.Unmarshal(payload, c) != nil || !exact || c.Typ != "nockvault/cert" || c.V != 1 {
		return nil, badCert("it is not a nockvault/cert of version 1")
	}
	if c.Aud != card.Aud {
		return nil, badCert("it is of another vault")
	}
	curve := "Ed25519"
	if c.Role == "intake" {
		curve = "X25519"
	}
	c.public, _ = unb64(c.Pk, 32)
	if thumbprint(c.public, curve) != c.Kid {
		return nil, badCert("its key is not the one that its kid names")
	}
	return c, nil
}

func (p *pins) signer(reply Envelope) *cert {
	for _, c := range p.responses {
		if reply.PayloadType == typeResponse && verifies(c.public, reply.Signature, "pae", typeResponse, reply.Payload) {
			return c
		}
	}
	return nil
}

// signed says whether a response key that is good now signed it.
func (p *pins) signed(reply Envelope, now int64) bool {
	signer := p.signer(reply)
	return signer != nil && now < signer.Exp
}

// read reads a signed answer: its signature first, then what it says.
func (p *pins) read(reply Envelope, kind string, now int64) (*said, error) {
	if !p.signed(reply, now) {
		return nil, notSigned
	}
	return parseAnswer(reply, kind)
}

// receipt is the signed answer with the certificate of its key.
func (p *pins) receipt(reply Envelope) []byte {
	signer := p.signer(reply)
	if signer == nil {
		return nil
	}
	cert, err := JCS(signer.embedded)
	if err != nil {
		return nil
	}
	parts := [][]byte{[]byte(`{"cert":`), cert, []byte(`,"payload":`), reply.Payload, []byte(`,"sig":"` + b64(reply.Signature) + `"}`)}
	return bytes.Join(parts, nil)
}
