package cache

import (
	"fmt"
	"log/slog"
	"slices"
	"time"
)

// Limit bounds a tier, or the part of it that one service may use.
type Limit struct {
	Octets  int64
	Objects int
}

func (l Limit) exceeded(u usage, octets int64, objects int) bool {
	return (l.Octets > 0 && u.octets+octets > l.Octets) ||
		(l.Objects > 0 && u.objects+objects > l.Objects)
}

// usage is what a tier or a service's part of it holds.
type usage struct {
	octets  int64
	objects int
}

func (u *usage) add(octets int64, objects int) {
	u.octets += octets
	u.objects += objects
}

// Defaults of Config.
const (
	DefaultMemoryOctets = 128 << 20
	DefaultDiskOctets   = 4 << 30
	DefaultObjects      = 1 << 16 // memory tier
	DefaultDiskObjects  = 1 << 16
	DefaultMaxObject    = 32 << 20
	DefaultLiveWindow   = 10 * time.Second
	DefaultDiskRetry    = 10 * time.Second
	DefaultSpillWait    = 100 * time.Millisecond
)

// Config configures a Store. The zero value is a store in memory alone.
type Config struct {
	// Dir is the directory of the disk tier, made if it is missing, used by
	// one store at a time. Empty: no disk tier.
	Dir string
	// Memory bounds the memory tier. Zero fields: DefaultMemoryOctets and
	// DefaultObjects. Octets count what the objects' pages occupy.
	Memory Limit
	// Disk bounds the disk tier. Zero fields: DefaultDiskOctets and
	// DefaultDiskObjects. Octets count whole files, sealed. The index takes
	// about 700 octets of RAM per object, and its header.
	Disk Limit
	// MaxObject is the greatest length of an object in octets. Zero:
	// DefaultMaxObject.
	MaxObject int64
	// LiveWindow is the age below which an object is evicted from memory only
	// if nothing older is left but what is not yet on disk. Zero:
	// DefaultLiveWindow. Negative: none.
	LiveWindow time.Duration
	// SpillWait is how long a writer waits for the disk before an object on
	// its way there is dropped from a memory tier that is full. A disk that is
	// out of order, or moved nothing in that time, is not waited for. Zero:
	// DefaultSpillWait. Negative: writers never wait.
	SpillWait time.Duration
	// DiskRetry is how long after a failure of the disk it is tried again.
	// Zero: DefaultDiskRetry.
	DiskRetry time.Duration
	// Retention applies to services that set none. Zero: objects stay until
	// they are replaced or evicted.
	Retention time.Duration
	// Services holds keys and limits by service identifier. A service that is
	// not listed may be used, within the limits of the store, but it never
	// reaches the disk.
	Services map[string]ServiceConfig
	// Now is the clock. Nil: time.Now.
	Now func() time.Time
	// Logger receives what an operator has to act on. Nil: silent.
	Logger *slog.Logger

	files fileSystem // nil: the operating system's
}

// ServiceConfig is what a store knows of one service.
type ServiceConfig struct {
	// Keys are the epochs' keys, the oldest first. Without any, objects stay
	// in memory. New objects are sealed with the last one that is valid now;
	// objects of every epoch listed here, unless its NotAfter passed, are
	// readable.
	Keys []EpochKey
	// Memory and Disk bound this service's part of a tier. Zero fields: only
	// the store's limits apply.
	Memory, Disk Limit
	// Retention is the age at which objects that are not pinned are dropped.
	// Zero: Config.Retention. Negative: never.
	Retention time.Duration
}

// EpochKey is the key of a delivery service during one epoch. It prints as
// its epoch alone, so that keys do not slip into logs.
type EpochKey struct {
	// Epoch is the number under which the key was issued; it goes into what is
	// derived from the key, so it has to be the same after a restart. Keys
	// that differ may share a number: who issues none leaves it zero.
	Epoch uint32
	// Key is the delivery service key, 32 octets of full entropy.
	Key [32]byte
	// NotBefore is when writing with this epoch begins. Zero: at once.
	NotBefore time.Time
	// NotAfter is when reading and writing end. Zero: never.
	NotAfter time.Time
}

// same tells whether what either seals opens with the other.
func (k EpochKey) same(o EpochKey) bool { return k.Epoch == o.Epoch && k.Key == o.Key }

// String implements fmt.Stringer without the key.
func (k EpochKey) String() string { return fmt.Sprintf("epoch %d", k.Epoch) }

// GoString implements fmt.GoStringer without the key.
func (k EpochKey) GoString() string { return k.String() }

// LogValue implements slog.LogValuer without the key.
func (k EpochKey) LogValue() slog.Value { return slog.StringValue(k.String()) }

// MarshalText implements encoding.TextMarshaler without the key.
func (k EpochKey) MarshalText() ([]byte, error) { return []byte(k.String()), nil }

func populateConfig(c Config) Config {
	if c.Memory.Octets == 0 {
		c.Memory.Octets = DefaultMemoryOctets
	}
	if c.Memory.Objects == 0 {
		c.Memory.Objects = DefaultObjects
	}
	if c.Disk.Octets == 0 {
		c.Disk.Octets = DefaultDiskOctets
	}
	if c.Disk.Objects == 0 {
		c.Disk.Objects = DefaultDiskObjects
	}
	if c.MaxObject == 0 {
		c.MaxObject = DefaultMaxObject
	}
	if c.LiveWindow == 0 {
		c.LiveWindow = DefaultLiveWindow
	}
	if c.SpillWait == 0 {
		c.SpillWait = DefaultSpillWait
	}
	if c.DiskRetry == 0 {
		c.DiskRetry = DefaultDiskRetry
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	return c
}

func validateConfig(c Config) error {
	for name, n := range map[string]int64{
		"Memory.Octets": c.Memory.Octets, "Memory.Objects": int64(c.Memory.Objects),
		"Disk.Octets": c.Disk.Octets, "Disk.Objects": int64(c.Disk.Objects),
		"MaxObject": c.MaxObject, "DiskRetry": int64(c.DiskRetry), "Retention": int64(c.Retention),
	} {
		if n < 0 {
			return fmt.Errorf("%w: %s is negative", ErrInvalid, name)
		}
	}
	for name, sc := range c.Services {
		if err := validateService(name, sc); err != nil {
			return err
		}
	}
	return nil
}

func validateService(name string, sc ServiceConfig) error {
	if name == "" || len(name) > MaxService {
		return fmt.Errorf("%w: service of %d octets", ErrInvalid, len(name))
	}
	for i, k := range sc.Keys {
		if slices.ContainsFunc(sc.Keys[:i], k.same) {
			return fmt.Errorf("%w: service %q: epoch %d with the same key twice", ErrInvalid, name, k.Epoch)
		}
		if k.Key == ([32]byte{}) {
			return fmt.Errorf("%w: service %q: epoch %d: key is all zero", ErrInvalid, name, k.Epoch)
		}
	}
	if sc.Memory.Octets < 0 || sc.Memory.Objects < 0 || sc.Disk.Octets < 0 || sc.Disk.Objects < 0 {
		return fmt.Errorf("%w: service %q: negative limit", ErrInvalid, name)
	}
	return nil
}
