package diff

import (
	"context"
	"slices"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// Shrink returns a short sequence that still divides two servers. try runs a
// sequence on fresh ones and says whether it does; at most tries times. Delta
// debugging: leave out ever smaller parts, then what the requests need not say.
func Shrink(ctx context.Context, ops []Op, tries int, try func(ctx context.Context, ops []Op) bool) []Op {
	attempt := func(candidate []Op) bool {
		if tries == 0 || ctx.Err() != nil {
			return false
		}
		tries--
		return try(ctx, candidate)
	}
	for parts := 2; len(ops) > 1; {
		size := (len(ops) + parts - 1) / parts
		smaller := false
		for from := 0; from < len(ops); from += size {
			rest := slices.Concat(ops[:from], ops[min(from+size, len(ops)):])
			if attempt(rest) {
				ops, smaller = rest, true
				parts = max(parts-1, 2)
				break
			}
		}
		if tries == 0 || ctx.Err() != nil {
			return ops
		}
		if smaller {
			continue
		}
		if size == 1 {
			break
		}
		parts = min(parts*2, len(ops))
	}
	for i := range ops {
		ops = simplify(ops, i, attempt)
	}
	return ops
}

// simplify drops fields and list elements of one operation's request, as long as
// the sequence still divides.
func simplify(ops []Op, i int, attempt func([]Op) bool) []Op {
	if ops[i].Msg == nil {
		return ops
	}
again:
	for _, drop := range reductions(ops[i].Msg.ProtoReflect()) {
		msg := proto.Clone(ops[i].Msg)
		drop(msg.ProtoReflect())
		candidate := slices.Clone(ops)
		candidate[i].Msg = msg
		if attempt(candidate) {
			ops = candidate
			goto again
		}
	}
	return ops
}

// reductions are ways to make a message smaller by one thing, in a fixed order.
func reductions(m protoreflect.Message) []func(protoreflect.Message) {
	var all []func(protoreflect.Message)
	fields := m.Descriptor().Fields()
	for i := range fields.Len() {
		fd := fields.Get(i)
		if !m.Has(fd) {
			continue
		}
		switch {
		case fd.IsList():
			for j := range m.Get(fd).List().Len() {
				all = append(all, func(m protoreflect.Message) { removeElement(m, fd, j) })
			}
			if fd.Kind() != protoreflect.MessageKind {
				continue
			}
			for j := range m.Get(fd).List().Len() {
				for _, inner := range reductions(m.Get(fd).List().Get(j).Message()) {
					all = append(all, func(m protoreflect.Message) { inner(m.Mutable(fd).List().Get(j).Message()) })
				}
			}
		case fd.Kind() == protoreflect.MessageKind:
			for _, inner := range reductions(m.Get(fd).Message()) {
				all = append(all, func(m protoreflect.Message) { inner(m.Mutable(fd).Message()) })
			}
		case fd.Name() == "key" || fd.Name() == "ID":
			// Without them it is another request.
		default:
			all = append(all, func(m protoreflect.Message) { m.Clear(fd) })
		}
	}
	return all
}

func removeElement(m protoreflect.Message, fd protoreflect.FieldDescriptor, j int) {
	old := m.Get(fd).List()
	kept := m.NewField(fd).List()
	for k := range old.Len() {
		if k != j {
			kept.Append(old.Get(k))
		}
	}
	m.Set(fd, protoreflect.ValueOfList(kept))
}
