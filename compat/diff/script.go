package diff

import (
	"fmt"
	"reflect"
	"strings"

	"google.golang.org/protobuf/reflect/protoreflect"
)

// Script prints operations as the Go calls that do the same through the client
// stubs of etcd's API, revisions absolute as in Divergence.Done.
func Script(ops []Op) string {
	var b strings.Builder
	for _, op := range ops {
		call := "kv." + string(op.Kind)
		switch op.Kind {
		case LeaseGrant, LeaseRevoke, LeaseKeepAlive, LeaseTimeToLive, LeaseLeases:
			call = "lease." + string(op.Kind)
		case Alarm, Status, HashKV, Hash, Defragment:
			call = "maintenance." + string(op.Kind)
		case MemberList:
			call = "cluster.MemberList"
		case WatchCreate, WatchCancel, WatchProgress:
			fmt.Fprintf(&b, "stream%d.Send(%s)\n", op.Stream, literal(reflect.ValueOf(watchRequest(op.Msg))))
			continue
		case WatchClose:
			fmt.Fprintf(&b, "stream%d.close()\n", op.Stream)
			continue
		case Settle:
			b.WriteString("// all events that are due arrive\n")
			continue
		}
		fmt.Fprintf(&b, "%s(ctx, %s)\n", call, literal(reflect.ValueOf(op.Msg)))
	}
	return b.String()
}

// literal prints a generated message as a Go expression, zero fields left out.
func literal(v reflect.Value) string {
	switch v.Kind() {
	case reflect.Pointer:
		return "&" + literal(v.Elem())
	case reflect.Interface:
		return literal(v.Elem())
	case reflect.Struct:
		var fields []string
		for i := range v.NumField() {
			f := v.Type().Field(i)
			if f.IsExported() && !v.Field(i).IsZero() {
				fields = append(fields, f.Name+": "+literal(v.Field(i)))
			}
		}
		return "pb." + v.Type().Name() + "{" + strings.Join(fields, ", ") + "}"
	case reflect.Slice:
		if b, ok := v.Interface().([]byte); ok {
			if len(b) > 256 {
				return fmt.Sprintf("make([]byte, %d)", len(b))
			}
			return fmt.Sprintf("[]byte(%q)", b)
		}
		elems := make([]string, v.Len())
		for i := range elems {
			elems[i] = literal(v.Index(i))
		}
		name := "pb." + v.Type().Elem().Name()
		if v.Type().Elem().Kind() == reflect.Pointer {
			name = "*pb." + v.Type().Elem().Elem().Name()
		}
		return "[]" + name + "{" + strings.Join(elems, ", ") + "}"
	}
	if e, ok := v.Interface().(protoreflect.Enum); ok {
		if name := e.Descriptor().Values().ByNumber(e.Number()); name != nil {
			return "pb." + enumPrefix(v.Type().Name()) + string(name.Name())
		}
		return fmt.Sprint(e.Number())
	}
	return fmt.Sprintf("%#v", v.Interface())
}

// enumPrefix is how the generated code begins the names of an enumeration's
// values: by the message that it stands in.
func enumPrefix(typeName string) string {
	if outer, _, ok := strings.Cut(typeName, "_"); ok {
		return outer + "_"
	}
	return typeName + "_"
}
