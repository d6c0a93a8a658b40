package config

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Problem is one thing wrong with a configuration.
type Problem struct {
	// File is the document's name, Line and Column (from 1, in characters) are
	// where the value stands, or where what lacks it stands. All are empty if
	// the value came from a flag or from code.
	File         string
	Line, Column int
	// Flag is the flag that set the value, with its dash; else empty.
	Flag string
	// Path names the value: "services[0].upstream.group".
	Path string
	// Reason says what is wrong with it.
	Reason string
}

// Error is the location, the path and the reason.
func (p Problem) Error() string {
	var b strings.Builder
	switch {
	case p.Flag != "":
		b.WriteString("flag " + p.Flag + ": ")
	case p.Line > 0:
		fmt.Fprintf(&b, "%s:%d:%d: ", p.File, p.Line, p.Column)
	case p.File != "":
		b.WriteString(p.File + ": ")
	}
	if p.Path != "" {
		b.WriteString(p.Path + ": ")
	}
	b.WriteString(p.Reason)
	return b.String()
}

// Error is everything that is wrong with a configuration, in the order of the
// document, at least one problem.
type Error struct {
	Problems []Problem
}

func (e *Error) Error() string {
	var b strings.Builder
	for i, p := range e.Problems {
		if i > 0 {
			b.WriteByte('\n')
		}
		b.WriteString(p.Error())
	}
	return b.String()
}

// Unwrap gives the problems to errors.As.
func (e *Error) Unwrap() []error {
	errs := make([]error, len(e.Problems))
	for i, p := range e.Problems {
		errs[i] = p
	}
	return errs
}

// origin is where a value came from.
type origin struct {
	line, column int
	flag         string
}

// problems collects what is wrong and knows where each path came from.
type problems struct {
	file    string
	origins map[string]origin
	// unread holds the paths of values that stand in the document and could
	// not be read, around those of what they are a part of.
	unread, around map[string]bool
	list           []Problem
}

func newProblems(file string) *problems {
	return &problems{file: file, origins: map[string]origin{}, unread: map[string]bool{}, around: map[string]bool{}}
}

// addf adds a problem with the value of path, unless it is not known: the
// reason would only echo that it could not be read.
func (p *problems) addf(path, format string, args ...any) {
	if p.known(path) {
		p.add(path, format, args...)
	}
}

// known says whether the value of path, what it is a part of and its own parts
// could be read, as far as they stand in the document.
func (p *problems) known(path string) bool {
	if p.around[path] {
		return false
	}
	for ; path != ""; path = parentOf(path) {
		if p.unread[path] {
			return false
		}
	}
	return !p.unread[""]
}

// unreadf adds a problem with a value that could not be read.
func (p *problems) unreadf(path, format string, args ...any) {
	p.add(path, format, args...)
	p.markUnread(path)
}

func (p *problems) markUnread(path string) {
	p.unread[path] = true
	for path != "" {
		path = parentOf(path)
		p.around[path] = true
	}
}

func (p *problems) add(path, format string, args ...any) {
	o := p.find(path)
	pr := Problem{Path: path, Reason: fmt.Sprintf(format, args...), Flag: o.flag}
	if o.flag == "" {
		pr.File, pr.Line, pr.Column = p.file, o.line, o.column
	}
	p.list = append(p.list, pr)
}

// find returns the origin of path or of the nearest thing around it: what is
// missing is reported where it should stand.
func (p *problems) find(path string) origin {
	for {
		if o, ok := p.origins[path]; ok || path == "" {
			return o
		}
		path = parentOf(path)
	}
}

// replaced tells that a flag has set the value of path, whatever the document
// says there.
func (p *problems) replaced(path, flag string) {
	part := func(of string) bool {
		rest, ok := strings.CutPrefix(of, path)
		return ok && (rest == "" || rest[0] == '.' || rest[0] == '[')
	}
	maps.DeleteFunc(p.origins, func(of string, _ origin) bool { return part(of) })
	maps.DeleteFunc(p.unread, func(of string, _ bool) bool { return part(of) })
	maps.DeleteFunc(p.around, func(of string, _ bool) bool { return part(of) })
	p.origins[path] = origin{flag: flag}
}

// parentOf returns the path of what holds the value: "" for a top-level key.
func parentOf(path string) string {
	return path[:max(0, strings.LastIndexAny(path, ".["))]
}

func (p *problems) err() error {
	if len(p.list) == 0 {
		return nil
	}
	slices.SortStableFunc(p.list, func(a, b Problem) int {
		if a.Line != b.Line {
			return a.Line - b.Line
		}
		return a.Column - b.Column
	})
	return &Error{Problems: p.list}
}
