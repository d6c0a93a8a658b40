package telemetry

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/pprof"
	"net/netip"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// Config of a handler.
type Config struct {
	// Status fills a Status. It is called at each scrape and each request, from
	// any goroutine, and must not wait for packets or peers. The handler only
	// reads what it returns. Required.
	Status func() Status
	// Healthy says whether the node works at all; an error makes supervisors
	// restart it. Default: always.
	Healthy func() error
	// Pprof adds /debug/pprof/. Default false.
	Pprof bool
	// Log takes errors of scrapes. Default: silent.
	Log *slog.Logger
}

// NewHandler returns the operators' server of a node: /metrics, /status,
// /healthz, /readyz.
func NewHandler(c Config) http.Handler {
	log := c.Log
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	registry := prometheus.NewRegistry()
	registry.MustRegister(newCollector(c.Status), collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))

	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(registry, promhttp.HandlerOpts{
		ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelError),
		// One bad sample must not hide the others.
		ErrorHandling: promhttp.ContinueOnError,
	}))
	mux.HandleFunc("GET /status", func(w http.ResponseWriter, _ *http.Request) {
		b, err := json.MarshalIndent(c.Status(), "", "  ")
		if err != nil {
			log.Error("status", "error", err)
			http.Error(w, "no status", http.StatusInternalServerError)
			return
		}
		answer(w, "application/json", http.StatusOK, string(b)+"\n")
	})
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) {
		if c.Healthy != nil {
			if err := c.Healthy(); err != nil {
				answer(w, plain, http.StatusServiceUnavailable, err.Error()+"\n")
				return
			}
		}
		answer(w, plain, http.StatusOK, "ok\n")
	})
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		r := c.Status().Readiness
		if r.Ready {
			answer(w, plain, http.StatusOK, "ready\n")
			return
		}
		text := "not ready\n"
		for _, reason := range r.Reasons {
			text += reason + "\n"
		}
		answer(w, plain, http.StatusServiceUnavailable, text)
	})
	if c.Pprof {
		mux.HandleFunc("GET /debug/pprof/", pprof.Index)
		mux.HandleFunc("GET /debug/pprof/cmdline", pprof.Cmdline)
		mux.HandleFunc("GET /debug/pprof/profile", pprof.Profile)
		mux.HandleFunc("GET /debug/pprof/symbol", pprof.Symbol)
		mux.HandleFunc("GET /debug/pprof/trace", pprof.Trace)
	}
	return mux
}

const plain = "text/plain; charset=utf-8"

func answer(w http.ResponseWriter, contentType string, code int, body string) {
	w.Header().Set("Content-Type", contentType)
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(code)
	_, _ = fmt.Fprint(w, body)
}

// group is the socket's group and port as one label.
func (k *Socket) group() string { return netip.AddrPortFrom(k.Group, k.Port).String() }
