module github.com/treedn/treedn

go 1.26.0

require (
	github.com/goccy/go-yaml v1.19.2
	github.com/prometheus/client_golang v1.25.0
	github.com/stretchr/testify v1.12.1
	github.com/treedn/treedn/amt v0.1.0
	github.com/treedn/treedn/cache v0.1.0
	github.com/treedn/treedn/fec v0.1.0
	github.com/treedn/treedn/flute v0.1.0
	github.com/treedn/treedn/internal/cmaf v0.1.0
	github.com/treedn/treedn/route v0.1.0
	go.uber.org/goleak v1.3.0
	golang.org/x/net v0.59.0
	golang.org/x/sys v0.48.0
)

require (
	github.com/cilium/ebpf v0.22.0 // indirect
	github.com/vishvananda/netlink v1.3.1 // indirect
	github.com/vishvananda/netns v0.0.5 // indirect
)

require (
	github.com/beorn7/perks v1.0.1 // indirect
	github.com/cespare/xxhash/v2 v2.3.0 // indirect
	github.com/klauspost/cpuid/v2 v2.3.0 // indirect
	github.com/munnerz/goautoneg v0.0.0-20191010083416-a7dc8b61c822 // indirect
	github.com/prometheus/client_model v0.6.3 // indirect
	github.com/prometheus/common v0.72.0 // indirect
	github.com/prometheus/procfs v0.22.0 // indirect
	github.com/treedn/treedn/amt/xdp v0.1.0
	github.com/treedn/treedn/driad v0.1.0
	go.yaml.in/yaml/v3 v3.0.5 // indirect
	google.golang.org/protobuf v1.36.12 // indirect
)

replace (
	github.com/treedn/treedn/amt => ./amt
	github.com/treedn/treedn/cache => ./cache
	github.com/treedn/treedn/fec => ./fec
	github.com/treedn/treedn/flute => ./flute
	github.com/treedn/treedn/internal/cmaf => ./internal/cmaf
	github.com/treedn/treedn/route => ./route
)

replace github.com/treedn/treedn/driad => ./driad

replace github.com/treedn/treedn/amt/xdp => ./amt/xdp
