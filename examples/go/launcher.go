package nockvault

import (
	"bufio"
	"context"
	"encoding/json"
	"io"
	"net"
	"os"
	"time"
)

const (
	socketVariable = "NOCKVAULT_AGENT_SOCKET"
	tokenVariable  = "NOCKVAULT_AGENT_TOKEN_FD"
	// A little longer than the launcher takes to give up.
	launcherTimeout = 100 * time.Second
	launcherMax     = 1 << 20
)

// Given is a credential that the launcher holds.
type Given struct {
	Role, Kind, Lease string
	// Exp is when it ends, in milliseconds.
	Exp       int64
	Renewable bool
	Secret    Secret
}

// FromAgent asks the launcher that this program runs under, vault-agent exec, for a credential of this role. No key is
// here: the launcher signs, caches within the lease and renews.
func FromAgent(ctx context.Context, role string, ask Ask) (*Given, error) {
	path := os.Getenv(socketVariable)
	if path == "" {
		return nil, local("%s is not set: this program does not run under vault-agent exec", socketVariable)
	}
	question := Object{"v": 1, "do": "get", "role": role}
	if len(ask.Params) > 0 {
		question["params"] = ask.Params
	}
	if ask.TTL != 0 {
		question["ttl"] = ask.TTL
	}
	if ask.Purpose != "" {
		question["purpose"] = ask.Purpose
	}
	if number := os.Getenv(tokenVariable); number != "" {
		// Opened anew, so that reading it takes nothing from the next.
		token, err := os.ReadFile("/proc/self/fd/" + number)
		if err != nil {
			return nil, local("%s names the open file %s, which cannot be read; whoever started this program has to hand it on "+
				"(exec.Cmd.ExtraFiles)", tokenVariable, number)
		}
		question["token"] = string(token)
	}
	line, err := JCS(question)
	if err != nil {
		return nil, local("this cannot be asked for: %v", err)
	}
	reply, err := askLauncher(ctx, path, append(line, '\n'))
	if err != nil {
		return nil, local("the launcher's socket %s does not answer: %v; has it ended?", path, err)
	}
	return readGiven(reply)
}

func askLauncher(ctx context.Context, path string, question []byte) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, launcherTimeout)
	defer cancel()
	var dialer net.Dialer
	stream, err := dialer.DialContext(ctx, "unix", path)
	if err != nil {
		return nil, err
	}
	defer stream.Close()
	if deadline, is := ctx.Deadline(); is {
		if err := stream.SetDeadline(deadline); err != nil {
			return nil, err
		}
	}
	_, sent := stream.Write(question)
	line, err := bufio.NewReader(io.LimitReader(stream, launcherMax)).ReadBytes('\n')
	if len(line) > 0 {
		// A launcher that has refused already does not read on; its words are what counts.
		return line, nil
	}
	if sent != nil {
		return nil, sent
	}
	return nil, err
}

func readGiven(line []byte) (*Given, error) {
	// The parser's words are not handed on: they may quote what it read.
	bad := local("the launcher's answer cannot be read; is it of another version?")
	whole, err := decode(line)
	if err != nil {
		return nil, bad
	}
	var read struct {
		Ok    *Given
		Error *struct {
			Code, Message string
			Limit         *uint64
			Now           *int64
			Proven        *bool
		}
	}
	if ok, is := whole["ok"].(Object); is {
		secret, is := ok["secret"].(Object)
		delete(ok, "secret")
		open, err := json.Marshal(whole)
		if !is || err != nil || json.Unmarshal(open, &read) != nil {
			return nil, bad
		}
		read.Ok.Secret = Secret{secret}
		return read.Ok, nil
	}
	if json.Unmarshal(line, &read) != nil || read.Error == nil {
		return nil, bad
	}
	if fault := read.Error; fault.Proven != nil {
		return nil, &Refused{fault.Code, fault.Message, fault.Limit, fault.Now, *fault.Proven}
	}
	return nil, local("the launcher says: %s", read.Error.Message)
}
