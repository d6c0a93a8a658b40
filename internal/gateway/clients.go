package gateway

import (
	"slices"
	"sync"

	"github.com/treedn/treedn/driad"
	"github.com/treedn/treedn/driad/dns"
	"github.com/treedn/treedn/driad/resolver"
)

// Client looks for relays, and begins again when the machine is in another network (RFC 8777 section 3.3.2).
type Client struct {
	*driad.Client
	stop func()
}

// NewClient returns what looks for relays. If a resolver is given and no domains are, these are still the system's: it is
// DHCP that tells the domain of the network that the node is in (RFC 6763 section 11), whatever server is asked. Domains
// below local are left out: who names the server to trust does not want to hear everybody on the link.
func NewClient(config driad.ClientConfig) (*Client, error) { return newClient(config, network) }

func newClient(config driad.ClientConfig, look func() string) (*Client, error) {
	given := config
	config.Domains = domains(&given)
	c, err := driad.NewClient(config)
	if err != nil {
		return nil, err
	}
	return &Client{c, watchNetwork(look, func() { c.NetworkChanged(domains(&given)) })}, nil
}

// domains are those of the network that the machine is in, unless the client takes them from the system itself.
func domains(config *driad.ClientConfig) []dns.Name {
	if config.Resolver != nil && config.Domains == nil && !config.NoServiceDiscovery {
		if _, search, err := resolver.System(); err == nil {
			return slices.DeleteFunc(search, func(n dns.Name) bool { return n.IsMulticast() })
		}
	}
	return config.Domains
}

// Close ends all that it looks for.
func (c *Client) Close() error {
	c.stop()
	return c.Client.Close()
}

// Clients are those that look for relays: all who do so in the same way share one, with its answers, what it knows of
// relays, its connections to resolvers and its rate of questions. The zero value has none. It is safe for concurrent use.
type Clients struct {
	mu   sync.Mutex // guards below
	list map[string]*sharedClient
	look func() string // for tests; nil: network
}

type sharedClient struct {
	*Client
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
		look := c.look
		if look == nil {
			look = network
		}
		client, err := newClient(*config, look)
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
	return s.Client.Client, sync.OnceFunc(func() { c.put(key, s) }), nil
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
