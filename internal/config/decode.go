package config

import (
	"encoding"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/lexer"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"
)

const (
	// maxFile is far above any real configuration (a thousand services are
	// some 300 kB) and bounds what a wrong path makes the node read.
	maxFile = 1 << 20
	// maxNesting bounds the YAML parser's recursion; the schema needs 5.
	maxNesting = 32
)

// decoder fills a struct from a YAML tree. The YAML library's own decoder stops
// at the first error and gives no positions for later checks, hence this one.
type decoder struct {
	*problems
	base string // directory that relative paths count from
}

// decode reads one document into the struct that into points to. It returns
// false if the text is no document at all; single values that cannot be read
// are left as they are.
func decode(text []byte, into any, base string, p *problems) bool {
	if len(text) > maxFile {
		p.addf("", "is larger than %s", Size(maxFile))
		return false
	}
	if !utf8.Valid(text) {
		p.addf("", "is not UTF-8 text")
		return false
	}
	root, ok := parse(string(text), p)
	if !ok {
		return false
	}
	d := &decoder{problems: p, base: base}
	d.value(root, reflect.ValueOf(into).Elem(), "")
	return true
}

// parse returns the only document's root.
func parse(text string, p *problems) (root ast.Node, ok bool) {
	// The lexer and the parser are a third party's and run at each reload in a
	// node that has streams to carry: a bug in them refuses the file only.
	defer func() {
		if r := recover(); r != nil {
			p.addf("", "the YAML parser failed: %v", r)
			root, ok = nil, false
		}
	}()
	tokens := lexer.Tokenize(text)
	if t := tooDeep(tokens); t != nil {
		p.syntax(t, fmt.Sprintf("is nested more than %d deep", maxNesting))
		return nil, false
	}
	// The decoder reports keys that stand twice, as all but the first problem.
	file, err := parser.Parse(tokens, 0, parser.AllowDuplicateMapKey())
	if err != nil {
		var ye yaml.Error
		if errors.As(err, &ye) {
			p.syntax(ye.GetToken(), ye.GetMessage())
		} else {
			p.addf("", "%v", err)
		}
		return nil, false
	}
	for _, doc := range file.Docs {
		if doc.Body == nil {
			continue
		}
		if root != nil || doc.Body.Type() == ast.DirectiveType {
			p.syntax(doc.Body.GetToken(), "more than one document, or a directive")
			return nil, false
		}
		root = doc.Body
	}
	if root == nil {
		// An editor that truncates before it writes must not be taken for an
		// operator who removes everything.
		p.addf("", "is empty")
		return nil, false
	}
	return root, true
}

func (p *problems) syntax(t *token.Token, reason string) {
	pr := Problem{File: p.file, Reason: reason}
	if t != nil && t.Position != nil {
		pr.Line, pr.Column = t.Position.Line, t.Position.Column
	}
	p.list = append(p.list, pr)
}

// tooDeep returns the token at which nesting passes maxNesting.
func tooDeep(tokens token.Tokens) *token.Token {
	flow, entries, line := 0, 0, 0
	for _, t := range tokens {
		switch t.Type {
		case token.SequenceStartType, token.MappingStartType:
			flow++
		case token.SequenceEndType, token.MappingEndType:
			flow--
		case token.SequenceEntryType, token.MappingKeyType, token.TagType, token.AnchorType:
			// "- - - -" and the like nest within one line.
			if t.Position.Line != line {
				entries, line = 0, t.Position.Line
			}
			entries++
		}
		// Block nesting shows as indentation.
		if flow > maxNesting || entries > maxNesting || t.Position.IndentLevel > maxNesting {
			return t
		}
	}
	return nil
}

func (d *decoder) at(n ast.Node) origin {
	t := n.GetToken()
	if m, ok := n.(*ast.MappingNode); ok && len(m.Values) > 0 {
		t = m.Values[0].Key.GetToken()
	}
	if t == nil || t.Position == nil {
		return origin{}
	}
	return origin{line: t.Position.Line, column: t.Position.Column}
}

func (d *decoder) value(n ast.Node, v reflect.Value, path string) {
	d.origins[path] = d.at(n)
	switch n.(type) {
	case *ast.NullNode:
		// "key:" with nothing behind it is the default, as if left out.
		return
	case *ast.AnchorNode, *ast.AliasNode, *ast.TagNode, *ast.MergeKeyNode:
		d.unreadf(path, "anchors, aliases and tags are not supported")
		return
	}
	if v.CanAddr() {
		if _, ok := v.Addr().Interface().(encoding.TextUnmarshaler); ok {
			d.scalar(n, v, path)
			return
		}
	}
	switch v.Kind() {
	case reflect.Struct:
		d.mapping(n, v, path)
	case reflect.Slice:
		d.sequence(n, v, path)
	default:
		d.scalar(n, v, path)
	}
}

func (d *decoder) mapping(n ast.Node, v reflect.Value, path string) {
	m, ok := n.(*ast.MappingNode)
	if !ok {
		d.unreadf(path, "is %s, not a mapping of keys", kind(n))
		return
	}
	fields := fieldsOf(v.Type())
	seen := map[string]bool{}
	for _, kv := range m.Values {
		key := kv.Key.GetToken().Value
		sub := join(path, key)
		d.origins[sub] = d.at(kv.Key)
		if _, plain := kv.Key.(*ast.StringNode); !plain {
			d.unreadf(sub, "is not a plain key")
			continue
		}
		if seen[key] {
			d.add(sub, "stands twice")
			continue
		}
		seen[key] = true
		i := slices.IndexFunc(fields, func(f field) bool { return f.key == key })
		if i < 0 {
			meant := suggest(key, fields)
			if meant == "" {
				d.unreadf(sub, "unknown key; known here: %s", listKeys(fields))
				continue
			}
			// It would be called missing.
			d.markUnread(join(path, meant))
			d.unreadf(sub, "unknown key, did you mean %s?", meant)
			continue
		}
		d.value(kv.Value, v.FieldByIndex(fields[i].index), sub)
	}
}

func (d *decoder) sequence(n ast.Node, v reflect.Value, path string) {
	s, ok := n.(*ast.SequenceNode)
	if !ok {
		d.unreadf(path, "is %s, not a list", kind(n))
		return
	}
	out := reflect.MakeSlice(v.Type(), len(s.Values), len(s.Values))
	for i, e := range s.Values {
		sub := fmt.Sprintf("%s[%d]", path, i)
		if _, null := e.(*ast.NullNode); null {
			d.origins[sub] = d.at(e)
			d.unreadf(sub, "is empty")
			continue
		}
		d.value(e, out.Index(i), sub)
	}
	v.Set(out)
}

func (d *decoder) scalar(n ast.Node, v reflect.Value, path string) {
	text, ok := scalarText(n)
	if !ok {
		d.unreadf(path, "is %s, not a single value", kind(n))
		return
	}
	if err := setScalar(v, text); err != nil {
		v.SetZero()
		d.unreadf(path, "%v", err)
		return
	}
	if r, ok := v.Addr().Interface().(interface{ rebase(string) }); ok && d.base != "" {
		r.rebase(d.base)
	}
}

// scalarText is the text as it stands in the file: 010 is "010", not 8.
func scalarText(n ast.Node) (string, bool) {
	switch n := n.(type) {
	case *ast.StringNode, *ast.IntegerNode, *ast.FloatNode, *ast.BoolNode:
		return n.GetToken().Value, true
	case *ast.LiteralNode:
		return strings.TrimSpace(n.Value.Value), true
	}
	return "", false
}

func kind(n ast.Node) string {
	switch n.(type) {
	case *ast.MappingNode:
		return "a mapping"
	case *ast.SequenceNode:
		return "a list"
	}
	if _, ok := scalarText(n); ok {
		return "a single value"
	}
	return "something else"
}

// setScalar is the one place where text becomes a value; flags use it too.
func setScalar(v reflect.Value, text string) error {
	if u, ok := v.Addr().Interface().(encoding.TextUnmarshaler); ok {
		return u.UnmarshalText([]byte(text))
	}
	if v.Type() == reflect.TypeFor[time.Duration]() {
		dur, err := parseDuration(text)
		v.SetInt(int64(dur))
		return err
	}
	switch v.Kind() {
	case reflect.String:
		v.SetString(text)
	case reflect.Bool:
		switch text {
		case "true":
			v.SetBool(true)
		case "false":
			v.SetBool(false)
		default:
			return fmt.Errorf("%q is neither true nor false", text)
		}
	case reflect.Int:
		i, err := strconv.ParseInt(text, 10, 32)
		if err != nil {
			return fmt.Errorf("%q is not a whole number", text)
		}
		v.SetInt(i)
	case reflect.Uint16:
		u, err := strconv.ParseUint(text, 10, 16)
		if err != nil {
			return fmt.Errorf("%q is not a whole number from 0 to 65535", text)
		}
		v.SetUint(u)
	case reflect.Float64:
		f, err := strconv.ParseFloat(text, 64)
		if err != nil {
			return fmt.Errorf("%q is not a number", text)
		}
		v.SetFloat(f)
	default:
		panic("config: no way to read a " + v.Type().String())
	}
	return nil
}
