// Package cmaf finds the boundaries in a CMAF byte stream.
package cmaf
