package nockvault

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"syscall"
)

// State is what an agent remembers of its own chain: the newest state it was shown, which it countersigns with its next
// request, and the birth of the newest response certificate. Both only grow.
type State struct {
	CertNbf int64  `json:"cert_nbf"`
	Head    string `json:"head"`
	Size    int64  `json:"size"`
}

func nothing() State { return State{Head: b64(make([]byte, 32))} }

func (s State) joined(other State) State {
	newest := s
	if other.Size > s.Size {
		newest = other
	}
	if newest.CertNbf = s.CertNbf; other.CertNbf > s.CertNbf {
		newest.CertNbf = other.CertNbf
	}
	return newest
}

func (s State) older(seq int64) error {
	return &Untrusted{Why: "older_history", Text: fmt.Sprintf(
		"the answer's entry %d stands before the %d entries that were already seen: the vault's history was rolled back or "+
			"forked; keep %s as evidence and tell the auditor", seq, s.Size, s.Head)}
}

func (s State) mustNotPart(news State) error {
	if news.Size > 0 && news.Size == s.Size && news.Head != s.Head {
		return s.older(news.Size - 1)
	}
	return nil
}

// memory is one agent's of one vault, in <folder>/<aud>/<agent>.seen: the file that every client of this agent keeps,
// under the lock that they take. Without a folder it ends with the process.
type memory struct {
	lock sync.Mutex
	held State
	file string
}

func keptIn(folder, aud, agent string) (*memory, error) {
	m := &memory{held: nothing()}
	if folder == "" {
		return m, nil
	}
	m.file = filepath.Join(folder, aud, agent+".seen")
	if err := os.MkdirAll(filepath.Dir(m.file), 0o700); err != nil {
		return nil, &Local{err.Error()}
	}
	var err error
	m.held, err = readState(m.file)
	return m, err
}

func (m *memory) state() State {
	m.lock.Lock()
	defer m.lock.Unlock()
	return m.held
}

func (m *memory) learn(sent State, leaf string, seq int64) error {
	if seq < sent.Size {
		return m.state().older(seq)
	}
	return m.keep(State{0, leaf, seq + 1})
}

func (m *memory) certified(nbf int64) error {
	if nbf <= m.state().CertNbf {
		return nil
	}
	news := nothing()
	news.CertNbf = nbf
	return m.keep(news)
}

// keep compares under the locks, so that of two answers at once, or to two processes, the second is held against the
// first.
func (m *memory) keep(news State) error {
	m.lock.Lock()
	defer m.lock.Unlock()
	if err := m.held.mustNotPart(news); err != nil {
		return err
	}
	joined := m.held.joined(news)
	if m.file == "" {
		m.held = joined
		return nil
	}
	guard, err := os.OpenFile(m.file+".lock", os.O_WRONLY|os.O_CREATE, 0o600)
	if err != nil {
		return &Local{err.Error()}
	}
	defer guard.Close()
	if err := syscall.Flock(int(guard.Fd()), syscall.LOCK_EX); err != nil {
		return local("%s.lock: %v", m.file, err)
	}
	kept, err := readState(m.file)
	if err != nil {
		return err
	}
	if err := kept.mustNotPart(news); err != nil {
		return err
	}
	m.held = joined.joined(kept)
	return writeState(m.file, m.held)
}

func readState(file string) (State, error) {
	text, err := os.ReadFile(file)
	if errors.Is(err, os.ErrNotExist) {
		return nothing(), nil
	}
	if err != nil {
		return State{}, &Local{err.Error()}
	}
	var state State
	text = bytes.TrimSuffix(text, []byte("\n"))
	members, err := admit(text, ofAgent)
	if err == nil {
		err = json.Unmarshal(text, &state)
	}
	if err == nil && (len(members) != 3 || state.Size < 0 || state.CertNbf < 0) {
		err = errors.New("it has other members")
	}
	if err == nil {
		_, err = unb64(state.Head, 32)
	}
	if err != nil {
		return State{}, local("%s: %v; move it away to begin anew, and keep it as evidence", file, err)
	}
	return state, nil
}

// writeState leaves, where it is broken off before the rename, the old file and a stray one beside it.
func writeState(file string, state State) error {
	text, err := JCS(Object{"cert_nbf": state.CertNbf, "head": state.Head, "size": state.Size})
	if err != nil {
		return err
	}
	out, err := os.OpenFile(file+".new", os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return &Local{err.Error()}
	}
	_, err = out.Write(append(text, '\n'))
	if err == nil {
		err = out.Sync()
	}
	if closed := out.Close(); err == nil {
		err = closed
	}
	if err == nil {
		err = os.Rename(file+".new", file)
	}
	if err != nil {
		return &Local{err.Error()}
	}
	return nil
}
