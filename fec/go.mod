module github.com/treedn/treedn/fec

go 1.26
