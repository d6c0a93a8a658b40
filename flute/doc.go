// Package flute holds the codecs that FLUTE and ROUTE share.
package flute
