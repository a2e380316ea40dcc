package nockvault

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"errors"

	"golang.org/x/crypto/chacha20poly1305"
	"golang.org/x/crypto/curve25519"
)

const (
	suite = "X25519-HKDF-SHA256-CHACHA20POLY1305"
	block = 64
)

var (
	kemID  = []byte("KEM\x00\x20")
	hpkeID = []byte("HPKE\x00\x20\x00\x01\x00\x03")
)

func mac(key []byte, parts ...[]byte) []byte {
	m := hmac.New(sha256.New, key)
	for _, part := range parts {
		m.Write(part)
	}
	return m.Sum(nil)
}

func extract(id, salt []byte, label string, ikm []byte) []byte {
	return mac(salt, []byte("HPKE-v1"), id, []byte(label), ikm)
}

// expand gives at most 32 bytes, so that HKDF-Expand is one round.
func expand(id, prk []byte, label string, info []byte, length byte) []byte {
	return mac(prk, []byte{0, length}, []byte("HPKE-v1"), id, []byte(label), info, []byte{1})[:length]
}

// hpkeOpen is RFC 9180 section 6.1, base mode, with an empty aad.
func hpkeOpen(key, enc, info, ct []byte) ([]byte, error) {
	dh, err := curve25519.X25519(key, enc)
	if err != nil {
		return nil, err
	}
	public, err := curve25519.X25519(key, curve25519.Basepoint)
	if err != nil {
		return nil, err
	}
	context := append(append([]byte{}, enc...), public...)
	shared := expand(kemID, extract(kemID, nil, "eae_prk", dh), "shared_secret", context, 32)
	schedule := append([]byte{0}, extract(hpkeID, nil, "psk_id_hash", nil)...)
	schedule = append(schedule, extract(hpkeID, nil, "info_hash", info)...)
	secret := extract(hpkeID, shared, "secret", nil)
	aead, err := chacha20poly1305.New(expand(hpkeID, secret, "key", schedule, 32))
	if err != nil {
		return nil, err
	}
	return aead.Open(nil, expand(hpkeID, secret, "base_nonce", schedule, 12), ct, nil)
}

// unframe takes the secret out of u32be length || secret || zeros, of whole blocks.
func unframe(framed []byte) ([]byte, error) {
	bad := errors.New("not framed")
	if len(framed) < 4 || len(framed)%block != 0 {
		return nil, bad
	}
	length, rest := binary.BigEndian.Uint32(framed), framed[4:]
	if uint64(length) > uint64(len(rest)) || len(rest)-int(length) >= block {
		return nil, bad
	}
	for _, byte := range rest[length:] {
		if byte != 0 {
			return nil, bad
		}
	}
	return rest[:length], nil
}

// openSecret opens the secret of an answer with this header, as it was signed.
func openSecret(key []byte, hdr Object, enc, ct string) (Secret, error) {
	bad := &Untrusted{Why: "seal", Text: "the sealed secret does not open with this session's key for this request"}
	header, err := JCS(hdr)
	req, _ := hdr["req"].(string)
	request, err1 := unb64(req, 32)
	to, err2 := unb64(enc, 32)
	sealed, err3 := unb64(ct, -1)
	if err != nil || err1 != nil || err2 != nil || err3 != nil {
		return Secret{}, bad
	}
	info := append(append([]byte("nockvault-seal-v1\x00"), request...), digest(header)...)
	framed, err := hpkeOpen(key, to, info, sealed)
	if err != nil {
		return Secret{}, bad
	}
	text, err := unframe(framed)
	if err != nil {
		return Secret{}, bad
	}
	members, err := decode(text)
	if err != nil {
		return Secret{}, bad
	}
	return Secret{members}, nil
}

// Secret is a secret's members. It prints nothing of itself.
type Secret struct{ members Object }

// Get gives the member of this name, where it is a text.
func (s Secret) Get(name string) (string, bool) {
	text, is := s.members[name].(string)
	return text, is
}

// Kind is the engine's name for what it is.
func (s Secret) Kind() string {
	kind, _ := s.Get("type")
	return kind
}

// Value gives the member that is the secret itself, where its kind has one: value, token, url or password.
func (s Secret) Value() string {
	for _, name := range []string{"value", "token", "url", "password"} {
		if text, is := s.Get(name); is {
			return text
		}
	}
	return ""
}

// Expose gives all members. Numbers are json.Number.
func (s Secret) Expose() Object { return s.members }

func (s Secret) String() string   { return "Secret(" + s.Kind() + ")" }
func (s Secret) GoString() string { return s.String() }

// MarshalJSON writes no member down.
func (s Secret) MarshalJSON() ([]byte, error) { return []byte(`"` + s.String() + `"`), nil }
