package options

const (
	// Reasons that several options share.
	bbolt        = "there is no bbolt here: the store is a log-structured tree that gives space back by itself"
	noAuth       = "users and roles are not built yet"
	noDiscovery  = "discovery is not built: name all first members with --initial-cluster"
	noTracing    = "there is no tracing yet; metrics are at /metrics"
	etcdIgnores  = "etcd ignores it too"
	peersOwn     = "the connections between members are Quorate's own, with their own timeouts"
	noMembership = "members cannot be changed yet"
)

// Table is every option: those of etcd 3.7.3, in the order of its help, and
// Quorate's own at the end.
var Table = []Option{
	// Member.
	{Name: "name", Default: "default", Usage: "this member's `name`; its id is made of it, and belongs to its data"},
	{Name: "data-dir", Usage: "`directory` for everything that this member keeps (default: NAME.quorate)"},
	{Name: "wal-dir", Verdict: Refused, Why: "the log lies in the data directory: put all of --data-dir on the fast disk"},
	{Name: "snapshot-count", Type: Integer, Default: "10000", Verdict: NoEffect, Why: "snapshots are taken by the size of the log, not by its entries"},
	{Name: "heartbeat-interval", Type: Integer, Default: "100", Usage: "how often a leader is heard, in `milliseconds`"},
	{Name: "election-timeout", Type: Integer, Default: "1000", Usage: "how long a member waits for a leader before an election, in `milliseconds`"},
	{Name: "initial-election-tick-advance", Type: Bool, Default: "true", Verdict: NoEffect, Why: "nothing ticks here; a member waits one election timeout when it starts"},
	{Name: "listen-peer-urls", Type: List, Default: "http://localhost:2380", Usage: "`URL` to listen on for other members"},
	{Name: "listen-client-urls", Type: List, Default: "http://localhost:2379", Usage: "`URLs` to serve clients on: gRPC and HTTP on one port"},
	{Name: "listen-client-http-urls", Type: List, Usage: "`URLs` to serve HTTP on; --listen-client-urls then serve gRPC alone"},
	{Name: "max-snapshots", Type: Integer, Default: "5", Verdict: NoEffect, Why: "as many snapshots are kept as are needed"},
	{Name: "max-wals", Type: Integer, Default: "5", Verdict: NoEffect, Why: "the log's segments are recycled as soon as nothing needs them"},
	{Name: "memory-mlock", Type: Bool, Default: "false", Verdict: NoEffect, Why: "the data is not kept in memory"},
	{Name: "quota-backend-bytes", Type: Integer, Default: "0", Usage: "store size in `bytes` beyond which only reads and deletes are served (default: the disk's free space decides)"},
	{Name: "backend-bbolt-freelist-type", Verdict: NoEffect, Why: bbolt},
	{Name: "backend-batch-interval", Type: Duration, Default: "0s", Verdict: NoEffect, Why: bbolt},
	{Name: "backend-batch-limit", Type: Integer, Default: "0", Verdict: NoEffect, Why: bbolt},
	{Name: "max-txn-ops", Type: Integer, Default: "128", Usage: "`operations` that a transaction may have"},
	{Name: "max-request-bytes", Type: Integer, Default: "1572864", Usage: "`bytes` that a request may have"},
	{Name: "max-concurrent-streams", Type: Integer, Default: "4294967295", Usage: "`streams` that one client connection may have open"},
	{Name: "grpc-keepalive-min-time", Type: Duration, Default: "5s", Usage: "least `time` between a client's pings"},
	{Name: "grpc-keepalive-interval", Type: Duration, Default: "2h0m0s", Usage: "`time` between the server's pings; 0 for none"},
	{Name: "grpc-keepalive-timeout", Type: Duration, Default: "20s", Usage: "`time` after which a client that does not answer is cut off"},
	{Name: "socket-reuse-port", Type: Bool, Default: "false", Usage: "set SO_REUSEPORT on the clients' listeners"},
	{Name: "socket-reuse-address", Type: Bool, Default: "false", Verdict: NoEffect, Why: "SO_REUSEADDR is always set"},
	{Name: "enable-grpc-gateway", Type: Bool, Default: "true", Verdict: NoEffect, Why: "etcd's JSON gateway is not built yet"},
	{Name: "raft-read-timeout", Type: Duration, Default: "5s", Verdict: NoEffect, Why: peersOwn},
	{Name: "raft-write-timeout", Type: Duration, Default: "5s", Verdict: NoEffect, Why: peersOwn},
	{Name: "feature-gates", Type: List, Verdict: NoEffect, Why: "etcd's experiments have no counterpart here; lease checkpoints are always on"},

	// Clustering.
	{Name: "initial-advertise-peer-urls", Type: List, Default: "http://localhost:2380", Usage: "this member's `URLs` for the others, as in --initial-cluster"},
	{Name: "initial-cluster", Default: "default=http://localhost:2380", Usage: "the first members, `NAME=URL,...`, the same for all"},
	{Name: "initial-cluster-state", Default: "new", Usage: "`new`; existing is accepted when --data-dir already holds this member"},
	{Name: "initial-cluster-token", Default: "etcd-cluster", Usage: "the cluster's `name`; members of other clusters are refused"},
	{Name: "advertise-client-urls", Type: List, Default: "http://localhost:2379", Usage: "`URLs` that clients are told of"},
	{Name: "discovery", Verdict: Refused, Why: noDiscovery},
	{Name: "discovery-proxy", Verdict: Refused, Why: noDiscovery},
	{Name: "discovery-token", Verdict: Refused, Why: noDiscovery},
	{Name: "discovery-endpoints", Type: List, Verdict: Refused, Why: noDiscovery},
	{Name: "discovery-dial-timeout", Type: Duration, Default: "2s", Verdict: NoEffect, Why: noDiscovery},
	{Name: "discovery-request-timeout", Type: Duration, Default: "5s", Verdict: NoEffect, Why: noDiscovery},
	{Name: "discovery-keepalive-time", Type: Duration, Default: "2s", Verdict: NoEffect, Why: noDiscovery},
	{Name: "discovery-keepalive-timeout", Type: Duration, Default: "6s", Verdict: NoEffect, Why: noDiscovery},
	{Name: "discovery-insecure-transport", Type: Bool, Default: "true", Verdict: NoEffect, Why: noDiscovery},
	{Name: "discovery-insecure-skip-tls-verify", Type: Bool, Default: "false", Verdict: NoEffect, Why: noDiscovery},
	{Name: "discovery-cert", Verdict: NoEffect, Why: noDiscovery},
	{Name: "discovery-key", Verdict: NoEffect, Why: noDiscovery},
	{Name: "discovery-cacert", Verdict: NoEffect, Why: noDiscovery},
	{Name: "discovery-user", Verdict: NoEffect, Why: noDiscovery},
	{Name: "discovery-password", Verdict: NoEffect, Why: noDiscovery},
	{Name: "discovery-fallback", Default: "exit", Verdict: NoEffect, Why: noDiscovery},
	{Name: "discovery-srv", Verdict: Refused, Why: noDiscovery},
	{Name: "discovery-srv-name", Verdict: Refused, Why: noDiscovery},
	{Name: "strict-reconfig-check", Type: Bool, Default: "true", Verdict: NoEffect, Why: noMembership},
	{Name: "pre-vote", Type: Bool, Default: "true", Verdict: NoEffect, Why: "a member always asks before it stands for election"},
	{Name: "auto-compaction-retention", Default: "0", Usage: "how much history is kept, as --auto-compaction-mode says; 0 for all of it"},
	{Name: "auto-compaction-mode", Default: "periodic", Usage: "`periodic`: retention is a duration, hours without a unit; revision: a number of revisions"},
	{Name: "v2-deprecation", Verdict: NoEffect, Why: "there never was a v2 store here"},

	// Security.
	{Name: "cert-file", Usage: "clients' TLS: the server's certificate `file`"},
	{Name: "key-file", Usage: "clients' TLS: the server's key `file`"},
	{Name: "client-cert-auth", Type: Bool, Default: "false", Usage: "clients' TLS: demand a certificate of --trusted-ca-file"},
	{Name: "client-cert-file", Verdict: NoEffect, Why: "the server never connects to itself as a client"},
	{Name: "client-key-file", Verdict: NoEffect, Why: "the server never connects to itself as a client"},
	{Name: "client-crl-file", Usage: "clients' TLS: `file` of revoked certificates"},
	{Name: "client-cert-allowed-hostname", Type: List, Usage: "clients' TLS: `names` of which a client's certificate must carry one"},
	{Name: "trusted-ca-file", Usage: "clients' TLS: `file` of the authorities of clients' certificates, which it demands"},
	{Name: "auto-tls", Type: Bool, Default: "false", Usage: "clients' TLS: a certificate that signs itself"},
	{Name: "peer-cert-file", Usage: "members' TLS: this member's certificate `file`"},
	{Name: "peer-key-file", Usage: "members' TLS: this member's key `file`"},
	{Name: "peer-client-cert-auth", Type: Bool, Default: "false", Usage: "members' TLS: always so, both sides show certificates"},
	{Name: "peer-client-cert-file", Verdict: Refused, Why: "a member has one certificate for both sides: make --peer-cert-file good for client and server authentication"},
	{Name: "peer-client-key-file", Verdict: Refused, Why: "a member has one certificate for both sides: make --peer-cert-file good for client and server authentication"},
	{Name: "peer-trusted-ca-file", Usage: "members' TLS: `file` of the authorities of members' certificates"},
	{Name: "peer-cert-allowed-cn", Type: List, Usage: "members' TLS: `names` of which a member's certificate must carry one"},
	{Name: "peer-cert-allowed-hostname", Type: List, Usage: "members' TLS: the same, among subject alternative names"},
	{Name: "peer-auto-tls", Type: Bool, Default: "false", Verdict: Refused, Why: "a certificate that signs itself proves nothing to another member: give --peer-cert-file, --peer-key-file and --peer-trusted-ca-file"},
	{Name: "self-signed-cert-validity", Type: Integer, Default: "1", Usage: "`years` for which --auto-tls makes a certificate"},
	{Name: "peer-crl-file", Verdict: Refused, Why: "revoked members' certificates are not checked: take the authority out of --peer-trusted-ca-file, or name the good ones with --peer-cert-allowed-cn"},
	{Name: "cipher-suites", Type: List, Usage: "clients' TLS: `names` of the cipher suites of TLS 1.2"},
	{Name: "cors", Type: List, Default: "*", Verdict: NoEffect, Why: "nothing here is for other sites' pages to call"},
	{Name: "host-whitelist", Type: List, Default: "*", Usage: "`names` by which HTTP requests without TLS may call this server"},
	{Name: "tls-min-version", Default: "TLS1.2", Usage: "clients' TLS: oldest `version`, TLS1.2 or TLS1.3"},
	{Name: "tls-max-version", Usage: "clients' TLS: newest `version`"},

	// Auth.
	{Name: "auth-token", Default: "simple", Verdict: Refused, Why: noAuth},
	{Name: "bcrypt-cost", Type: Integer, Default: "10", Verdict: NoEffect, Why: noAuth},
	{Name: "auth-token-ttl", Type: Integer, Default: "300", Verdict: NoEffect, Why: noAuth},

	// Profiling and monitoring.
	{Name: "enable-pprof", Type: Bool, Default: "false", Usage: "serve /debug/pprof"},
	{Name: "metrics", Default: "basic", Usage: "`basic`, or extensive to have histograms of how long each RPC takes"},
	{Name: "listen-metrics-urls", Type: List, Usage: "`URLs` to serve /metrics and health on, beside --listen-client-urls"},

	// Logging.
	{Name: "logger", Default: "zap", Verdict: NoEffect, Why: "there is one logger, in the form that --log-format says"},
	{Name: "log-outputs", Type: List, Default: "default", Usage: "where to log: `stderr`, stdout, or files; default is stderr"},
	{Name: "log-level", Default: "info", Usage: "`debug`, info, warn or error"},
	{Name: "log-format", Default: "json", Usage: "`json` or console"},
	{Name: "enable-log-rotation", Type: Bool, Default: "false", Verdict: Refused, Why: "log files are not rotated here: log to stderr, or use logrotate with copytruncate"},
	{Name: "log-rotation-config-json", Default: `{"maxsize": 100, "maxage": 0, "maxbackups": 0, "localtime": false, "compress": false}`, Verdict: NoEffect, Why: "log files are not rotated here"},
	{Name: "warning-unary-request-duration", Type: Duration, Default: "300ms", Usage: "log requests that take longer than this `time`"},

	// Distributed tracing.
	{Name: "enable-distributed-tracing", Type: Bool, Default: "false", Verdict: NoEffect, Why: noTracing},
	{Name: "distributed-tracing-address", Default: "localhost:4317", Verdict: NoEffect, Why: noTracing},
	{Name: "distributed-tracing-service-name", Default: "etcd", Verdict: NoEffect, Why: noTracing},
	{Name: "distributed-tracing-instance-id", Verdict: NoEffect, Why: noTracing},
	{Name: "distributed-tracing-sampling-rate", Type: Integer, Default: "0", Verdict: NoEffect, Why: noTracing},

	// Features.
	{Name: "corrupt-check-time", Type: Duration, Default: "0s", Verdict: NoEffect, Why: "members compare their states every ten seconds by themselves, without reading through them"},
	{Name: "compact-hash-check-time", Type: Duration, Default: "1m0s", Verdict: NoEffect, Why: "replicas compare their states all the time, not now and then"},
	{Name: "compaction-batch-limit", Type: Integer, Default: "0", Verdict: NoEffect, Why: "a compaction holds nothing up"},
	{Name: "compaction-sleep-interval", Type: Duration, Default: "0s", Verdict: NoEffect, Why: "a compaction holds nothing up"},
	{Name: "peer-skip-client-san-verification", Type: Bool, Default: "false", Verdict: NoEffect, Why: "a member's address is never compared with the certificate that it shows when it connects"},
	{Name: "watch-progress-notify-interval", Type: Duration, Default: "0s", Usage: "`time` between notices of progress to watchers that want them; 0 is 10m"},
	{Name: "warning-apply-duration", Type: Duration, Default: "100ms", Verdict: NoEffect, Why: "slow applies show in the metrics"},
	{Name: "bootstrap-defrag-threshold-megabytes", Type: Integer, Default: "0", Verdict: NoEffect, Why: bbolt},
	{Name: "max-learners", Type: Integer, Default: "1", Verdict: NoEffect, Why: noMembership},
	{Name: "downgrade-check-time", Type: Duration, Default: "5s", Verdict: NoEffect, Why: "a cluster is not downgraded by command here"},
	{Name: "snapshot-catchup-entries", Type: Integer, Default: "5000", Verdict: NoEffect, Why: "the log that is kept for slow members is bounded by bytes"},

	// Unsafe.
	{Name: "force-new-cluster", Type: Bool, Default: "false", Verdict: Refused, Why: "it would make a cluster of one member's data, whatever the others acknowledged"},
	{Name: "unsafe-no-fsync", Type: Bool, Default: "false", Usage: "do not wait for the disk: what was acknowledged is lost when the machine fails"},

	{Name: "config-file", Usage: "read all options from this YAML `file`, and none from flags and environment"},

	// What etcd takes and ignores.
	{Name: "cluster-active-size", Verdict: NoEffect, Why: etcdIgnores},
	{Name: "cluster-remove-delay", Verdict: NoEffect, Why: etcdIgnores},
	{Name: "cluster-sync-interval", Verdict: NoEffect, Why: etcdIgnores},
	{Name: "config", Verdict: NoEffect, Why: etcdIgnores},
	{Name: "force", Verdict: NoEffect, Why: etcdIgnores},
	{Name: "max-result-buffer", Verdict: NoEffect, Why: etcdIgnores},
	{Name: "max-retry-attempts", Verdict: NoEffect, Why: etcdIgnores},
	{Name: "peer-heartbeat-interval", Verdict: NoEffect, Why: etcdIgnores},
	{Name: "peer-election-timeout", Verdict: NoEffect, Why: etcdIgnores},
	{Name: "retry-interval", Verdict: NoEffect, Why: etcdIgnores},
	{Name: "snapshot", Verdict: NoEffect, Why: etcdIgnores},
	{Name: "v", Verdict: NoEffect, Why: etcdIgnores},
	{Name: "vv", Verdict: NoEffect, Why: etcdIgnores},
	{Name: "test.coverprofile", Verdict: NoEffect, Why: etcdIgnores},
	{Name: "test.outputdir", Verdict: NoEffect, Why: etcdIgnores},

	{Name: "version", Type: Bool, Default: "false", Usage: "print the version and exit"},

	// Quorate's own.
	{Name: "disk-reserve-bytes", Own: true, Type: Integer, Default: "268435456", Usage: "`bytes` of the disk that are kept free: with less, only reads and deletes are served"},
	{Name: "stop-on-eof", Own: true, Type: Bool, Default: "false", Usage: "stop when standard input ends: for a parent process that may die"},
	{Name: "trace-records", Own: true, Type: Integer, Default: "16384", Usage: "keep the newest `N` events of the protocol for /debug/trace and quorate trace verify, some 150 bytes each; 0 keeps none"},
	{Name: "unsafe-in-memory", Own: true, Type: Bool, Default: "false", Usage: "keep the store in memory and rebuild it from the log at each start"},
}
