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
// request, and the birth of the newest response certificate. Both only grow, until the agent's owner accepts that the vault
// was restored from a backup. Restores counts that: what was seen before one counts no more, however long it was.
type State struct {
	CertNbf  int64  `json:"cert_nbf"`
	Head     string `json:"head"`
	Restores int64  `json:"restores"`
	Size     int64  `json:"size"`
}

func nothing() State { return State{Head: b64(make([]byte, 32))} }

func (s State) joined(other State) State {
	newest := s
	if other.Restores > s.Restores || other.Restores == s.Restores && other.Size > s.Size {
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
	if news.Size > 0 && news.Restores == s.Restores && news.Size == s.Size && news.Head != s.Head {
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
	return m.keep(State{Head: leaf, Restores: m.state().Restores, Size: seq + 1})
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
	guard, err := m.guard()
	if err != nil {
		return err
	}
	defer guard.Close()
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

// guard takes the lock that other processes respect; it ends with the file.
func (m *memory) guard() (*os.File, error) {
	guard, err := os.OpenFile(m.file+".lock", os.O_WRONLY|os.O_CREATE, 0o600)
	if err != nil {
		return nil, &Local{err.Error()}
	}
	if err := syscall.Flock(int(guard.Fd()), syscall.LOCK_EX); err != nil {
		guard.Close()
		return nil, local("%s.lock: %v", m.file, err)
	}
	return guard, nil
}

// acceptRestore believes the vault's signed `restored`, and no other word. What was seen is put aside as evidence, in
// <agent>.seen.lost-<size>, and given back.
func (m *memory) acceptRestore(refused *Refused) (State, error) {
	if !refused.Proven || refused.Reason != "restored" {
		return State{}, local("the vault has not said, signed, that it was restored; nothing is accepted")
	}
	m.lock.Lock()
	defer m.lock.Unlock()
	lost := m.held
	if m.file != "" {
		guard, err := m.guard()
		if err != nil {
			return State{}, err
		}
		defer guard.Close()
		kept, err := readState(m.file)
		if err != nil {
			return State{}, err
		}
		lost = lost.joined(kept)
	}
	if lost.Size == 0 {
		return State{}, local("nothing was seen of this agent's chain; there is nothing to accept")
	}
	begun := nothing()
	begun.CertNbf, begun.Restores = lost.CertNbf, lost.Restores+1
	if m.file != "" {
		if err := writeState(fmt.Sprintf("%s.lost-%d", m.file, lost.Size), lost); err != nil {
			return State{}, err
		}
		if err := writeState(m.file, begun); err != nil {
			return State{}, err
		}
	}
	m.held = begun
	return lost, nil
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
	known := 3
	if _, told := members["restores"]; told {
		known = 4
	}
	if err == nil && (len(members) != known || state.CertNbf < 0 || state.Restores < 0 || state.Size < 0) {
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
	told := Object{"cert_nbf": state.CertNbf, "head": state.Head, "size": state.Size}
	if state.Restores > 0 {
		told["restores"] = state.Restores
	}
	text, err := JCS(told)
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
