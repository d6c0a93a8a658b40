module github.com/treedn/treedn/fec/internal/gf256/_gen

go 1.26
