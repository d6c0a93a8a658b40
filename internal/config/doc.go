// Package config reads the configuration of the three roles: one YAML file
// per role, flags for the common cases, the environment or files for secrets.
//
// The schema is the Go types: [Cast], [Relay] and [Beacon] are the documents,
// the field tags are the keys, and the comment of each field says its default
// and unit. The reader's version of the same is docs/configuration.md; a test
// keeps the two equal.
//
// # Loading
//
// A [Source] is a file, flags, or both. Its Load goes through five steps, and
// a document that fails in one of them is refused whole:
//
//  1. decode: the text becomes a struct; an unknown key, a key given twice, a
//     value of the wrong form are problems with line and column;
//  2. override: flags replace what the file says (file < flag), on every load,
//     so that a reload does not lose them;
//  3. populate: defaults are filled into what was left out;
//  4. resolve: secrets named by env:NAME or file:PATH and certificates are read;
//  5. validate: addresses, ranges, duplicates.
//
// All problems of all steps are returned together as one [*Error]; each says
// file, line, column, the path of the key and the reason. What a value that
// could not be read would only echo (a misspelt key is also a missing one) is
// left out. Text that is no YAML has one problem, the first.
//
//	var src = config.NewSource[config.Cast](flag.CommandLine)
//	flag.Parse()
//	cast, err := src.Load()
//
// Programs that make their configuration in code call [Complete] instead.
//
// # Reloading
//
// [Watcher] loads again on a hang-up signal or when a file that the
// configuration consists of has changed, and hands old and new to the role.
// [Diff] tells the role which channels or services were added, removed or
// changed, and in which keys, so that it touches nothing else.
//
// # Secrets
//
// Stream keys are kept as SHA-256 hashes only, cache keys and seal keys behind a
// pointer; every way of printing them (fmt, JSON, slog, YAML) gives "***". The
// environment of a process cannot change, so a secret that is to be rotated
// without a restart is named by file:PATH.
//
// # Seals
//
// Whoever sends a service has a [SealKey], whoever receives it the public half as
// an [Anchor], unless both call the service unsigned. [CreateSealKey] makes a
// pair, [KeepSealKey] is for nodes that have to make one of their own.
//
// # What it is not
//
// The package opens no sockets, handles no signals and starts no goroutines.
// A file is the operator's and trusted in what it says, yet not in its form:
// its size and nesting are bounded and the decoder is fuzzed.
package config
