package xmllimit_test

import (
	"encoding/xml"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/treedn/treedn/flute/xmllimit"
)

type node struct {
	XMLName  xml.Name
	Attr     []xml.Attr `xml:",any,attr"`
	Children []node     `xml:",any"`
	Text     string     `xml:",chardata"`
}

func TestNamespaces(t *testing.T) {
	var n node
	err := xmllimit.Unmarshal([]byte(`<?xml version="1.0"?><a xmlns="urn:a" xmlns:b="urn:b" b:x="1" y="2"><b:c/><d xmlns="urn:d"/></a>`), xmllimit.Limits{}, &n)
	require.NoError(t, err)
	require.Equal(t, xml.Name{Space: "urn:a", Local: "a"}, n.XMLName)
	require.Contains(t, n.Attr, xml.Attr{Name: xml.Name{Space: "urn:b", Local: "x"}, Value: "1"})
	require.Contains(t, n.Attr, xml.Attr{Name: xml.Name{Local: "y"}, Value: "2"})
	require.Equal(t, xml.Name{Space: "urn:b", Local: "c"}, n.Children[0].XMLName)
	require.Equal(t, xml.Name{Space: "urn:d", Local: "d"}, n.Children[1].XMLName)
}

func TestLimits(t *testing.T) {
	deep := func(n int) string { return strings.Repeat("<a>", n) + strings.Repeat("</a>", n) }
	wide := func(n int) string {
		var s strings.Builder
		for i := range n {
			fmt.Fprintf(&s, ` a%d=""`, i)
		}
		return "<a" + s.String() + "/>"
	}
	bomb := `<!DOCTYPE a [<!ENTITY x "y"><!ENTITY z "&x;&x;">]><a>&z;</a>`
	for _, c := range []struct {
		name, doc string
		limits    xmllimit.Limits
		err       error
	}{
		{"small", "<a/>", xmllimit.Limits{Octets: 4}, nil},
		{"large", "<a />", xmllimit.Limits{Octets: 4}, xmllimit.ErrSize},
		{"32 levels", deep(32), xmllimit.Limits{}, nil},
		{"33 levels", deep(33), xmllimit.Limits{}, xmllimit.ErrDepth},
		{"64 attributes", wide(64), xmllimit.Limits{}, nil},
		{"65 attributes", wide(65), xmllimit.Limits{}, xmllimit.ErrAttributes},
		{"3 elements", "<a><b/><c/></a>", xmllimit.Limits{Elements: 3}, nil},
		{"4 elements", "<a><b/><c/><d/></a>", xmllimit.Limits{Elements: 3}, xmllimit.ErrElements},
		{"DTD", bomb, xmllimit.Limits{}, xmllimit.ErrDTD},
		{"DTD inside", `<a><!DOCTYPE a></a>`, xmllimit.Limits{}, xmllimit.ErrDTD},
		{"nothing", "", xmllimit.Limits{}, io.ErrUnexpectedEOF},
		{"open element", "<a><b/>", xmllimit.Limits{}, io.ErrUnexpectedEOF},
		{"open tag", `<a b="`, xmllimit.Limits{}, io.ErrUnexpectedEOF},
	} {
		t.Run(c.name, func(t *testing.T) {
			require.ErrorIs(t, xmllimit.Unmarshal([]byte(c.doc), c.limits, new(node)), c.err)
		})
	}
}

func TestMismatchedElements(t *testing.T) {
	var syntax *xml.SyntaxError
	require.ErrorAs(t, xmllimit.Unmarshal([]byte("<a><b></a></b>"), xmllimit.Limits{}, new(node)), &syntax)
	require.ErrorAs(t, xmllimit.Unmarshal([]byte("<a>&unknown;</a>"), xmllimit.Limits{}, new(node)), &syntax)
}

func Example() {
	var doc struct {
		Item []string `xml:"item"`
	}
	err := xmllimit.Unmarshal([]byte(`<list xmlns="urn:any"><item>one</item><item>two</item></list>`), xmllimit.Limits{}, &doc)
	fmt.Println(doc.Item, err)
	err = xmllimit.Unmarshal([]byte(`<!DOCTYPE list><list/>`), xmllimit.Limits{}, &doc)
	fmt.Println(err)
	// Output:
	// [one two] <nil>
	// xml: document has a DTD
}

func FuzzUnmarshal(f *testing.F) {
	f.Add([]byte(`<a xmlns:b="urn:b" b:c="d"><b:e/>text</a>`))
	f.Add([]byte(`<!DOCTYPE a><a/>`))
	f.Fuzz(func(t *testing.T, b []byte) {
		var guarded, plain node
		if err := xmllimit.Unmarshal(b, xmllimit.Limits{}, &guarded); err != nil {
			return
		}
		require.NoError(t, xml.Unmarshal(b, &plain))
		require.Equal(t, plain, guarded)
	})
}

func BenchmarkUnmarshal(b *testing.B) {
	doc := []byte("<a>" + strings.Repeat(`<b c="d">text</b>`, 100) + "</a>")
	b.SetBytes(int64(len(doc)))
	b.ReportAllocs()
	for b.Loop() {
		if err := xmllimit.Unmarshal(doc, xmllimit.Limits{}, new(struct{})); err != nil {
			b.Fatal(err)
		}
	}
}
