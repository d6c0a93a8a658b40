module github.com/treedn/treedn/flute

go 1.26
