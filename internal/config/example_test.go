package config_test

import (
	"fmt"
	"os"

	"github.com/treedn/treedn/internal/config"
)

func Example() {
	beacon, err := config.Parse[config.Beacon]("beacon.yaml", []byte(`
node: {name: attic}
services:
  - name: live
    upstream:
      source: 127.0.0.1
      group: 232.1.1.1
      port: 6000
      parents: ["http://127.0.0.1:8081"]
      anchors: [11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=]
`))
	if err != nil {
		fmt.Println(err)
		return
	}
	if err := beacon.Explain(os.Stdout); err != nil {
		fmt.Println(err)
	}
	// Output:
	// BEACON attic
	//   serves players at http://127.0.0.1:8088/<service>/...
	//   shows /metrics, /status, /healthz, /readyz at http://127.0.0.1:9103/
	//   keeps up to 256MiB of objects in memory
	// service live
	//   joins 232.1.1.1 from 127.0.0.1, UDP port 6000, on the loopback interface
	//   asks parent 1 for what is missing: http://127.0.0.1:8081
	//   lets nobody read what the root has not sealed; seals come to UDP port 6001
	//     believes the key 11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo= of the root
	//     believes the same keys for the signalling: the root sends this session itself
	//   keeps objects for 1m0s
}

func ExampleParse_problems() {
	_, err := config.Parse[config.Cast]("cast.yaml", []byte(`
channels:
  - name: live
    multicast: {source: 127.0.0.1, group: 239.1.1.1, prot: 6000}
    retention: 60
`))
	fmt.Println(err)
	// Output:
	// cast.yaml:4:43: channels[0].multicast.group: 239.1.1.1 is outside the source-specific range (232.0.0.0/8 or ff3x::/32)
	// cast.yaml:4:54: channels[0].multicast.prot: unknown key, did you mean port?
	// cast.yaml:5:16: channels[0].retention: "60" is not a duration (write it like 2s, 500ms or 1m30s)
}
