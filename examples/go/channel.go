package nockvault

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"
	"unicode"

	"golang.org/x/net/http2"
)

const (
	// The vault answers within its own, shorter deadline, also where it cannot serve.
	callTimeout    = 30 * time.Second
	connectTimeout = 5 * time.Second
	messageMax     = 5 << 20
)

// Carry makes one call and gives its answer, or the status that it ended with.
type Carry func(ctx context.Context, method string, body []byte) (Envelope, *Failure, error)

// Dial makes calls as gRPC does: a message with its length over HTTP/2, and the status in the trailers. TLS trusts the
// card's CA alone. Nothing is sent before the first call; the second result ends the connection.
func Dial(card *Card) (Carry, func(), error) {
	network, address, host, err := card.target()
	if err != nil {
		return nil, nil, err
	}
	roots := x509.NewCertPool()
	if host != "" && !roots.AppendCertsFromPEM([]byte(card.CA)) {
		return nil, nil, local("the card's CA is no certificate")
	}
	transport := &http2.Transport{AllowHTTP: true, DisableCompression: true}
	transport.DialTLS = func(_, _ string, _ *tls.Config) (net.Conn, error) {
		connector := net.Dialer{Timeout: connectTimeout}
		if host == "" {
			return connector.Dial(network, address)
		}
		trusted := &tls.Config{RootCAs: roots, ServerName: host, NextProtos: []string{"h2"}, MinVersion: tls.VersionTLS13}
		return tls.DialWithDialer(&connector, network, address, trusted)
	}
	authority, scheme := "localhost", "http"
	if network == "tcp" {
		authority = address
	}
	if host != "" {
		scheme = "https"
	}
	carry := func(ctx context.Context, method string, body []byte) (Envelope, *Failure, error) {
		ctx, cancel := context.WithTimeout(ctx, callTimeout)
		defer cancel()
		at := url.URL{Scheme: scheme, Host: authority, Path: "/nockvault.v1.AgentService/" + method}
		reply, failure := call(ctx, transport, at.String(), body)
		if failure != nil {
			return Envelope{}, failure, nil
		}
		envelope, err := readAnswer(reply)
		if err != nil {
			return Envelope{}, nil, &Untrusted{Why: "form", Text: "the answer is not a well formed answer: " + err.Error()}
		}
		return envelope, nil, nil
	}
	return carry, transport.CloseIdleConnections, nil
}

func call(ctx context.Context, transport http.RoundTripper, at string, body []byte) ([]byte, *Failure) {
	framed := append(binary.BigEndian.AppendUint32([]byte{0}, uint32(len(body))), body...)
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, at, bytes.NewReader(framed))
	if err != nil {
		return nil, &Failure{Code: "UNAVAILABLE", Message: err.Error()}
	}
	// Without it the transport cannot send the same bytes a second time.
	request.GetBody = nil
	request.Header = http.Header{
		"Content-Type": {"application/grpc"}, "Te": {"trailers"}, "User-Agent": {"nockvault-go"},
		"Grpc-Timeout": {fmt.Sprintf("%dm", callTimeout.Milliseconds())},
	}
	response, err := transport.RoundTrip(request)
	if err != nil {
		return nil, &Failure{Code: "UNAVAILABLE", Message: err.Error()}
	}
	defer response.Body.Close()
	reply, err := io.ReadAll(io.LimitReader(response.Body, messageMax+5))
	if err != nil {
		return nil, &Failure{Code: "UNAVAILABLE", Message: err.Error()}
	}
	status := response.Trailer
	if status.Get("Grpc-Status") == "" {
		// An end without an answer comes in the first headers alone.
		status = response.Header
	}
	if code := status.Get("Grpc-Status"); code != "0" {
		message, err := url.PathUnescape(status.Get("Grpc-Message"))
		if err != nil || code == "" {
			message, code = response.Status, "status "+code
		}
		return nil, &Failure{"gRPC " + code, printable(message), detailsOf(status)}
	}
	if message, err := unframed(reply); err == nil {
		return message, nil
	}
	return nil, &Failure{Code: "INTERNAL", Message: "the answer is not one message"}
}

func unframed(reply []byte) ([]byte, error) {
	if len(reply) < 5 || reply[0] != 0 || uint64(binary.BigEndian.Uint32(reply[1:])) != uint64(len(reply)-5) {
		return nil, errors.New("not one message")
	}
	return reply[5:], nil
}

func detailsOf(status http.Header) []byte {
	text := strings.TrimRight(status.Get("Grpc-Status-Details-Bin"), "=")
	details, err := base64.RawStdEncoding.DecodeString(text)
	if err != nil {
		return nil
	}
	return details
}

// printable is a peer's text on its way to a terminal: no control characters.
func printable(text string) string {
	return strings.Map(func(c rune) rune {
		if unicode.IsControl(c) {
			return -1
		}
		return c
	}, text)
}
