//go:build race

package raptorq

const raceEnabled = true
