module github.com/treedn/treedn/internal/cmaf

go 1.26
