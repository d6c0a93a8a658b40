module github.com/treedn/treedn

go 1.26

require (
	github.com/davecgh/go-spew v1.1.1
	github.com/goccy/go-yaml v1.19.2
	github.com/pmezard/go-difflib v1.0.0
	github.com/stretchr/testify v1.11.1
	github.com/treedn/treedn/amt v0.1.0
	github.com/treedn/treedn/cache v0.1.0
	github.com/treedn/treedn/fec v0.1.0
	github.com/treedn/treedn/flute v0.1.0
	github.com/treedn/treedn/internal/cmaf v0.1.0
	github.com/treedn/treedn/route v0.1.0
	gopkg.in/yaml.v3 v3.0.1
)

replace (
	github.com/treedn/treedn/amt => ./amt
	github.com/treedn/treedn/cache => ./cache
	github.com/treedn/treedn/fec => ./fec
	github.com/treedn/treedn/flute => ./flute
	github.com/treedn/treedn/internal/cmaf => ./internal/cmaf
	github.com/treedn/treedn/route => ./route
)
