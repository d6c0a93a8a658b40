//go:build !unix && !windows

package resolver

import "github.com/treedn/treedn/driad/dns"

// System fails: on this system nothing tells the servers.
func System() (*Plain, []dns.Name, error) { return nil, nil, ErrSystem }
