package ssm

import (
	"errors"

	"golang.org/x/sys/windows"
)

func isUnsupported(err error) bool {
	return errors.Is(err, windows.WSAENOPROTOOPT) || errors.Is(err, windows.WSAEOPNOTSUPP) ||
		errors.Is(err, windows.WSAEAFNOSUPPORT)
}

func isTooMany(err error) bool { return errors.Is(err, windows.WSAENOBUFS) }

func isUnreachable(err error) bool {
	return errors.Is(err, windows.WSAENETUNREACH) || errors.Is(err, windows.WSAEHOSTUNREACH) ||
		errors.Is(err, windows.WSAENETDOWN)
}

func isPermission(err error) bool { return errors.Is(err, windows.WSAEACCES) }

func isNoAddress(err error) bool { return errors.Is(err, windows.WSAEADDRNOTAVAIL) }
