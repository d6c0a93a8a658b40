package fdt_test

import (
	"fmt"
	"os"

	"github.com/treedn/treedn/flute/fdt"
)

func Example() {
	out := fdt.Instance{
		Expires: 4004201570,
		Files: []fdt.File{{
			TOI: 1, ContentLocation: "text.txt", ContentType: "text/plain",
			ContentLength: 34292, HasContentLength: true, TransferLength: 1196, HasTransferLength: true, ContentEncoding: "gzip",
		}},
	}
	doc, err := out.Append(nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	os.Stdout.Write(doc)

	in, err := fdt.Parse(doc)
	if err != nil {
		fmt.Println(err)
		return
	}
	f := in.Resolve(in.Files[0])
	length, _ := f.Length()
	fmt.Println(f.ContentLocation, length)
	// Output:
	// <?xml version="1.0" encoding="UTF-8"?>
	// <FDT-Instance xmlns="urn:ietf:params:xml:ns:fdt" Expires="4004201570">
	// <File TOI="1" Content-Location="text.txt" Content-Length="34292" Transfer-Length="1196" Content-Type="text/plain" Content-Encoding="gzip"/>
	// </FDT-Instance>
	// text.txt 1196
}

func ExampleTemplate() {
	t, err := fdt.ParseTemplate("chunk-stream0-$TOI%05d$.m4s")
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(t.Expand(33))
	fmt.Println(t.Match("chunk-stream0-00034.m4s"))
	// Output:
	// chunk-stream0-00033.m4s
	// 34 true
}
