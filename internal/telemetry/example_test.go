package telemetry_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"time"

	"github.com/treedn/treedn/internal/telemetry"
)

func Example() {
	var players telemetry.Requests
	var latency telemetry.Latency
	latency.Observe(12 * time.Millisecond)

	content := players.Wrap(http.NotFoundHandler())
	content.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("GET", "/live/a.m4s", nil))

	admin := telemetry.NewHandler(telemetry.Config{Status: func() telemetry.Status {
		return telemetry.Status{
			Node:      telemetry.Node{Name: "attic", Role: "beacon"},
			Readiness: telemetry.NotReadyFor([]string{"live: nothing has come yet"}),
			Services:  []telemetry.Service{{Name: "live", State: telemetry.StateWaiting, Latency: latency.Quantiles()}},
			HTTP:      players.Server(),
		}
	}})
	answer := httptest.NewRecorder()
	admin.ServeHTTP(answer, httptest.NewRequest("GET", "/readyz", nil))
	fmt.Print(answer.Code, " ", answer.Body)
	fmt.Println(players.Server().Requests["4xx"], latency.Quantiles().Max)
	// Output:
	// 503 not ready
	// live: nothing has come yet
	// 1 12ms
}
