module github.com/treedn/treedn/cache

go 1.26
