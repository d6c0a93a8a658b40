// Package amt holds multicast reception: package ssm has the sockets for native
// source-specific multicast; AMT tunnels (RFC 7450) come beside it.
package amt
