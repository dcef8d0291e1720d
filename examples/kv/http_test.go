package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/quorate/quorate/node"
	"github.com/quorate/quorate/raft"
	"github.com/quorate/quorate/transport/mem"
)

// serveAlone starts a member of a cluster of one, within the test's process.
func serveAlone(t *testing.T) http.Handler {
	t.Helper()
	n, err := node.Open(node.Config{
		ID: 1, Cluster: "test", Dir: t.TempDir(), Transport: mem.NewNetwork().Transport(1),
		ElectionTimeout: 50 * time.Millisecond,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := n.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	})
	g, err := n.StartGroup(node.GroupConfig{ID: group, Voters: []raft.NodeID{1}, StateMachine: newMachine()})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	if err := g.Ready(ctx); err != nil {
		t.Fatal(err)
	}
	return (&api{id: 1, group: g, addresses: map[raft.NodeID]string{1: "here"}, patience: 10 * time.Second}).handler()
}

// TestHTTP: one row per kind of answer, in order, on one member. VERSION stands
// for that of the last write, WAS for the one before.
func TestHTTP(t *testing.T) {
	h := serveAlone(t)
	version, was := "", ""
	tests := []struct {
		name         string
		method, path string
		header, body string
		status       int
		want         string // in the answer
	}{
		{"a key that is not there", "GET", "/kv/a", "", "", 404, `"error":"not_found"`},
		{"put", "PUT", "/kv/a", "", "one", 200, `"key":"a","version":VERSION`},
		{"get", "GET", "/kv/a", "", "", 200, "one"},
		{"get stale", "GET", "/kv/a?stale=true", "", "", 200, "one"},
		{"stale in what way", "GET", "/kv/a?stale=very", "", "", 400, "stale is true or false"},
		{"put if absent, and it is not", "PUT", "/kv/a", "If-None-Match: *", "two", 412, `"error":"version_mismatch"`},
		{"put at its version", "PUT", "/kv/a", `If-Match: "VERSION"`, "two", 200, `"version":VERSION`},
		{"put at an old version", "PUT", "/kv/a", `If-Match: "WAS"`, "three", 412, `"version":VERSION`},
		{"put if it exists, and it does not", "PUT", "/kv/b", "If-Match: *", "x", 412, "does not exist"},
		{"put if it exists", "PUT", "/kv/a", "If-Match: *", "", 200, `"version":VERSION`},
		{"a value of no bytes", "GET", "/kv/a", "", "", 200, ""},
		{"a condition that is none", "PUT", "/kv/a", "If-Match: yes", "x", 400, "If-Match is"},
		{"a condition that is not known", "PUT", "/kv/a", `If-None-Match: "1"`, "x", 400, "knows only *"},
		{"a key with slashes and spaces", "PUT", "/kv/dir/a%20b%2Fc", "", "x", 200, `"key":"dir/a b/c"`},
		{"list", "GET", "/kv/?prefix=dir/", "", "", 200, `"items":[{"key":"dir/a b/c","version":VERSION,"bytes":1}],"more":false`},
		{"list nothing", "GET", "/kv/?prefix=none", "", "", 200, `"items":[],"more":false`},
		{"list a page", "GET", "/kv/?limit=1&stale=true", "", "", 200, `"more":true`},
		{"list too much", "GET", "/kv/?limit=100000", "", "", 400, "from 1 to 1000"},
		{"put without a key", "PUT", "/kv/", "", "x", 400, "a key has"},
		{"a key that is too long", "PUT", "/kv/" + strings.Repeat("k", maxKeyBytes+1), "", "x", 400, "a key has"},
		{"get a key that is too long", "GET", "/kv/" + strings.Repeat("k", maxKeyBytes+1), "", "", 400, "a key has"},
		{"the largest value", "PUT", "/kv/large", "", strings.Repeat("v", maxValueBytes), 200, ""},
		{"a value that is too large", "PUT", "/kv/large", "", strings.Repeat("v", maxValueBytes+1), 413, `"error":"too_large"`},
		{"delete", "DELETE", "/kv/a", "", "", 200, `"version":VERSION`},
		{"delete again", "DELETE", "/kv/a", "", "", 404, `"error":"not_found"`},
		{"a method that is none", "POST", "/kv/a", "", "x", 405, ""},
		{"status", "GET", "/status", "", "", 200, `"node":1,"state":"leader"`},
	}
	for _, test := range tests {
		fill := strings.NewReplacer("VERSION", version, "WAS", was)
		req := httptest.NewRequestWithContext(t.Context(), test.method, test.path, strings.NewReader(test.body))
		if name, value, ok := strings.Cut(fill.Replace(test.header), ": "); ok {
			req.Header.Set(name, value)
		}
		w := httptest.NewRecorder()
		h.ServeHTTP(w, req)
		if test.method != "GET" && w.Code == 200 {
			version, was = strings.Trim(w.Header().Get("ETag"), `"`), version
		}
		want := strings.NewReplacer("VERSION", version).Replace(test.want)
		if body := w.Body.String(); w.Code != test.status || !strings.Contains(body, want) {
			t.Errorf("%s: got %d %.200s, want %d and %s", test.name, w.Code, body, test.status, want)
		}
		if w.Code == 200 && test.method == "GET" && strings.HasPrefix(test.path, "/kv/") && w.Header().Get("Kv-Index") == "" {
			t.Errorf("%s: the answer does not say of which state it is", test.name)
		}
	}
}

// TestExplain: each error of package node in the words of HTTP. Only one of them
// means that the write may have happened.
func TestExplain(t *testing.T) {
	a := &api{id: 1, addresses: map[raft.NodeID]string{1: "a:1", 2: "b:2"}}
	tests := []struct {
		err    error
		status int
		code   string
	}{
		{&node.NotLeaderError{Leader: 2, Term: 3}, 307, codeNotLeader},
		{&node.NotLeaderError{Term: 3}, 503, codeNoLeader},
		{&node.NotLeaderError{Leader: 1}, 503, codeNoLeader}, // itself, by now: no loop
		{&node.NotLeaderError{Leader: 9}, 503, codeNoLeader}, // of no known address
		{fmt.Errorf("%w: %w", node.ErrUnknownOutcome, context.DeadlineExceeded), 504, codeOutcomeUnknown},
		{fmt.Errorf("%w: %w", node.ErrUnknownOutcome, node.ErrClosed), 504, codeOutcomeUnknown},
		{fmt.Errorf("%w: %w", node.ErrNotProposed, context.DeadlineExceeded), 503, codeNotApplied},
		{node.ErrOverloaded, 429, codeOverloaded},
		{node.ErrNotReady, 503, codeNotReady},
		{node.ErrTooLarge, 413, codeTooLarge},
		{node.ErrClosed, 503, codeStopped},
		{&node.StoppedError{Group: 1, Cause: errors.New("disk")}, 503, codeStopped},
		{context.DeadlineExceeded, 503, codeNotApplied}, // of a read
	}
	for _, test := range tests {
		p := a.explain(test.err)
		if p.Status != test.status || p.Code != test.code {
			t.Errorf("%v: got %d %s, want %d %s", test.err, p.Status, p.Code, test.status, test.code)
		}
		w := httptest.NewRecorder()
		p.send(w)
		var sent map[string]any
		if err := json.Unmarshal(w.Body.Bytes(), &sent); err != nil || sent["error"] != test.code || sent["message"] == "" {
			t.Errorf("%v: sent %s", test.err, w.Body)
		}
		if again := w.Header().Get("Retry-After") != ""; again != (test.status == 503 || test.status == 429) {
			t.Errorf("%v: Retry-After is %q", test.err, w.Header().Get("Retry-After"))
		}
	}
}

// TestLimit: a request beyond the limit is refused at once, and others are served
// when there is room.
func TestLimit(t *testing.T) {
	entered, leave := make(chan struct{}), make(chan struct{})
	h := limit(1, http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		entered <- struct{}{}
		<-leave
	}))
	serve := func() *httptest.ResponseRecorder {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest("GET", "/kv/a", nil))
		return w
	}
	first := make(chan *httptest.ResponseRecorder)
	for range 2 {
		go func() { first <- serve() }()
		<-entered
		if w := serve(); w.Code != http.StatusTooManyRequests || !bytes.Contains(w.Body.Bytes(), []byte(codeOverloaded)) {
			t.Errorf("beyond the limit: %d %s, want 429", w.Code, w.Body)
		}
		leave <- struct{}{}
		if w := <-first; w.Code != http.StatusOK {
			t.Errorf("within the limit: %d", w.Code)
		}
	}
}
