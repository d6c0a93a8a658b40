//go:build !unix && !windows

package ssm

func isUnsupported(error) bool { return false }
func isTooMany(error) bool     { return false }
func isUnreachable(error) bool { return false }
func isPermission(error) bool  { return false }
func isNoAddress(error) bool   { return false }
