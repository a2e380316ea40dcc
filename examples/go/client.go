// Package nockvault is an agent's client of NockVault, the credential vault for fleets of AI agents.
//
//	session, err := nockvault.Connect(ctx, nockvault.Options{Agent: "kit"})
//	defer session.End(ctx)
//	credential, err := session.Request(ctx, "orders-read", nockvault.Ask{})
//
// An agent signs each request with its own Ed25519 key; the vault answers with a short-lived secret that is sealed to the
// session, and this client believes an answer only where the vault that the card pins signed it, for this very request.
// The same bytes are never sent twice. Under the launcher, vault-agent exec, a tool holds no key at all: FromAgent.
//
// Errors are *Refused, *Unreachable, *NoAnswer, *Untrusted and *Local, sorted by who has to act.
package nockvault

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"sync"
	"time"

	"golang.org/x/crypto/curve25519"
)

// latency is a difference between two clocks that is no more than the way between them, in milliseconds.
const latency = 1000

// Options say who asks whom. Card and key are looked for in the usual places where they are not named.
type Options struct {
	Agent string
	// Card is the card's file, or its name in the usual folder.
	Card string
	// KeyFile is the file with the agent's key.
	KeyFile string
	// Key is the key itself, where it comes from elsewhere.
	Key *Key
	// Label is what the session's id begins with.
	Label string
	// State is the folder in which seen is kept; StateDir() by habit.
	State string
	// Forget keeps it in memory alone.
	Forget bool

	// Pinned is the card itself, where it comes from elsewhere.
	Pinned *Card
	// Clock is this side's, in milliseconds, and Random gives so many bytes for challenge, sid, session_key or nonce; Carry
	// takes the place of the network. All three are for tests.
	Clock  func() int64
	Random func(what string, length int) []byte
	Carry  Carry
}

// Vault is a connection to a vault in one agent's name.
type Vault struct {
	card   *Card
	agent  string
	memory *memory
	clock  func() int64
	random func(what string, length int) []byte
	carry  Carry
	close  func()

	lock  sync.Mutex
	key   *Key
	pins  *pins
	ahead int64
}

func random(_ string, length int) []byte {
	bytes := make([]byte, length)
	if _, err := rand.Read(bytes); err != nil {
		panic("the system gives no random bytes: " + err.Error())
	}
	return bytes
}

// Open connects, and challenges who answers to be the vault of the card.
func Open(ctx context.Context, options Options) (*Vault, error) {
	v := &Vault{
		card: options.Pinned, agent: options.Agent, key: options.Key, clock: options.Clock, random: options.Random,
		carry: options.Carry, close: func() {},
	}
	var err error
	if v.card == nil {
		if v.card, err = FindCard(options.Card); err != nil {
			return nil, err
		}
	}
	if v.key == nil {
		if v.key, err = FindKey(options.Agent, options.KeyFile); err != nil {
			return nil, err
		}
	}
	state := options.State
	if state == "" && !options.Forget {
		if state = StateDir(); state == "" {
			return nil, local("neither HOME nor XDG_STATE_HOME names a folder; name one in State, or Forget")
		}
	}
	if v.memory, err = keptIn(state, v.card.Aud, v.agent); err != nil {
		return nil, err
	}
	if v.clock == nil {
		v.clock = func() int64 { return time.Now().UnixMilli() }
	}
	if v.random == nil {
		v.random = random
	}
	if v.carry == nil {
		if v.carry, v.close, err = Dial(v.card); err != nil {
			return nil, err
		}
	}
	p, at, err := v.describe(ctx)
	if err != nil {
		v.close()
		return nil, err
	}
	if ahead := p.described.Now - at; ahead > latency || ahead < -latency {
		v.ahead = ahead
	}
	return v, nil
}

// Close ends the connection. Sessions that are open stay so at the vault.
func (v *Vault) Close() { v.close() }

// Seen is the newest state of the agent's chain that was shown to it: keep it where the vault cannot reach.
func (v *Vault) Seen() State { return v.memory.state() }

// AcceptRestore goes on with a vault that has just said, signed, that it was restored from a backup (Refused.Reason is
// restored). It is for whoever owns the agent to decide. It gives the newest state of the history that was lost, which is
// kept beside the memory as evidence.
func (v *Vault) AcceptRestore(refused *Refused) (State, error) {
	return v.memory.acceptRestore(refused)
}

// now is the vault's time, as far as it is known here.
func (v *Vault) now() int64 {
	v.lock.Lock()
	defer v.lock.Unlock()
	return v.clock() + v.ahead
}

func (v *Vault) setClock(vault, here int64) {
	v.lock.Lock()
	defer v.lock.Unlock()
	v.ahead = vault - here
}

func (v *Vault) believed() *pins {
	v.lock.Lock()
	defer v.lock.Unlock()
	return v.pins
}

func (v *Vault) signingKey() *Key {
	v.lock.Lock()
	defer v.lock.Unlock()
	return v.key
}

func (v *Vault) skew() int64 { return v.believed().described.Limits.Skew * 1000 }

func (v *Vault) describe(ctx context.Context) (*pins, int64, error) {
	challenge := v.random("challenge", 32)
	reply, failure, err := v.carry(ctx, "DescribeVault", challengeMessage(challenge))
	at := v.clock()
	if err != nil {
		return nil, 0, err
	}
	if failure != nil {
		if refusal := readRefusal(failure.Details); refusal != nil {
			return nil, 0, &Refused{Reason: refusal.reason, Words: failure.Message}
		}
		return nil, 0, &Unreachable{v.card.Agents, failure.Code + ": " + failure.Message}
	}
	p, nbf, err := checkPins(v.card, challenge, reply, v.memory.state().CertNbf)
	if err != nil {
		return nil, 0, err
	}
	if err := v.memory.certified(nbf); err != nil {
		return nil, 0, err
	}
	v.lock.Lock()
	defer v.lock.Unlock()
	v.pins = p
	return p, at, nil
}

// read reads an answer. One that no known key signed may be signed by a newer key, so the vault is asked once for its
// keys; nothing is sent again.
func (v *Vault) read(ctx context.Context, reply Envelope, kind string) (*said, error) {
	if !v.believed().signed(reply, v.now()) {
		if _, _, err := v.describe(ctx); err != nil {
			return nil, err
		}
	}
	return v.believed().read(reply, kind, v.now())
}

func (v *Vault) sign(key *Key, typ string, body Object, sid string, seen State) (Envelope, error) {
	statement := Object{
		"v": 1, "typ": "nockvault/" + typ, "aud": v.card.Aud, "agent": v.agent, "kid": key.Kid, "kver": key.Kver, "sid": sid,
		"nonce": b64(v.random("nonce", 24)), "iat": v.now(), "seen": Object{"head": seen.Head, "size": seen.Size},
	}
	for name, value := range body {
		statement[name] = value
	}
	payload, err := canonical(statement, ofAgent)
	if err != nil {
		return Envelope{}, local("this cannot be asked for: %v", err)
	}
	return Envelope{typeRequest, payload, key.sign(typeRequest, payload), key.Kid}, nil
}

// exchange signs and sends, and once more with a new statement where the vault proves that the clock was wrong. It gives
// what the vault said, as it was signed, and the request that it answers.
func (v *Vault) exchange(ctx context.Context, method, typ, kind string, body Object, sid string) (*said, Envelope, Envelope, error) {
	fail := func(err error) (*said, Envelope, Envelope, error) { return nil, Envelope{}, Envelope{}, err }
	for mended := false; ; mended = true {
		seen := v.memory.state()
		sent, err := v.sign(v.signingKey(), typ, body, sid, seen)
		if err != nil {
			return fail(err)
		}
		reply, failure, err := v.carry(ctx, method, requestMessage(sent))
		if err != nil {
			return fail(err)
		}
		if failure != nil {
			err := v.refusal(ctx, failure, sent)
			if mended || !v.clockMended(ctx, err) {
				return fail(err)
			}
			continue
		}
		told, err := v.read(ctx, reply, kind)
		if err != nil {
			return fail(err)
		}
		if req := sent.name(); told.Req != req && told.Hdr.Req != req {
			return fail(otherRequest)
		}
		if err := v.memory.learn(seen, told.Entry.Leaf, told.Entry.Seq); err != nil {
			// What cannot be remembered is not used, as on a full disk. It happened all the same, and can be given back.
			var unkept *Local
			if errors.As(err, &unkept) {
				err = &NoAnswer{sent.name(), err.Error()}
			}
			return fail(err)
		}
		return told, reply, sent, nil
	}
}

var digits = regexp.MustCompile(`^[0-9]{1,15}$`)

// refusal says what a call's end without an answer means.
func (v *Vault) refusal(ctx context.Context, failure *Failure, sent Envelope) error {
	found := readRefusal(failure.Details)
	if found == nil {
		return &NoAnswer{sent.name(), failure.Code + ": " + failure.Message}
	}
	words := failure.Message
	if found.reason == "unauthenticated" {
		// The vault says nothing to a stranger but that it knows no such key. What a stranger can do, this side knows.
		words += fmt.Sprintf("; if agent %[1]s was never enrolled with this key (%[2]s): vaultctl keygen --agent %[1]s makes "+
			"one, and an operator registers it: vaultctl agent register %[1]s.register", v.agent, sent.Kid)
	}
	if found.reason == "restored" {
		words += fmt.Sprintf(" (vault-agent accept-restore --agent %s, or Vault.AcceptRestore)", v.agent)
	}
	shown := &Refused{Reason: found.reason, Words: words}
	if text := found.metadata["limit"]; digits.MatchString(text) {
		limit, _ := strconv.ParseUint(text, 10, 64)
		shown.Limit = &limit
	}
	if text := found.metadata["now"]; digits.MatchString(text) {
		now, _ := strconv.ParseInt(text, 10, 64)
		shown.Now = &now
	}
	if found.signed == nil {
		return shown
	}
	denied, err := v.read(ctx, *found.signed, "denied")
	if err != nil || denied.Req != sent.name() {
		return shown
	}
	if denied.Reason != found.reason {
		// The words for people are not signed; they are shown where they go with the signed reason.
		words = denied.Reason
	}
	return &Refused{denied.Reason, words, denied.Limit, &denied.Now, true}
}

// clockMended says whether the fault was that the clock is wrong and it has now been set by the vault's signed word.
func (v *Vault) clockMended(ctx context.Context, fault error) bool {
	var refused *Refused
	if !errors.As(fault, &refused) || refused.Reason != "clock_skew" {
		return false
	}
	if refused.Proven {
		v.setClock(*refused.Now, v.clock())
		return true
	}
	// Unsigned: anyone may have said it. The vault itself is asked, with a challenge.
	p, at, err := v.describe(ctx)
	if err != nil {
		return false
	}
	moved := v.now() - p.described.Now
	v.setClock(p.described.Now, at)
	return moved > latency || moved < -latency
}

// Session has a key of its own, in memory only, to which credentials are sealed.
type Session struct {
	// Sid is its id.
	Sid string

	vault *Vault
	key   []byte
	owns  bool
	used  bool
}

// Session makes a session whose id begins with label. Nothing is sent: the first request opens it at the vault.
func (v *Vault) Session(label string) *Session {
	if label == "" {
		label = "go"
	}
	sid := label + "-" + hex.EncodeToString(v.random("sid", 8))
	return &Session{Sid: sid, vault: v, key: v.random("session_key", 32)}
}

// Connect gives a session of this agent with a connection of its own. End releases every lease.
func Connect(ctx context.Context, options Options) (*Session, error) {
	vault, err := Open(ctx, options)
	if err != nil {
		return nil, err
	}
	session := vault.Session(options.Label)
	session.owns = true
	return session, nil
}

func (s *Session) exchange(ctx context.Context, method, typ, kind string, body Object) (*said, Envelope, Envelope, error) {
	s.used = true
	return s.vault.exchange(ctx, method, typ, kind, body, s.Sid)
}

func (s *Session) seal() (Object, error) {
	public, err := curve25519.X25519(s.key, curve25519.Basepoint)
	return Object{"pk": b64(public), "suite": suite}, err
}

func must(fits bool, member string) error {
	if fits {
		return nil
	}
	return &Untrusted{Why: "other_terms", Member: member, Text: "the answer's " + member + " is not what was asked for"}
}

// Opened is what the vault says of a session: when it ends at the latest (milliseconds), and how long it may be idle.
type Opened struct {
	Ends int64
	Idle time.Duration
}

// Hello opens the session at the vault before the first need.
func (s *Session) Hello(ctx context.Context) (Opened, error) {
	seal, err := s.seal()
	if err != nil {
		return Opened{}, err
	}
	told, _, _, err := s.exchange(ctx, "OpenSession", "hello", "opened", Object{"seal": seal})
	if err != nil {
		return Opened{}, err
	}
	return Opened{told.Ends, time.Duration(told.Idle) * time.Second}, nil
}

// Ask is what is asked for beside the role: a life in seconds (0: as the grant gives), params for the engine, of plain
// texts, whole numbers, lists and objects, and what for.
type Ask struct {
	TTL     int64
	Params  Object
	Purpose string
}

// Credential is what was issued, with the vault's receipt for it.
type Credential struct {
	Hdr    Hdr
	Entry  Entry
	Secret Secret
	// Exp is when it ends, in milliseconds; renewals move it.
	Exp int64
	// Receipt is the signed answer with the certificate of its key: kept in a file, it convinces an auditor.
	Receipt []byte
}

// Request asks for a credential.
func (s *Session) Request(ctx context.Context, role string, ask Ask) (*Credential, error) {
	seal, err := s.seal()
	if err != nil {
		return nil, err
	}
	params := ask.Params
	if params == nil {
		params = Object{}
	}
	body := Object{"role": role, "ttl": ask.TTL, "params": params, "purpose": ask.Purpose, "seal": seal}
	told, reply, sent, err := s.exchange(ctx, "RequestCredential", "issue", "issued", body)
	if err != nil {
		return nil, err
	}
	if err := s.check(told.Hdr, role, ask.TTL, sent.Kid); err != nil {
		return nil, err
	}
	secret, err := openSecret(s.key, told.whole["hdr"].(Object), told.Enc, told.Ct)
	if err != nil {
		return nil, err
	}
	receipt := s.vault.believed().receipt(reply)
	return &Credential{told.Hdr, told.Entry, secret, told.Hdr.Exp, receipt}, nil
}

// check says whether this is what was asked for: the key is the one that signed it, also where another took over since.
func (s *Session) check(hdr Hdr, role string, ttl int64, kid string) error {
	now, skew := s.vault.now(), s.vault.skew()
	checks := []error{
		must(hdr.Vault == s.vault.card.Aud, "vault"),
		must(hdr.Agent == s.vault.agent, "agent"),
		must(hdr.Kid == kid, "kid"),
		must(hdr.Role == role, "role"),
		must(hdr.Sid == s.Sid, "sid"),
		// A life that begins elsewhere than now could end at any time and still be no longer than was asked for.
		must(hdr.Iat-now <= skew && now-hdr.Iat <= skew, "iat"),
		must(hdr.Exp > now && (ttl == 0 || hdr.Exp-hdr.Iat <= ttl*1000), "exp"),
	}
	for _, err := range checks {
		if err != nil {
			return err
		}
	}
	return nil
}

// Renew asks for a lease to live for ttl seconds from now; 0 takes the grant's default. It gives when it ends, in
// milliseconds.
func (s *Session) Renew(ctx context.Context, lease string, ttl int64) (int64, error) {
	told, _, _, err := s.exchange(ctx, "RenewLease", "renew", "renewed", Object{"lease": lease, "ttl": ttl})
	if err != nil {
		return 0, err
	}
	now := s.vault.now()
	if err := must(told.Lease == lease, "lease"); err != nil {
		return 0, err
	}
	return told.Exp, must(told.Exp > now && (ttl == 0 || told.Exp <= now+ttl*1000+s.vault.skew()), "exp")
}

// Release gives a lease back.
func (s *Session) Release(ctx context.Context, lease string) error {
	told, _, _, err := s.exchange(ctx, "ReleaseLease", "release", "released", Object{"lease": lease})
	if err != nil {
		return err
	}
	return must(told.Lease == lease, "lease")
}

// ReleaseUnanswered gives back the lease that a request made whose answer was lost (NoAnswer.Req).
func (s *Session) ReleaseUnanswered(ctx context.Context, req string) (string, error) {
	told, _, _, err := s.exchange(ctx, "ReleaseLease", "release", "released", Object{"req": req})
	if err != nil {
		return "", err
	}
	return told.Lease, nil
}

// RotateKey puts key in place of the present one. It gives until when the old one is still accepted, in milliseconds. Keep
// the new key safe before: afterwards there is no other.
func (s *Session) RotateKey(ctx context.Context, key *Key) (int64, error) {
	v, old := s.vault, s.vault.signingKey()
	key.Kver = old.Kver + 1
	register, err := key.Register(v.agent, v.card.Aud, b64(v.random("nonce", 24)), v.now(), old.Kid)
	if err != nil {
		return 0, err
	}
	told, _, _, err := s.exchange(ctx, "RotateKey", "rotate_key", "rotated", Object{"new": register})
	if err != nil {
		return 0, err
	}
	if err := must(told.Kver == key.Kver && told.Kid == key.Kid, "kid"); err != nil {
		return 0, err
	}
	v.lock.Lock()
	defer v.lock.Unlock()
	v.key = key
	return told.Grace, nil
}

// Close ends the session and every lease in it, and gives how many there were.
func (s *Session) Close(ctx context.Context) (int64, error) {
	told, _, _, err := s.exchange(ctx, "CloseSession", "close", "closed", Object{})
	if err != nil {
		return 0, err
	}
	s.used = false
	return told.Leases, must(told.Sid == s.Sid, "sid")
}

// End closes the session where it was opened, and the connection where it is its own.
func (s *Session) End(ctx context.Context) error {
	if s.owns {
		defer s.vault.Close()
	}
	if !s.used {
		return nil
	}
	_, err := s.Close(ctx)
	var refused *Refused
	if errors.As(err, &refused) && (refused.Reason == "session_ended" || refused.Reason == "session_unknown") {
		return nil
	}
	return err
}
