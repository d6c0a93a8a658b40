package egress

import (
	"errors"

	"golang.org/x/sys/windows"
)

func isTooLarge(err error) bool  { return errors.Is(err, windows.WSAEMSGSIZE) }
func isForbidden(err error) bool { return errors.Is(err, windows.WSAEACCES) }
func isFull(err error) bool      { return errors.Is(err, windows.WSAENOBUFS) }

func isUnreachable(err error) bool {
	return errors.Is(err, windows.WSAENETUNREACH) || errors.Is(err, windows.WSAEHOSTUNREACH) ||
		errors.Is(err, windows.WSAENETDOWN) || errors.Is(err, windows.WSAEADDRNOTAVAIL)
}
