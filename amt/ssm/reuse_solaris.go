package ssm

import "golang.org/x/sys/unix"

// reuseOptions: golang.org/x/sys has no SO_REUSEPORT here, where SO_REUSEADDR is
// enough for multicast.
func reuseOptions() []int { return []int{unix.SO_REUSEADDR} }
