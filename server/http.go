package server

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/pprof"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/quorate/quorate/raft"
	"github.com/quorate/quorate/store"
)

// handler answers HTTP: health, metrics and version, which are etcd's, and with
// all also what is for operators.
func (s *Server) handler(all bool) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(s.registry, promhttp.HandlerOpts{
		MaxRequestsInFlight: 4, Timeout: 10 * time.Second,
		ErrorLog: slog.NewLogLogger(s.config.Logger.Handler(), slog.LevelWarn),
	}))
	mux.HandleFunc("GET /health", s.health)
	for name, checks := range map[string][]check{"livez": livez, "readyz": readyz} {
		mux.HandleFunc("GET /"+name, s.checks(checks))
		for _, c := range checks {
			mux.HandleFunc("GET /"+name+"/"+c.name, s.checks([]check{c}))
		}
	}
	if !all {
		return mux
	}
	mux.HandleFunc("GET /version", s.version)
	if s.trace != nil {
		mux.HandleFunc("GET /debug/trace", s.serveTrace)
	}
	if s.config.Profiling {
		mux.HandleFunc("GET /debug/pprof/", pprof.Index)
		mux.HandleFunc("GET /debug/pprof/cmdline", pprof.Cmdline)
		mux.HandleFunc("GET /debug/pprof/profile", pprof.Profile)
		mux.HandleFunc("GET /debug/pprof/symbol", pprof.Symbol)
		mux.HandleFunc("GET /debug/pprof/trace", pprof.Trace)
	}
	return mux
}

// guardHost refuses requests in plaintext for a host that is not in the
// whitelist: a page whose name was rebound to this address carries its own.
func (s *Server) guardHost(next http.Handler) http.Handler {
	allowed := s.config.HostWhitelist
	if len(allowed) == 0 || slices.Contains(allowed, "*") {
		return next
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		host := r.Host
		if name, _, err := net.SplitHostPort(host); err == nil {
			host = name
		}
		if r.TLS == nil && !slices.Contains(allowed, host) {
			http.Error(w, fmt.Sprintf("%q is not among the names of --host-whitelist", host), http.StatusMisdirectedRequest)
			return
		}
		next.ServeHTTP(w, r)
	})
}

func (s *Server) version(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	json.NewEncoder(w).Encode(map[string]string{
		"etcdserver": EtcdVersion, "etcdcluster": "3.7.0", "storage": "3.7.0", "quorate": Version(),
	})
}

// healthPatience bounds a check.
const healthPatience = 5 * time.Second

// health is etcd's old check: alarms, a leader, and a read.
func (s *Server) health(w http.ResponseWriter, r *http.Request) {
	reason := s.unhealthy(r)
	if reason == "" {
		s.healthy.Inc()
	} else {
		s.ailing.Inc()
	}
	answer, _ := json.Marshal(map[string]string{"health": fmt.Sprint(reason == ""), "reason": reason})
	if reason != "" {
		http.Error(w, string(answer), http.StatusServiceUnavailable)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.Write(answer)
}

func (s *Server) unhealthy(r *http.Request) string {
	query := r.URL.Query()
	if s.divergence.Load() != nil && !slices.Contains(query["exclude"], "CORRUPT") {
		return "ALARM CORRUPT"
	}
	for _, a := range s.store.Alarms(store.AlarmNone) {
		if a.Type == store.AlarmDivergent {
			continue // the others are well
		}
		name := map[store.AlarmType]string{store.AlarmNoSpace: "NOSPACE", store.AlarmCorrupt: "CORRUPT"}[a.Type]
		if !slices.Contains(query["exclude"], name) {
			return "ALARM " + name
		}
	}
	serializable := query.Get("serializable") == "true"
	if leader, _ := s.keys.Leader(); leader == raft.None && !serializable {
		return "RAFT NO LEADER"
	}
	ctx, cancel := context.WithTimeout(r.Context(), healthPatience)
	defer cancel()
	if err := s.keys.Probe(ctx, serializable); err != nil {
		return "RANGE ERROR:" + err.Error()
	}
	return ""
}

// A check is one part of livez or readyz.
type check struct {
	name string
	run  func(ctx context.Context, s *Server) error
}

var (
	serializableRead = check{"serializable_read", func(ctx context.Context, s *Server) error { return s.keys.Probe(ctx, true) }}
	linearizableRead = check{"linearizable_read", func(ctx context.Context, s *Server) error { return s.keys.Probe(ctx, false) }}
	dataCorruption   = check{"data_corruption", func(_ context.Context, s *Server) error {
		if cause := s.divergence.Load(); cause != nil {
			return fmt.Errorf("quarantined: %w", *cause)
		}
		if len(s.store.Alarms(store.AlarmCorrupt)) > 0 {
			return errors.New("alarm activated: CORRUPT")
		}
		return nil
	}}
	nonLearner = check{"non_learner", func(ctx context.Context, s *Server) error {
		status, err := s.keys.LocalStatus(ctx)
		if err == nil && status.Learner {
			err = errors.New("this member is a learner")
		}
		return err
	}}

	livez  = []check{serializableRead}
	readyz = []check{dataCorruption, serializableRead, linearizableRead, nonLearner}
)

// checks runs checks and says which failed, or with ?verbose how each went.
func (s *Server) checks(all []check) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithTimeout(r.Context(), healthPatience)
		defer cancel()
		var report strings.Builder
		ok := true
		for _, c := range all {
			if len(all) > 1 && slices.Contains(r.URL.Query()["exclude"], c.name) {
				continue
			}
			if err := c.run(ctx, s); err != nil {
				ok = false
				fmt.Fprintf(&report, "[-]%s failed: %v\n", c.name, err)
			} else {
				fmt.Fprintf(&report, "[+]%s ok\n", c.name)
			}
		}
		if !ok {
			http.Error(w, report.String(), http.StatusServiceUnavailable)
			return
		}
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		w.Header().Set("X-Content-Type-Options", "nosniff")
		if r.URL.Query().Has("verbose") {
			io.WriteString(w, report.String())
		}
		io.WriteString(w, "ok\n")
	}
}
