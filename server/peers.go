package server

import (
	"fmt"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/quorate/quorate/raft"
)

// peerInterval is how often the time to the other members is measured, as in etcd.
const peerInterval = 3 * time.Second

// peers are etcd's metrics of the connections to other members, which are counted
// by the transport.
type peers struct {
	server *Server
	trip   *prometheus.HistogramVec
}

func newPeers(s *Server) *peers {
	return &peers{server: s, trip: prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name: "etcd_network_peer_round_trip_time_seconds", Help: "How long it takes to reach a member and to be answered, by its connection.",
		Buckets: prometheus.ExponentialBuckets(0.0001, 2, 16),
	}, []string{"To"})}
}

var (
	activePeersDesc      = prometheus.NewDesc("etcd_network_active_peers", "Whether the connection to a member stands.", []string{"Local", "Remote"}, nil)
	knownPeersDesc       = prometheus.NewDesc("etcd_network_known_peers", "Members that this one knows.", []string{"Local", "Remote"}, nil)
	peerSentDesc         = prometheus.NewDesc("etcd_network_peer_sent_bytes_total", "Bytes sent to a member.", []string{"To"}, nil)
	peerReceivedDesc     = prometheus.NewDesc("etcd_network_peer_received_bytes_total", "Bytes received from a member.", []string{"From"}, nil)
	peerSentFailuresDesc = prometheus.NewDesc("etcd_network_peer_sent_failures_total", "Messages to a member that were not sent.", []string{"To"}, nil)
)

// Describe is for the registry.
func (p *peers) Describe(to chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{activePeersDesc, knownPeersDesc, peerSentDesc, peerReceivedDesc, peerSentFailuresDesc} {
		to <- d
	}
	p.trip.Describe(to)
}

// Collect is for the registry.
func (p *peers) Collect(to chan<- prometheus.Metric) {
	self := hexID(p.server.self.ID())
	for _, id := range p.others() {
		name, s := hexID(id), p.server.transport.Stats(id)
		to <- prometheus.MustNewConstMetric(activePeersDesc, asGauge, is(s.Connected), self, name)
		to <- prometheus.MustNewConstMetric(knownPeersDesc, asGauge, 1, self, name)
		to <- prometheus.MustNewConstMetric(peerSentDesc, asCounter, float64(s.Bytes), name)
		to <- prometheus.MustNewConstMetric(peerReceivedDesc, asCounter, float64(s.Received), name)
		to <- prometheus.MustNewConstMetric(peerSentFailuresDesc, asCounter, float64(s.Dropped+s.Lost), name)
	}
	p.trip.Collect(to)
}

// measure notes from time to time how far the other members are.
func (p *peers) measure() {
	ticker := time.NewTicker(peerInterval)
	defer ticker.Stop()
	for {
		select {
		case <-p.server.life.Done():
			return
		case <-ticker.C:
		}
		for _, id := range p.others() {
			if s := p.server.transport.Stats(id); s.RoundTrip > 0 {
				p.trip.WithLabelValues(hexID(id)).Observe(s.RoundTrip.Seconds())
			}
		}
	}
}

func (p *peers) others() []raft.NodeID {
	var others []raft.NodeID
	for _, m := range p.server.config.Members {
		if id := m.ID(); id != p.server.self.ID() {
			others = append(others, id)
		}
	}
	return others
}

// hexID is an id as etcd's metrics have it.
func hexID(id raft.NodeID) string { return fmt.Sprintf("%x", uint64(id)) }
