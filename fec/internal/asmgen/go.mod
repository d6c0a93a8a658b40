module github.com/treedn/treedn/fec/internal/asmgen

go 1.26
