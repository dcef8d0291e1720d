package server_test

import (
	"bytes"
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"

	"go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"

	"github.com/quorate/quorate/server"
	"github.com/quorate/quorate/server/keyspace"
)

// refuser refuses everything and remembers what was wanted.
type refuser struct {
	mu    sync.Mutex
	wants []keyspace.Access
	asked int
}

func (r *refuser) Authorize(_ context.Context, wants []keyspace.Access) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, w := range wants {
		w.Key, w.RangeEnd = bytes.Clone(w.Key), bytes.Clone(w.RangeEnd)
		r.wants = append(r.wants, w)
	}
	r.asked++
	return keyspace.ErrDenied
}

// take gives what was wanted since it was last called, and how often.
func (r *refuser) take() ([]keyspace.Access, int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	wants, asked := r.wants, r.asked
	r.wants, r.asked = nil, 0
	return wants, asked
}

// unimplemented are etcd's RPCs that answer so: they reach nothing.
var unimplemented = map[string]bool{
	"Cluster/MemberAdd": true, "Cluster/MemberRemove": true, "Cluster/MemberUpdate": true, "Cluster/MemberPromote": true,
	"Maintenance/Snapshot": true, "Maintenance/MoveLeader": true, "Maintenance/Downgrade": true,
}

// Every RPC of etcd's API asks the authorizer before anything else, for every
// field at any depth that names a key or a lease, and does nothing if the answer
// is no. The requests are made from the protocol's own description, so a field
// that is added to it is tested, or fails here.
func TestEveryPathToAKeyIsAuthorized(t *testing.T) {
	authorizer := &refuser{}
	c := newCluster(t, 1, func(c *server.Config) { c.Authorizer = authorizer })
	conn, err := grpc.NewClient(c.configs[0].ListenClient[0].Address, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	authorizer.take()
	services := etcdserverpb.File_rpc_proto.Services()
	methods, fields := 0, 0
	for i := range services.Len() {
		service := services.Get(i)
		for j := range service.Methods().Len() {
			method := service.Methods().Get(j)
			name := string(service.Name()) + "/" + string(method.Name())
			methods++
			requests := requestsOf(t, method.Input())
			for _, r := range requests {
				err := call(patient(t), conn, method, r.message)
				wants, asked := authorizer.take()
				if service.Name() == "Auth" || unimplemented[name] {
					if status.Code(err) != codes.Unimplemented {
						t.Errorf("%s: got %v, want Unimplemented", name, err)
					}
					continue
				}
				if status.Code(err) != codes.PermissionDenied || asked != 1 {
					t.Errorf("%s, %s: got %v after asking %d times; want PermissionDenied after asking once", name, r.path, err, asked)
				}
				if !r.named(wants) {
					t.Errorf("%s: %s names what is not among what was asked for: %+v", name, r.path, wants)
				}
				fields++
			}
		}
	}
	if methods < 40 || fields < 60 {
		t.Errorf("only %d methods and %d fields were found", methods, fields)
	}
}

// request is a message in which one field names something.
type request struct {
	path    string
	message proto.Message
	key     []byte
	lease   int64
}

// named reports whether what the field names was wanted.
func (r *request) named(wants []keyspace.Access) bool {
	if r.key == nil && r.lease == 0 {
		return len(wants) > 0
	}
	for _, w := range wants {
		if r.key != nil && (bytes.Equal(w.Key, r.key) || bytes.Equal(w.RangeEnd, r.key)) || r.lease != 0 && w.Lease == r.lease {
			return true
		}
	}
	return false
}

// requestsOf makes a request for each field of a message that names a key or a
// lease, or an empty one if there is none.
func requestsOf(t *testing.T, d protoreflect.MessageDescriptor) []request {
	t.Helper()
	kind, err := protoregistry.GlobalTypes.FindMessageByName(d.FullName())
	if err != nil {
		t.Fatal(err)
	}
	var requests []request
	for i, path := range pathsOf(d, 3) {
		m := kind.New()
		r := request{message: m.Interface()}
		var names []string
		at := m
		for step, field := range path {
			names = append(names, string(field.Name()))
			if key := at.Descriptor().Fields().ByName("key"); key != nil && key.Kind() == protoreflect.BytesKind {
				at.Set(key, protoreflect.ValueOfBytes([]byte("some key")))
			}
			switch {
			case step == len(path)-1 && field.Kind() == protoreflect.BytesKind:
				r.key = fmt.Appendf(nil, "named %d", i)
				at.Set(field, protoreflect.ValueOfBytes(r.key))
			case step == len(path)-1:
				r.lease = int64(1000 + i)
				at.Set(field, protoreflect.ValueOfInt64(r.lease))
			case field.IsList():
				at = at.Mutable(field).List().AppendMutable().Message()
			default:
				at = at.Mutable(field).Message()
			}
		}
		r.path = strings.Join(names, ".")
		requests = append(requests, r)
	}
	if requests == nil {
		return []request{{path: "no field", message: kind.New().Interface()}}
	}
	return requests
}

// pathsOf gives the ways to fields that name a key or a lease, through so many
// transactions within each other.
func pathsOf(d protoreflect.MessageDescriptor, transactions int) [][]protoreflect.FieldDescriptor {
	if d.Name() == "TxnRequest" {
		transactions--
	}
	if transactions < 0 {
		return nil
	}
	var paths [][]protoreflect.FieldDescriptor
	for i := range d.Fields().Len() {
		field := d.Fields().Get(i)
		switch {
		case field.Message() != nil:
			for _, rest := range pathsOf(field.Message(), transactions) {
				paths = append(paths, append([]protoreflect.FieldDescriptor{field}, rest...))
			}
		case field.Kind() == protoreflect.BytesKind && (field.Name() == "key" || field.Name() == "range_end"),
			// The lease of a Compare is what is compared with, and names nothing.
			field.Kind() == protoreflect.Int64Kind && (field.Name() == "lease" && d.Name() != "Compare" || field.Name() == "ID"):
			paths = append(paths, []protoreflect.FieldDescriptor{field})
		}
	}
	return paths
}

// call makes one call of any kind, and gives its error. A watch that was refused
// says so in a response.
func call(ctx context.Context, conn *grpc.ClientConn, method protoreflect.MethodDescriptor, request proto.Message) error {
	name := fmt.Sprintf("/%s/%s", method.Parent().FullName(), method.Name())
	kind, err := protoregistry.GlobalTypes.FindMessageByName(method.Output().FullName())
	if err != nil {
		return err
	}
	response := kind.New().Interface()
	if !method.IsStreamingClient() && !method.IsStreamingServer() {
		return conn.Invoke(ctx, name, request, response)
	}
	stream, err := conn.NewStream(ctx, &grpc.StreamDesc{ClientStreams: true, ServerStreams: true}, name)
	if err != nil {
		return err
	}
	if err := stream.SendMsg(request); err != nil {
		return err
	}
	if err := stream.CloseSend(); err != nil {
		return err
	}
	if err := stream.RecvMsg(response); err != nil {
		return err
	}
	if w, ok := response.(*etcdserverpb.WatchResponse); ok && w.Canceled && strings.Contains(w.CancelReason, "permission denied") {
		return status.Error(codes.PermissionDenied, w.CancelReason)
	}
	return nil
}
