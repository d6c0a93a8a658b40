module github.com/treedn/treedn/fec/internal/_asmgen

go 1.26
