module github.com/treedn/treedn/amt

go 1.26
