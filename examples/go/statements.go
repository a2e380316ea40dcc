package nockvault

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"regexp"
	"sort"
	"strconv"
	"unicode/utf8"
)

// Object is a JSON object: of texts, whole numbers, booleans, null, lists and objects.
type Object = map[string]any

const (
	typeRequest  = "application/vnd.nockvault.request.v1+json"
	typeResponse = "application/vnd.nockvault.response.v1+json"
	typeRegister = "application/vnd.nockvault.register.v1+json"
	typeCert     = "application/vnd.nockvault.cert.v1+json"
)

// admission is how many bytes there may be, and how deep objects and lists may be nested.
type admission struct{ bytes, depth int }

var (
	ofAgent  = admission{8 << 10, 8}
	ofAnswer = admission{4 << 20, 12}
)

const exact = 1 << 53

var (
	memberName = regexp.MustCompile(`^[a-z][a-z0-9_]*$`)
	integer    = regexp.MustCompile(`^(0|-?[1-9][0-9]*)$`)
	base64url  = base64.RawURLEncoding.Strict()
)

func b64(data []byte) string { return base64url.EncodeToString(data) }

// unb64 reads canonical base64url; length is -1 where any is right.
func unb64(text string, length int) ([]byte, error) {
	data, err := base64url.DecodeString(text)
	if err != nil || b64(data) != text || length >= 0 && len(data) != length {
		return nil, errors.New("not canonical base64url of its length")
	}
	return data, nil
}

func appendText(out []byte, text string) ([]byte, error) {
	if !utf8.ValidString(text) {
		return nil, errors.New("a text is not UTF-8")
	}
	out = append(out, '"')
	short := map[rune]byte{'"': '"', '\\': '\\', '\b': 'b', '\f': 'f', '\n': 'n', '\r': 'r', '\t': 't'}
	for _, c := range text {
		if letter, is := short[c]; is {
			out = append(out, '\\', letter)
		} else if c < 0x20 {
			out = append(out, fmt.Sprintf(`\u%04x`, c)...)
		} else {
			out = utf8.AppendRune(out, c)
		}
	}
	return append(out, '"'), nil
}

func appendInteger(out []byte, n int64) ([]byte, error) {
	if n >= exact || n <= -exact {
		return nil, errors.New("a number is at or beyond 2^53")
	}
	return strconv.AppendInt(out, n, 10), nil
}

// appendJSON writes a value in the form of RFC 8785, where it is plain: whole numbers below 2^53, member names of
// [a-z][a-z0-9_]*, and no deeper than depth.
func appendJSON(out []byte, value any, depth int) ([]byte, error) {
	var err error
	switch value := value.(type) {
	case nil:
		return append(out, "null"...), nil
	case bool:
		return strconv.AppendBool(out, value), nil
	case string:
		return appendText(out, value)
	case int:
		return appendInteger(out, int64(value))
	case int64:
		return appendInteger(out, value)
	case json.Number:
		n, err := value.Int64()
		if err != nil || !integer.MatchString(value.String()) {
			return nil, errors.New("a number is no plain integer below 2^53")
		}
		return appendInteger(out, n)
	case []any:
		if depth == 0 {
			return nil, errors.New("nested too deep")
		}
		out = append(out, '[')
		for i, inner := range value {
			if i > 0 {
				out = append(out, ',')
			}
			if out, err = appendJSON(out, inner, depth-1); err != nil {
				return nil, err
			}
		}
		return append(out, ']'), nil
	case Object:
		if depth == 0 {
			return nil, errors.New("nested too deep")
		}
		names := make([]string, 0, len(value))
		for name := range value {
			if !memberName.MatchString(name) {
				return nil, fmt.Errorf("the member name %q is not of the form [a-z][a-z0-9_]*", name)
			}
			names = append(names, name)
		}
		sort.Strings(names)
		out = append(out, '{')
		for i, name := range names {
			if i > 0 {
				out = append(out, ',')
			}
			out = append(append(append(out, '"'), name...), '"', ':')
			if out, err = appendJSON(out, value[name], depth-1); err != nil {
				return nil, err
			}
		}
		return append(out, '}'), nil
	}
	return nil, fmt.Errorf("%T is not a whole number, text, list or object", value)
}

// JCS is RFC 8785, for plain values.
func JCS(value any) ([]byte, error) { return appendJSON(nil, value, 64) }

func canonical(value any, rules admission) ([]byte, error) {
	out, err := appendJSON(nil, value, rules.depth)
	if err == nil && len(out) > rules.bytes {
		err = fmt.Errorf("%d bytes, over the limit of %d", len(out), rules.bytes)
	}
	return out, err
}

// decode reads an object, whatever its form.
func decode(payload []byte) (Object, error) {
	reader := json.NewDecoder(bytes.NewReader(payload))
	reader.UseNumber()
	var value any
	if err := reader.Decode(&value); err != nil {
		return nil, errors.New("not JSON")
	}
	if _, err := reader.Token(); err != io.EOF {
		return nil, errors.New("something stands after the object")
	}
	object, is := value.(Object)
	if !is {
		return nil, errors.New("the top is not an object")
	}
	return object, nil
}

// admit gives the object that these bytes are the one canonical form of. A member that stands twice, a float that is
// whole, an escape or a space: none of them is written so again.
func admit(payload []byte, rules admission) (Object, error) {
	if len(payload) > rules.bytes {
		return nil, fmt.Errorf("%d bytes, over the limit of %d", len(payload), rules.bytes)
	}
	object, err := decode(payload)
	if err != nil {
		return nil, err
	}
	again, err := canonical(object, rules)
	if err != nil {
		return nil, err
	}
	if !bytes.Equal(again, payload) {
		return nil, errors.New("not in canonical form (RFC 8785)")
	}
	return object, nil
}

// pae is DSSE's pre-authentication encoding.
func pae(payloadType string, payload []byte) []byte {
	head := fmt.Sprintf("DSSEv1 %d %s %d ", len(payloadType), payloadType, len(payload))
	return append([]byte(head), payload...)
}

// message is what a key of this form signs: the encoding itself, or the SSHSIG blob over it (OpenSSH PROTOCOL.sshsig).
func message(form, payloadType string, payload []byte) []byte {
	encoded := pae(payloadType, payload)
	if form != "sshsig" {
		return encoded
	}
	hashed := sha512.Sum512(encoded)
	blob := []byte("SSHSIG")
	for _, part := range [][]byte{[]byte(payloadType), nil, []byte("sha512"), hashed[:]} {
		blob = binary.BigEndian.AppendUint32(blob, uint32(len(part)))
		blob = append(blob, part...)
	}
	return blob
}

func digest(parts ...[]byte) []byte {
	hash := sha256.New()
	for _, part := range parts {
		hash.Write(part)
	}
	return hash.Sum(nil)
}

// thumbprint is RFC 7638: what a key is called everywhere.
func thumbprint(public []byte, curve string) string {
	return b64(digest([]byte(`{"crv":"` + curve + `","kty":"OKP","x":"` + b64(public) + `"}`)))
}

func verifies(public, signature []byte, form, payloadType string, payload []byte) bool {
	return len(public) == ed25519.PublicKeySize && ed25519.Verify(public, message(form, payloadType, payload), signature)
}
