package main

import (
	"errors"
	"fmt"
	"net/http"

	"github.com/quorate/quorate/node"
	"github.com/quorate/quorate/raft"
)

// problem is an error as clients see it. Code says what may be done next, and the
// line that matters runs between codeOutcomeUnknown and all others: only there may
// the write have happened, or happen yet.
type problem struct {
	Status  int         `json:"-"`
	Code    string      `json:"error"`
	Message string      `json:"message"`
	Leader  raft.NodeID `json:"leader,omitempty"`
	Version uint64      `json:"version,omitempty"` // of codeVersionMismatch
}

const (
	// Certainly not applied; try again.
	codeNotLeader  = "not_leader" // at the Location given
	codeNoLeader   = "no_leader"
	codeOverloaded = "overloaded"
	codeNotReady   = "not_ready"
	codeNotApplied = "not_applied"
	codeStopped    = "stopped" // at another member

	// It may have been applied, or may be yet.
	codeOutcomeUnknown = "outcome_unknown"

	// An answer: trying again will not change it.
	codeNotFound        = "not_found"
	codeVersionMismatch = "version_mismatch"
	codeTooLarge        = "too_large"
	codeBadRequest      = "bad_request"
)

var overloaded = &problem{Status: http.StatusTooManyRequests, Code: codeOverloaded, Message: "too many requests are under way: slow down and try again"}

func badRequest(format string, args ...any) *problem {
	return &problem{Status: http.StatusBadRequest, Code: codeBadRequest, Message: fmt.Sprintf(format, args...)}
}

// explain sorts an error of package node.
func (a *api) explain(err error) *problem {
	p := &problem{Status: http.StatusServiceUnavailable, Message: err.Error()}
	var notLeader *node.NotLeaderError
	switch {
	case errors.As(err, &notLeader):
		_, reachable := a.addresses[notLeader.Leader]
		if notLeader.Leader == raft.None || notLeader.Leader == a.id || !reachable {
			// Nobody leads, or this member has just begun or ceased to.
			p.Code, p.Message = codeNoLeader, "no leader is known at this moment: try again, here or elsewhere"
			break
		}
		p.Status, p.Code, p.Leader = http.StatusTemporaryRedirect, codeNotLeader, notLeader.Leader
		p.Message = fmt.Sprintf("node %d leads: Location says where", notLeader.Leader)
	case errors.Is(err, node.ErrUnknownOutcome):
		p.Status, p.Code = http.StatusGatewayTimeout, codeOutcomeUnknown
	case errors.Is(err, node.ErrOverloaded):
		p.Status, p.Code = http.StatusTooManyRequests, codeOverloaded
	case errors.Is(err, node.ErrNotReady):
		p.Code = codeNotReady
	case errors.Is(err, node.ErrTooLarge):
		p.Status, p.Code = http.StatusRequestEntityTooLarge, codeTooLarge
	case errors.Is(err, node.ErrGroupStopped), errors.Is(err, node.ErrClosed):
		p.Code = codeStopped
	default:
		// ErrNotProposed, and a read whose patience ended: nothing was changed.
		p.Code = codeNotApplied
	}
	return p
}

// send writes p as the answer.
func (p *problem) send(w http.ResponseWriter) {
	if p.Status == http.StatusServiceUnavailable || p.Status == http.StatusTooManyRequests {
		w.Header().Set("Retry-After", "1")
	}
	sendJSON(w, p.Status, p)
}
