package node

import (
	"crypto/rand"
	"strings"
)

// Pseudonym returns what stands for a running node in Via fields (RFC 9110, section 7.6.3). Names do not tell nodes apart:
// by default each node of a machine has the machine's. A request of a child with its parent's name would be taken for
// one that came back.
func Pseudonym(name string) string {
	return name + "-" + strings.ToLower(rand.Text()[:10])
}
