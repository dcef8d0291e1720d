package store

import (
	"cmp"
	"slices"
)

// CheckTxn refuses, with ErrDuplicateKey, a transaction that writes a key twice,
// exactly where etcd does before it proposes one: it compares puts with puts and
// with the deletions of their own and of nested transactions, takes the two
// branches of a nested transaction as exclusive, and does not see a deletion that
// a later sibling nests, nor one with a RangeEnd of one zero byte.
func CheckTxn(t *TxnRequest) error {
	for _, ops := range [][]RequestOp{t.Success, t.Failure} {
		if _, _, err := checkWrites(ops); err != nil {
			return err
		}
	}
	return nil
}

type keySet map[string]struct{}

// checkWrites gives what a list of operations puts and deletes.
func checkWrites(ops []RequestOp) (keySet, *intervals, error) {
	puts, dels := keySet{}, &intervals{}
	for _, op := range ops {
		if op.DeleteRange != nil {
			dels.add(op.DeleteRange)
		}
	}
	for _, op := range ops {
		if op.Txn == nil {
			continue
		}
		putsThen, delsThen, err := checkWrites(op.Txn.Success)
		if err != nil {
			return nil, nil, err
		}
		putsElse, delsElse, err := checkWrites(op.Txn.Failure)
		if err != nil {
			return nil, nil, err
		}
		for key := range putsThen {
			if _, twice := puts[key]; twice || dels.contain(key) {
				return nil, nil, ErrDuplicateKey
			}
		}
		for key := range putsElse {
			if _, twice := puts[key]; twice || dels.contain(key) {
				return nil, nil, ErrDuplicateKey
			}
		}
		for _, more := range []keySet{putsThen, putsElse} {
			for key := range more {
				puts[key] = struct{}{}
			}
		}
		dels.union(delsThen)
		dels.union(delsElse)
	}
	for _, op := range ops {
		if op.Put == nil {
			continue
		}
		key := string(op.Put.Key)
		if _, twice := puts[key]; twice || dels.contain(key) {
			return nil, nil, ErrDuplicateKey
		}
		puts[key] = struct{}{}
	}
	return puts, dels, nil
}

// intervals are ranges of keys. They are put in order when they are first asked
// for after a change.
type intervals struct {
	list   []interval
	sorted bool
}

type interval struct {
	from, to string
	// reach is the greatest to of this interval and those before it.
	reach string
}

func (s *intervals) add(d *DeleteRangeRequest) {
	i := interval{from: string(d.Key), to: string(d.RangeEnd)}
	if len(d.RangeEnd) == 0 {
		i.to = i.from + "\x00"
	}
	s.list, s.sorted = append(s.list, i), false
}

func (s *intervals) union(other *intervals) {
	s.list, s.sorted = append(s.list, other.list...), false
}

func (s *intervals) contain(key string) bool {
	if !s.sorted {
		slices.SortFunc(s.list, func(a, b interval) int { return cmp.Compare(a.from, b.from) })
		reach := ""
		for i := range s.list {
			reach = max(reach, s.list[i].to)
			s.list[i].reach = reach
		}
		s.sorted = true
	}
	n, _ := slices.BinarySearchFunc(s.list, key+"\x00", func(i interval, k string) int { return cmp.Compare(i.from, k) })
	return n > 0 && s.list[n-1].reach > key
}
