// Package alloctest counts allocations in tests.
package alloctest

import "testing"

// PerRun returns how often f allocates when nothing interferes: the least of many
// tries, because the race detector makes pools forget at random.
func PerRun(f func()) float64 {
	least := testing.AllocsPerRun(10, f)
	for range 50 {
		least = min(least, testing.AllocsPerRun(1, f))
	}
	return least
}
