module github.com/treedn/treedn/route

go 1.26

require (
	github.com/treedn/treedn/fec v0.1.0
	github.com/treedn/treedn/flute v0.1.0
)

replace (
	github.com/treedn/treedn/fec => ../fec
	github.com/treedn/treedn/flute => ../flute
)
