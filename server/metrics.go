package server

import (
	"context"
	"runtime"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"github.com/quorate/quorate/raft"
	"github.com/quorate/quorate/store"
)

// registerMetrics adds what is asked of the server when it is scraped.
func (s *Server) registerMetrics() {
	s.healthy = prometheus.NewCounter(prometheus.CounterOpts{Name: "etcd_server_health_success", Help: "Times that /health found nothing."})
	s.ailing = prometheus.NewCounter(prometheus.CounterOpts{Name: "etcd_server_health_failures", Help: "Times that /health found something."})
	s.registry.MustRegister(
		s.healthy, s.ailing,
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
		&state{server: s},
	)
}

// state collects what the server knows at the moment of a scrape, all of it from
// one look.
type state struct{ server *Server }

// gauge is one value of state.
type gauge struct {
	desc *prometheus.Desc
	kind prometheus.ValueType
	of   func(v *view) float64
}

// view is what a scrape looks at.
type view struct {
	s       *Server
	leader  raft.NodeID
	term    raft.Term
	status  store.Status
	commit  raft.Index
	applied raft.Index
	size    float64
	used    float64
	quota   float64
	expired int64
	renewed int64
	pending int64
	failed  int64

	streams, watchers int
	noSpace           bool
	// divergent counts the members that are quarantined.
	divergent float64
}

func metric(name, help string, kind prometheus.ValueType, of func(v *view) float64) gauge {
	return gauge{prometheus.NewDesc(name, help, nil, nil), kind, of}
}

func is(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

const (
	asGauge   = prometheus.GaugeValue
	asCounter = prometheus.CounterValue
)

// gauges carry etcd's names where etcd has one for the same thing.
var gauges = []gauge{
	metric("etcd_server_has_leader", "Whether a leader is known.", asGauge, func(v *view) float64 { return is(v.leader != raft.None) }),
	metric("etcd_server_is_leader", "Whether this member leads.", asGauge, func(v *view) float64 { return is(v.leader == v.s.self.ID()) }),
	metric("etcd_server_is_learner", "Whether this member is a learner.", asGauge, func(*view) float64 { return 0 }),
	metric("etcd_server_proposals_committed_total", "The index of the last committed entry.", asGauge, func(v *view) float64 { return float64(v.commit) }),
	metric("etcd_server_proposals_applied_total", "The index of the last applied entry.", asGauge, func(v *view) float64 { return float64(v.applied) }),
	metric("etcd_server_proposals_pending", "Proposals under way.", asGauge, func(v *view) float64 { return float64(v.pending) }),
	metric("etcd_server_proposals_failed_total", "Proposals that failed.", asCounter, func(v *view) float64 { return float64(v.failed) }),
	metric("etcd_server_quota_backend_bytes", "The size that the store can have: its quota, or what the disk has room for.", asGauge, func(v *view) float64 { return v.quota }),
	metric("etcd_debugging_server_lease_expired_total", "Leases that this member ended.", asCounter, func(v *view) float64 { return float64(v.expired) }),
	metric("etcd_debugging_lease_renewed_total", "Keep-alives that this member answered.", asCounter, func(v *view) float64 { return float64(v.renewed) }),
	metric("etcd_mvcc_db_total_size_in_bytes", "What the store takes on the disk.", asGauge, func(v *view) float64 { return v.size }),
	metric("etcd_mvcc_db_total_size_in_use_in_bytes", "What the store holds.", asGauge, func(v *view) float64 { return v.used }),
	metric("etcd_debugging_mvcc_keys_total", "Keys.", asGauge, func(v *view) float64 { return float64(v.status.Keys) }),
	metric("etcd_debugging_mvcc_current_revision", "The store's revision.", asGauge, func(v *view) float64 { return float64(v.status.Revision) }),
	metric("etcd_debugging_mvcc_compact_revision", "The revision that was last compacted to.", asGauge, func(v *view) float64 { return float64(v.status.Compacted) }),
	metric("etcd_debugging_mvcc_watch_stream_total", "Streams of watches.", asGauge, func(v *view) float64 { return float64(v.streams) }),
	metric("etcd_debugging_mvcc_watcher_total", "Watches.", asGauge, func(v *view) float64 { return float64(v.watchers) }),
	metric("quorate_raft_term", "The term.", asGauge, func(v *view) float64 { return float64(v.term) }),
	metric("quorate_quarantined", "Whether this member was found divergent and serves nothing.", asGauge, func(v *view) float64 { return is(v.s.divergence.Load() != nil) }),
	metric("quorate_divergent_members", "Members that are quarantined because their state is not that of the majority.", asGauge, func(v *view) float64 { return v.divergent }),
	metric("quorate_state_checks_total", "Comparisons in which all members' states were equal.", asCounter, func(v *view) float64 { return float64(v.s.keys.Audits()) }),
	metric("quorate_no_space", "Whether any member has raised the alarm that its space is at an end.", asGauge, func(v *view) float64 { return is(v.noSpace) }),
}

var (
	clusterDesc   = prometheus.NewDesc("etcd_cluster_version", "The version of etcd that the members agreed on.", []string{"cluster_version"}, nil)
	versionDesc   = prometheus.NewDesc("etcd_server_version", "The version of etcd whose API is served.", []string{"server_version"}, nil)
	goVersionDesc = prometheus.NewDesc("etcd_server_go_version", "Go's version.", []string{"server_go_version"}, nil)
	idDesc        = prometheus.NewDesc("etcd_server_id", "This member's id.", []string{"server_id"}, nil)
	ownDesc       = prometheus.NewDesc("quorate_info", "The program's version.", []string{"version"}, nil)
)

// Describe is for the registry.
func (c *state) Describe(to chan<- *prometheus.Desc) {
	for _, g := range gauges {
		to <- g.desc
	}
	for _, d := range []*prometheus.Desc{clusterDesc, versionDesc, goVersionDesc, idDesc, ownDesc} {
		to <- d
	}
}

// scrapePatience bounds how long a scrape waits for the group.
const scrapePatience = time.Second

// Collect is for the registry.
func (c *state) Collect(to chan<- prometheus.Metric) {
	s := c.server
	to <- prometheus.MustNewConstMetric(clusterDesc, asGauge, 1, "3.7")
	to <- prometheus.MustNewConstMetric(versionDesc, asGauge, 1, EtcdVersion)
	to <- prometheus.MustNewConstMetric(goVersionDesc, asGauge, 1, runtime.Version())
	to <- prometheus.MustNewConstMetric(idDesc, asGauge, 1, hexID(s.self.ID()))
	to <- prometheus.MustNewConstMetric(ownDesc, asGauge, 1, Version())
	v := &view{s: s}
	v.leader, v.term = s.keys.Leader()
	v.pending, v.failed = s.keys.Proposals()
	v.expired, v.renewed = s.keys.Leased()
	v.streams, v.watchers = s.hub.Count()
	ctx, cancel := context.WithTimeout(s.life, scrapePatience)
	defer cancel()
	status, err := s.keys.LocalStatus(ctx)
	if err != nil {
		// The group stopped, which is what a scrape is to show: without a leader.
		v.leader = raft.None
	}
	v.status, v.commit, v.applied = status.Store, status.Committed, status.Applied
	v.size, v.used, v.quota = float64(status.SizeBytes), float64(status.UsedBytes), float64(status.QuotaBytes)
	for _, a := range status.Alarms {
		v.noSpace = v.noSpace || a.Type == store.AlarmNoSpace
		v.divergent += is(a.Type == store.AlarmDivergent)
	}
	for _, g := range gauges {
		to <- prometheus.MustNewConstMetric(g.desc, g.kind, g.of(v))
	}
}
