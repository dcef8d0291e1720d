package sim

import (
	"bytes"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/quorate/quorate/check/trace"
	"github.com/quorate/quorate/raft"
	"github.com/quorate/quorate/raft/tracelog"
)

// traced runs a seed and gives its trace as a file.
func traced(cfg Config) ([]byte, Result) {
	var file bytes.Buffer
	w := tracelog.NewWriter(&file)
	cfg.Events = func(at time.Duration, node raft.NodeID, boot int, group raft.GroupID, e *raft.Event) {
		w.Add(tracelog.Record{Node: node, Boot: uint64(boot), Time: int64(at), Group: group, Event: *e})
	}
	r := Run(cfg)
	if err := w.Close(); err != nil {
		panic(err) // a buffer takes everything
	}
	return file.Bytes(), r
}

func verify(t *testing.T, file []byte) trace.Verdict {
	t.Helper()
	records, complete, err := trace.Read(bytes.NewReader(file))
	if err != nil || !complete {
		t.Fatalf("complete %v, %v", complete, err)
	}
	return trace.Verify(records, complete)
}

// What simulated replicas say they did is Raft, says a validator that shares no
// code with them.
func TestTracesAreRaft(t *testing.T) {
	seeds := uint64(40)
	if testing.Short() {
		seeds = 8
	}
	records := 0
	for seed := uint64(1); seed <= seeds; seed++ {
		file, r := traced(Config{Seed: seed})
		if r.Err != nil {
			t.Fatalf("seed %d: %v", seed, r.Err)
		}
		v := verify(t, file)
		if v.Violation != nil {
			t.Fatalf("seed %d: %v", seed, v.Violation)
		}
		if v.Nodes != r.Voters || v.Groups != r.Groups || v.Unjudged != 0 {
			t.Errorf("seed %d: %+v of %d nodes and %d groups", seed, v, r.Voters, r.Groups)
		}
		records += v.Records
	}
	t.Logf("%d records", records)
}

// alterations are what is done to one record, at i, of a trace. They give nil if
// they do not apply.
var alterations = map[string]func(records []trace.Record, i int) []trace.Record{
	"drop": func(records []trace.Record, i int) []trace.Record {
		return slices.Delete(records, i, i+1)
	},
	"term": func(records []trace.Record, i int) []trace.Record {
		records[i].Term++
		return records
	},
	"peer": func(records []trace.Record, i int) []trace.Record {
		if records[i].Peer == 0 {
			return nil
		}
		records[i].Peer = records[i].Peer%5 + 1
		return records
	},
	"swap": func(records []trace.Record, i int) []trace.Record {
		for j := i + 1; j < len(records); j++ {
			if records[j].Node == records[i].Node && records[j].Group == records[i].Group && records[j].Boot == records[i].Boot {
				records[i], records[j] = records[j], records[i]
				return records
			}
		}
		return nil
	},
	"duplicate": func(records []trace.Record, i int) []trace.Record {
		return slices.Insert(records, i, records[i])
	},
}

// equivalent are the alterations that leave a trace behind which is Raft too, by
// kind, and why.
var equivalent = map[string]struct{ alterations, why string }{
	"answer-ignored":        {"drop duplicate swap", "an answer that changes nothing may come at any time, or not at all"},
	"message-dropped":       {"drop duplicate swap", "so may a message that is not processed"},
	"vote-ignored":          {"drop duplicate swap", "so may a vote that does not count"},
	"snapshot-ignored":      {"drop duplicate swap", "so may a snapshot that is not needed"},
	"heard":                 {"drop duplicate swap", "a heartbeat may come at any time, or not at all"},
	"append-refused":        {"drop duplicate", "a refusal may be lost, and asked for again"},
	"vote-refused":          {"duplicate", "a candidate may ask again, and is answered as before"},
	"vote-granted":          {"duplicate", "likewise"},
	"pre-vote-granted":      {"duplicate", "likewise"},
	"pre-vote-refused":      {"duplicate", "likewise"},
	"vote-withheld":         {"drop duplicate", "likewise; and it is no answer at all"},
	"vote-counted":          {"duplicate", "the network may repeat an answer; it counts once"},
	"vote-lost":             {"drop duplicate", "likewise, and it may be lost"},
	"pre-election-started":  {"duplicate", "the timer may run out again"},
	"entries-applied":       {"drop", "the next one tells of more entries"},
	"log-compacted":         {"drop swap", "how much of a log is kept is nobody's business, if it is applied"},
	"configuration-changed": {"drop duplicate swap", "the configuration of a snapshot is the one that is in force"},
	"snapshot-installed":    {"swap", "the configuration that is told next is in the leader's log anyhow"},
	"entry-unreadable":      {"drop duplicate", "why a leader steps down is told by what follows"},
	"peer-probed":           {"drop duplicate swap", "how a leader sends is nobody's business"},
	"peer-replicated":       {"drop duplicate swap", "likewise"},
	"peer-sent-snapshot":    {"drop duplicate swap", "likewise"},
	"proposal-refused":      {"drop duplicate swap", "a proposal that changes nothing may come at any time, or not at all"},
	"read-refused":          {"drop duplicate", "so may a read"},
}

// A trace that was tampered with is rejected, whatever kind of event is altered
// and however: a record dropped, of another term, about another peer, exchanged
// with the next one of its replica, or told twice. The numbers of the records are
// made to fit, or they alone would give it away.
func TestTamperedTraces(t *testing.T) {
	if testing.Short() {
		t.Skip("thousands of validations")
	}
	type place struct {
		records []trace.Record
		at      int
	}
	kinds := map[string][]place{}
	for seed := uint64(1); seed <= 30; seed++ {
		file, r := traced(Config{Seed: seed, Voters: 3, Groups: 1, Operations: 80})
		if r.Err != nil {
			continue
		}
		records, _, err := trace.Read(bytes.NewReader(file))
		if err != nil {
			t.Fatal(err)
		}
		if v := trace.Verify(records, true); v.Violation != nil {
			t.Fatalf("seed %d: %v", seed, v.Violation)
		}
		for i := range records {
			kinds[records[i].Kind] = append(kinds[records[i].Kind], place{records, i})
		}
	}
	for kind, places := range kinds {
		for name, alter := range alterations {
			if slices.Contains(strings.Fields(equivalent[kind].alterations), name) {
				continue
			}
			rejected, tried := "", 0
			// Some places, spread over the trace.
			for k := 0; k < len(places) && rejected == ""; k += 1 + len(places)/200 {
				altered := alter(slices.Clone(places[k].records), places[k].at)
				if altered == nil {
					continue
				}
				tried++
				seq := map[[2]uint64]uint64{}
				for i := range altered {
					start := [2]uint64{altered[i].Node, altered[i].Boot}
					seq[start]++
					altered[i].Seq = seq[start]
				}
				if v := trace.Verify(altered, true); v.Violation != nil {
					rejected = v.Violation.Error()
				}
			}
			// Of a kind that is met once or twice an alteration may happen to fit.
			if tried > 4 && rejected == "" {
				t.Errorf("%s %s: not rejected in %d places", kind, name, tried)
			}
		}
	}
	if len(kinds) < 37 {
		t.Errorf("%d kinds of events were met", len(kinds))
	}
}

// Of traces that are not complete, what can be judged is judged, and what is
// missing accuses nobody: the beginnings are cut, at each node elsewhere, as rings
// do, and the ends, as if the files had been fetched one after the other.
func TestCutTraces(t *testing.T) {
	seeds := uint64(25)
	if testing.Short() {
		seeds = 5
	}
	judged := 0
	for seed := uint64(1); seed <= seeds; seed++ {
		file, r := traced(Config{Seed: seed, Operations: 150})
		if r.Err != nil {
			t.Fatalf("seed %d: %v", seed, r.Err)
		}
		records, _, err := trace.Read(bytes.NewReader(file))
		if err != nil {
			t.Fatal(err)
		}
		of := map[uint64][]trace.Record{}
		for _, rec := range records {
			of[rec.Node] = append(of[rec.Node], rec)
		}
		random := rand.New(rand.NewPCG(seed, 2))
		for range 4 {
			var cut []trace.Record
			for node := uint64(1); node <= uint64(r.Voters); node++ {
				all := of[node]
				from := random.IntN(len(all))
				cut = append(cut, all[from:from+random.IntN(len(all)-from)+1]...)
			}
			v := trace.Verify(cut, false)
			if v.Violation != nil {
				t.Fatalf("seed %d: %v", seed, v.Violation)
			}
			judged += v.Records - v.Unjudged
		}
		// Whatever a file says, the validator has an answer.
		for range 40 {
			altered := slices.Clone(records)
			for range 1 + random.IntN(3) {
				a, b := &altered[random.IntN(len(altered))], altered[random.IntN(len(altered))]
				switch random.IntN(6) {
				case 0:
					a.Index = b.Index + random.Uint64N(3)
				case 1:
					a.ID, a.Own = b.Own, b.ID
				case 2:
					a.Kind, a.State = b.Kind, b.State
				case 3:
					a.Term, a.Peer = b.Term, b.Peer
				case 4:
					a.Voters, a.Outgoing = b.Voters, []uint64{b.Peer}
				case 5:
					a.Index, a.ID.Index = random.Uint64(), random.Uint64()>>2
				}
			}
			trace.Verify(altered, random.IntN(2) == 0)
		}
	}
	if judged == 0 {
		t.Error("nothing was judged")
	}
}
