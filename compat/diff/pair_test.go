package diff

import (
	"context"
	"flag"
	"strconv"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/quorate/quorate/compat/internal/cluster"
)

var (
	seeds    = flag.Int("seeds", 20, "sequences that the differential test runs")
	first    = flag.Uint64("first", 0, "the first sequence's seed")
	length   = flag.Int("operations", 5000, "operations of a sequence")
	without  = flag.String("without", "", "kinds of operations to leave out, by comma, while one looks for a fault")
	tries    = flag.Int("tries", 100, "how often a sequence that divides is run again to shrink it")
	patience = flag.Duration("patience", Patience, "how long an event that is due may take")
)

// A starter starts a fresh server of one node and connects to it.
type starter func(ctx context.Context, t testing.TB) (target Target, stop func(), err error)

func connect(name, endpoint string) (Target, func(), error) {
	conn, err := grpc.NewClient(
		endpoint, grpc.WithTransportCredentials(insecure.NewCredentials()),
		// The server's limit is tested, not the client's.
		grpc.WithDefaultCallOptions(grpc.MaxCallSendMsgSize(64<<20), grpc.MaxCallRecvMsgSize(64<<20)),
	)
	if err != nil {
		return Target{}, nil, err
	}
	return Target{Name: name, Conn: conn}, func() { conn.Close() }, nil
}

func startEtcd(ctx context.Context, t testing.TB) (Target, func(), error) {
	t.Helper()
	endpoint, stop, err := cluster.StartEmbedded(ctx, t.TempDir(), MaxTxnOps, MaxRequestBytes)
	if err != nil {
		return Target{}, nil, err
	}
	target, disconnect, err := connect("etcd", endpoint)
	if err != nil {
		stop()
		return Target{}, nil, err
	}
	return target, func() { disconnect(); stop() }, nil
}

func startQuorate(ctx context.Context, t testing.TB) (Target, func(), error) {
	t.Helper()
	c, err := cluster.Start(ctx, cluster.Config{
		Nodes: 1, Dir: t.TempDir(), NoFsync: true,
		Flags: []string{
			"--max-txn-ops=" + strconv.Itoa(MaxTxnOps), "--max-request-bytes=" + strconv.Itoa(MaxRequestBytes),
		},
	})
	if err != nil {
		return Target{}, nil, err
	}
	target, disconnect, err := connect("quorate", c.Endpoints()[0])
	if err != nil {
		c.Stop()
		return Target{}, nil, err
	}
	return target, func() { disconnect(); c.Stop() }, nil
}

// runOn gives ops to a fresh pair.
func runOn(ctx context.Context, t testing.TB, reference, subject starter, ops []Op, cov *Coverage) *Divergence {
	t.Helper()
	ref, stopRef, err := reference(ctx, t)
	if err != nil {
		t.Fatal(err)
	}
	defer stopRef()
	sub, stopSub, err := subject(ctx, t)
	if err != nil {
		t.Fatal(err)
	}
	defer stopSub()
	d, err := Run(ctx, ref, sub, ops, cov, *patience)
	if err != nil {
		t.Fatalf("%v\n%s", err, Script(ops[max(0, len(ops)-5):]))
	}
	return d
}

// shrunk runs d's sequence smaller and smaller and returns the last difference.
func shrunk(ctx context.Context, t testing.TB, reference, subject starter, ops []Op, d *Divergence, tries int) *Divergence {
	t.Helper()
	Shrink(ctx, ops[:min(d.Step+1, len(ops))], tries, func(ctx context.Context, candidate []Op) bool {
		found := runOn(ctx, t, reference, subject, candidate, NewCoverage())
		if found != nil {
			d = found
		}
		return found != nil
	})
	return d
}
