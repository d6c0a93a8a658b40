package manifest

import (
	"fmt"
	"math"
	"strconv"
	"strings"
)

// A Pattern is a DASH segment template (ISO/IEC 23009-1, 5.3.9.4.4) with
// $RepresentationID$ and $Bandwidth$ filled in: literals between $Number$,
// $Time$ and $SubNumber$.
type Pattern struct {
	parts []part
}

// part is a literal followed by a variable; the last part has none.
type part struct {
	literal  string
	variable byte // 'N', 'T', 'S', or 0
	width    int
}

// maxVariables bounds the variables of a pattern; real ones have one or two.
const maxVariables = 4

// compilePattern reads a template of a representation.
func compilePattern(s, representation string, bandwidth uint64) (Pattern, error) {
	if len(s) > 4*MaxName || len(representation) > MaxName {
		return Pattern{}, tooLarge("octets in a template", 4*MaxName)
	}
	var p Pattern
	var literal strings.Builder
	for s != "" {
		i := strings.IndexByte(s, '$')
		if i < 0 {
			i = len(s)
		}
		literal.WriteString(s[:i])
		if s = s[i:]; s == "" {
			break
		}
		tag, rest, ok := strings.Cut(s[1:], "$")
		if !ok {
			return Pattern{}, fmt.Errorf("%w: template with a lone dollar sign", ErrFormat)
		}
		s = rest
		name, format := tag, ""
		if i := strings.IndexByte(tag, '%'); i >= 0 {
			name, format = tag[:i], tag[i:]
		}
		width, ok := parseWidth(format)
		if !ok {
			return Pattern{}, fmt.Errorf("%w: template with the format %.16q", ErrFormat, format)
		}
		var variable byte
		switch name {
		case "":
			literal.WriteByte('$')
			continue
		case "RepresentationID":
			literal.WriteString(representation)
			continue
		case "Bandwidth":
			literal.Write(appendNumber(nil, bandwidth, width))
			continue
		case "Number":
			variable = 'N'
		case "Time":
			variable = 'T'
		case "SubNumber":
			variable = 'S'
		default:
			return Pattern{}, fmt.Errorf("%w: template with the identifier %.32q", ErrFormat, name)
		}
		if len(p.parts) == maxVariables {
			return Pattern{}, tooLarge("variables in a template", maxVariables)
		}
		p.parts = append(p.parts, part{literal.String(), variable, width})
		literal.Reset()
	}
	p.parts = append(p.parts, part{literal: literal.String()})
	return p, nil
}

// IsZero reports whether there is no template.
func (p Pattern) IsZero() bool { return len(p.parts) == 0 }

// Timed reports whether the pattern counts by $Time$ instead of $Number$.
func (p Pattern) Timed() bool { return p.has('T') }

func (p Pattern) has(variable byte) bool {
	for _, part := range p.parts {
		if part.variable == variable {
			return true
		}
	}
	return false
}

// String returns the template, with what is filled in.
func (p Pattern) String() string {
	names := map[byte]string{'N': "Number", 'T': "Time", 'S': "SubNumber"}
	var b strings.Builder
	for _, part := range p.parts {
		b.WriteString(strings.ReplaceAll(part.literal, "$", "$$"))
		switch name := names[part.variable]; {
		case name == "":
		case part.width > 1:
			fmt.Fprintf(&b, "$%s%%0%dd$", name, part.width)
		default:
			b.WriteString("$" + name + "$")
		}
	}
	return b.String()
}

// Expand returns the reference for a segment; sub-segment numbers begin at 1.
func (p Pattern) Expand(number, time uint64) string {
	var b []byte
	for _, part := range p.parts {
		b = append(b, part.literal...)
		switch part.variable {
		case 'N':
			b = appendNumber(b, number, part.width)
		case 'T':
			b = appendNumber(b, time, part.width)
		case 'S':
			b = appendNumber(b, 1, part.width)
		}
	}
	return string(b)
}

// marker stands for the variable i while a pattern is resolved as a path; NUL
// cannot be in a name.
func marker(i int) string { return "\x00" + strconv.Itoa(i) + "\x00" }

// resolve turns a pattern of references into one of names (see [Resolve]).
func (p Pattern) resolve(base string) (Pattern, bool) {
	var b strings.Builder
	for i, part := range p.parts {
		if strings.Contains(part.literal, "%00") || strings.Contains(part.literal, "\x00") {
			return Pattern{}, false
		}
		b.WriteString(part.literal)
		if part.variable != 0 {
			b.WriteString(marker(i))
		}
	}
	name, ok := join(base, b.String())
	if !ok {
		return Pattern{}, false
	}
	out := Pattern{parts: make([]part, 0, len(p.parts))}
	for i, part := range p.parts {
		if part.variable != 0 {
			var found bool
			if part.literal, name, found = strings.Cut(name, marker(i)); !found {
				return Pattern{}, false // it was in the query
			}
		} else {
			part.literal = name
		}
		out.parts = append(out.parts, part)
	}
	return out, ValidName(out.Expand(0, 0))
}

// match returns the variables of a name that the pattern yields.
func (p Pattern) match(name string) (v variables, ok bool) {
	for i, part := range p.parts {
		var found bool
		if name, found = strings.CutPrefix(name, part.literal); !found {
			return v, false
		}
		if part.variable == 0 {
			return v, name == "" && i == len(p.parts)-1
		}
		if part.variable == 'T' && strings.HasPrefix(name, "-") {
			// FFmpeg names the first audio segment by its negative priming time.
			v.negative = true
			name = name[1:]
		}
		end := 0
		for end < len(name) && isDigit(name[end]) {
			end++
		}
		// Digits that belong to the literal behind them.
		if next := p.parts[i+1].literal; next != "" && isDigit(next[0]) {
			if i+1 != len(p.parts)-1 || !strings.HasSuffix(name, next) {
				return v, false
			}
			end = min(end, len(name)-len(next))
		}
		n, valid := number(name[:end], part.width)
		if !valid || !v.set(part.variable, n) {
			return v, false
		}
		name = name[end:]
	}
	return v, false
}

// template returns the pattern as a [Template], if one number is all that its
// names differ in.
func (p Pattern) template() (Template, bool) {
	if len(p.parts) != 2 || p.parts[0].variable == 'S' {
		return Template{}, false
	}
	return Template{Prefix: p.parts[0].literal, Suffix: p.parts[1].literal, Width: p.parts[0].width}, true
}

// variables are the values of a name under a pattern.
type variables struct {
	number, time, sub          uint64
	hasNumber, hasTime, hasSub bool
	negative                   bool // time is below zero by as much
}

// set is false when a variable that occurs twice has two values.
func (v *variables) set(variable byte, n uint64) bool {
	value, has := &v.number, &v.hasNumber
	switch variable {
	case 'T':
		value, has = &v.time, &v.hasTime
	case 'S':
		value, has = &v.sub, &v.hasSub
	}
	if *has {
		return *value == n
	}
	*value, *has = n, true
	return n < math.MaxUint64
}
