package sim

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/quorate/quorate/raft"
	"github.com/quorate/quorate/vfs"
)

// A FaultKind is a kind of fault that befalls the cluster.
type FaultKind int

// The kinds. What each does stands in faultKindTable.
const (
	PowerLoss FaultKind = iota
	PowerLossEverywhere
	PowerLossMidCall
	Kill
	CutOneWay
	Partition
	Isolate
	Ring
	Bridge
	HalfDeadSwitch
	Swizzle
	LoseMessages
	RepeatMessages
	DisorderMessages
	DelayMessages
	CorruptFrames
	MinutesLate
	Pause
	PauseLeader
	SlowDisk
	StallDisk
	FailSync
	FailWrite
	FailRead
	FailMetadata
	FullDisk
	RotLog
	RotSnapshot
	MisdirectWrite
	StaleWrite
	WipeDisk
	ClockJump
	ClockDrift
	ConnectionLost
	Campaign
	SlowLinks

	faultKinds

	// Heal is no fault: faults end, first for the quorum Nodes, which has to
	// show progress alone, then for all. End is the last Heal.
	Heal = faultKinds
	End  = faultKinds + 1
)

// faultKindTable says by what name a script calls a kind, and what it does.
var faultKindTable = [...]struct{ name, does string }{
	PowerLoss:           {"power-loss", "node loses power, keeps of what it did not sync data and entries, and is started back later"},
	PowerLossEverywhere: {"power-loss-everywhere", "all nodes lose power at once"},
	PowerLossMidCall:    {"power-loss-mid-call", "node loses power before the count-th call that changes its disk"},
	Kill:                {"kill", "node's process is killed, and started back later on the cache that it left"},
	CutOneWay:           {"cut", "what node sends to peer is lost"},
	Partition:           {"partition", "nodes and the others do not hear each other"},
	Isolate:             {"isolate", "what node sends (out) or should hear (in) is lost; drawn for leaders"},
	Ring:                {"ring", "each node hears only two others, all in a circle"},
	Bridge:              {"bridge", "nodes and the others hear each other only by way of node"},
	HalfDeadSwitch:      {"half-dead-switch", "of the links at nodes half are dead, each in one direction"},
	Swizzle:             {"swizzle", "nodes are cut off one after another and come back in another order"},
	LoseMessages:        {"lose", "percent of all packets are lost"},
	RepeatMessages:      {"repeat", "percent of all packets arrive again, some seconds later"},
	DisorderMessages:    {"disorder", "packets overtake each other"},
	DelayMessages:       {"delay", "percent of all packets are late"},
	CorruptFrames:       {"corrupt", "percent of all packets arrive with a bit flipped"},
	MinutesLate:         {"minutes-late", "packets are recorded, all processes stand still for minutes, and then percent of the packets arrive again"},
	Pause:               {"pause", "node's process stands still"},
	PauseLeader:         {"pause-leader", "node's process, which leads, stands still"},
	SlowDisk:            {"slow-disk", "node's syncs take factor times as long"},
	StallDisk:           {"stall-disk", "node's next sync takes as long as that"},
	FailSync:            {"fail-sync", "one of oneof of node's syncs fails"},
	FailWrite:           {"fail-write", "one of oneof of node's writes fails"},
	FailRead:            {"fail-read", "count of node's reads fail, one of oneof"},
	FailMetadata:        {"fail-metadata", "one of oneof of node's creations, renames, removals and listings fails"},
	FullDisk:            {"full-disk", "node's disk has count bytes left"},
	RotLog:              {"rot-log", "bits of a sector of node's log flip"},
	RotSnapshot:         {"rot-snapshot", "bits of a sector of one of node's snapshots flip"},
	MisdirectWrite:      {"misdirect-write", "a sector that node writes lands in another place"},
	StaleWrite:          {"stale-write", "a sector that node writes is acknowledged by the disk and never written"},
	WipeDisk:            {"wipe-disk", "node comes back with an empty disk under its old id"},
	ClockJump:           {"clock-jump", "node's clock jumps by so much"},
	ClockDrift:          {"clock-drift", "node's clock runs at percent of its speed"},
	ConnectionLost:      {"connection-lost", "node is told that it lost contact with peer"},
	Campaign:            {"campaign", "node is made to stand for election"},
	SlowLinks:           {"slow-links", "what node sends (out) or should hear (in) arrives later by so much"},
	Heal:                {"heal", "faults end, for the quorum nodes first, and the cluster has to show progress"},
	End:                 {"end", "the last heal"},
}

// String gives the kind's name in scripts.
func (k FaultKind) String() string {
	if k >= 0 && int(k) < len(faultKindTable) {
		return faultKindTable[k].name
	}
	return fmt.Sprintf("fault(%d)", int(k))
}

// A Fault is one thing that goes wrong, with all that it takes to let it happen
// again. A kind uses the fields that its description names.
type Fault struct {
	// At is when, in virtual time. A moment that has passed when the fault is due
	// (since the cluster was being healed) means as soon as possible.
	At   time.Duration
	Kind FaultKind
	// Node is whom it befalls, Peer and Nodes who else is concerned.
	Node, Peer raft.NodeID
	Nodes      NodeSet
	// For is how long it lasts, Back how long until the process is started again.
	For, Back time.Duration
	// By is how far a clock jumps, or by how much packets are late.
	By time.Duration
	// Data and Entries are what a power loss keeps.
	Data, Entries vfs.Keep
	In, Out       bool
	Percent       int
	Factor        int
	Count, OneOf  int
	// Draw seeds the chance within the fault.
	Draw uint64
	// On, if not zero, lets the fault wait until Node, or whoever is first if that
	// is none, has done that, and After for so long from then on.
	On    Moment
	After time.Duration
}

// NodeSet is a set of nodes with ids below 64.
type NodeSet uint64

// Has reports whether a node is in it.
func (s NodeSet) Has(id raft.NodeID) bool { return id < 64 && s>>id&1 == 1 }

// With is the set and a node.
func (s NodeSet) With(id raft.NodeID) NodeSet { return s | 1<<(id&63) }

func (s NodeSet) list() (ids []raft.NodeID) {
	for id := range raft.NodeID(64) {
		if s.Has(id) {
			ids = append(ids, id)
		}
	}
	return ids
}

// String gives the ids with commas between them.
func (s NodeSet) String() string {
	var b strings.Builder
	for i, id := range s.list() {
		if i > 0 {
			b.WriteByte(',')
		}
		fmt.Fprint(&b, uint64(id))
	}
	return b.String()
}

// faultFields are the fields of a fault as a script writes them, but for At and
// Kind: key=value, if the value is not zero.
var faultFields = []struct {
	key string
	get func(f *Fault) string // empty: zero
	set func(f *Fault, value string) error
}{
	{"node", func(f *Fault) string { return number(f.Node) }, func(f *Fault, v string) error { return parseNumber(&f.Node, v, 63) }},
	{"peer", func(f *Fault) string { return number(f.Peer) }, func(f *Fault, v string) error { return parseNumber(&f.Peer, v, 63) }},
	{"nodes", func(f *Fault) string { return f.Nodes.String() }, func(f *Fault, v string) error {
		for id := range strings.SplitSeq(v, ",") {
			var n raft.NodeID
			if err := parseNumber(&n, id, 63); err != nil {
				return err
			}
			f.Nodes = f.Nodes.With(n)
		}
		return nil
	}},
	{"for", func(f *Fault) string { return period(f.For) }, func(f *Fault, v string) error { return parsePeriod(&f.For, v) }},
	{"back", func(f *Fault) string { return period(f.Back) }, func(f *Fault, v string) error { return parsePeriod(&f.Back, v) }},
	{"by", func(f *Fault) string { return period(f.By) }, func(f *Fault, v string) (err error) {
		f.By, err = time.ParseDuration(v)
		return err
	}},
	{"data", func(f *Fault) string { return keepName(f.Data) }, func(f *Fault, v string) error { return parseKeep(&f.Data, v) }},
	{"entries", func(f *Fault) string { return keepName(f.Entries) }, func(f *Fault, v string) error { return parseKeep(&f.Entries, v) }},
	{"in", func(f *Fault) string { return truth(f.In) }, func(f *Fault, v string) (err error) { f.In, err = strconv.ParseBool(v); return err }},
	{"out", func(f *Fault) string { return truth(f.Out) }, func(f *Fault, v string) (err error) { f.Out, err = strconv.ParseBool(v); return err }},
	{"percent", func(f *Fault) string { return number(f.Percent) }, func(f *Fault, v string) error { return parseNumber(&f.Percent, v, 1<<20) }},
	{"factor", func(f *Fault) string { return number(f.Factor) }, func(f *Fault, v string) error { return parseNumber(&f.Factor, v, 1<<20) }},
	{"count", func(f *Fault) string { return number(f.Count) }, func(f *Fault, v string) error { return parseNumber(&f.Count, v, 1<<30) }},
	{"oneof", func(f *Fault) string { return number(f.OneOf) }, func(f *Fault, v string) error { return parseNumber(&f.OneOf, v, 1<<20) }},
	{"on", func(f *Fault) string { return f.On.String() }, func(f *Fault, v string) error { return parseMoment(&f.On, v) }},
	{"after", func(f *Fault) string { return period(f.After) }, func(f *Fault, v string) error { return parsePeriod(&f.After, v) }},
	{"draw", func(f *Fault) string { return number(f.Draw) }, func(f *Fault, v string) error { return parseNumber(&f.Draw, v, 1<<64-1) }},
}

func number[T ~int | ~uint64](n T) string {
	if n == 0 {
		return ""
	}
	return fmt.Sprint(uint64(n))
}

func parseNumber[T ~int | ~uint64](to *T, text string, largest uint64) error {
	n, err := strconv.ParseUint(text, 10, 64)
	if err == nil && n > largest {
		err = fmt.Errorf("%d is more than %d", n, largest)
	}
	*to = T(n)
	return err
}

func period(d time.Duration) string {
	if d == 0 {
		return ""
	}
	return d.String()
}

// periodMax keeps what a script says within what a run can take.
const periodMax = time.Hour

func parsePeriod(to *time.Duration, text string) error {
	d, err := time.ParseDuration(text)
	if err == nil && (d < 0 || d > periodMax) {
		err = fmt.Errorf("%v is not within [0, %v]", d, periodMax)
	}
	*to = d
	return err
}

func truth(b bool) string {
	if b {
		return "true"
	}
	return ""
}

func keepName(k vfs.Keep) string {
	if k == vfs.KeepNone {
		return ""
	}
	return strings.ReplaceAll(k.String(), " ", "-")
}

func parseKeep(to *vfs.Keep, text string) error {
	for _, k := range vfs.Keeps() {
		if strings.ReplaceAll(k.String(), " ", "-") == text {
			*to = k
			return nil
		}
	}
	return fmt.Errorf("%q is nothing that a power loss keeps", text)
}

// String is the fault as a line of a script.
func (f Fault) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "at %v %v", f.At, f.Kind)
	for i := range faultFields {
		if v := faultFields[i].get(&f); v != "" {
			fmt.Fprintf(&b, " %s=%s", faultFields[i].key, v)
		}
	}
	return b.String()
}

// parseFault reads what String writes.
func parseFault(line string) (f Fault, err error) {
	words := strings.Fields(line)
	if len(words) < 3 || words[0] != "at" {
		return f, fmt.Errorf("%q is not of the form \"at TIME KIND key=value ...\"", line)
	}
	if err := parsePeriod(&f.At, words[1]); err != nil {
		return f, err
	}
	kind := slices.IndexFunc(faultKindTable[:], func(k struct{ name, does string }) bool { return k.name == words[2] })
	if kind < 0 {
		return f, fmt.Errorf("there is no fault %q", words[2])
	}
	f.Kind = FaultKind(kind)
	for _, word := range words[3:] {
		key, value, _ := strings.Cut(word, "=")
		i := slices.IndexFunc(faultFields, func(field struct {
			key string
			get func(f *Fault) string
			set func(f *Fault, value string) error
		},
		) bool {
			return field.key == key
		})
		if i < 0 {
			return f, fmt.Errorf("a fault has no %q", key)
		}
		if err := faultFields[i].set(&f, value); err != nil {
			return f, fmt.Errorf("%s: %w", word, err)
		}
	}
	return f, nil
}
