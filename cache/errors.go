package cache

import (
	"errors"
	"fmt"
	"os"
)

// Errors that callers decide on. All are tested with errors.Is.
var (
	// ErrNotFound says that no object has this key. A FillFunc that returns
	// it (wrapped or not) gives a final answer for every waiter of the key.
	ErrNotFound = errors.New("cache: object not found")
	// ErrStale refuses a generation older than the current one.
	ErrStale = errors.New("cache: generation is older than the current one")
	// ErrExists refuses a second object of the current generation.
	ErrExists = errors.New("cache: generation is present already")
	// ErrAborted ends the reading of an object that was given up half-way.
	ErrAborted = errors.New("cache: object was aborted")
	// ErrEvicted says that an object left the store between Lookup and read.
	ErrEvicted = errors.New("cache: object left the store")
	// ErrNotReady says that octets of a growing object are not there yet.
	ErrNotReady = errors.New("cache: octets are not there yet")
	// ErrTooLarge refuses an object beyond Config.MaxObject.
	ErrTooLarge = errors.New("cache: object is too large")
	// ErrNoSpace refuses octets for which nothing evictable makes room.
	ErrNoSpace = errors.New("cache: no space in the memory tier")
	// ErrLength says that an object's octets contradict Meta.Length.
	ErrLength = errors.New("cache: length differs from the declared one")
	// ErrInvalid refuses a key, header or configuration outside its bounds.
	ErrInvalid = errors.New("cache: invalid argument")
	// ErrLocked says that another store uses the directory.
	ErrLocked = errors.New("cache: directory is in use")
	// ErrClosed is returned after Store.Close. It matches os.ErrClosed.
	ErrClosed = fmt.Errorf("cache: store: %w", os.ErrClosed)
)

// GenerationError tells which generations met. It matches ErrStale when the
// offered one is older and ErrExists when both are equal.
type GenerationError struct {
	Key     Key
	Current uint64
	Offered uint64
}

func (e *GenerationError) Error() string {
	return fmt.Sprintf("cache: %s: generation %d offered, %d is current", e.Key, e.Offered, e.Current)
}

// Is implements the matching of errors.Is.
func (e *GenerationError) Is(target error) bool {
	if e.Offered == e.Current {
		return target == ErrExists
	}
	return target == ErrStale
}

// abortError carries why an object was aborted; it matches ErrAborted and
// the cause.
type abortError struct{ cause error }

func (e *abortError) Error() string {
	if e.cause == nil {
		return ErrAborted.Error()
	}
	return ErrAborted.Error() + ": " + e.cause.Error()
}

func (e *abortError) Is(target error) bool { return target == ErrAborted }
func (e *abortError) Unwrap() error        { return e.cause }
