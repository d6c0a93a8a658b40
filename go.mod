module github.com/treedn/treedn

go 1.26

require (
	github.com/stretchr/testify v1.11.1
	github.com/treedn/treedn/amt v0.1.0
	github.com/treedn/treedn/cache v0.1.0
	github.com/treedn/treedn/fec v0.1.0
	github.com/treedn/treedn/flute v0.1.0
	github.com/treedn/treedn/internal/cmaf v0.1.0
	github.com/treedn/treedn/route v0.1.0
	go.uber.org/goleak v1.3.0
)

replace (
	github.com/treedn/treedn/amt => ./amt
	github.com/treedn/treedn/cache => ./cache
	github.com/treedn/treedn/fec => ./fec
	github.com/treedn/treedn/flute => ./flute
	github.com/treedn/treedn/internal/cmaf => ./internal/cmaf
	github.com/treedn/treedn/route => ./route
)
