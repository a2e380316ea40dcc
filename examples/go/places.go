package nockvault

import (
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// Card is a vault's card: public, and as trustworthy as the way it came. It pins the vault's identity key.
type Card struct {
	Name, Aud, Agents, CA string
	Identity              []byte
}

// ParseCard reads a card and checks that it does not contradict itself.
func ParseCard(text string) (*Card, error) {
	members, err := readTOML(text)
	if err != nil {
		return nil, err
	}
	identity, err := unb64(members["identity"], 32)
	if err != nil || members["agents"] == "" {
		return nil, local("not a vault card: it has no identity key or no address")
	}
	card := &Card{members["name"], members["aud"], members["agents"], members["ca"], identity}
	if card.Aud != "nv1:"+thumbprint(identity, "Ed25519") {
		return nil, local("the card's identity key does not belong to its aud; one of the two was changed")
	}
	return card, nil
}

// readTOML reads as much TOML as a card has: members that are texts, on one line or between three quotes, then tables,
// which hold nothing that a client needs.
func readTOML(text string) (map[string]string, error) {
	members := map[string]string{}
	for lines := strings.Split(text, "\n"); len(lines) > 0; {
		line := strings.TrimSpace(lines[0])
		lines = lines[1:]
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		if strings.HasPrefix(line, "[") {
			break
		}
		name, value, is := strings.Cut(line, "=")
		name, value = strings.TrimSpace(name), strings.TrimSpace(value)
		if _, twice := members[name]; !is || twice {
			return nil, local("not a vault card: the line %q", line)
		}
		if value == `"""` {
			var inner []string
			for len(lines) > 0 && strings.TrimSpace(lines[0]) != `"""` {
				inner, lines = append(inner, lines[0]), lines[1:]
			}
			if len(lines) == 0 || strings.Contains(strings.Join(inner, ""), `\`) {
				return nil, local("not a vault card: %s does not end, or has escapes", name)
			}
			members[name], lines = strings.Join(inner, "\n")+"\n", lines[1:]
			continue
		}
		plain, err := strconv.Unquote(value)
		if err != nil {
			return nil, local("not a vault card: %s is no text", name)
		}
		members[name] = plain
	}
	return members, nil
}

func readCard(path string) (*Card, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, &Local{err.Error()}
	}
	card, err := ParseCard(string(text))
	if err != nil {
		return nil, local("%s: %v", path, err)
	}
	return card, nil
}

func folder(variable, belowHome string) string {
	if own := os.Getenv(variable); filepath.IsAbs(own) {
		return filepath.Join(own, "nockvault")
	}
	if home := os.Getenv("HOME"); filepath.IsAbs(home) {
		return filepath.Join(home, belowHome, "nockvault")
	}
	return ""
}

func configDir() string { return folder("XDG_CONFIG_HOME", ".config") }

// StateDir is where memories are kept by habit: $XDG_STATE_HOME/nockvault, or ~/.local/state/nockvault.
func StateDir() string { return folder("XDG_STATE_HOME", ".local/state") }

// FindCard gives the card that is named, by its file, its name in the usual folder or NOCKVAULT_CARD; else the only one.
func FindCard(named string) (*Card, error) {
	if named == "" {
		named = os.Getenv("NOCKVAULT_CARD")
	}
	dir := configDir()
	if named != "" {
		if _, err := os.Stat(named); err == nil || strings.Contains(named, "/") || dir == "" {
			return readCard(named)
		}
		return readCard(filepath.Join(dir, strings.TrimSuffix(named, ".card")+".card"))
	}
	found, _ := filepath.Glob(filepath.Join(dir, "*.card"))
	if dir == "" || len(found) != 1 {
		return nil, local("there is no vault card in %q, or more than one; name it, or set NOCKVAULT_CARD", dir)
	}
	return readCard(found[0])
}

// target is what is dialled: a network, an address, and the host that TLS checks, where there is TLS.
func (c *Card) target() (network, address, host string, err error) {
	bad := func(why string) error {
		return local("the address %q %s; it is https://host:port, http:// on loopback, or unix:/path", c.Agents, why)
	}
	if strings.HasPrefix(c.Agents, "unix:") {
		path := strings.TrimPrefix(c.Agents, "unix:")
		if !strings.HasPrefix(path, "/") {
			return "", "", "", bad("names no absolute path")
		}
		return "unix", filepath.Clean(path), "", nil
	}
	at, err := url.Parse(c.Agents)
	if err != nil || at.Hostname() == "" || at.Path != "" && at.Path != "/" || at.RawQuery != "" || at.User != nil {
		return "", "", "", bad("is not a host and a port")
	}
	port, ip := at.Port(), net.ParseIP(at.Hostname())
	loopback := at.Hostname() == "localhost" || ip != nil && ip.IsLoopback()
	switch {
	case at.Scheme == "https" && c.CA == "":
		return "", "", "", local("the card carries no CA, so that nothing could be trusted at %s; ask for a new card", c.Agents)
	case at.Scheme == "https":
		host = at.Hostname()
		if port == "" {
			port = "443"
		}
	case at.Scheme == "http" && loopback:
		if port == "" {
			port = "80"
		}
	case at.Scheme == "http":
		return "", "", "", bad("would send everything in the open to another machine")
	default:
		return "", "", "", bad("has no scheme")
	}
	return "tcp", net.JoinHostPort(at.Hostname(), port), host, nil
}
