// Package telemetry shows operators what a node does: /metrics for Prometheus,
// /status as JSON for pages and scripts, /healthz and /readyz for supervisors,
// and the log.
//
// [Status] is the single truth. A role has one function that fills it from its
// own state; /status is its JSON, and every metric is computed from it at
// scrape time, so that the two never disagree:
//
//	admin := telemetry.NewHandler(telemetry.Config{Status: node.Status})
//	go http.Serve(listener, admin)
//
// Each handler has a registry of its own and the package has no globals:
// several nodes live in one process without knowing of each other. Counters
// stay where the work is done; what is hard to count by hand is here:
//
//   - [Latency] counts durations and knows their quantiles,
//   - [Rate] is a moving average of bits per second,
//   - [Requests] wraps a handler and counts requests and octets.
//
// docs/metrics.md describes each metric and each key of /status; a test keeps
// the document and the code equal. Metric names begin with treedn_, counters end
// in _total, sizes are octets and times are seconds; /status writes latencies in
// milliseconds.
//
// [NewLogger] makes the node's slog.Logger. Secret types print themselves as
// "***"; beside that the logger blanks stream keys and credentials that come in
// as part of a URL or of a header.
//
// The server is for operators: it tells names, addresses and rates, and must
// not face the public.
package telemetry
