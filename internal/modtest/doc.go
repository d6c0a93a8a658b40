// Package modtest holds the rules about the repository's modules, as tests:
// which packages may import what, and how go.mod files refer to each other. It
// has no code of its own.
package modtest
