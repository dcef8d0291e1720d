package raft

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

var rewrite = flag.Bool("rewrite", false, "rewrite the stories in testdata; read the diff before it is committed")

// TestStories plays the files of testdata. A story is a list of scenes: a comment,
// a line of commands separated by " ; ", a line of dashes, and what the replicas
// then tell, each line with the replica that tells it. The commands are those of
// the story type's methods below. Unless a story holds their disks, all writes are
// durable at once; messages wait for deliver.
func TestStories(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("no stories: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			got := play(t, string(want))
			if bytes.Equal(want, got) {
				return
			}
			if *rewrite {
				if err := os.WriteFile(file, got, 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			wants, gots := strings.Split(string(want), "\n"), strings.Split(string(got), "\n")
			for i := range max(len(wants), len(gots)) {
				if i >= len(wants) || i >= len(gots) || wants[i] != gots[i] {
					line := func(lines []string) string {
						if i < len(lines) {
							return lines[i]
						}
						return "(the end)"
					}
					t.Fatalf("line %d:\n got %s\nwant %s\nrewrite with: go test ./raft -run TestStories -rewrite", i+1, line(gots), line(wants))
				}
			}
		})
	}
}

// story is a cluster that is told what to do.
type story struct {
	*cluster
	t    *testing.T
	told []string
	slow map[NodeID]bool
	cut  map[[2]NodeID]bool
}

// play gives the story as it goes.
func play(t *testing.T, text string) []byte {
	t.Helper()
	var out bytes.Buffer
	s := &story{t: t}
	lines := strings.Split(strings.TrimSuffix(text, "\n"), "\n")
	for i := 0; i < len(lines); i++ {
		line := lines[i]
		if line == "" || strings.HasPrefix(line, "#") {
			fmt.Fprintln(&out, line)
			continue
		}
		s.told = nil
		for command := range strings.SplitSeq(line, " ; ") {
			s.do(strings.Fields(command))
		}
		fmt.Fprintf(&out, "%s\n----\n", line)
		for _, told := range s.told {
			fmt.Fprintln(&out, told)
		}
		// Skip what was told last time.
		for i+1 < len(lines) && lines[i+1] != "" && !strings.HasPrefix(lines[i+1], "#") {
			i++
		}
	}
	return out.Bytes()
}

// do carries out one command.
func (s *story) do(words []string) {
	s.t.Helper()
	name, args := words[0], words[1:]
	switch name {
	case "cluster":
		s.begin(args)
	case "lead": // this one is elected and all settles, untold
		told, slow := s.told, s.slow
		s.slow = map[NodeID]bool{}
		s.each(args, func(r *replica) { s.fire(r, ElectionTimer) })
		for s.deliverRound() {
		}
		s.told, s.slow = told, slow
	case "timeout": // the election timer of these runs out
		s.each(args, func(r *replica) { s.fire(r, ElectionTimer) })
	case "patience": // their minimum election timeout since the last sign of a leader ends
		s.each(args, func(r *replica) { s.fire(r, StickinessTimer) })
	case "heartbeat":
		s.each(args, func(r *replica) { s.fire(r, HeartbeatTimer) })
	case "contact": // a leader's quorum contact check
		s.each(args, func(r *replica) { s.fire(r, QuorumContactTimer) })
	case "propose":
		s.each(args, func(r *replica) { s.cluster.propose(r, 1) })
	case "read":
		s.each(args, func(r *replica) { s.cluster.read(r) })
	case "slow": // writes of these wait for persist
		s.each(args, func(r *replica) { s.slow[r.id] = true })
	case "persist": // the oldest write of these becomes durable
		s.each(args, func(r *replica) { s.flush(r) })
	case "crash": // these lose what is not durable
		s.each(args, func(r *replica) { s.cluster.crash(r, 0) })
	case "restart":
		s.each(args, func(r *replica) { s.cluster.restart(r) })
	case "snapshot": // these take one of what they applied, and keep no log before it
		s.each(args, func(r *replica) { s.takeSnapshot(r, 0) })
	case "apply":
		s.each(args, func(r *replica) { s.cluster.apply(r) })
	case "cut": // a-b: no message passes between them any more; a>b: one way
		s.link(args, true)
	case "heal":
		if len(args) == 0 {
			clear(s.cut)
		}
		s.link(args, false)
	case "drop": // all messages on their way are lost
		s.network = nil
	case "deliver": // one round of what is on its way, or with "all" until it is quiet
		for s.deliverRound() && slices.Contains(args, "all") {
		}
	case "status":
		s.each(args, func(r *replica) {
			if r.raft == nil {
				s.tell(r.id, "is down")
				return
			}
			s.tell(r.id, fmt.Sprintf("%v of term %d, log [%d, %d] durable to %d, committed %d", r.raft.State(),
				r.raft.CurrentTerm(), r.raft.FirstIndex(), r.raft.LastIndex(), r.raft.DurableIndex(), r.raft.CommitIndex()))
		})
	default:
		s.t.Fatalf("no command %q", name)
	}
	s.work()
}

// begin makes a cluster: its voters, and settings name=(term.index, ...) with the
// last entry of each, noprevote, learner=id.
func (s *story) begin(args []string) {
	s.t.Helper()
	var configuration Configuration
	var cfg Config
	var lasts []EntryID
	for i := 0; i < len(args); i++ {
		switch word := args[i]; {
		case word == "noprevote":
			cfg.DisablePreVote = true
		case strings.HasPrefix(word, "learner="):
			configuration.Members = append(configuration.Members, Member{ID: s.id(word[len("learner="):]), Role: Learner})
		case strings.HasPrefix(word, "last=("):
			list := strings.Join(args[i:], "")
			list = list[len("last=("):strings.Index(list, ")")]
			for last := range strings.SplitSeq(list, ",") {
				term, index, _ := strings.Cut(last, ".")
				lasts = append(lasts, EntryID{Term: Term(s.number(term)), Index: Index(s.number(index))})
			}
			for ; !strings.HasSuffix(args[i], ")"); i++ {
			}
		default:
			configuration.Members = append(configuration.Members, Member{ID: s.id(word), Role: Voter})
		}
	}
	s.cluster = newCluster(s.t, cfg, configuration)
	s.slow, s.cut = map[NodeID]bool{}, map[[2]NodeID]bool{}
	for i, last := range lasts {
		// Entry 1 is 1.1; those after it are of the last one's term.
		disk := &s.replicas[i].disk
		for disk.last() < last.Index {
			hash, _ := disk.hashAt(disk.last())
			disk.entries = append(disk.entries, payload{
				term: last.Term, value: uint64(disk.last()), hash: chain(hash, last.Term, uint64(disk.last())),
			})
		}
		disk.hardState.CurrentTerm = max(disk.hardState.CurrentTerm, last.Term)
	}
	s.start()
	s.trace = func(id NodeID, e Event) {
		if e.Kind < EntriesProposed { // the rest is what the disk and the proposals say themselves
			s.tell(id, e.String())
		}
	}
}

func (s *story) tell(id NodeID, what string) {
	s.told = append(s.told, fmt.Sprintf("%d  %s", id, what))
}

// each does something to the replicas named, in order.
func (s *story) each(args []string, do func(*replica)) {
	s.t.Helper()
	for _, arg := range args {
		do(s.get(s.id(arg)))
		s.work()
	}
}

// link cuts or heals links.
func (s *story) link(args []string, cut bool) {
	s.t.Helper()
	for _, arg := range args {
		if from, to, ok := strings.Cut(arg, ">"); ok {
			s.cut[[2]NodeID{s.id(from), s.id(to)}] = cut
			continue
		}
		from, to, _ := strings.Cut(arg, "-")
		s.cut[[2]NodeID{s.id(from), s.id(to)}] = cut
		s.cut[[2]NodeID{s.id(to), s.id(from)}] = cut
	}
}

// deliverRound delivers what is on its way now and reports whether there was any.
func (s *story) deliverRound() bool {
	arrived := s.network
	s.network = nil
	for _, p := range arrived {
		if !s.cut[[2]NodeID{p.From, p.To}] {
			s.cluster.deliver(p)
			s.work()
		}
	}
	return len(arrived) > 0
}

// work lets every runtime do what it does by itself: write, unless its disk is
// slow, send, and apply.
func (s *story) work() {
	for _, r := range s.replicas {
		for r.raft != nil && len(r.handed)+len(r.transfers) > 0 {
			s.transmit(r, 1<<20)
			s.transfer(r, true)
		}
		for r.raft != nil && len(r.queue) > 0 && !s.slow[r.id] {
			s.flush(r)
		}
		s.cluster.apply(r)
	}
}

func (s *story) id(word string) NodeID { return NodeID(s.number(word)) }

func (s *story) number(word string) uint64 {
	s.t.Helper()
	n, err := strconv.ParseUint(word, 10, 64)
	if err != nil {
		s.t.Fatalf("%q is no number", word)
	}
	return n
}
