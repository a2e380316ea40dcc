// What an agent does in its life, by the Go client against a real vault. Each line of the answer is one thing.
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"sort"
	"strings"
	"sync"
	"time"

	nockvault "example.invalid/nockvault"
)

func say(what ...any) {
	line, err := json.Marshal(what)
	must(err)
	fmt.Println(string(line))
}

func must(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func fault(err error) {
	var refused *nockvault.Refused
	var untrusted *nockvault.Untrusted
	var unreachable *nockvault.Unreachable
	var local *nockvault.Local
	switch {
	case errors.As(err, &refused):
		say(refused.Reason, refused.Limit, refused.Proven)
	case errors.As(err, &untrusted):
		say("Untrusted", untrusted.Why)
	case errors.As(err, &unreachable):
		say("Unreachable", nil)
	case errors.As(err, &local):
		say("Local", nil)
	default:
		must(fmt.Errorf("no fault: %v", err))
	}
}

type call struct {
	method string
	body   []byte
}

func life(ctx context.Context) {
	card, err := nockvault.FindCard("vault/prod.card")
	must(err)
	carry, end, err := nockvault.Dial(card)
	must(err)
	defer end()
	var sent []call
	hand := int64(0)
	options := nockvault.Options{
		Agent: "kit", KeyFile: "kit.ed25519", Pinned: card,
		Clock: func() int64 { return time.Now().UnixMilli() + hand },
		Carry: func(ctx context.Context, method string, body []byte) (nockvault.Envelope, *nockvault.Failure, error) {
			sent = append(sent, call{method, body})
			return carry(ctx, method, body)
		},
	}
	vault, err := nockvault.Open(ctx, options)
	must(err)
	session := vault.Session("go")
	ask := nockvault.Ask{TTL: 60, Purpose: "n\u00e4chtlich \u2028"}
	credential, err := session.Request(ctx, "orders-read", ask)
	must(err)
	value, _ := credential.Secret.Get("value")
	say(value, credential.Secret.Value(), credential.Secret.Kind(), session.Sid[:3])
	must(os.WriteFile("kit.receipt", credential.Receipt, 0o600))
	if shown := fmt.Sprintf("%v %+v %#v", credential, *credential, credential.Secret); strings.Contains(shown, "hunter2") {
		must(errors.New("a secret is shown"))
	}
	exp, err := session.Renew(ctx, credential.Hdr.Lease, 900)
	must(err)
	say(exp > credential.Exp)
	refuse := func(role string, ask nockvault.Ask) {
		_, err := session.Request(ctx, role, ask)
		fault(err)
	}
	refuse("orders-write", nockvault.Ask{})
	refuse("orders-read", nockvault.Ask{TTL: 7200})
	refuse("orders-read", nockvault.Ask{Params: nockvault.Object{"n": 1.5}})
	must(session.Release(ctx, credential.Hdr.Lease))
	_, err = session.Renew(ctx, credential.Hdr.Lease, 0)
	fault(err)

	// The same bytes again: the vault refuses them, and this client never sends them.
	different := map[string]bool{}
	var first call
	for _, call := range sent {
		different[string(call.body)] = true
		if first.method == "" && call.method == "RequestCredential" {
			first = call
		}
	}
	_, failure, err := carry(ctx, first.method, first.body)
	must(err)
	if failure != nil && bytes.Contains(failure.Details, []byte("replay")) {
		say("replay")
	}
	say(len(different) == len(sent))

	// An hour late: the vault's signed word corrects it, and a new statement is signed, once.
	sent, hand = nil, -3_600_000
	credential, err = session.Request(ctx, "orders-read", nockvault.Ask{})
	must(err)
	say(credential.Secret.Value(), len(sent))

	following, err := nockvault.GenerateKey()
	must(err)
	must(following.Write("kit.next.ed25519"))
	grace, err := session.RotateKey(ctx, following)
	must(err)
	say(grace > time.Now().UnixMilli(), following.Kver)
	credential, err = session.Request(ctx, "orders-read", nockvault.Ask{})
	must(err)
	say(credential.Secret.Value())
	_, err = session.Request(ctx, "orders-read", nockvault.Ask{})
	must(err)
	leases, err := session.Close(ctx)
	must(err)
	say(leases)
	say(vault.Seen().Size)
	key, err := nockvault.ReadKey("kit.next.ed25519")
	must(err)
	key.Kver = 2
	again, err := nockvault.Open(ctx, nockvault.Options{Agent: "kit", Key: key, Pinned: card})
	must(err)
	say(again.Seen() == vault.Seen())
	again.Close()
}

// named has card, key and memory where they are by habit; what is held is released at the end.
func named(ctx context.Context) {
	session, err := nockvault.Connect(ctx, nockvault.Options{Agent: "kit", Card: "vault/prod.card", KeyFile: "kit.ed25519"})
	must(err)
	credential, err := session.Request(ctx, "orders-read", nockvault.Ask{})
	must(err)
	say(credential.Secret.Value())
	_, err = session.Close(ctx)
	must(err)
	_, err = session.Request(ctx, "orders-read", nockvault.Ask{})
	fault(err)
	must(session.End(ctx))
}

func together(ctx context.Context) {
	options := nockvault.Options{Agent: "kit", Card: "vault/prod.card", KeyFile: "kit.ed25519", Forget: true}
	session, err := nockvault.Connect(ctx, options)
	must(err)
	var lock sync.Mutex
	var all sync.WaitGroup
	values, leases := map[string]bool{}, map[string]bool{}
	for i := 0; i < 5; i++ {
		all.Add(1)
		go func() {
			defer all.Done()
			credential, err := session.Request(ctx, "orders-read", nockvault.Ask{})
			must(err)
			lock.Lock()
			defer lock.Unlock()
			values[credential.Secret.Value()], leases[credential.Hdr.Lease] = true, true
		}()
	}
	all.Wait()
	say(keys(values), len(leases))
	_, err = session.Request(ctx, "orders-write", nockvault.Ask{})
	var refused *nockvault.Refused
	if errors.As(err, &refused) {
		say(refused.Reason, refused.Proven)
	}
	one := keys(leases)[0]
	exp, err := session.Renew(ctx, one, 0)
	must(err)
	say(exp > 0)
	must(session.Release(ctx, one))
	closed, err := session.Close(ctx)
	must(err)
	say(closed)
	must(session.End(ctx))
}

func keys(of map[string]bool) []string {
	var all []string
	for key := range of {
		all = append(all, key)
	}
	sort.Strings(all)
	return all
}

func strangers(ctx context.Context, cards []string) {
	options := nockvault.Options{Agent: "kit", KeyFile: "kit.ed25519", Forget: true}
	for _, options.Card = range cards {
		_, err := nockvault.Connect(ctx, options)
		fault(err)
	}
	options.Card, options.KeyFile = "vault/prod.card", "open.ed25519"
	_, err := nockvault.Connect(ctx, options)
	fault(err)
	options.Key, err = nockvault.GenerateKey()
	must(err)
	session, err := nockvault.Connect(ctx, options)
	must(err)
	_, err = session.Request(ctx, "x", nockvault.Ask{})
	fault(err)
}

func launcher(ctx context.Context) {
	ask := nockvault.Ask{TTL: 60, Params: nockvault.Object{"table": "orders"}, Purpose: "test"}
	given, err := nockvault.FromAgent(ctx, "orders-read", ask)
	must(err)
	say(given.Secret.Value(), given.Kind, given.Role)
	if shown := fmt.Sprintf("%v %+v", given, *given); strings.Contains(shown, "hunter2") {
		must(errors.New("a secret is shown"))
	}
	_, err = nockvault.FromAgent(ctx, "orders-write", nockvault.Ask{})
	fault(err)
	_, err = nockvault.FromAgent(ctx, "broken", nockvault.Ask{})
	fault(err)
}

// launched runs below the real launcher, which has the key that this process has not.
func launched(ctx context.Context) {
	one, err := nockvault.FromAgent(ctx, "orders-read", nockvault.Ask{})
	must(err)
	other, err := nockvault.FromAgent(ctx, "orders-read", nockvault.Ask{})
	must(err)
	say(one.Secret.Value(), one.Lease == other.Lease)
	_, err = nockvault.FromAgent(ctx, "other", nockvault.Ask{})
	fault(err)
}

func main() {
	ctx := context.Background()
	switch os.Args[1] {
	case "life":
		life(ctx)
	case "named":
		named(ctx)
	case "together":
		together(ctx)
	case "strangers":
		strangers(ctx, os.Args[2:])
	case "launcher":
		launcher(ctx)
	case "launched":
		launched(ctx)
	}
}
