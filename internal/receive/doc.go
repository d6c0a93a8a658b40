// Package receive brings one multicast channel to one place: a UDP socket, a file or a pipe. It joins natively or through
// AMT relays, says on a live line what comes, and why nothing comes if nothing does.
package receive
