package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/quorate/quorate/node"
	"github.com/quorate/quorate/raft"
)

const (
	// maxRequests bounds the requests under way, and with maxValueBytes the
	// memory that their bodies take.
	maxRequests  = 512
	maxListItems = 1000
)

// api serves the map over HTTP:
//
//	GET    /kv/KEY                 the value, linearizable, at any member
//	GET    /kv/KEY?stale=true      the value as this member has it, asking nobody
//	PUT    /kv/KEY                 write the body
//	DELETE /kv/KEY
//	GET    /kv/?prefix=P&after=K&limit=N   keys in order, linearizable (or stale)
//	GET    /status                 what this member knows
//
// A value's version is the ETag: If-Match: "VERSION", If-Match: * (exists) and
// If-None-Match: * (does not) make PUT and DELETE conditional. Kv-Index tells how
// far the state that answered had come.
//
// A member that does not lead answers a write with 307 to the leader, or 503 if
// it knows of none (§8, client interaction).
type api struct {
	id    raft.NodeID
	group *node.Group
	// addresses are the members' HTTP addresses, host:port.
	addresses map[raft.NodeID]string
	// patience bounds how long a request waits for a leader or a majority.
	patience time.Duration
}

func (a *api) handler() http.Handler {
	kv := http.NewServeMux()
	kv.HandleFunc("GET /kv/{key...}", a.get)
	kv.HandleFunc("PUT /kv/{key...}", a.put)
	kv.HandleFunc("DELETE /kv/{key...}", a.delete)
	mux := http.NewServeMux()
	mux.Handle("/kv/", limit(maxRequests, kv))
	mux.HandleFunc("GET /status", a.status)
	return mux
}

// newServer makes an HTTP server in which no client can hold a connection open by
// being slow.
func newServer(h http.Handler, patience time.Duration) *http.Server {
	return &http.Server{
		Handler:           h,
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       15 * time.Second,
		WriteTimeout:      15*time.Second + patience,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    16 << 10,
	}
}

// limit refuses a request while n others are under way.
func limit(n int, h http.Handler) http.Handler {
	slots := make(chan struct{}, n)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		select {
		case slots <- struct{}{}:
			defer func() { <-slots }()
			h.ServeHTTP(w, r)
		default:
			overloaded.send(w)
		}
	})
}

func (a *api) get(w http.ResponseWriter, r *http.Request) {
	key := r.PathValue("key")
	if key == "" {
		a.list(w, r)
		return
	}
	if len(key) > maxKeyBytes {
		badRequest("a key has at most %d bytes", maxKeyBytes).send(w)
		return
	}
	answer, p := a.read(r, getQuery{key})
	if p != nil {
		p.send(w)
		return
	}
	got := answer.(getAnswer)
	setIndex(w, got.index)
	if !got.found {
		(&problem{Status: http.StatusNotFound, Code: codeNotFound, Message: "no such key"}).send(w)
		return
	}
	setVersion(w, got.version)
	w.Header().Set("Content-Type", "application/octet-stream")
	w.Header().Set("X-Content-Type-Options", "nosniff") // a value is never a page
	w.Write(got.value)
}

func (a *api) list(w http.ResponseWriter, r *http.Request) {
	form := r.URL.Query()
	q := listQuery{prefix: form.Get("prefix"), after: form.Get("after"), limit: maxListItems}
	if text := form.Get("limit"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 || n > maxListItems {
			badRequest("limit is a number from 1 to %d", maxListItems).send(w)
			return
		}
		q.limit = n
	}
	answer, p := a.read(r, q)
	if p != nil {
		p.send(w)
		return
	}
	got := answer.(listAnswer)
	setIndex(w, got.index)
	page := listPage{Index: got.index, Items: got.items, More: got.more}
	if page.Items == nil {
		page.Items = []listItem{}
	}
	sendJSON(w, http.StatusOK, page)
}

type listPage struct {
	Index uint64     `json:"index"`
	Items []listItem `json:"items"`
	// More: there are more keys; ask again with after set to the last one.
	More bool `json:"more"`
}

// read answers a query here: linearizably, or with stale=true at once.
func (a *api) read(r *http.Request, query any) (any, *problem) {
	stale := false
	if text := r.URL.Query().Get("stale"); text != "" {
		var err error
		if stale, err = strconv.ParseBool(text); err != nil {
			return nil, badRequest("stale is true or false")
		}
	}
	ctx, cancel := context.WithTimeout(r.Context(), a.patience)
	defer cancel()
	read := a.group.Read
	if stale {
		read = a.group.ReadStale
	}
	answer, err := read(ctx, query)
	if err != nil {
		return nil, a.explain(err)
	}
	return answer, nil
}

func (a *api) put(w http.ResponseWriter, r *http.Request) {
	value, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxValueBytes))
	if tooLarge := (*http.MaxBytesError)(nil); errors.As(err, &tooLarge) {
		(&problem{Status: http.StatusRequestEntityTooLarge, Code: codeTooLarge, Message: fmt.Sprintf("a value has at most %d bytes", maxValueBytes)}).send(w)
		return
	}
	if err != nil {
		badRequest("the body could not be read: %v", err).send(w)
		return
	}
	a.change(w, r, command{op: opPut, value: value})
}

func (a *api) delete(w http.ResponseWriter, r *http.Request) {
	a.change(w, r, command{op: opDelete})
}

// change proposes a command and answers with its outcome.
func (a *api) change(w http.ResponseWriter, r *http.Request, c command) {
	c.key = r.PathValue("key")
	if c.key == "" || len(c.key) > maxKeyBytes {
		badRequest("a key has 1 to %d bytes", maxKeyBytes).send(w)
		return
	}
	var p *problem
	if c.condition, p = parseCondition(r.Header); p != nil {
		p.send(w)
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), a.patience)
	defer cancel()
	result, err := a.group.Propose(ctx, c.encode())
	if err != nil {
		p := a.explain(err)
		if p.Status == http.StatusTemporaryRedirect {
			to := url.URL{Scheme: "http", Host: a.addresses[p.Leader], Path: r.URL.Path, RawPath: r.URL.RawPath, RawQuery: r.URL.RawQuery}
			w.Header().Set("Location", to.String())
		}
		p.send(w)
		return
	}
	o, err := decodeResult(result)
	if err != nil {
		a.explain(err).send(w)
		return
	}
	a.sendOutcome(w, c.key, o)
}

func (a *api) sendOutcome(w http.ResponseWriter, key string, o outcome) {
	switch o.code {
	case done:
		setVersion(w, o.version)
		setIndex(w, o.version)
		sendJSON(w, http.StatusOK, changed{Key: key, Version: o.version})
	case notFound:
		(&problem{Status: http.StatusNotFound, Code: codeNotFound, Message: "no such key"}).send(w)
	case conflict:
		message := fmt.Sprintf("the key has version %d", o.version)
		if o.version == 0 {
			message = "the key does not exist"
		} else {
			setVersion(w, o.version)
		}
		(&problem{Status: http.StatusPreconditionFailed, Code: codeVersionMismatch, Message: message, Version: o.version}).send(w)
	default:
		badRequest("the state machine does not know this command").send(w)
	}
}

// changed answers a write.
type changed struct {
	Key     string `json:"key"`
	Version uint64 `json:"version"`
}

func parseCondition(h http.Header) (condition, *problem) {
	match, noneMatch := h.Get("If-Match"), h.Get("If-None-Match")
	switch {
	case match != "" && noneMatch != "":
		return condition{}, badRequest("If-Match and If-None-Match exclude each other")
	case noneMatch == "*":
		return condition{kind: ifAbsent}, nil
	case noneMatch != "":
		return condition{}, badRequest("If-None-Match knows only *")
	case match == "*":
		return condition{kind: ifExists}, nil
	case match == "":
		return condition{}, nil
	}
	version, err := strconv.ParseUint(strings.Trim(match, `"`), 10, 64)
	if err != nil {
		return condition{}, badRequest("If-Match is * or one version, as ETag gives it")
	}
	return condition{kind: ifVersion, version: version}, nil
}

// status is what a member knows of itself and its group.
type status struct {
	Node          raft.NodeID `json:"node"`
	State         string      `json:"state"`
	Term          raft.Term   `json:"term"`
	Leader        raft.NodeID `json:"leader"` // 0: none known
	CommitIndex   raft.Index  `json:"commit_index"`
	AppliedIndex  raft.Index  `json:"applied_index"`
	SnapshotIndex raft.Index  `json:"snapshot_index"`
	Error         string      `json:"error,omitempty"`
}

func (a *api) status(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), a.patience)
	defer cancel()
	s, err := a.group.Status(ctx)
	answer := status{
		Node: a.id, State: s.State.String(), Term: s.HardState.CurrentTerm, Leader: s.Leader,
		CommitIndex: s.CommitIndex, AppliedIndex: s.Applied, SnapshotIndex: s.Snapshot.Index,
	}
	switch {
	case err != nil:
		answer.State, answer.Error = "stopped", err.Error()
	case !s.Exists:
		answer.State = "waiting for the other first members"
	}
	sendJSON(w, http.StatusOK, answer)
}

func setVersion(w http.ResponseWriter, version uint64) {
	w.Header().Set("ETag", `"`+strconv.FormatUint(version, 10)+`"`)
}

func setIndex(w http.ResponseWriter, index uint64) {
	w.Header().Set("Kv-Index", strconv.FormatUint(index, 10))
}

func sendJSON(w http.ResponseWriter, code int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	json.NewEncoder(w).Encode(v)
}
