package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// client speaks to members. It follows redirects to the leader and sorts what goes
// wrong into the two kinds that matter.
type client struct {
	http *http.Client
}

// errNotApplied: certainly nothing was changed; try again, at any member.
var errNotApplied = errors.New("not applied")

// errUnknown: the write may have been applied, or may be yet.
var errUnknown = errors.New("outcome unknown")

func newClient(patience time.Duration) *client {
	return &client{http: &http.Client{
		Timeout: patience,
		Transport: &http.Transport{
			DialContext:         (&net.Dialer{Timeout: min(patience, 2*time.Second)}).DialContext,
			MaxIdleConnsPerHost: 64,
			IdleConnTimeout:     30 * time.Second,
		},
		CheckRedirect: func(_ *http.Request, via []*http.Request) error {
			if len(via) > 3 {
				return http.ErrUseLastResponse // members that name each other: an election is on
			}
			return nil
		},
	}}
}

// answer is what a member said.
type answer struct {
	status  int
	version uint64 // of the key, from ETag; 0: no such key
	index   uint64 // of the state that answered
	body    []byte
}

func keyURL(member, key string) string {
	return "http://" + member + "/kv/" + url.PathEscape(key)
}

// do sends one request to one member. Its answers have status 200, 404 or 412;
// everything else is an error.
func (c *client) do(ctx context.Context, method, url string, body []byte, header ...string) (answer, error) {
	req, err := http.NewRequestWithContext(ctx, method, url, bytes.NewReader(body))
	if err != nil {
		return answer{}, err
	}
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	resp, err := c.http.Do(req)
	if err != nil {
		var op *net.OpError
		if errors.As(err, &op) && op.Op == "dial" {
			return answer{}, fmt.Errorf("%w: %w", errNotApplied, err) // the request never left
		}
		return answer{}, fmt.Errorf("%w: %w", errUnknown, err)
	}
	defer resp.Body.Close()
	a := answer{status: resp.StatusCode}
	if a.body, err = io.ReadAll(io.LimitReader(resp.Body, 4*maxValueBytes)); err != nil {
		return answer{}, fmt.Errorf("%w: %w", errUnknown, err)
	}
	a.version, _ = strconv.ParseUint(strings.Trim(resp.Header.Get("ETag"), `"`), 10, 64)
	a.index, _ = strconv.ParseUint(resp.Header.Get("Kv-Index"), 10, 64)
	switch resp.StatusCode {
	case http.StatusOK, http.StatusNotFound, http.StatusPreconditionFailed:
		return a, nil
	}
	var p problem
	if err := json.Unmarshal(a.body, &p); err != nil || p.Code == "" {
		return a, fmt.Errorf("%w: %s without an explanation", errUnknown, resp.Status)
	}
	switch p.Code {
	case codeOutcomeUnknown:
		return a, fmt.Errorf("%w: %s", errUnknown, p.Message)
	case codeTooLarge, codeBadRequest:
		return a, fmt.Errorf("refused: %s", p.Message)
	}
	return a, fmt.Errorf("%w: %s: %s", errNotApplied, p.Code, p.Message)
}

// status asks what a member knows.
func (c *client) status(ctx context.Context, member string) (status, error) {
	a, err := c.do(ctx, http.MethodGet, "http://"+member+"/status", nil)
	if err != nil {
		return status{}, err
	}
	var s status
	if err := json.Unmarshal(a.body, &s); err != nil {
		return status{}, fmt.Errorf("status of %s: %w", member, err)
	}
	return s, nil
}

// list gives the versions of all keys with a prefix, read linearizably at one
// member, page by page.
func (c *client) list(ctx context.Context, member, prefix string) (map[string]uint64, error) {
	versions := map[string]uint64{}
	for after := ""; ; {
		query := url.Values{"prefix": {prefix}, "after": {after}}
		a, err := c.do(ctx, http.MethodGet, "http://"+member+"/kv/?"+query.Encode(), nil)
		if err != nil {
			return nil, err
		}
		var page listPage
		if err := json.Unmarshal(a.body, &page); err != nil {
			return nil, fmt.Errorf("list at %s: %w", member, err)
		}
		for _, it := range page.Items {
			versions[it.Key] = it.Version
			after = it.Key
		}
		if !page.More || len(page.Items) == 0 {
			return versions, nil
		}
	}
}
