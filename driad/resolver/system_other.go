//go:build !unix

package resolver

import "github.com/treedn/treedn/driad/dns"

// System fails: on this system there is no file that tells the servers.
func System() (*Plain, []dns.Name, error) { return nil, nil, ErrSystem }
