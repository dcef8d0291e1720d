package etcd

import (
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/encoding"
	"google.golang.org/grpc/encoding/proto"
	"google.golang.org/grpc/mem"
	"google.golang.org/grpc/status"
)

// Metrics count what is served, under the names that etcd's dashboards and alerts
// know.
type Metrics struct {
	started, handled *prometheus.CounterVec
	took             *prometheus.HistogramVec // nil unless asked for
	clients          *prometheus.CounterVec
	failures         *prometheus.CounterVec
	received, sent   prometheus.Counter

	// methods is fixed once the server is made.
	methods map[string]*methodMetrics
}

// methodMetrics are those of one method, looked up once.
type methodMetrics struct {
	started prometheus.Counter
	handled [codes.Unauthenticated + 1]prometheus.Counter
	took    prometheus.Observer
}

// NewMetrics makes them. Histograms of how long each RPC takes cost a little on
// every request.
func NewMetrics(registry prometheus.Registerer, histograms bool) *Metrics {
	labels := []string{"grpc_type", "grpc_service", "grpc_method"}
	m := &Metrics{
		started: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "grpc_server_started_total", Help: "RPCs begun.",
		}, labels),
		handled: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "grpc_server_handled_total", Help: "RPCs ended, by their code.",
		}, append([]string{"grpc_code"}, labels...)),
		clients: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "etcd_server_client_requests_total", Help: "Requests by the client's version of the API.",
		}, []string{"type", "client_api_version"}),
		failures: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "etcd_network_server_stream_failures_total", Help: "Streams that broke.",
		}, []string{"Type", "API"}),
	}
	m.received = prometheus.NewCounter(prometheus.CounterOpts{
		Name: "etcd_network_client_grpc_received_bytes_total", Help: "Bytes of the messages that clients sent.",
	})
	m.sent = prometheus.NewCounter(prometheus.CounterOpts{
		Name: "etcd_network_client_grpc_sent_bytes_total", Help: "Bytes of the messages that clients were sent.",
	})
	registry.MustRegister(m.started, m.handled, m.clients, m.failures, m.received, m.sent)
	if histograms {
		m.took = prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "grpc_server_handling_seconds", Help: "How long RPCs took.", Buckets: prometheus.DefBuckets,
		}, labels)
		registry.MustRegister(m.took)
	}
	return m
}

// prepare makes every counter of a server's methods, so that they are there
// before they are first counted.
func (m *Metrics) prepare(services map[string]grpc.ServiceInfo) {
	m.methods = map[string]*methodMetrics{}
	for service, info := range services {
		for _, method := range info.Methods {
			kind := "unary"
			switch {
			case method.IsClientStream && method.IsServerStream:
				kind = "bidi_stream"
			case method.IsServerStream:
				kind = "server_stream"
			case method.IsClientStream:
				kind = "client_stream"
			}
			one := &methodMetrics{started: m.started.WithLabelValues(kind, service, method.Name)}
			for code := range one.handled {
				one.handled[code] = m.handled.WithLabelValues(codes.Code(code).String(), kind, service, method.Name)
			}
			if m.took != nil {
				one.took = m.took.WithLabelValues(kind, service, method.Name)
			}
			m.methods["/"+service+"/"+method.Name] = one
		}
	}
}

var nothing = func(error, time.Duration) {}

// begin counts an RPC; the function it gives counts its end.
func (m *Metrics) begin(method string) func(error, time.Duration) {
	if m == nil {
		return nothing
	}
	one := m.methods[method]
	if one == nil {
		return nothing
	}
	one.started.Inc()
	return one.end
}

func (one *methodMetrics) end(err error, took time.Duration) {
	code := status.Code(err)
	if err != nil && code == codes.Unknown {
		code = status.FromContextError(err).Code()
	}
	if int(code) < len(one.handled) {
		one.handled[code].Inc()
	}
	if one.took != nil {
		one.took.Observe(took.Seconds())
	}
}

// clientVersionLen bounds what a client can make of a label.
const clientVersionLen = 16

func (m *Metrics) clientRequest(kind, version string) {
	if len(version) > clientVersionLen || strings.Trim(version, "0123456789.") != "" && version != "unknown" {
		version = "other"
	}
	m.clients.WithLabelValues(kind, version).Inc()
}

// streamFailed counts a stream that broke.
func (s *Server) streamFailed(direction, api string) {
	if s.config.Metrics != nil {
		s.config.Metrics.failures.WithLabelValues(direction, api).Inc()
	}
}

// countingCodec is protobuf's, and counts.
type countingCodec struct {
	encoding.CodecV2
	*Metrics
}

// Marshal counts what is sent.
func (c countingCodec) Marshal(v any) (mem.BufferSlice, error) {
	b, err := c.CodecV2.Marshal(v)
	c.sent.Add(float64(b.Len()))
	return b, err
}

// Unmarshal counts what was received.
func (c countingCodec) Unmarshal(b mem.BufferSlice, v any) error {
	c.received.Add(float64(b.Len()))
	return c.CodecV2.Unmarshal(b, v)
}

// options are what the metrics need of the server.
func (m *Metrics) options() []grpc.ServerOption {
	if m == nil {
		return nil
	}
	return []grpc.ServerOption{grpc.ForceServerCodecV2(countingCodec{encoding.GetCodecV2(proto.Name), m})}
}
