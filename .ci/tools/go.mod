// Tools of the continuous integration. Not in the workspace: nothing of the
// product depends on them.
module github.com/treedn/treedn/.ci/tools

go 1.26

require golang.org/x/mod v0.31.0
