package nockvault

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

const keyFileMax = 4096

// Key is an Ed25519 key with its number among the agent's keys. It prints its identifier alone.
type Key struct {
	key    ed25519.PrivateKey
	Public []byte
	Kid    string
	Kver   int64
	// Form is how its signatures are formed: pae or sshsig.
	Form string
}

// NewKey makes the key of this seed, 32 bytes.
func NewKey(seed []byte, kver int64) *Key {
	key := ed25519.NewKeyFromSeed(seed)
	public := key[ed25519.SeedSize:]
	return &Key{key, public, thumbprint(public, "Ed25519"), kver, "pae"}
}

// GenerateKey makes a new key.
func GenerateKey() (*Key, error) {
	seed := make([]byte, ed25519.SeedSize)
	if _, err := rand.Read(seed); err != nil {
		return nil, err
	}
	return NewKey(seed, 1), nil
}

func (k *Key) String() string   { return "Key(" + k.Kid + ")" }
func (k *Key) GoString() string { return k.String() }

// ParseKey reads 64 digits of hex, a seed, or 128, a seed with its public key after it.
func ParseKey(text string) (*Key, error) {
	// The text is not quoted: it may be a key.
	data, err := hex.DecodeString(strings.TrimSpace(text))
	if err != nil || len(data) != 32 && len(data) != 64 {
		return nil, local("a private key is 64 or 128 digits of hex")
	}
	key := NewKey(data[:32], 1)
	if len(data) == 64 && !bytes.Equal(data[32:], key.Public) {
		return nil, local("the two halves of the 128 digits do not belong together")
	}
	return key, nil
}

// ReadKey reads the key in a file that only this user can read; its number comes from the register statement beside it,
// and is 1 where there is none.
func ReadKey(path string) (*Key, error) {
	text, err := readSafely(path)
	if err != nil {
		return nil, local("%s: %v", path, err)
	}
	key, err := ParseKey(text)
	if err != nil {
		return nil, local("%s: %v", path, err)
	}
	beside := strings.TrimSuffix(path, filepath.Ext(path)) + ".register"
	register, err := os.ReadFile(beside)
	if errors.Is(err, os.ErrNotExist) {
		return key, nil
	}
	if err == nil {
		err = key.numbered(string(register))
	}
	if err != nil {
		return nil, local("%s: %v", beside, err)
	}
	return key, nil
}

// numbered takes the number out of a register statement; that of another key says nothing about this one.
func (k *Key) numbered(register string) error {
	bad := local("is not a register statement; vaultctl keygen makes one")
	text := []byte(strings.TrimSpace(register))
	if !bytes.HasPrefix(text, []byte("{")) {
		var err error
		if text, err = unb64(string(text), -1); err != nil {
			return bad
		}
	}
	embedded, err := decode(text)
	if err != nil {
		return bad
	}
	payload, err := canonical(embedded["payload"], ofAgent)
	if err != nil {
		return bad
	}
	var said struct {
		Form, Pk, Typ string
		Kver          int64
	}
	sig, _ := embedded["sig"].(string)
	signature, err := unb64(sig, 64)
	if err != nil || json.Unmarshal(payload, &said) != nil || said.Typ != "nockvault/register" {
		return bad
	}
	public, err := unb64(said.Pk, 32)
	if err != nil || !verifies(public, signature, said.Form, typeRegister, payload) {
		return bad
	}
	if bytes.Equal(public, k.Public) {
		k.Kver, k.Form = said.Kver, said.Form
	}
	return nil
}

// Write writes the key to a new file that nobody else can read.
func (k *Key) Write(path string) error {
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = file.WriteString(hex.EncodeToString(k.key.Seed()) + "\n")
	if err == nil {
		err = file.Sync()
	}
	if closed := file.Close(); err == nil {
		err = closed
	}
	return err
}

func (k *Key) sign(payloadType string, payload []byte) []byte {
	return ed25519.Sign(k.key, message(k.Form, payloadType, payload))
}

// Register makes the statement that proves that its holder holds the key, signed by itself.
func (k *Key) Register(agent, aud, nonce string, iat int64, prev string) (Object, error) {
	statement := Object{
		"agent": agent, "aud": aud, "form": k.Form, "iat": iat, "kid": k.Kid, "kver": k.Kver, "nonce": nonce,
		"pk": b64(k.Public), "prev": prev, "typ": "nockvault/register", "v": 1,
	}
	payload, err := canonical(statement, ofAgent)
	if err != nil {
		return nil, err
	}
	return Object{"payload": statement, "sig": b64(k.sign(typeRegister, payload))}, nil
}

func readSafely(path string) (string, error) {
	file, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
	if errors.Is(err, syscall.ELOOP) {
		return "", errors.New("is a link; a key file is opened where it stands")
	}
	if err != nil {
		return "", err
	}
	defer file.Close()
	about, err := file.Stat()
	if err != nil {
		return "", err
	}
	owner, is := about.Sys().(*syscall.Stat_t)
	switch {
	case !about.Mode().IsRegular():
		return "", errors.New("is not a regular file")
	case !is || int(owner.Uid) != os.Geteuid():
		return "", errors.New("belongs to another user; a key file belongs to who uses it")
	case about.Mode().Perm()&0o077 != 0:
		return "", local("is open to others (mode %04o); run: chmod 600 %s", about.Mode().Perm(), path)
	case about.Size() > keyFileMax:
		return "", local("is larger than the %d bytes of a key file", keyFileMax)
	}
	text, err := io.ReadAll(io.LimitReader(file, keyFileMax))
	return string(text), err
}

// FindKey finds an agent's key: in NOCKVAULT_AGENT_<NAME>_ED25519_KEY, then NockGuard's variable, then the files: of the
// current folder first.
func FindKey(agent, file string) (*Key, error) {
	part := strings.ToUpper(strings.NewReplacer(".", "_", "-", "_").Replace(agent))
	for _, house := range []string{"NOCKVAULT", "NOCKGUARD"} {
		name := house + "_AGENT_" + part + "_ED25519_KEY"
		text, is := os.LookupEnv(name)
		if !is {
			continue
		}
		key, err := ParseKey(text)
		if err != nil {
			return nil, local("%s: %v", name, err)
		}
		name = "NOCKVAULT_AGENT_" + part + "_REGISTER"
		if register := os.Getenv(name); register != "" {
			if err := key.numbered(register); err != nil {
				return nil, local("%s: %v", name, err)
			}
		}
		return key, nil
	}
	if file != "" {
		return ReadKey(file)
	}
	places := []string{agent + ".ed25519"}
	if dir := configDir(); dir != "" {
		places = append(places, filepath.Join(dir, "agents", agent+".ed25519"))
	}
	if home := os.Getenv("HOME"); filepath.IsAbs(home) {
		places = append(places, filepath.Join(home, ".nockguard/keys", agent+".ed25519"))
	}
	for _, path := range places {
		// A file that is there and not safe is an error, and never passed over for another.
		if _, err := os.Lstat(path); err == nil {
			return ReadKey(path)
		}
	}
	return nil, local(
		"no key of agent %s: neither NOCKVAULT_AGENT_%s_ED25519_KEY nor %s; vaultctl keygen --agent %s makes one, and an "+
			"operator registers it: vaultctl agent register %s.register",
		agent, part, strings.Join(places, " nor "), agent, agent)
}
