//go:build !unix && !windows

package egress

func isTooLarge(error) bool    { return false }
func isForbidden(error) bool   { return false }
func isFull(error) bool        { return false }
func isUnreachable(error) bool { return false }
