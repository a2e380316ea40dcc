package nockvault

import (
	"fmt"
	"strings"
	"time"
)

// Refused: the vault said no.
type Refused struct {
	// Reason is its code: what programs act on.
	Reason string
	// Words are the vault's, for people.
	Words string
	// Limit is the limit that was met, in the unit that its reason states.
	Limit *uint64
	// Now is the vault's time when it refused, in milliseconds.
	Now *int64
	// Proven says whether the vault signed it, for exactly this request. What is not signed decides nothing.
	Proven bool
}

func (r *Refused) Error() string {
	text := r.Words
	if !strings.HasPrefix(text, r.Reason) {
		text = r.Reason + ": " + text
	}
	if r.Limit != nil && !strings.Contains(text, "[limit ") {
		text += fmt.Sprintf(" [limit %d]", *r.Limit)
	}
	if r.Now != nil {
		text += " [vault's time " + time.UnixMilli(*r.Now).UTC().Format(time.RFC3339) + "]"
	}
	if !r.Proven {
		text += " [not signed by the vault]"
	}
	return "refused: " + text
}

// Unreachable: no connection, so that nothing was sent.
type Unreachable struct{ Address, Why string }

func (u *Unreachable) Error() string {
	return u.Address + " cannot be reached: " + u.Why + "; see that vaultd runs there and that the card's address is right"
}

// NoAnswer: the request went out and no answer of the vault's came back. What was asked may have happened.
type NoAnswer struct {
	// Req is H(PAE) of what was sent; Session.ReleaseUnanswered ends a lease that it made.
	Req string
	Why string
}

func (n *NoAnswer) Error() string {
	return "no answer to " + n.Req + ": " + n.Why + "; what it asked for may have happened all the same"
}

// Untrusted: an answer that must not be believed. Nothing of it was used.
type Untrusted struct {
	// Why is other_vault, certificate, signature, form, other_request, other_terms, older_history or seal.
	Why string
	// Member is, of other_terms, what is not as it was asked for.
	Member string
	Text   string
}

func (u *Untrusted) Error() string { return u.Text }

// Local: a key, a file or an argument on this side.
type Local struct{ Text string }

func (l *Local) Error() string { return l.Text }

func local(format string, arguments ...any) *Local {
	return &Local{fmt.Sprintf(format, arguments...)}
}
