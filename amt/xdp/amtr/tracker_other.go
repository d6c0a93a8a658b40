//go:build !linux

package amtr

import (
	"errors"
	"fmt"
)

func newSource(Method, *Config) (source, error) {
	return nil, fmt.Errorf("only Linux has it: %w", errors.ErrUnsupported)
}
