package nockvault

import (
	"encoding/binary"
	"errors"
	"strings"
)

// Envelope is a signed statement as it travels. Nothing in it is believed before its signature is verified.
type Envelope struct {
	PayloadType string
	Payload     []byte
	Signature   []byte
	Kid         string
}

// name is H(PAE).
func (e Envelope) name() string { return b64(digest(pae(e.PayloadType, e.Payload))) }

// Failure is a status other than OK, with grpc-status-details-bin where it came.
type Failure struct {
	Code    string
	Message string
	Details []byte
}

// refusal is what the status of a refusal holds.
type refusal struct {
	reason   string
	metadata map[string]string
	signed   *Envelope
}

func field(number int, value []byte) []byte {
	if len(value) == 0 {
		return nil
	}
	out := binary.AppendUvarint(nil, uint64(number)<<3|2)
	return append(binary.AppendUvarint(out, uint64(len(value))), value...)
}

type fields map[uint64][][]byte

func (f fields) last(number uint64) []byte {
	if all := f[number]; len(all) > 0 {
		return all[len(all)-1]
	}
	return nil
}

// parse gives the fields of a message that have a length; others are passed over.
func parse(message []byte) (fields, error) {
	found, torn := fields{}, errors.New("a message that is none")
	for len(message) > 0 {
		tag, n := binary.Uvarint(message)
		if n <= 0 {
			return nil, torn
		}
		message = message[n:]
		length := uint64(0)
		switch tag & 7 {
		case 0:
			if _, n = binary.Uvarint(message); n <= 0 {
				return nil, torn
			}
			length = uint64(n)
		case 1:
			length = 8
		case 5:
			length = 4
		case 2:
			if length, n = binary.Uvarint(message); n <= 0 {
				return nil, torn
			}
			message = message[n:]
		default:
			return nil, torn
		}
		if length > uint64(len(message)) {
			return nil, torn
		}
		if tag&7 == 2 {
			found[tag>>3] = append(found[tag>>3], message[:length])
		}
		message = message[length:]
	}
	return found, nil
}

func challengeMessage(random []byte) []byte { return field(1, random) }

func requestMessage(e Envelope) []byte {
	var inner []byte
	for i, part := range [][]byte{[]byte(e.PayloadType), e.Payload, e.Signature, []byte(e.Kid)} {
		inner = append(inner, field(i+1, part)...)
	}
	return field(1, inner)
}

func readEnvelope(message []byte) (Envelope, error) {
	f, err := parse(message)
	if err != nil {
		return Envelope{}, err
	}
	if len(f.last(3)) != 64 || len(f.last(1)) > 128 || len(f.last(4)) > 64 {
		return Envelope{}, errors.New("the envelope's parts are not of their lengths")
	}
	return Envelope{string(f.last(1)), f.last(2), f.last(3), string(f.last(4))}, nil
}

func readAnswer(message []byte) (Envelope, error) {
	f, err := parse(message)
	if err != nil || len(f[1]) == 0 {
		return Envelope{}, errors.New("the message holds no signed envelope")
	}
	return readEnvelope(f.last(1))
}

// readRefusal gives nil for a status that is none of the vault's: from a proxy, or from the transport.
func readRefusal(details []byte) *refusal {
	status, err := parse(details)
	if err != nil {
		return nil
	}
	var found *refusal
	var signed *Envelope
	for _, packed := range status[3] {
		any, err := parse(packed)
		if err != nil {
			return nil
		}
		url := string(any.last(1))
		switch url[strings.LastIndex(url, "/")+1:] {
		case "google.rpc.ErrorInfo":
			info, err := parse(any.last(2))
			if err != nil || found != nil || string(info.last(2)) != "nockvault" {
				continue
			}
			found = &refusal{reason: string(info.last(1)), metadata: map[string]string{}}
			for _, pair := range info[3] {
				if pair, err := parse(pair); err == nil {
					found.metadata[string(pair.last(1))] = string(pair.last(2))
				}
			}
		case "nockvault.v1.SignedEnvelope":
			// One without the shape of an envelope counts as absent, since only a verified one proves anything.
			if word, err := readEnvelope(any.last(2)); err == nil && signed == nil {
				signed = &word
			}
		}
	}
	if found != nil {
		found.signed = signed
	}
	return found
}
