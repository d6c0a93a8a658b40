// Package mmsg has what sockets that exchange many datagrams with the kernel in
// one call share: runs of datagrams of one size, and for Linux sockets that wake
// nobody when a datagram has left, recvmmsg and sendmmsg, their addresses and
// control messages.
package mmsg
