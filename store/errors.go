package store

import (
	"errors"
	"fmt"
)

// Code is why a command or a read was refused. It is part of the result that
// every replica computes, so the numbers are for ever.
type Code uint8

// The codes.
const (
	CodeOK Code = iota
	// CodeCompacted: the revision asked for was compacted away.
	CodeCompacted
	// CodeFutureRev: the revision asked for is not reached yet.
	CodeFutureRev
	// CodeLeaseNotFound: there is no such lease.
	CodeLeaseNotFound
	// CodeLeaseExist: the lease to be granted is there already.
	CodeLeaseExist
	// CodeLeaseTTLTooLarge: more than MaxLeaseTTL.
	CodeLeaseTTLTooLarge
	// CodeKeyNotFound: a put was to keep what an absent key has.
	CodeKeyNotFound
	// CodeNoSpace: the NOSPACE alarm is raised.
	CodeNoSpace
	// CodeCorrupt: the CORRUPT alarm is raised.
	CodeCorrupt
	// CodeDuplicateKey: a transaction writes a key twice. Of CheckTxn only.
	CodeDuplicateKey
	// CodeInvalid: the command is not one.
	CodeInvalid
	codeEnd
)

var codeTexts = [codeEnd]string{
	"ok",
	"the revision has been compacted",
	"the revision is in the future",
	"no such lease",
	"the lease exists already",
	"the lease's time to live is too large",
	"no such key",
	"no space: the alarm is raised",
	"corrupt: the alarm is raised",
	"a key is written twice in one transaction",
	"malformed command",
}

// String says what the code means.
func (c Code) String() string {
	if c < codeEnd {
		return codeTexts[c]
	}
	return fmt.Sprintf("code %d", uint8(c))
}

// Error is a refusal by the state machine's own rules: the same on every
// replica, and final.
type Error struct {
	Code Code
}

// Error says what was refused.
func (e *Error) Error() string { return "store: " + e.Code.String() }

// The refusals, for errors.Is and for comparing.
var (
	ErrCompacted        = &Error{CodeCompacted}
	ErrFutureRev        = &Error{CodeFutureRev}
	ErrLeaseNotFound    = &Error{CodeLeaseNotFound}
	ErrLeaseExist       = &Error{CodeLeaseExist}
	ErrLeaseTTLTooLarge = &Error{CodeLeaseTTLTooLarge}
	ErrKeyNotFound      = &Error{CodeKeyNotFound}
	ErrNoSpace          = &Error{CodeNoSpace}
	ErrCorrupt          = &Error{CodeCorrupt}
	ErrDuplicateKey     = &Error{CodeDuplicateKey}
	ErrInvalid          = &Error{CodeInvalid}
)

// ErrBadCommand: the bytes are not a command.
var ErrBadCommand = errors.New("store: malformed command")

// ErrBadResult: the bytes are not a result.
var ErrBadResult = errors.New("store: malformed result")

// ErrUnknownVersion: the command or the data was written by a newer program.
// A replica that meets it in its log stops: to pass over it would make this
// replica differ from those that know it.
var ErrUnknownVersion = errors.New("store: written by a newer version")

// ErrClosed: the store was closed.
var ErrClosed = errors.New("store: closed")

var byCode = [codeEnd]*Error{
	nil, ErrCompacted, ErrFutureRev, ErrLeaseNotFound, ErrLeaseExist, ErrLeaseTTLTooLarge,
	ErrKeyNotFound, ErrNoSpace, ErrCorrupt, ErrDuplicateKey, ErrInvalid,
}
