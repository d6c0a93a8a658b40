module github.com/treedn/treedn

go 1.26

require (
	github.com/beorn7/perks v1.0.1
	github.com/cespare/xxhash/v2 v2.3.0
	github.com/davecgh/go-spew v1.1.1
	github.com/goccy/go-yaml v1.19.2
	github.com/munnerz/goautoneg v0.0.0-20191010083416-a7dc8b61c822
	github.com/pmezard/go-difflib v1.0.0
	github.com/prometheus/client_golang v1.25.0
	github.com/prometheus/client_model v0.6.3
	github.com/prometheus/common v0.72.0
	github.com/prometheus/procfs v0.22.0
	github.com/stretchr/testify v1.11.1
	github.com/treedn/treedn/amt v0.1.0
	github.com/treedn/treedn/cache v0.1.0
	github.com/treedn/treedn/fec v0.1.0
	github.com/treedn/treedn/flute v0.1.0
	github.com/treedn/treedn/internal/cmaf v0.1.0
	github.com/treedn/treedn/route v0.1.0
	go.uber.org/goleak v1.3.0
	go.yaml.in/yaml/v3 v3.0.5
	golang.org/x/sys v0.48.0
	google.golang.org/protobuf v1.36.12
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
