// Package mmsg has what sockets that exchange many datagrams with Linux in one
// system call share: recvmmsg, sendmmsg, their addresses and control messages.
package mmsg
