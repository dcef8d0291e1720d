package surface

import "strings"

// Metric is one of etcd's, or all whose names begin with it if it ends with "*".
type Metric struct {
	Name   string
	Served bool
	Note   string
}

// Metrics are etcd's own, but not those that every Go program has, which are
// there too. What etcd's alerts and dashboard (contrib/mixin) ask for is served.
var Metrics = []Metric{
	{"etcd_cluster_version", true, ""},
	{"etcd_disk_backend_commit_duration_seconds", true, "how long a batch of committed entries took to apply"},
	{"etcd_disk_wal_fsync_duration_seconds", true, ""},
	{"etcd_disk_wal_write_bytes_total", true, ""},
	{"etcd_mvcc_db_total_size_in_bytes", true, "what the store takes on the disk"},
	{"etcd_mvcc_db_total_size_in_use_in_bytes", true, "what the store holds"},
	{"etcd_network_active_peers", true, ""},
	{"etcd_network_known_peers", true, ""},
	{"etcd_network_client_grpc_received_bytes_total", true, ""},
	{"etcd_network_client_grpc_sent_bytes_total", true, ""},
	{"etcd_network_peer_received_bytes_total", true, ""},
	{"etcd_network_peer_round_trip_time_seconds", true, "as the operating system measures it, on Linux"},
	{"etcd_network_peer_sent_bytes_total", true, ""},
	{"etcd_network_peer_sent_failures_total", true, "there from the beginning; etcd's appears with the first failure"},
	{"etcd_network_server_stream_failures_total", true, "there with the first failure, as etcd's"},
	{"etcd_server_client_requests_total", true, ""},
	{"etcd_server_go_version", true, ""},
	{"etcd_server_has_leader", true, ""},
	{"etcd_server_health_failures", true, ""},
	{"etcd_server_health_success", true, ""},
	{"etcd_server_id", true, ""},
	{"etcd_server_is_leader", true, ""},
	{"etcd_server_is_learner", true, ""},
	{"etcd_server_leader_changes_seen_total", true, ""},
	{"etcd_server_proposals_applied_total", true, ""},
	{"etcd_server_proposals_committed_total", true, ""},
	{"etcd_server_proposals_failed_total", true, ""},
	{"etcd_server_proposals_pending", true, ""},
	{"etcd_server_quota_backend_bytes", true, "without a quota what the disk has room for"},
	{"etcd_server_slow_apply_total", true, ""},
	{"etcd_server_version", true, "the version of etcd whose API is served; Quorate's own is in `quorate_info`"},
	{"etcd_debugging_lease_renewed_total", true, ""},
	{"etcd_debugging_mvcc_compact_revision", true, ""},
	{"etcd_debugging_mvcc_current_revision", true, ""},
	{"etcd_debugging_mvcc_keys_total", true, ""},
	{"etcd_debugging_mvcc_watch_stream_total", true, ""},
	{"etcd_debugging_mvcc_watcher_total", true, ""},
	{"etcd_debugging_server_lease_expired_total", true, ""},
	{"grpc_server_handled_total", true, ""},
	{"grpc_server_started_total", true, ""},
	{"grpc_server_handling_seconds", true, "with `--metrics extensive`"},

	{"etcd_debugging_*", false, "the others change with each version of etcd"},
	{"etcd_disk_backend_*", false, "of the bbolt file"},
	{"etcd_disk_defrag_inflight", false, "nothing is defragmented"},
	{"etcd_disk_wal_write_duration_seconds", false, "writing and syncing are one: see `etcd_disk_wal_fsync_duration_seconds`"},
	{"etcd_grpc_proxy_*", false, "of the gRPC proxy"},
	{"etcd_mvcc_db_open_read_transactions", false, "of the bbolt file"},
	{"etcd_mvcc_delete_total", false, "see `grpc_server_handled_total`"},
	{"etcd_mvcc_put_total", false, "see `grpc_server_handled_total`"},
	{"etcd_mvcc_range_total", false, "see `grpc_server_handled_total`"},
	{"etcd_mvcc_txn_total", false, "see `grpc_server_handled_total`"},
	{"etcd_mvcc_hash_*", false, ""},
	{"etcd_network_disconnected_peers_total", false, "see `etcd_network_active_peers`"},
	{"etcd_network_peer_received_failures_total", false, ""},
	{"etcd_network_snapshot_*", false, ""},
	{"etcd_server_apply_duration_seconds", false, "see `quorate_apply_batch_duration_seconds`"},
	{"etcd_server_feature_enabled", false, "of etcd's feature gates"},
	{"etcd_server_heartbeat_send_failures_total", false, ""},
	{"etcd_server_learner_promote_*", false, "members cannot be changed"},
	{"etcd_server_lease_expired_total", false, ""},
	{"etcd_server_range_duration_seconds", false, "see `grpc_server_handling_seconds`"},
	{"etcd_server_read_indexes_failed_total", false, ""},
	{"etcd_server_request_duration_seconds", false, "see `grpc_server_handling_seconds`"},
	{"etcd_server_slow_read_indexes_total", false, ""},
	{"etcd_server_snapshot_apply_in_progress_total", false, ""},
	{"etcd_snap_*", false, "of etcd's snapshots"},
	{"grpc_server_msg_*", false, ""},
	{"os_fd_*", false, "see `process_open_fds` and `process_max_fds`"},
}

// matches says whether m is of that name.
func (m Metric) matches(name string) bool {
	if prefix, ok := strings.CutSuffix(m.Name, "*"); ok {
		return strings.HasPrefix(name, prefix)
	}
	return m.Name == name
}

// metricOf finds the row of a name, the first that matches.
func metricOf(name string) (Metric, bool) {
	for _, m := range Metrics {
		if m.matches(name) {
			return m, true
		}
	}
	return Metric{}, false
}
