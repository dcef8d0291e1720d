package surface

import (
	"fmt"
	"slices"
	"strings"

	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"

	_ "go.etcd.io/etcd/api/v3/etcdserverpb" // its descriptors
	_ "go.etcd.io/etcd/server/v3/etcdserver/api/v3election/v3electionpb"
	_ "go.etcd.io/etcd/server/v3/etcdserver/api/v3lock/v3lockpb"

	"github.com/quorate/quorate/compat/diff"
)

// Status is how Quorate stands to something of etcd's.
type Status string

// The statuses.
const (
	Supported     Status = "supported"
	Unimplemented Status = "Unimplemented"
	Differs       Status = "differs"
)

// services are etcd's, in the order of the document.
var services = []protoreflect.FullName{
	"etcdserverpb.KV", "etcdserverpb.Watch", "etcdserverpb.Lease", "etcdserverpb.Cluster", "etcdserverpb.Maintenance",
	"etcdserverpb.Auth", "v3lockpb.Lock", "v3electionpb.Election",
}

// unimplemented are the RPCs that answer so, and what to use; a service alone
// means all of its.
var unimplemented = map[string]string{
	"Cluster.MemberAdd":      "",
	"Cluster.MemberRemove":   "",
	"Cluster.MemberUpdate":   "",
	"Cluster.MemberPromote":  "",
	"Maintenance.Snapshot":   "",
	"Maintenance.MoveLeader": "",
	"Maintenance.Downgrade":  "",
	"Auth":                   "TLS with client certificates is served",
	"Lock":                   "`clientv3/concurrency.Mutex` and `etcdctl lock` do not need it",
	"Election":               "`clientv3/concurrency.Election` and `etcdctl elect` do not need it",
}

// notes are of supported RPCs.
var notes = map[string]string{
	"KV.RangeStream":         "how an answer is cut into messages differs; joined they are equal",
	"KV.Compact":             "space is reclaimed while everything goes on; `physical` waits for it",
	"Watch.Watch":            "",
	"Lease.LeaseKeepAlive":   "on any member; an answer means that a later leader knows of the renewal",
	"Lease.LeaseLeases":      "in the order of the ids; etcd's leader gives those first that end first",
	"Lease.LeaseTimeToLive":  "the keys of a lease come in order",
	"Maintenance.Alarm":      "an alarm NOSPACE that the server raised for itself it lifts by itself when there is space",
	"Maintenance.Status":     "`version` is the etcd version whose API is served; sizes are of another engine; `downgradeInfo` is not set",
	"Maintenance.Defragment": "answers at once: there is nothing to stop the world for",
	"Maintenance.Hash":       "the value is of another algorithm; members can be compared with one another, not with etcd",
	"Maintenance.HashKV":     "the value is of another algorithm; members can be compared with one another, not with etcd",
}

// options are those that the differential test does not draw.
var options = map[string]Option{
	"WatchRequest.create_request":   {Status: Supported, Note: "any number of watches on a stream"},
	"WatchRequest.cancel_request":   {Status: Supported},
	"WatchRequest.progress_request": {Status: Supported, Note: "answered as soon as no watch of the stream lags; etcd says nothing if one lags at that moment, or was ended by a compaction"},
	"WatchCancelRequest.watch_id":   {Status: Supported},
}

// RPC is one of etcd's.
type RPC struct {
	Service, Name string
	FullMethod    string
	Status        Status
	Note          string
	Options       []Option
	method        protoreflect.MethodDescriptor
}

// ID is as in "KV.Range".
func (r RPC) ID() string { return r.Service + "." + r.Name }

// Option is a field of a request.
type Option struct {
	Name   string
	Status Status
	Note   string
}

// RPCs returns every RPC of etcd with its row. The error names what has none.
func RPCs() ([]RPC, error) {
	drawn := diff.Options()
	var all []RPC
	var missing []string
	used := make(map[string]bool)
	for _, name := range services {
		d, err := protoregistry.GlobalFiles.FindDescriptorByName(name)
		if err != nil {
			return nil, fmt.Errorf("surface: %s: %w", name, err)
		}
		methods := d.(protoreflect.ServiceDescriptor).Methods()
		for i := range methods.Len() {
			m := methods.Get(i)
			r := RPC{
				Service: string(name.Name()), Name: string(m.Name()), FullMethod: fmt.Sprintf("/%s/%s", name, m.Name()),
				Status: Supported, Note: notes[string(name.Name())+"."+string(m.Name())], method: m,
			}
			for _, key := range []string{r.Service, r.ID()} {
				if note, ok := unimplemented[key]; ok {
					r.Status, r.Note = Unimplemented, note
					used[key] = true
				}
			}
			if r.Status == Supported {
				var lacking []string
				r.Options, lacking = optionsOf(m.Input(), drawn, used)
				missing = append(missing, lacking...)
			}
			for _, known := range diff.Differences {
				if known.RPC == r.ID() {
					r.Status = Differs
				}
			}
			all = append(all, r)
		}
	}
	for key := range options {
		if !used[key] {
			missing = append(missing, key+" (a row without an option)")
		}
	}
	for key := range unimplemented {
		if !used[key] {
			missing = append(missing, key+" (a row without an RPC)")
		}
	}
	if len(missing) > 0 {
		slices.Sort(missing)
		return nil, fmt.Errorf("surface: no row or no test for %s", strings.Join(missing, ", "))
	}
	return all, nil
}

// optionsOf lists a request's fields, with those of messages that stand in no
// request of their own.
func optionsOf(d protoreflect.MessageDescriptor, drawn []string, used map[string]bool) (rows []Option, missing []string) {
	seen := make(map[protoreflect.FullName]bool)
	var walk func(d protoreflect.MessageDescriptor)
	walk = func(d protoreflect.MessageDescriptor) {
		if seen[d.FullName()] {
			return
		}
		seen[d.FullName()] = true
		for i := range d.Fields().Len() {
			fd := d.Fields().Get(i)
			name := string(d.Name()) + "." + string(fd.Name())
			row, ok := options[name]
			switch {
			case ok:
				used[name] = true
			case slices.Contains(drawn, name):
				row.Status = Supported
			default:
				missing = append(missing, name)
			}
			row.Name = name
			rows = append(rows, row)
			if inner := fd.Message(); inner != nil && !ownRequest(inner) {
				walk(inner)
			}
		}
	}
	walk(d)
	return rows, missing
}

// ownRequest: the options of a request within a transaction stand at its own RPC.
func ownRequest(d protoreflect.MessageDescriptor) bool {
	switch d.Name() {
	case "RangeRequest", "PutRequest", "DeleteRangeRequest", "TxnRequest":
		return true
	}
	return false
}

// Path is something served over HTTP.
type Path struct {
	Path   string
	Status Status
	// Body: the body too is as etcd's.
	Body bool
	Note string
}

// Paths are etcd's.
var Paths = []Path{
	{Path: "/version", Status: Supported, Note: "with etcd's version, for those who ask for it"},
	{Path: "/health", Status: Supported, Body: true},
	{Path: "/health?serializable=true", Status: Supported, Body: true},
	{Path: "/livez", Status: Supported, Body: true},
	{Path: "/livez?verbose", Status: Supported, Note: "the checks are named as etcd's where they are the same"},
	{Path: "/readyz", Status: Supported, Body: true},
	{Path: "/readyz?verbose", Status: Supported, Note: "the checks are named as etcd's where they are the same"},
	{Path: "/metrics", Status: Supported, Note: "etcd's stable names beside Quorate's own"},
}
