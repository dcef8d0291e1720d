package etcd

import (
	"errors"
	"math/rand/v2"
	"slices"
	"testing"

	"go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"google.golang.org/protobuf/proto"
)

// A response in fragments is the response: each below the limit unless it is one
// event alone, all but the last saying that more follows, and none that could have
// taken the next one's first event.
func TestSendFragments(t *testing.T) {
	const limit = 1000
	rng := rand.New(rand.NewPCG(1, 1))
	split, alone := 0, 0
	for range 500 {
		r := &etcdserverpb.WatchResponse{Header: &etcdserverpb.ResponseHeader{ClusterId: 1 << 63, Revision: 7}, WatchId: 5}
		for range rng.IntN(30) {
			kv := &mvccpb.KeyValue{Key: []byte("key"), Value: make([]byte, rng.IntN(rng.IntN(2000)+1)), ModRevision: 7}
			r.Events = append(r.Events, &mvccpb.Event{Kv: kv})
		}
		var parts []*etcdserverpb.WatchResponse
		err := sendFragments(r, limit, func(part *etcdserverpb.WatchResponse) error {
			parts = append(parts, part)
			return nil
		})
		if err != nil || len(parts) == 0 {
			t.Fatalf("%d parts, %v", len(parts), err)
		}
		var joined []*mvccpb.Event
		for i, part := range parts {
			joined = append(joined, part.Events...)
			if part.Fragment != (i < len(parts)-1) || part.WatchId != r.WatchId || !proto.Equal(part.Header, r.Header) {
				t.Fatalf("part %d of %d is %v", i, len(parts), part)
			}
			size := proto.Size(part)
			switch {
			case size >= limit && len(part.Events) > 1:
				t.Fatalf("%d events in a part of %d bytes, limit %d", len(part.Events), size, limit)
			case size >= limit:
				alone++
			}
			if i == 0 {
				continue
			}
			before := parts[i-1]
			if slack := 6*len(before.Events) + 6; proto.Size(before)+proto.Size(part.Events[0])+slack < limit {
				t.Fatalf("part %d of %d bytes has room for the next event of %d", i-1, proto.Size(before), proto.Size(part.Events[0]))
			}
		}
		if !slices.Equal(joined, r.Events) {
			t.Fatalf("%d events in %d parts, want %d in order", len(joined), len(parts), len(r.Events))
		}
		split += len(parts) - 1
	}
	if split == 0 || alone == 0 {
		t.Errorf("%d further parts, %d events above the limit: want some of each", split, alone)
	}

	sent, gone := 0, errors.New("gone")
	big := &etcdserverpb.WatchResponse{Events: []*mvccpb.Event{{Kv: &mvccpb.KeyValue{Value: make([]byte, limit)}}, {}, {}}}
	err := sendFragments(big, limit, func(*etcdserverpb.WatchResponse) error {
		sent++
		return gone
	})
	if !errors.Is(err, gone) || sent != 1 {
		t.Errorf("%v after %d parts; want the first error", err, sent)
	}
}
