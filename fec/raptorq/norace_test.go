//go:build !race

package raptorq

const raceEnabled = false
