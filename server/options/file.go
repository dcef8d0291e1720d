package options

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"
)

// sections are the parts of the file whose options have another name than in the
// file, there without the prefix.
var sections = map[string]map[string]string{
	"client-transport-security": {
		"cert-file": "cert-file", "key-file": "key-file", "client-cert-file": "client-cert-file",
		"client-key-file": "client-key-file", "client-cert-auth": "client-cert-auth",
		"trusted-ca-file": "trusted-ca-file", "auto-tls": "auto-tls",
		"crl-file": "client-crl-file", "allowed-hostnames": "client-cert-allowed-hostname",
	},
	"peer-transport-security": {
		"cert-file": "peer-cert-file", "key-file": "peer-key-file", "client-cert-file": "peer-client-cert-file",
		"client-key-file": "peer-client-key-file", "client-cert-auth": "peer-client-cert-auth",
		"trusted-ca-file": "peer-trusted-ca-file", "auto-tls": "peer-auto-tls",
		"crl-file": "peer-crl-file", "allowed-cn": "peer-cert-allowed-cn", "allowed-hostname": "peer-cert-allowed-hostname",
		"allowed-cns": "peer-cert-allowed-cn", "allowed-hostnames": "peer-cert-allowed-hostname",
		"skip-client-san-verify": "peer-skip-client-san-verification",
	},
}

// readYAML reads a configuration file, which may be JSON too.
func (v *Values) readYAML(b []byte) error {
	var file map[string]any
	if err := yaml.Unmarshal(b, &file); err != nil {
		return err
	}
	var errs []error
	for _, key := range slices.Sorted(maps.Keys(file)) {
		names, isSection := sections[key]
		if !isSection {
			errs = append(errs, v.setFromFile(key, key, file[key]))
			continue
		}
		section, ok := file[key].(map[string]any)
		if !ok && file[key] != nil {
			errs = append(errs, fmt.Errorf("%s is not a section", key))
		}
		for _, inner := range slices.Sorted(maps.Keys(section)) {
			errs = append(errs, v.setFromFile(key+"."+inner, names[inner], section[inner]))
		}
	}
	return errors.Join(errs...)
}

func (v *Values) setFromFile(key, name string, value any) error {
	o, known := Lookup(name)
	if !known || name == "config-file" {
		v.warn("%s in the configuration file is not known and does nothing", key)
		return nil
	}
	switch x := value.(type) {
	case nil:
		return nil
	case []any:
		var parts []string
		for _, part := range x {
			parts = append(parts, fmt.Sprint(part))
		}
		v.set[name] = strings.Join(parts, ",")
	case map[string]any:
		var parts []string
		for _, part := range slices.Sorted(maps.Keys(x)) {
			parts = append(parts, fmt.Sprintf("%s=%v", part, x[part]))
		}
		v.set[name] = strings.Join(parts, ",")
	case int:
		v.set[name] = fmt.Sprint(x)
		if o.Type == Duration {
			v.set[name] = time.Duration(x).String()
		}
	default:
		v.set[name] = fmt.Sprint(x)
	}
	return nil
}
