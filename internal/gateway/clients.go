package gateway

import (
	"slices"
	"sync"

	"github.com/treedn/treedn/driad"
	"github.com/treedn/treedn/driad/dns"
	"github.com/treedn/treedn/driad/resolver"
)

// NewClient returns what looks for relays. If a resolver is given and no domains are, these are still the system's: it is
// DHCP that tells the domain of the network that the node is in (RFC 6763 section 11), whatever server is asked. Domains
// below local are left out: who names the server to trust does not want to hear everybody on the link.
func NewClient(config driad.ClientConfig) (*driad.Client, error) {
	if config.Resolver != nil && config.Domains == nil && !config.NoServiceDiscovery {
		if _, search, err := resolver.System(); err == nil {
			config.Domains = slices.DeleteFunc(search, func(n dns.Name) bool { return n.IsMulticast() })
		}
	}
	return driad.NewClient(config)
}

// Clients are those that look for relays: all who do so in the same way share one, with its answers, what it knows of
// relays, its connections to resolvers and its rate of questions. The zero value has none. It is safe for concurrent use.
type Clients struct {
	mu   sync.Mutex // guards below
	list map[string]*sharedClient
}

type sharedClient struct {
	*driad.Client
	users int
}

// get returns the client with a key, which is made of config if there is none, until done is called by all who have it.
// Without config there is none. done is never nil.
func (c *Clients) get(key string, config *driad.ClientConfig) (client *driad.Client, done func(), err error) {
	if config == nil {
		return nil, func() {}, nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	s := c.list[key]
	if s == nil {
		client, err := NewClient(*config)
		if err != nil {
			return nil, func() {}, err
		}
		s = &sharedClient{Client: client}
		if c.list == nil {
			c.list = make(map[string]*sharedClient)
		}
		c.list[key] = s
	}
	s.users++
	return s.Client, sync.OnceFunc(func() { c.put(key, s) }), nil
}

func (c *Clients) put(key string, s *sharedClient) {
	c.mu.Lock()
	if s.users--; s.users > 0 {
		c.mu.Unlock()
		return
	}
	delete(c.list, key)
	c.mu.Unlock()
	_ = s.Close()
}
